"""Footage of a made face for tests, with noise for pictures and sound."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from safetensors.numpy import save_file

from speech2lip.atomic import write_json
from speech2lip.checks import to_plain
from speech2lip.config import PrepareSettings
from speech2lip.decomposition.footage import (
    Take,
    canonical_plain,
    canonical_tensors,
)
from speech2lip.decomposition.tracking.landmarks import pack_landmarks, squeeze_landmarks
from speech2lip.faces.landmarks import INNER_LIPS
from speech2lip.formats import FOOTAGE
from speech2lip.geometry.rigid import camera_matrix, project
from speech2lip.media.video_writer import VideoFormat, VideoWriter
from tests.made_face import SIZE, fitted_take, head_pose, made_avatar, made_canonical, made_face

FRAMES = 40


def face_points(opening: float) -> NDArray[np.float32]:
    """Return the made face's landmarks in pixels with a lip opening in eye distances; [478, 3]."""
    pose, k = head_pose(), camera_matrix(SIZE[1], SIZE[0], 1.6)
    points = np.zeros((478, 3), np.float32)
    points[:, :2] = project(pose[None], k, made_face())[0]
    eyes = float(np.linalg.norm(points[263, :2] - points[33, :2]))
    for upper, lower in INNER_LIPS:
        points[lower, :2] = points[upper, :2] + (0, opening * eyes)
    return points


def made_take(
    name: str,
    *,
    folder: Path = Path("none"),
    frames: int = FRAMES,
    opening: float | None = None,
    source: str = "",
) -> Take:
    """Return a take whose lips open to and fro, or stay at an opening."""
    openings = (
        0.1 + 0.08 * np.sin(np.arange(frames) / (2 + len(name) % 3))
        if opening is None
        else [opening] * frames
    )
    return fitted_take(
        folder / name,
        np.tile(head_pose(), (frames, 1, 1)),
        size=(SIZE[1], SIZE[0]),
        source=source,
        landmarks=np.stack([face_points(float(value)) for value in openings]),
        light=np.full((frames, 3), 128, np.float32),
    )


def write_footage(folder: Path, names: tuple[str, ...] = ("a", "b", "c"), *, frames: int = FRAMES) -> Path:
    """Write footage of some takes; frame 7 of take b is left out."""
    canonical = made_canonical()
    random = np.random.default_rng(0)
    still = random.integers(60, 200, (SIZE[0] // 8, SIZE[1] // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    for name in names:
        take = made_take(name, folder=folder / "takes", frames=frames)
        take.folder.mkdir(parents=True)
        with VideoWriter(
            take.folder / "picture.mp4", VideoFormat(width=SIZE[1], height=SIZE[0], fps=take.fps)
        ) as writer:
            for _ in take.times:
                writer.write(np.clip(still + random.integers(-4, 5, still.shape), 0, 255).astype(np.uint8))
        wave = random.normal(0, 0.1, len(take.times) * 640) * (
            1 + np.sin(np.arange(len(take.times) * 640) / 900)
        )
        soundfile.write(take.folder / "sound.flac", wave.astype(np.float32), 16_000, subtype="PCM_16")
        rejection = take.rejection.copy()
        rejection[7] = 1 if name == "b" else 0
        packed = squeeze_landmarks(pack_landmarks(np.asarray(take.landmarks), max(SIZE)))
        none = np.zeros(len(take.times), np.float32)
        track: dict[str, NDArray[Any]] = {
            "times": take.times, "light": take.light, "shot": none.astype(np.int32), "sharpness": none,
            "covered": none, "appearance_distances": np.zeros((1, 1), np.float32), **packed,
        }  # fmt: skip
        save_file(track, take.folder / "track.safetensors")
        save_file(
            {"camera_from_head": take.camera_from_head, "left_out": rejection},
            take.folder / "poses.safetensors",
        )
        write_json(take.folder / "take.json", {"width": SIZE[1], "height": SIZE[0], "fps": "25"})
    save_file(canonical_tensors(canonical), folder / "canonical.safetensors")
    plain = {
        "format": FOOTAGE.number, "settings": to_plain(PrepareSettings()), "takes": list(names),
        "canonical": canonical_plain(canonical), "prepare_fps": 50.0,
    }  # fmt: skip
    write_json(folder / "footage.json", plain)
    return folder


def write_avatar(folder: Path, *, held_out: dict[str, list[int]]) -> Path:
    """Write an untrained avatar of that footage."""
    made_avatar(folder)
    path = folder / "avatar.json"
    about = json.loads(path.read_text())
    about |= {"takes": ["a", "b", "c"], "held_out": held_out, "seconds_trained": 12.0}
    about["history"] = [
        {"phase": phase, "step": step, "seconds": step + 9 * phase, "l1": 0.1 / step}
        for phase in (0, 1)
        for step in (1, 2, 4, 8)
    ]
    path.write_text(json.dumps(about))
    return folder


class FakeDetector:
    """Stands in for the landmark detector: a face whose mouth is as open as the picture's middle is dark."""

    def __init__(self, *, enlarge_below: int = 0) -> None:
        self.enlarge_below = enlarge_below

    def __enter__(self) -> FakeDetector:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def detect(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        height, width = rgb.shape[:2]
        middle = rgb[height // 2 : height * 3 // 4, width // 3 : width * 2 // 3]
        return face_points(0.2 * (1 - float(middle.mean()) / 255))
