"""Tiny pretrained encoders with random weights, as transformers writes them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

KINDS = ("hubert", "wav2vec2", "wavlm", "whisper")
_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
_WHISPER = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "vocab_size": 60,
    "max_target_positions": 16,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}


def tiny_encoder(folder: Path, kind: str, *, seed: int = 0, safe: bool = True, **changes: object) -> Path:
    """Write an encoder; returns its folder. Tests that call this are skipped without transformers."""
    transformers = pytest.importorskip("transformers", reason="the extra `hf` is not installed")
    torch.manual_seed(seed)
    sizes = dict(_WHISPER if kind == "whisper" else _SIZES) | changes
    if kind == "wav2vec2":
        sizes |= {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}
    config = transformers.AutoConfig.for_model(kind, **sizes)
    transformers.AutoModel.from_config(config).save_pretrained(folder, safe_serialization=safe)
    return folder
