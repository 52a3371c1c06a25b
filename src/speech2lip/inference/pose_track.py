"""Head movement from files: tracks of angles, and the head of another prepared video."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.spatial.transform import Rotation, Slerp

from speech2lip.arrays import Array
from speech2lip.avatar import read_avatar
from speech2lip.decomposition.footage import read_footage
from speech2lip.errors import SettingsError
from speech2lip.geometry.rigid import unbroken_runs

_COLUMNS = ("time", "yaw", "pitch", "roll")


class PoseTrack:
    """Angles over time, smooth between the times that are told, held before the first and after the last."""

    def __init__(self, times: Array, degrees: Array) -> None:
        """Take times [N] in seconds and yaw, pitch, roll [N, 3] in degrees."""
        self.times, self.degrees = times, degrees
        self._between = PchipInterpolator(times, degrees) if len(times) > 1 else None

    def at(self, seconds: float) -> Array:
        """Return yaw, pitch and roll in degrees; [3]."""
        if self._between is None:
            return self.degrees[0]
        angles: Array = self._between(np.clip(seconds, self.times[0], self.times[-1]))
        return angles


def read_pose_track(path: Path) -> PoseTrack:
    """Read a track: lines of time in seconds, yaw, pitch and roll in degrees, commas between.

    A first line of names and empty lines are passed over.

    Raises:
        SettingsError: it cannot be read; a line has other than four numbers; times do not rise.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [(number, row) for number, row in enumerate(csv.reader(file), 1) if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise SettingsError(f"the pose track {path} cannot be read ({reason}); give a CSV file") from error
    if lines and tuple(cell.strip().lower() for cell in lines[0][1]) == _COLUMNS:
        lines = lines[1:]
    values = np.array([_numbers(path, number, row) for number, row in lines]).reshape(-1, 4)
    if not len(values):
        raise SettingsError(f"the pose track {path} is empty; give lines of {', '.join(_COLUMNS)}")
    for index in np.flatnonzero(np.diff(values[:, 0]) <= 0):
        number = lines[int(index) + 1][0]
        raise SettingsError(
            f"{path}, line {number}: time {values[index + 1, 0]:g} does not come after "
            f"{values[index, 0]:g}; put the lines in order, each time once"
        )
    return PoseTrack(values[:, 0], values[:, 1:])


def _numbers(path: Path, number: int, row: list[str]) -> list[float]:
    try:
        values = [float(cell) for cell in row]
    except ValueError:
        values = []
    if len(values) != 4 or not np.isfinite(values).all():
        raise SettingsError(
            f"{path}, line {number}: {','.join(row)!r} is not {', '.join(_COLUMNS)}; give four numbers"
        )
    return values


def read_driver(path: Path, *, fps: float) -> Array:
    """Read the longest unbroken head movement of a footage or avatar folder, at another frame rate.

    Returns:
        camera_from_head, [T, 4, 4].

    Raises:
        SettingsError: it is neither.
        FootageError, AvatarError: as their messages say.
    """
    if (path / "footage.json").is_file():
        footage = read_footage(path)
        runs = [
            (take, start, stop)
            for take in footage.takes
            for start, stop in unbroken_runs(take.kept, take.shot)
        ]
        if not runs:
            raise SettingsError(f"no frame of {path} has a head that can be followed; choose another video")
        take, start, stop = max(runs, key=lambda run: (run[2] - run[1]) / float(run[0].fps))
        return resampled(take.camera_from_head[start:stop], take.times[start:stop], fps=fps)
    if (path / "avatar.json").is_file():
        base = read_avatar(path).base(None)
        return resampled(base.head.camera_from_head, base.times, fps=fps)
    raise SettingsError(
        f"--motion {path}: give base, still, or a footage or avatar folder "
        "(`speech2lip prepare VIDEO --footage FOLDER` makes one)"
    )


def resampled(camera_from_head: Array, times: Array, *, fps: float) -> Array:
    """Interpolate head poses [T, 4, 4] at times [T] to another frame rate."""
    if len(times) < 2:
        return camera_from_head
    wanted = np.arange(times[0], times[-1] + 1e-9, 1 / fps)
    poses = np.tile(np.eye(4), (len(wanted), 1, 1))
    poses[:, :3, :3] = Slerp(times, Rotation.from_matrix(camera_from_head[:, :3, :3]))(wanted).as_matrix()
    for axis in range(3):
        poses[:, axis, 3] = np.interp(wanted, times, camera_from_head[:, axis, 3])
    return poses
