from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from speech2lip.arrays import Picture
from speech2lip.composition.reposing.background import filled_smoothly, learn_background
from speech2lip.composition.reposing.head_mesh import head_mesh
from speech2lip.composition.reposing.reposer import NECK, Reposer, offset_to, rotation_of
from speech2lip.geometry.rigid import camera_matrix, head_angles, project
from tests.made_face import SIZE, head_pose, made_canonical, made_face, made_head

K = camera_matrix(SIZE[1], SIZE[0], 1.6)


def _offset(
    pose: NDArray[np.float64], yaw: float = 0, pitch: float = 0, roll: float = 0
) -> NDArray[np.float64]:
    """The movement that adds to the angles of a head pose."""
    own = head_angles(pose[None])[0]
    return offset_to(pose, rotation_of(*(own + np.array([yaw, pitch, roll]))))


def _noise(seed: int = 0) -> Picture:
    """A soft texture."""
    coarse = np.random.default_rng(seed).uniform(40, 215, (SIZE[0] // 8, SIZE[1] // 8, 3))
    return np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint8)


def _with_dots(pose: NDArray[np.float64], indices: list[int]) -> Picture:
    frame = np.full((*SIZE, 3), 60, np.uint8)
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]] + 0.5
    for at in project(pose[None], K, made_face()[indices])[0]:
        frame[np.hypot(x - at[0], y - at[1]) < 2.0] = 255
    return frame


def _centres(frame: Picture, near: NDArray[np.float64]) -> NDArray[np.float64]:
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]] + 0.5
    bright = frame[..., 0].astype(float) - 60
    found = []
    for at in near:
        weight = bright * (np.hypot(x - at[0], y - at[1]) < 6)
        found.append([(x * weight).sum() / weight.sum(), (y * weight).sum() / weight.sum()])
    return np.array(found)


def test_without_a_turn_nothing_changes() -> None:
    frame, head = _noise(), made_head(head_pose(turn=(0.05, 0.1, 0)))
    new = Reposer(made_canonical()).repose(frame, head, np.eye(4))
    assert np.abs(new.astype(int) - frame).max() <= 2


@pytest.mark.parametrize(
    "degrees", [(8.0, 0.0, 0.0), (-8.0, 0.0, 0.0), (0.0, 6.0, 0.0), (0.0, 0.0, 10.0), (5.0, -4.0, -6.0)]
)
def test_the_face_comes_to_where_its_new_pose_puts_it(degrees: tuple[float, float, float]) -> None:
    pose, some = head_pose(shift=(0, 0.1, 5)), [33, 263, 2, 10]
    yaw, pitch, roll = degrees
    offset = _offset(pose, yaw, pitch, roll)
    new = Reposer(made_canonical()).repose(_with_dots(pose, some), made_head(pose), offset)
    wanted = project((offset @ pose)[None], K, made_face()[some])[0]
    assert np.linalg.norm(wanted - project(pose[None], K, made_face()[some])[0], axis=1).max() > 3
    assert np.linalg.norm(_centres(new, wanted) - wanted, axis=1).max() < 1.0
    assert np.allclose(head_angles((offset @ pose)[None])[0], degrees, atol=1e-3)


def test_the_neck_stays_where_it_is() -> None:
    pose = head_pose(turn=(0.1, -0.2, 0.05), shift=(0.3, 0.1, 6))
    offset = _offset(pose, yaw=12.0, pitch=-7.0, roll=4.0)
    before, after = (p[:3, :3] @ NECK + p[:3, 3] for p in (pose, offset @ pose))
    assert np.allclose(before, after)
    assert np.allclose(head_angles((offset @ pose)[None]) - head_angles(pose[None]), [12, -7, 4])


def test_what_is_far_from_the_head_stays_bit_for_bit() -> None:
    pose = head_pose(shift=(0, 0, 9))
    frame = _noise()
    new = Reposer(made_canonical()).repose(frame, made_head(pose), _offset(pose, yaw=10.0))
    changed = (new != frame).any(-1)
    assert changed[60:110, 70:120].mean() > 0.5
    assert not changed[:, :20].any()
    assert not changed[:, -20:].any()


def test_nothing_tears_where_the_movement_fades_out() -> None:
    ramp = np.repeat(np.linspace(0, 255, SIZE[1]).astype(np.uint8)[None, :, None], SIZE[0], 0).repeat(3, 2)
    pose = head_pose(shift=(0, 0, 6))
    new = Reposer(made_canonical()).repose(ramp, made_head(pose), _offset(pose, roll=8.0, pitch=5.0))
    steps = np.abs(np.diff(new[..., 0].astype(int), axis=0))
    assert steps.max() <= 12  # from row to row of a picture whose rows were equal


def test_movement_follows_the_face_and_fades_out_before_the_lattice_ends() -> None:
    lattice = head_mesh(made_canonical())
    assert (lattice.follows[lattice.core > 0.5] == 1).all()
    edge = np.concatenate(
        [lattice.follows[0], lattice.follows[-1], lattice.follows[:, 0], lattice.follows[:, -1]]
    )
    assert (edge == 0).all()


def _before(background: Picture, pose: NDArray[np.float64]) -> Picture:
    """The background with an even head before it."""
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]] + 0.5
    left, right, top, chin = project(pose[None], K, made_face()[[33, 263, 10, 152]])[0]
    centre, radius = (top + chin) / 2, np.linalg.norm(right - left) * 0.9
    head = np.hypot((x - centre[0]) / radius, (y - centre[1]) / (1.35 * radius)) < 1
    frame = background.copy()
    frame[head] = (250, 20, 20)
    return frame


def test_other_frames_tell_what_is_behind_the_head() -> None:
    behind = (_noise(1) // 4 + 80).astype(np.uint8)
    reposer = Reposer(made_canonical())
    poses = [head_pose(shift=(x, 0, 8)) for x in np.linspace(-1.2, 1.2, 9)]
    background = learn_background(reposer.mesh, [(_before(behind, pose), made_head(pose)) for pose in poses])
    known = np.abs(background.picture[50:110, 60:130] - behind[50:110, 60:130])
    assert np.median(known) < 3
    reposer.background = background
    pose = poses[4]
    frame = _before(behind, pose)
    new = reposer.repose(frame, made_head(pose), _offset(pose, roll=12.0))
    truth = behind
    y = np.arange(SIZE[0])[:, None]
    free = ((frame != behind).any(-1)) & (new[..., 0] < 200) & (y < 70)
    assert free.sum() > 20  # laid open by the turn
    assert np.median(np.abs(new[free].astype(int) - truth[free])) < 6


def test_filling_continues_what_is_around() -> None:
    y, x = np.mgrid[0:40, 0:50].astype(np.float32)
    picture = np.stack([x * 3, y * 4, x + y], axis=-1)
    known = np.ones((40, 50), bool)
    known[15:25, 20:30] = False
    filled = filled_smoothly(np.zeros_like(picture), np.where(known[..., None], picture, 0), known)
    assert np.abs(filled - picture)[known].max() < 1e-3
    assert np.abs(filled - picture)[~known].mean() < 6
    assert np.abs(filled_smoothly(picture, picture + 7, known) - picture - 7).max() < 1e-3
