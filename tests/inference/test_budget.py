"""What the default networks may cost: operations and size, counted, not timed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.speed.resized import Size, resized_avatar
from speech2lip.avatar import read_avatar
from speech2lip.config import ModelSettings
from speech2lip.evaluation.cost import gflop_per_frame
from speech2lip.inference.engine import Engine
from speech2lip.model import LipModel
from tests.made_face import made_avatar

PATCH = (128, 160)
"""Rows and columns of the lip patch of a head in 512 x 512."""


@pytest.fixture(scope="module")
def avatar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("avatar")
    small = made_avatar(folder / "small.avatar", frames=2, settings=ModelSettings())
    return resized_avatar(small, Size("512", 512), folder / "a.avatar")


def test_networks_need_less_than_a_gflop_a_frame(avatar: Path) -> None:
    person = read_avatar(avatar)
    assert (person.bases[0].width, person.bases[0].height) == (614, 512)
    counted = gflop_per_frame(Engine(person, device="cpu", precision="fp32"))
    assert 0.01 < counted <= 1.0


def test_weights_are_small() -> None:
    state = LipModel(ModelSettings(), PATCH).state_dict()
    size = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    assert 1e6 < size <= 10e6
