"""The main job on real footage, in small; skipped where there is none."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from speech2lip.config import EvaluateOutputs, SpeakSettings, TrainSettings

pytest.importorskip("mediapipe", reason="preparing footage needs mediapipe")
pytestmark = [pytest.mark.slow, pytest.mark.footage]


def _quiet(_: str) -> None:
    return None


def test_from_videos_to_a_spoken_sentence(real_footage: Path, tmp_path: Path) -> None:
    from speech2lip import evaluate, prepare, speak, train

    takes = sorted((real_footage / "grid_s1").glob("*.mpg"))[:12]
    footage = prepare(takes, footage=tmp_path / "g.footage")
    assert [take.name for take in footage.takes] == [path.stem for path in takes]
    assert sum(len(take.times) for take in footage.takes) == 900
    assert np.mean([take.kept.mean() for take in footage.takes]) > 0.97

    settings = TrainSettings(steps=400, seed=1)
    avatar = train(avatar=tmp_path / "g.avatar", footage=footage.folder, settings=settings)
    assert list(avatar.info.held_out) == [takes[3].stem]
    assert (tmp_path / "g.avatar" / "weights.safetensors").stat().st_size < 20e6

    french = next(path for path in sorted((real_footage / "speech").iterdir()) if "fr" in path.stem.lower())
    spoke = speak(french, avatar=avatar.folder, output=tmp_path / "o.mp4", settings=SpeakSettings())
    with av.open(str(spoke.path)) as file:
        assert (file.streams.video[0].width, file.streams.video[0].height) == (360, 288)
        assert sum(1 for _ in file.decode(video=0)) == spoke.frames

    figures = EvaluateOutputs(json=tmp_path / "m.json")
    result = evaluate(avatar=avatar.folder, footage=footage.folder, outputs=figures)
    ours, still, real = (result.rows[name] for name in ("ours", "static_lips", "real_video"))
    assert ours["frames"] == 75
    assert real["opening_r"] > 0.97
    assert abs(still["opening_r"]) < 0.3
    assert ours["opening_r"] > 0.3
    assert ours["mouth_psnr"] > still["mouth_psnr"]


def test_broken_colours_are_left_out(messages: list[str], real_footage: Path, tmp_path: Path) -> None:
    from speech2lip import prepare

    every = sorted((real_footage / "grid_s1").glob("*.mpg"))
    orange = [path for path in every if path.stem == "bbbs5s"]
    footage = prepare(orange + every[:11], footage=tmp_path / "g.footage")
    counts = {take.name: take.rejection_counts() for take in footage.takes}
    assert counts["bbbs5s"] == {"broken colours": 75}
    assert sum(c.get("broken colours", 0) for c in counts.values()) == 75
    assert "75 broken colours" in " ".join(messages)
