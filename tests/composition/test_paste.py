from pathlib import Path

import numpy as np
import pytest
import torch

from speech2lip.avatar import read_avatar
from speech2lip.composition.paste import HeadView, Paster, pose_numbers
from speech2lip.decomposition.head_pose import camera_matrix
from speech2lip.inference.engine import Engine
from tests.made_face import SIZE, head_pose, made_avatar, made_canonical


def _place(**pose: tuple[float, float, float]) -> HeadView:
    return HeadView(
        camera_from_head=torch.from_numpy(head_pose(**pose)).float(),
        k=torch.from_numpy(camera_matrix(SIZE[1], SIZE[0], 1.6)).float(),
        light=torch.ones(3),
        steady_from_head=torch.from_numpy(head_pose(**pose)).float(),
    )


@pytest.mark.parametrize("turn", [(0, 0, 0), (0.1, 0.25, 0.15)])
def test_lattice_agrees_with_solving_every_pixel(turn: tuple[float, float, float]) -> None:
    paster, place = Paster(made_canonical()), _place(turn=turn)
    box = paster.region(place, SIZE)
    pixels = paster.box_size / torch.tensor(paster.mask.shape[-2:]).flip(0)
    difference = (
        (paster.patch_uv(place, box) - paster.patch_uv_plain(place, box)).abs() * paster.box_size / pixels
    )
    inside = paster.carry_mask(paster.patch_uv_plain(place, box)[None])[0, 0] > 0
    assert difference[inside].mean() < 0.05
    assert difference[inside].quantile(0.99) < 0.3


def test_the_canonical_pose_shows_the_patch_where_it_lies() -> None:
    canonical = made_canonical()
    paster, place = Paster(canonical), _place()
    box = paster.region(place, SIZE)
    uv = paster.patch_uv(place, box)
    x0, y0 = box[:2]
    scale = camera_matrix(SIZE[1], SIZE[0], 1.6)[0, 0] / canonical.k[0, 0]
    middle = (paster.box_start + paster.box_size / 2 - torch.from_numpy(canonical.k[:2, 2]).float()) * scale
    pixel = (middle + torch.tensor([SIZE[1] / 2, SIZE[0] / 2])).floor().long()
    found = uv[int(pixel[1]) - y0, int(pixel[0]) - x0]
    assert (found - 0.5).abs().max() < 0.03


def test_region_follows_the_head() -> None:
    paster = Paster(made_canonical())
    still, moved = (paster.region(_place(shift=(x, 0, 5)), SIZE) for x in (0.0, 0.2))
    pixels = 0.2 * camera_matrix(SIZE[1], SIZE[0], 1.6)[0, 0] / 5
    assert moved[0] - still[0] == pytest.approx(pixels, abs=1.5)


def test_a_head_out_of_the_picture_still_gives_a_box() -> None:
    x0, y0, x1, y1 = Paster(made_canonical()).region(_place(shift=(30.0, 0, 5)), SIZE)
    assert 0 <= x0 < x1 <= SIZE[1]
    assert 0 <= y0 < y1 <= SIZE[0]


def test_outside_the_mask_no_bit_changes(tmp_path: Path) -> None:
    avatar = read_avatar(made_avatar(tmp_path / "a.avatar", frames=3))
    engine = Engine(avatar, device="cpu", precision="fp32")
    frame = np.random.default_rng(1).integers(0, 255, (*SIZE, 3), np.uint8)
    place = _place(turn=(0.05, 0.1, 0))
    rows, columns = avatar.canonical.patch.size
    composed = engine.compose(frame, torch.zeros(3, rows, columns), place)
    changed = (composed != frame).any(-1)
    box = engine.paster.region(place, SIZE)
    outside = np.ones(SIZE, bool)
    mask = engine.paster.carry_mask(engine.paster.patch_uv(place, box)[None])[0, 0].numpy() > 0
    outside[box[1] : box[3], box[0] : box[2]] = ~mask
    assert changed.sum() > 500
    assert not (changed & outside).any()


def test_pose_numbers_are_zero_at_the_canonical_pose() -> None:
    numbers = pose_numbers(np.stack([np.eye(4), head_pose(turn=(0, 0.2, 0), shift=(0, 0, 0))]))
    assert np.abs(numbers[0]).max() == 0
    assert numbers[1, 1] == pytest.approx(1)
