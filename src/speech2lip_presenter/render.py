"""One state of the presenter in, one picture with its exact truth out."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import speech2lip_presenter.textures as textures
from speech2lip.arrays import Array, Floats, Picture
from speech2lip.errors import FootageError
from speech2lip_presenter.head import MOVES
from speech2lip_presenter.model import LANDMARKS, build_model, pose_model, rotation
from speech2lip_presenter.shading import MATERIALS, develop, project, rasterise, shade_picture, vertex_normals

DISTANCE = 9.5
"""From the camera to the resting head, in eye units (about 0.85 m)."""
VIEW = 3.7
"""Height of what the camera sees at that distance, in eye units."""
NECK = np.array([0.0, 1.05, 0.95])
"""The point about which the head turns, in head space."""

_SUFFIX = ".truth.npz"


@dataclass(frozen=True)
class State:
    """All that can change from frame to frame; angles in degrees, lengths in eye units."""

    moves: dict[str, float] = field(default_factory=dict)
    """Amounts of `head.MOVES`."""
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    sway: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Shift of the whole body."""
    gaze: tuple[float, float] = (0.0, 0.0)
    """Yaw and pitch of the eyes in the head."""
    phone: str = "pau"


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
    """Amounts of `head.MOVES`, [T, 9]; with the angles and shifts they are the whole state."""

    def state(self, frame_index: int) -> State:
        """Return the state of one frame, so that its picture and depth can be rendered again at any size."""
        yaw, pitch, roll = self.angles_degrees[frame_index].tolist()
        return State(
            moves=dict(zip(MOVES, self.moves[frame_index].tolist(), strict=True)),
            yaw=yaw, pitch=pitch, roll=roll,
            sway=tuple(self.sway[frame_index].tolist()), gaze=tuple(self.gaze_degrees[frame_index].tolist()),
            phone=str(self.phone[frame_index]),
        )  # fmt: skip


def camera_matrix(size: int) -> Array:
    """K of the presenter's camera for a square picture."""
    focal = size * DISTANCE / VIEW
    return np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1.0]])


def _body_position(state: State) -> Array:
    """Where the body, which never turns, stands before the camera."""
    return np.array([0.0, -0.22, DISTANCE]) + np.array(state.sway)


def head_pose(state: State) -> Array:
    """The head pose camera_from_head [4, 4]: the head turns about the neck, and the body carries it."""
    pose = np.eye(4)
    pose[:3, :3] = rotation(*np.radians([state.yaw, state.pitch, state.roll]))
    pose[:3, 3] = _body_position(state) + (NECK - pose[:3, :3] @ NECK)
    return pose


def posed_vertices(state: State) -> tuple[Floats, Floats]:
    """Return the vertices in head space and in camera space, both [N, 3]."""
    model = build_model()
    yaw, pitch = np.radians(state.gaze)
    vertices = pose_model(model, state.moves, gaze=(yaw, pitch))
    head = head_pose(state)
    with_head = vertices @ head[:3, :3].T + head[:3, 3]
    with_body = vertices + _body_position(state)
    weight = model.head_weight[:, None]
    return vertices, np.asarray(weight * with_head + (1 - weight) * with_body, np.float32)


def landmarks_of(state: State, *, size: int) -> tuple[Array, Array]:
    """Project the named landmarks; return them in pixels [12, 2] and in head space [12, 3]."""
    chosen = list(build_model().landmarks.values())
    in_head, in_camera = posed_vertices(state)
    pixels = project(in_camera[chosen], k=camera_matrix(size))[:, :2]
    return pixels.astype(np.float64), in_head[chosen].astype(np.float64)


def lip_measures(points_head: Array) -> tuple[float, float]:
    """Return the opening between the inner lips (along the head's y) and the width between the corners.

    Both in eye units and free of pose. The opening is 0 where the lips touch.
    """
    left, right, upper, lower = points_head[:4]
    return max(0.0, float(lower[1] - upper[1])), float(np.linalg.norm(right - left))


def render_frame(state: State, *, size: int = 384) -> tuple[Picture, Floats, NDArray[np.int32]]:
    """Render one frame.

    Returns:
        The picture, uint8 RGB [size, size, 3]; its depth, float32 [size, size] along the camera's z in eye
        units, infinite at the background; the material at each pixel, -1 at the background.
    """
    model, k = build_model(), camera_matrix(size)
    _, in_camera = posed_vertices(state)
    normals = vertex_normals(in_camera, model.faces)
    points = project(in_camera, k=k)
    points[:, :2] *= 2.0
    nearness, ids = np.zeros((2 * size, 2 * size), np.float32), np.full((2 * size, 2 * size), -1, np.int32)
    rasterise(points, model.faces, nearness, ids)
    light = model.light.copy()
    # the more light enters the mouth, the wider it stands open
    opening = sum(state.moves.get(name, 0.0) for name in ("upper_lip", "lower_lip", "jaw"))
    light[model.mouth] *= float(np.clip(0.42 + 2.2 * opening, 0.3, 1.0))
    colour, depth = np.zeros((size, size, 3), np.float32), np.zeros((size, size), np.float32)
    shade_picture(
        ids, points, model.faces, model.face_material, normals, model.uv, light, textures.atlas(), MATERIALS,
        textures.background(size), float(k[0, 0]), colour, depth,
    )  # fmt: skip
    seen = ids[1::2, 1::2]
    return develop(colour), depth, np.where(seen >= 0, model.face_material[seen], -1).astype(np.int32)


def measure(states: list[State], *, fps: float, size: int) -> Truth:
    """Work out the truth of frames rendered at size x size pixels."""
    measured = [landmarks_of(state, size=size) for state in states]
    lips = np.array([lip_measures(points) for _, points in measured])
    return Truth(
        times=np.arange(len(states)) / fps,
        k=camera_matrix(size),
        camera_from_head=np.stack([head_pose(state) for state in states]),
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
    return video.with_name(video.stem + _SUFFIX)


def write_truth(truth: Truth, video: Path) -> None:
    """Keep the truth beside its video."""
    np.savez_compressed(truth_path(video), **{f.name: getattr(truth, f.name) for f in fields(truth)})


def read_truth(path: Path | str) -> Truth:
    """Read the truth of a presenter's video, given the video or the truth file itself.

    Raises:
        FootageError: there is none.
    """
    path = Path(path)
    path = path if path.name.endswith(_SUFFIX) else truth_path(path)
    if not path.is_file():
        raise FootageError(f"No truth at {path}: only videos made by the presenter have one.")
    with np.load(path, allow_pickle=False) as arrays:
        return Truth(**{f.name: arrays[f.name] for f in fields(Truth)})
