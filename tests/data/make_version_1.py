"""Write the folders of tests/data/version_1, with the sources of the commit that README.md names."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

from speech2lip import prepare, train
from speech2lip.config import ModelSettings, PrepareSettings, TrainSettings
from speech2lip.media.sound import read_wave
from speech2lip.media.video import VideoReader
from speech2lip.media.video_writer import VideoWriter
from speech2lip_presenter import present

SIDE, FRAMES = 160, {"a": 28, "b": 22}
PREPARE = PrepareSettings(
    min_face_pixels=40, min_face_seconds=1.0, canvas_pixels=56, patch_width=16, picture_crf=27
)
TRAIN = TrainSettings(
    steps=400, batch=4, shape_batch=8, window=8, speech_batch=8, expert_batch=8, sync_clips=2,
    device="cpu", precision="fp32",
    model=ModelSettings(
        code_size=8, encoder_width=8, shape_size=4, field_width=4, field_cells=(6, 8), point_width=16,
        blend_width=2,
    ),
)  # fmt: skip


def cut(source: Path, target: Path, frames: int) -> None:
    """Write the first frames of a video, with their sound, as a video of its own."""
    wave = read_wave(source)
    with VideoWriter(
        target, width=SIDE, height=SIDE, fps=Fraction(25), sample_rate=16_000, quality_crf=20
    ) as writer:
        for index, frame in enumerate(VideoReader(source).frames(stop_frame=frames)):
            writer.write(frame.rgb)
            writer.write_sound(wave[index * 640 : (index + 1) * 640])


def main(out: Path) -> None:
    """Film the presenter, prepare, train; what names this machine is written over."""
    with tempfile.TemporaryDirectory() as folder:
        whole = sorted(present(Path(folder) / "whole", takes=2, size=SIDE))
        takes = [Path(folder) / f"{name}.mp4" for name in FRAMES]
        for source, take, frames in zip(whole, takes, FRAMES.values(), strict=True):
            cut(source, take, frames)
        footage, avatar = out / "presenter.footage", out / "presenter.avatar"
        for old in (footage, avatar):
            shutil.rmtree(old, ignore_errors=True)
        prepare(takes, footage=footage, settings=PREPARE)
        train(footage=footage, avatar=avatar, settings=TRAIN)
    for path in footage.glob("takes/*/take.json"):
        plain = json.loads(path.read_text())
        plain["source"]["path"] = f"/videos/{path.parent.name}.mp4"
        path.write_text(json.dumps(plain, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
