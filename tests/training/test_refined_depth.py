"""The depth refined in training, on rendered frames of a head whose depth is known."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from speech2lip.arrays import Floats
from speech2lip.config import PrepareSettings
from speech2lip.decomposition.canonical import Canonical
from speech2lip.decomposition.footage import Footage, Take, canonical_plain
from speech2lip.formats import CanonicalInfo, FootageInfo
from speech2lip.geometry.mapping import canonical_from_observed_points, look_up, pixel_centres
from speech2lip.media.video import Encoding, VideoFormat, VideoWriter
from speech2lip.training import refined_depth
from speech2lip.training.refined_depth import with_refined_depth
from tests.made_face import SIZE, head_pose, made_canonical

COUNT, HELD = 36, (30, 36)


def _bumped(canonical: Canonical) -> Floats:
    where = pixel_centres(*canonical.size).numpy()
    middle = canonical.points[168]
    bump: Floats = np.exp(-((where - middle) ** 2).sum(-1) / 900).astype(np.float32)
    return canonical.depth - 0.35 * bump


def _frames(
    canonical: Canonical, depth: Floats, poses: NDArray[np.float64], k: NDArray[np.float64]
) -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, canonical.size[0] // 4, canonical.size[1] // 4, generator=random)
    texture = torch.nn.functional.interpolate(coarse, size=canonical.size, mode="bicubic").clamp(0, 1)
    moved = torch.from_numpy(poses @ np.linalg.inv(canonical.camera_from_head)).float()
    where = canonical_from_observed_points(
        pixel_centres(*SIZE).reshape(1, -1, 2), torch.from_numpy(depth), moved,
        torch.from_numpy(canonical.k).float(), torch.from_numpy(k).float(), rounds=20,
    )  # fmt: skip
    return look_up(texture.expand(len(poses), -1, -1, -1), where).reshape(-1, 3, *SIZE)


def _footage(folder: Path, canonical: Canonical) -> Footage:
    """One take; its last frames, held out, show nothing but noise."""
    random = np.random.default_rng(1)
    turns = 0.28 * np.stack([np.sin(np.arange(COUNT) * 0.9), np.cos(np.arange(COUNT) * 1.7)], axis=1)
    poses = np.stack([head_pose(turn=(b, a, 0), shift=(0, 0, 5)) for a, b in turns])
    poses[0] = canonical.camera_from_head
    take = Take(
        name="base",
        folder=folder,
        width=SIZE[1],
        height=SIZE[0],
        fps=Fraction(25),
        focal=1.6,
        times=np.arange(COUNT) / 25,
        landmarks=np.zeros((COUNT, 478, 3), np.float32),
        light=np.ones((COUNT, 3), np.float32),
        camera_from_head=poses,
        left_out=np.zeros(COUNT, np.uint8),
    )
    pictures = (
        (_frames(canonical, _bumped(canonical), poses, take.k) * 255).byte().permute(0, 2, 3, 1).numpy()
    )
    with VideoWriter(
        folder / "picture.mp4",
        VideoFormat(width=SIZE[1], height=SIZE[0], fps=Fraction(25)),
        encoding=Encoding(crf=4),
    ) as writer:
        for index, picture in enumerate(pictures):
            blind = HELD[0] <= index < HELD[1]
            writer.write(random.integers(0, 255, picture.shape, np.uint8) if blind else picture)
    info = FootageInfo(takes=(take.name,), canonical=CanonicalInfo(**canonical_plain(canonical)))
    return Footage(folder, PrepareSettings(), (take,), canonical, info)


def test_depth_that_is_wrong_is_put_right_without_the_frames_held_out(
    messages: list[str], tmp_path: Path
) -> None:
    canonical = made_canonical()
    refined = with_refined_depth(_footage(tmp_path, canonical), {"base": HELD}, 120).canonical.depth
    truth = _bumped(canonical)
    x, y = canonical.points[168].astype(int)
    near = np.s_[y - 25 : y + 20, x - 25 : x + 25]
    before, after = (d[near] - truth[near] for d in (canonical.depth, refined))
    assert np.abs(after - np.median(after)).mean() < 0.6 * np.abs(before - np.median(before)).mean()
    assert "kept" in messages[0]


def test_depth_stays_where_the_judging_frames_do_not_confirm_another(
    messages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    footage = _footage(tmp_path, made_canonical())
    told = iter([2.0, 2.5])
    monkeypatch.setattr(refined_depth, "disagreement", lambda *_, **__: next(told))
    assert with_refined_depth(footage, {"base": HELD}, 3) is footage
    assert "2.50 grey levels from their mean instead of 2.00; the old one stays" in messages[0]
