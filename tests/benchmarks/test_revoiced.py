"""Other voices on made footage, with a stand-in for the landmark detector."""

from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.robustness.revoiced import OWN, Revoiced, evaluate_revoiced, heard_opening, revoiced_table

from benchmarks.robustness import revoiced
from speech2lip.avatar import read_avatar
from speech2lip.decomposition.footage import read_footage
from speech2lip.errors import SettingsError
from speech2lip.faces.landmarks import SHAPE_POINTS
from speech2lip.inference.engine import Engine
from tests.evaluation.made_footage import FakeDetector, write_avatar, write_footage


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    return (
        write_avatar(tmp_path / "made.avatar", held_out={"b": [0, 40], "c": [20, 40]}),
        write_footage(tmp_path / "made.footage"),
    )


def test_every_voice_has_its_figures(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revoiced, "LandmarkDetector", FakeDetector)
    avatar, footage = read_avatar(folders[0]), read_footage(folders[1])
    torch.manual_seed(0)
    avatar.model.lip_shape.components.normal_()  # an untrained avatar has no shapes to tell apart
    rows = evaluate_revoiced(avatar, footage, kinds=("telephone", "soft"), draw=True, device="cpu")
    assert [row.kind for row in rows] == [OWN, "telephone", "soft"]
    assert all(-1 <= row.shape_r <= 1 and row.picture_r is not None for row in rows)
    assert len({row.shape_r for row in rows}) == 3
    undrawn = evaluate_revoiced(avatar, footage, kinds=(), device="cpu")
    assert undrawn == [Revoiced(OWN, shape_r=rows[0].shape_r, picture_r=None)]
    with pytest.raises(SettingsError, match="helium"):
        evaluate_revoiced(avatar, footage, kinds=("helium",), device="cpu")


def test_the_opening_heard_is_that_of_the_outline(folders: tuple[Path, Path]) -> None:
    engine = Engine(read_avatar(folders[0]), device="cpu", precision="fp32")
    shape = engine.model.lip_shape
    shape.components.zero_()
    outline = torch.zeros(shape.mean.numel() // 2, 2)
    for lower in (14, 87, 317):
        outline[SHAPE_POINTS.index(lower), 1] = 0.2
    shape.mean.copy_(outline.flatten())
    assert heard_opening(engine, torch.zeros(80, 100), np.array([0.3, 0.5])) == pytest.approx([0.2, 0.2])


def test_the_table_tells_the_fall() -> None:
    table = revoiced_table([Revoiced(OWN, 0.9, 0.8), Revoiced("telephone", 0.85, 0.7)])
    assert table.splitlines()[-1].replace(" ", "") == "|telephone|0.850|0.050|0.700|0.100|"
    undrawn = revoiced_table([Revoiced(OWN, 0.9, None), Revoiced("telephone", 0.85, None)])
    assert undrawn.splitlines()[-1].replace(" ", "") == "|telephone|0.850|0.050|"
