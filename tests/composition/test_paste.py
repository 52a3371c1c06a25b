from pathlib import Path

import numpy as np
import pytest
import torch

from speech2lip.avatar import read_avatar
from speech2lip.composition.paste import Paster
from speech2lip.geometry.rigid import camera_matrix
from speech2lip.head_track import HeadTrack
from speech2lip.inference.engine import Engine
from tests.made_face import SIZE, head_pose, made_avatar, made_canonical, made_head
from tests.reference.composition.paste import patch_uv
from tests.reference.inference.renderer import PlainRenderer


def _head(**pose: tuple[float, float, float]) -> HeadTrack:
    return made_head(head_pose(**pose))


@pytest.mark.parametrize("turn", [(0, 0, 0), (0.1, 0.25, 0.15)])
def test_lattice_agrees_with_solving_every_pixel(turn: tuple[float, float, float]) -> None:
    paster, head = Paster(made_canonical()), _head(turn=turn)
    boxes = paster.regions(head, SIZE)
    exact = patch_uv(paster, head, boxes[0])
    pixels = paster.box_size / torch.tensor(paster.mask.shape[-2:]).flip(0)
    difference = (paster.patch_uv(head, boxes)[0] - exact).abs() * paster.box_size / pixels
    inside = paster.warp_mask(exact[None])[0, 0] > 0
    assert difference[inside].mean() < 0.05
    assert difference[inside].quantile(0.99) < 0.3


def test_the_canonical_pose_shows_the_patch_where_it_lies() -> None:
    canonical = made_canonical()
    paster, head = Paster(canonical), _head()
    boxes = paster.regions(head, SIZE)
    uv = paster.patch_uv(head, boxes)[0]
    x0, y0 = boxes[0][:2]
    scale = camera_matrix(SIZE[1], SIZE[0], 1.6)[0, 0] / canonical.k[0, 0]
    middle = (paster.box_start + paster.box_size / 2 - torch.from_numpy(canonical.k[:2, 2]).float()) * scale
    pixel = (middle + torch.tensor([SIZE[1] / 2, SIZE[0] / 2])).floor().long()
    found = uv[int(pixel[1]) - y0, int(pixel[0]) - x0]
    assert (found - 0.5).abs().max() < 0.03


def test_region_follows_the_head() -> None:
    paster = Paster(made_canonical())
    still, moved = paster.regions(made_head(*(head_pose(shift=(x, 0, 5)) for x in (0.0, 0.2))), SIZE)
    pixels = 0.2 * camera_matrix(SIZE[1], SIZE[0], 1.6)[0, 0] / 5
    assert moved[0] - still[0] == pytest.approx(pixels, abs=1.5)


def test_a_head_out_of_the_picture_still_gives_a_box() -> None:
    x0, y0, x1, y1 = Paster(made_canonical()).regions(_head(shift=(30.0, 0, 5)), SIZE)[0]
    assert 0 <= x0 < x1 <= SIZE[1]
    assert 0 <= y0 < y1 <= SIZE[0]


def test_outside_the_mask_no_bit_changes(tmp_path: Path) -> None:
    avatar = read_avatar(made_avatar(tmp_path / "a.avatar", frames=3))
    engine = Engine(avatar, device="cpu", precision="fp32")
    frame = np.random.default_rng(1).integers(0, 255, (*SIZE, 3), np.uint8)
    head = _head(turn=(0.05, 0.1, 0))
    rows, columns = avatar.canonical.patch.size
    composed = PlainRenderer(engine).compose(frame, torch.zeros(3, rows, columns), head)
    changed = (composed != frame).any(-1)
    boxes = engine.paster.regions(head, SIZE)
    box = boxes[0]
    outside = np.ones(SIZE, bool)
    mask = engine.paster.warp_mask(engine.paster.patch_uv(head, boxes))[0, 0].numpy() > 0
    outside[box[1] : box[3], box[0] : box[2]] = ~mask
    assert changed.sum() > 500
    assert not (changed & outside).any()
