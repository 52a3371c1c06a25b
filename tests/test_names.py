"""What has got a better name keeps it: no old one is in the sources, but where old files are read."""

from __future__ import annotations

import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

import speech2lip

SOURCE = Path(speech2lip.__file__).parent
READS_OLD_FILES = {"formats.py"}

NAMES = {
    "ear": "encoder_init, or encoder weights",
    "give_ear": "encoder_init",
    "make_ear": "pretrain_encoder",
    "Stretch": "AudioChunk, FrameSequence or CrossClip",
    "Drawing": "TorchRenderer",
    "ProcessorDrawing": "CpuRenderer",
    "Sheet": "CropBuffer",
    "Turner": "Reposer",
    "backdrop": "background",
    "head_lattice": "HeadMesh",
    "smooth_order": "ping_pong_order",
    "turning_points": "reversal_frames",
    "base_take": "base_video",
    "BaseTake": "HeadTrack",
    "BasePlanes": "BaseVideoReader",
    "settling": "fit",
    "look_gap": "appearance_distance",
    "find_strangers": "find_other_people",
    "storage": "atomic",
    "checkup": "doctor",
    "journey": "demo",
    "say": "logging",
    "Spoke": "SpeakResult",
    "Place": "HeadTrack",
    "Places": "HeadTrack",
    "place_of": "HeadTrack",
    "in_order": "ordered_map",
    "MovingSound": "AudioBuffer",
    "judging": "runner",
    "watching": "observer",
    "Spoken": "SpeechFeatures, or Method",
    "Tally": "accumulate",
    "tally": "accumulate",
    "Watcher": "observer",
    "Maker": "Method",
    "makers": "methods",
    "carry": "warp",
    "hear": "mel_features, or embed_sound",
    "look_up": "sample",
    "strangers": "other_people",
    "remarks": "message",
    "foreign": "unseen_speaker",
    "revoiced": "robustness",
    "looks": "appearance",
    "speech_stretches": "audio_chunks",
    "usual_light": "median_skin_colour",
    "covers": "mask_and_mean",
    "off_grid": "point_jitter_px",
    "holes": "hole_probability",
}
"""Old name to the one that is written instead."""


def _words(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of every identifier, and of every string that is one word, as keys of JSON are."""
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type in (tokenize.NAME, tokenize.STRING):
            yield token.start[0], token.string.strip("\"'")


def test_no_old_name_is_in_the_sources() -> None:
    found = [
        f"{path.relative_to(SOURCE)}:{line}: {word} is now {NAMES[word]}"
        for path in sorted(SOURCE.rglob("*.py"))
        if path.name not in READS_OLD_FILES
        for line, word in _words(path)
        if word in NAMES
    ]
    assert not found, "\n".join(found)
