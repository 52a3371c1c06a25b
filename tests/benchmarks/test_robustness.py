"""Other voices on made footage, with a stand-in for the landmark detector."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.robustness.bench import OWN, Arguments, heard_opening, main, robustness, robustness_table
from speech2lip.avatar import read_avatar
from speech2lip.decomposition.footage import read_footage
from speech2lip.errors import SettingsError
from speech2lip.evaluation import runner
from speech2lip.evaluation.held_out import unseen_spans
from speech2lip.evaluation.methods import AvatarLips
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
    monkeypatch.setattr(runner, "LandmarkDetector", FakeDetector)
    avatar, footage = read_avatar(folders[0]), read_footage(folders[1])
    torch.manual_seed(0)
    avatar.model.lip_shape.components.normal_()  # an untrained avatar has no shapes to tell apart
    method, spans = AvatarLips(Engine(avatar, device="cpu")), unseen_spans(avatar, footage)
    rows = robustness(method, spans, footage, voices=("telephone", "soft"), frames=60)
    assert list(rows) == [OWN, "telephone", "soft"]
    assert all(-1 <= row["speech_r"] <= 1 and row["opening_r"] is not None for row in rows.values())
    assert len({row["speech_r"] for row in rows.values()}) == 3
    assert rows["soft"]["speech_drop"] == rows[OWN]["speech_r"] - rows["soft"]["speech_r"]
    undrawn = robustness(method, spans, footage, voices=())
    own = {"speech_r": rows[OWN]["speech_r"], "speech_drop": 0.0, "opening_r": None, "opening_drop": None}
    assert undrawn == {OWN: own}
    with pytest.raises(SettingsError, match="helium"):
        robustness(method, spans, footage, voices=("helium",))


def test_the_command_prints_and_keeps_the_table(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(Arguments(*folders, frames=0, json=tmp_path / "r.json", device="cpu"))
    assert "| telephone" in capsys.readouterr().out
    assert json.loads((tmp_path / "r.json").read_text())["telephone"]["opening_r"] is None


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
    row = {"speech_r": 0.85, "speech_drop": 0.05, "opening_r": 0.7, "opening_drop": 0.1}
    table = robustness_table({"telephone": row})
    assert table.splitlines()[-1].replace(" ", "") == "|telephone|0.850|0.050|0.700|0.100|"
    undrawn = robustness_table({"telephone": row | {"opening_r": None, "opening_drop": None}})
    assert undrawn.splitlines()[-1].replace(" ", "") == "|telephone|0.850|0.050|"
