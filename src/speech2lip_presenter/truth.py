"""What is exactly known about every frame of a presenter's video, kept beside it as plain arrays."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speech2lip.conventions import Array
from speech2lip.errors import FootageError
from speech2lip_presenter import render
from speech2lip_presenter.model import LANDMARKS
from speech2lip_presenter.parts import MOVES
from speech2lip_presenter.render import State

SUFFIX = ".truth.npz"


@dataclass(frozen=True)
class Truth:
    """Truth of T frames; lengths in eye units unless told otherwise, axes as in `speech2lip.conventions`."""

    times: Array
    """Seconds, [T]."""
    k: Array
    """Camera matrix in pixels, [3, 3]."""
    camera_from_head: Array
    """Head pose, [T, 4, 4]; the head's origin is the middle between the outer corners of the eyes."""
    landmarks: Array
    """Landmarks in pixels, [T, 12, 2], named by `landmark_names`."""
    landmarks_head: Array
    """The same points in head space, [T, 12, 3]."""
    landmark_names: NDArray[np.str_]
    lip_opening: Array
    """Distance along the head's y between the inner edges of the lips at their middle, free of pose, [T]."""
    lip_width: Array
    """Distance between the corners of the mouth, free of pose, [T]."""
    blink: Array
    """Closing of the lids in [0, 1], [T]."""
    phone: NDArray[np.str_]
    """Phone spoken at each frame (ARPAbet, `pau` is silence), [T]."""
    angles_degrees: Array
    """Yaw, pitch, roll, [T, 3]."""
    sway: Array
    gaze_degrees: Array
    moves: Array
    """Amounts of `parts.MOVES`, [T, 9]; with the angles and shifts they are the whole state."""

    def state(self, frame_index: int) -> State:
        """Return the state of one frame, so that its picture and depth can be rendered again at any size."""
        yaw, pitch, roll = (float(v) for v in self.angles_degrees[frame_index])
        x, y, z = (float(v) for v in self.sway[frame_index])
        look_yaw, look_pitch = (float(v) for v in self.gaze_degrees[frame_index])
        return State(
            moves=dict(zip(MOVES, (float(v) for v in self.moves[frame_index]), strict=True)),
            yaw=yaw, pitch=pitch, roll=roll, sway=(x, y, z), gaze=(look_yaw, look_pitch),
            phone=str(self.phone[frame_index]),
        )  # fmt: skip

    def depth(self, frame_index: int) -> NDArray[np.float32]:
        """Render the depth of one frame, [H, W] along the camera's z, infinite at the background."""
        return render.render_frame(self.state(frame_index), size=round(2 * self.k[0, 2]))[1]


def measure(states: list[State], *, fps: float, size: int) -> Truth:
    """Work out the truth of frames rendered at size x size pixels."""
    measured = [render.landmarks_of(state, size=size) for state in states]
    lips = np.array([render.lip_measures(points) for _, points in measured])
    return Truth(
        times=np.arange(len(states)) / fps,
        k=render.camera_matrix(size),
        camera_from_head=np.stack([render.head_pose(state) for state in states]),
        landmarks=np.stack([pixels for pixels, _ in measured]),
        landmarks_head=np.stack([points for _, points in measured]),
        landmark_names=np.array(LANDMARKS),
        lip_opening=lips[:, 0],
        lip_width=lips[:, 1],
        blink=np.array([state.moves.get("blink", 0.0) for state in states]),
        phone=np.array([state.phone for state in states]),
        angles_degrees=np.array([(state.yaw, state.pitch, state.roll) for state in states]),
        sway=np.array([state.sway for state in states]),
        gaze_degrees=np.array([state.gaze for state in states]),
        moves=np.array([[state.moves.get(name, 0.0) for name in MOVES] for state in states]),
    )


def truth_path(video: Path) -> Path:
    """Return where the truth of a video lies."""
    return video.with_name(video.stem + SUFFIX)


def write_truth(truth: Truth, video: Path) -> None:
    """Keep the truth beside its video."""
    np.savez_compressed(truth_path(video), **{f.name: getattr(truth, f.name) for f in fields(truth)})


def read_truth(path: Path | str) -> Truth:
    """Read the truth of a presenter's video, given the video or the truth file itself.

    Raises:
        FootageError: there is none.
    """
    path = Path(path)
    path = path if path.name.endswith(SUFFIX) else truth_path(path)
    if not path.is_file():
        raise FootageError(f"No truth at {path}: only videos made by the presenter have one.")
    with np.load(path, allow_pickle=False) as arrays:
        return Truth(**{f.name: arrays[f.name] for f in fields(Truth)})
