"""An avatar with a picture or a face of another size, to measure how cost grows on one person."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from speech2lip.atomic import read_json, write_json
from speech2lip.avatar import BaseVideo, read_avatar
from speech2lip.media.video_writer import VideoFormat, VideoWriter

_FRAMES = 75


@dataclass(frozen=True)
class Size:
    """How large the picture is, and the head's picture in it."""

    name: str
    height: int
    """Rows that the base video is scaled to."""
    canvas: tuple[int, int] | None = None
    """Width and height that it is laid into, its edge drawn out around it; None: its own."""


def resized_avatar(avatar: Path, size: Size, target: Path) -> Path:
    """Write an avatar whose longest base video is scaled and laid into a larger picture; <= 75 frames."""
    person = read_avatar(avatar)
    base = person.base(None)
    scale = size.height / base.height
    width, height = round(base.width * scale / 2) * 2, size.height // 2 * 2
    canvas = size.canvas or (width, height)
    folder = target / "base" / base.name
    folder.mkdir(parents=True)
    for name in ("weights.safetensors", "canonical.safetensors"):
        shutil.copyfile(avatar / name, target / name)
    frames = _write(base, folder / "picture.mp4", (width, height), canvas)
    track = load_file(avatar / "base" / base.name / "track.safetensors")
    save_file(
        {name: np.ascontiguousarray(table[:frames]) for name, table in track.items()},
        folder / "track.safetensors",
    )
    write_json(folder / "take.json", {"width": canvas[0], "height": canvas[1], "fps": str(base.fps)})
    about = read_json(avatar / "avatar.json")
    # The focal length is told in units of the longer side; in pixels it is what the scale makes it.
    focal = about["focal"] * max(width, height) / max(canvas)
    write_json(target / "avatar.json", about | {"bases": [base.name], "focal": focal})
    return target


def _write(base: BaseVideo, path: Path, size: tuple[int, int], canvas: tuple[int, int]) -> int:
    count = 0
    with VideoWriter(path, VideoFormat(width=canvas[0], height=canvas[1], fps=base.fps), crf=14.0) as writer:
        for frame in base.frames(0, min(_FRAMES, len(base.times))):
            writer.write(_laid(_scaled(frame.rgb, size), canvas))
            count += 1
    return count


def _scaled(rgb: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(width=size[0], height=size[1])
    return frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)


def _laid(rgb: NDArray[np.uint8], canvas: tuple[int, int]) -> NDArray[np.uint8]:
    around = [
        ((total - own) // 2, total - own - (total - own) // 2)
        for own, total in zip(rgb.shape, canvas[::-1], strict=False)
    ]
    return np.pad(rgb, [*around, (0, 0)], mode="edge")
