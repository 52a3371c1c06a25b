"""Pretrained encoders load from folders, hear windows, and say in one line what is wrong with them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from speech2lip.errors import MissingExtra, SettingsError
from speech2lip.synthesis import pretrained as hf_encoder
from speech2lip.synthesis.pretrained import PAST, STEP, TOKEN, TOKENS, WINDOW, load_pretrained
from tests.synthesis.tiny_encoders import KINDS, tiny_encoder


def _windows(count: int) -> torch.Tensor:
    return 0.1 * torch.randn(count, WINDOW, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", KINDS)
def test_features_of_a_step_whatever_the_batch(tmp_path: Path, kind: str) -> None:
    encoder = load_pretrained(str(tiny_encoder(tmp_path / kind, kind)))
    windows = _windows(40)
    features = encoder.features(windows)
    assert features.shape == (40, TOKENS, 32)
    assert torch.isfinite(features).all()
    assert features.std(0).min() > 0
    assert torch.allclose(features[38:39], encoder.features(windows[38:39]), atol=1e-4)
    assert not any(p.requires_grad for p in encoder.network.parameters())


@pytest.mark.parametrize("kind", ["hubert", "whisper"])
def test_a_feature_stands_where_its_sound_is(tmp_path: Path, kind: str) -> None:
    # Attention lets every sound reach every feature, but the nearest must change most.
    encoder = load_pretrained(str(tiny_encoder(tmp_path / kind, kind)))
    plain = _windows(1)
    for token in range(TOKENS):
        struck = plain.clone()
        middle = PAST + token * TOKEN + TOKEN // 2
        struck[:, middle - 60 : middle + 60] += 0.5
        change = (encoder.features(struck) - encoder.features(plain)).norm(dim=2)[0]
        assert abs(int(change.argmax()) - token) <= 1


def test_loudness_is_evened_out_only_where_the_model_says_so(tmp_path: Path) -> None:
    folder, windows = tiny_encoder(tmp_path / "e", "hubert"), _windows(3)
    usual = load_pretrained(str(folder))
    heard = usual.features(windows)
    assert (heard - usual.features(0.3 * windows + 0.2)).norm() < 0.02 * heard.norm()
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False}))
    plain = load_pretrained(str(folder))
    assert not torch.allclose(plain.features(windows), plain.features(0.3 * windows), atol=1e-3)
    assert plain.fingerprint != usual.fingerprint


@pytest.mark.parametrize("kind", ["hubert", "whisper"])
def test_the_last_bits_of_silence_are_not_heard(tmp_path: Path, kind: str) -> None:
    encoder = load_pretrained(str(tiny_encoder(tmp_path / kind, kind)))
    windows = _windows(3)
    silence, faint = encoder.features(torch.zeros(3, WINDOW)), encoder.features(1e-5 * windows)
    loud = encoder.features(windows)
    assert (faint - silence).norm() < 0.1 * (loud - silence).norm()


def test_whisper_is_run_on_a_window_instead_of_30_seconds(tmp_path: Path) -> None:
    encoder = load_pretrained(str(tiny_encoder(tmp_path / "w", "whisper")))
    network: Any = encoder.network
    assert network.embed_positions.num_embeddings == WINDOW // TOKEN == 48
    with pytest.raises(SettingsError, match=r"hears 0\.40 s at once"):
        load_pretrained(str(tiny_encoder(tmp_path / "short", "whisper", max_source_positions=20)))


def test_the_last_layers_of_wave_models_are_not_run(tmp_path: Path) -> None:
    encoder = load_pretrained(str(tiny_encoder(tmp_path / "h", "hubert")))
    network: Any = encoder.network
    assert len(network.encoder.layers) == 3


def test_the_fingerprint_tells_weights_apart(tmp_path: Path) -> None:
    marks = [
        load_pretrained(str(tiny_encoder(tmp_path / f"{seed}{again}", "hubert", seed=seed))).fingerprint
        for seed in (0, 1)
        for again in "ab"
    ]
    assert marks[0] == marks[1] != marks[2] == marks[3]
    assert len(marks[0]) == 32


def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hubert = tiny_encoder(tmp_path / "h", "hubert")
    pickled = tiny_encoder(tmp_path / "p", "hubert", safe=False)
    assert not list(pickled.glob("*.safetensors"))
    assert list(pickled.glob("*.bin"))
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "empty").mkdir()
    faults = {
        "/no/such/folder": "neither a folder nor",
        "nobody/nothing": "not on this machine",
        str(pickled): "cannot be loaded as safetensors",
        str(other): "of kind 'bert'",
        str(tmp_path / "empty"): "no config.json that tells",
        str(tiny_encoder(tmp_path / "s", "hubert", conv_stride=(5, 2, 2, 2, 2, 2, 1))): "every 160 samples",
        str(tiny_encoder(tmp_path / "a", "wav2vec2", add_adapter=True)): "adapter",
    }
    for name, message in faults.items():
        with pytest.raises(SettingsError, match=message) as caught:
            load_pretrained(name)
        assert "\n" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r"speech2lip\[hf\]"):
        load_pretrained(str(hubert))


def test_weights_that_are_not_there_are_not_made_up(tmp_path: Path) -> None:
    folder = tiny_encoder(tmp_path / "h", "hubert")
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    weights = load_file(path)
    weights.pop("encoder.layers.1.attention.k_proj.weight")
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(SettingsError, match="lacks 1 weights"):
        load_pretrained(str(folder))
    weights.pop("encoder.layers.3.attention.k_proj.weight", None)
    weights["encoder.layers.1.attention.k_proj.weight"] = torch.zeros(32, 32)
    save_file(weights, path, metadata={"format": "pt"})
    # The last layer is not run.
    assert torch.isfinite(load_pretrained(str(folder)).features(_windows(1))).all()
    assert STEP == 1280


def test_what_is_on_this_machine_is_not_asked_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_encoder(tmp_path / "h", "hubert")
    asked: list[bool] = []
    there = {True: False, False: True}
    plain = hf_encoder._opened

    def opened(transformers: Any, name: str, where: str, *, local: bool) -> tuple[str, Any, list[str]]:
        asked.append(local)
        if not there[local]:
            raise OSError("not\nhere")
        return plain(transformers, name, str(folder), local=True)

    monkeypatch.setattr(hf_encoder, "_opened", opened)
    monkeypatch.setattr(hf_encoder, "_wants_normalised", lambda *_: True)
    with pytest.raises(SettingsError, match="not on this machine; fetch it"):
        load_pretrained("a/b")
    assert asked == [True]
    assert len(load_pretrained("a/b", download=True).fingerprint) == 32
    assert asked[1:] == [True, False]
    there[True] = True
    load_pretrained("a/b", download=True)
    assert asked[3:] == [True]
    there |= {True: False, False: False}
    with pytest.raises(SettingsError, match=r"cannot be loaded as safetensors \(OSError: not here"):
        load_pretrained("a/b", download=True)
