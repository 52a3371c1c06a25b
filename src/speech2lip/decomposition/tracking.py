"""First pass over a take: keep its picture and sound, find its landmarks, light and sharpness."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from safetensors.numpy import save_file

from speech2lip.config import PrepareSettings
from speech2lip.conventions import LANDMARK_SCHEME, SAMPLE_RATE
from speech2lip.decomposition.footage import pack_landmarks
from speech2lip.decomposition.landmarks import FACE_OVAL, LandmarkDetector
from speech2lip.decomposition.masks import light_points
from speech2lip.errors import FootageError
from speech2lip.media.sound import read_wave
from speech2lip.media.video import VideoReader, VideoWriter, probe_video
from speech2lip.storage import new_folder_atomically, write_json

Picture = NDArray[np.uint8]


def check_take(path: Path) -> None:
    """Raise the one line that tells why a video cannot be a take: before any work is done."""
    info = probe_video(path)
    if not info.has_sound:
        raise FootageError(
            f"{path} has no sound; lips are learned from sound and picture together: record it with sound"
        )


def source_of(path: Path, settings: PrepareSettings) -> dict[str, Any]:
    """Describe a source file and the settings that its first pass depends on, to tell whether that is up
    to date.
    """
    stat = path.stat()
    return {
        "path": str(path.resolve()),
        "bytes": stat.st_size,
        "modified": stat.st_mtime_ns,
        "small_face_pixels": settings.small_face_pixels,
        "picture_crf": settings.picture_crf,
    }


def track_take(
    path: Path, folder: Path, settings: PrepareSettings, *, report: Callable[[int], None] | None = None
) -> None:
    """Read a video once and write its take folder, whole or not at all.

    Args:
        path: the video.
        folder: the take's folder, to be made or replaced.
        report: called with the number of frames done.

    Raises:
        FootageError, SoundError: the video cannot be used.
    """
    info = probe_video(path)
    wave = read_wave(path)
    with new_folder_atomically(folder, overwrite=True) as partial:
        soundfile.write(partial / "sound.flac", wave, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
        reader = VideoReader(path)
        track, size = _track_frames(reader, partial / "picture.mp4", info.fps, settings, report)
        if not len(track["times"]):
            raise FootageError(f"{path} holds no picture that can be decoded; record or export it again")
        save_file(track, partial / "track.safetensors")
        write_json(
            partial / "take.json",
            {
                "width": size[0],
                "height": size[1],
                "fps": str(_true_rate(track["times"], info.fps)),
                "landmarks": LANDMARK_SCHEME,
                "broken_packets": reader.broken_packets,
                "source": source_of(path, settings),
            },
        )


def _track_frames(
    reader: VideoReader,
    picture_path: Path,
    fps: Fraction,
    settings: PrepareSettings,
    report: Callable[[int], None] | None,
) -> tuple[dict[str, NDArray[Any]], tuple[int, int]]:
    writer: VideoWriter | None = None
    times, landmarks, light, sharpness = [], [], [], []
    size = (0, 0)
    try:
        with LandmarkDetector(enlarge_below=settings.small_face_pixels) as detector:
            for frame in reader.frames():
                if writer is None:
                    size = (frame.rgb.shape[1], frame.rgb.shape[0])
                    writer = VideoWriter(
                        picture_path,
                        width=size[0],
                        height=size[1],
                        fps=fps,
                        quality_crf=settings.picture_crf,
                        preset="veryfast",
                    ).__enter__()
                writer.write(frame.rgb, time=frame.time)
                points = detector.detect(frame.rgb)
                times.append(frame.time)
                landmarks.append(np.full((478, 3), np.nan, np.float32) if points is None else points)
                light.append(face_light(frame.rgb, points))
                sharpness.append(face_sharpness(frame.rgb, points))
                if report is not None:
                    report(len(times))
    except BaseException as error:
        if writer is not None:
            writer.__exit__(type(error), error, error.__traceback__)
        raise
    if writer is not None:
        writer.__exit__(None, None, None)
    return {
        "times": np.array(times, np.float64),
        "landmarks": pack_landmarks(np.array(landmarks, np.float32).reshape(-1, 478, 3), max(size)),
        "light": np.array(light, np.float32).reshape(-1, 3),
        "sharpness": np.array(sharpness, np.float32),
    }, size


def _true_rate(times: NDArray[np.float64], claimed: Fraction) -> Fraction:
    """Return the rate that the frame times show, or the claimed one where it agrees within 0.1 %."""
    if len(times) < 2 or times[-1] <= times[0]:
        return claimed
    shown = (len(times) - 1) / float(times[-1] - times[0])
    return claimed if abs(shown / float(claimed) - 1) < 1e-3 else Fraction(shown).limit_denominator(1001)


def face_light(rgb: Picture, points: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Return the mean colour around skin points above the mouth; [3], 0 to 255, NaN without a face."""
    if points is None:
        return np.full(3, np.nan, np.float32)
    reach = max(1, round(float(np.ptp(points[:, 0])) / 60))
    places = np.round(points[light_points(points.astype(np.float64)), :2] - 0.5).astype(int)
    height, width = rgb.shape[:2]
    samples = []
    for x, y in places:
        square = rgb[
            max(0, y - reach) : min(height, y + reach + 1), max(0, x - reach) : min(width, x + reach + 1)
        ]
        if square.size:
            samples.append(square.reshape(-1, 3).mean(0))
    return np.mean(samples, axis=0).astype(np.float32) if samples else np.full(3, np.nan, np.float32)


def face_sharpness(rgb: Picture, points: NDArray[np.float32] | None) -> float:
    """Return the variance of the Laplacian of the face's luma; 0 without a face."""
    if points is None:
        return 0.0
    height, width = rgb.shape[:2]
    oval = points[list(FACE_OVAL), :2]
    x0, y0 = np.clip(oval.min(0).astype(int), 0, [width, height])
    x1, y1 = np.clip(oval.max(0).astype(int), 0, [width, height])
    luma = rgb[y0:y1, x0:x1].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    if min(luma.shape) < 3:
        return 0.0
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * luma[1:-1, 1:-1]
    return float(laplacian.var())
