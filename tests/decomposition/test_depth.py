import numpy as np
import torch

from speech2lip.decomposition.canonical import eye_distance, head_depth, mesh_depth
from speech2lip.decomposition.sampled_frames import Views
from speech2lip.geometry.mapping import canonical_from_observed_points, pixel_centres, sample
from tests.made_face import head_pose, made_canonical


def test_mesh_depth_passes_through_its_points_and_goes_on_beyond() -> None:
    random = np.random.default_rng(0)
    xy = random.uniform(20, 60, (300, 2))
    points = np.concatenate([xy, 5 + 0.01 * xy[:, :1]], axis=1)
    depth = mesh_depth(points, (80, 80))
    assert depth.shape == (80, 80)
    assert np.isfinite(depth).all()
    assert abs(depth[40, 40] - (5 + 0.01 * 40.5)) < 0.02
    assert 5.1 < depth[40, 2] < 5.4


def test_a_head_recedes_beyond_its_face_but_not_below_the_chin() -> None:
    canonical = made_canonical()
    at = canonical.shape @ canonical.camera_from_head[:3, :3].T + canonical.camera_from_head[:3, 3]
    points, size = np.concatenate([canonical.points, at[:, 2:]], axis=1), canonical.size
    back = head_depth(points, size) - mesh_depth(points, size)
    unit = eye_distance(points[:, :2])
    x, y = points[168, :2].astype(int)
    assert abs(back[y, x]) < 0.01  # the nose's bridge
    left = int(points[:, 0].min() - 0.3 * unit)
    assert 0.05 < back[y, left] < 0.5
    assert back[y, left] < back[y, max(0, left - 10)]
    assert np.abs(back[int(points[152, 1]) + 8 :]).max() < 0.02


def test_frames_of_a_textured_bump_agree_in_canonical_space() -> None:
    torch.manual_seed(0)
    size, k = 72, torch.tensor([[110.0, 0, 36], [0, 110.0, 36], [0, 0, 1]])
    at = pixel_centres(size, size)
    truth = 5 - 0.5 * torch.exp(-((at - 36) ** 2).sum(-1) / 350)
    texture = torch.nn.functional.interpolate(
        torch.rand(1, 3, 24, 24), size=(size, size), mode="bicubic"
    ).clamp(0, 1)
    centre = np.eye(4)
    centre[2, 3] = 5
    turns = [(0, a, 0) for a in (-0.3, -0.2, -0.1, 0.1, 0.2, 0.3)] + [
        (a, 0, 0) for a in (-0.2, -0.1, 0.1, 0.2)
    ]
    transforms = torch.from_numpy(
        np.stack([centre @ head_pose(turn=t, shift=(0, 0, 0)) @ np.linalg.inv(centre) for t in turns])
    ).float()
    places = canonical_from_observed_points(at.reshape(1, -1, 2), truth, transforms, k, k, rounds=20)
    frames = sample(texture.expand(len(turns), -1, -1, -1), places).reshape(-1, 3, size, size)
    views = Views(frames, transforms, k, k.expand(len(turns), 3, 3), torch.ones(size, size))
    inner = slice(14, -14)
    flat = torch.full((size, size), float(truth.mean()))
    right, wrong = ((views.mean(d) - texture[0])[:, inner, inner].abs().mean() for d in (truth, flat))
    assert right < 0.06
    assert right < 0.7 * wrong
