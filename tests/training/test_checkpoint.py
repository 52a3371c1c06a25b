"""What is kept of training is taken up by the same training alone, and never lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from speech2lip.errors import OutputError
from speech2lip.training.checkpoint import KeptState, Progressed, Saved, differences, restore_moments
from tests.messages import heard

KEY = {"the version of speech2lip": "1.0", "the footage": 32 * "a", "--batch": 24, "--losses.sync": 0.01}
STATE = "state.safetensors"


def _trained() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    optimiser = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    return model, optimiser


def _save(folder: Path, key: dict[str, object] = KEY, *, step: int = 7) -> None:
    model, optimiser = _trained()
    KeptState(folder, key).save(model, Progressed(phase=1, step=step, history=[{"a": 1.0}]), optimiser)


def _take_up(folder: Path, key: dict[str, object] = KEY) -> tuple[Saved | None, list[str]]:
    with heard() as said:
        return KeptState(folder, key).take_up(), said


def _files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_all_that_was_kept_comes_back(tmp_path: Path) -> None:
    assert _take_up(tmp_path) == (None, [])
    _save(tmp_path)
    saved, said = _take_up(tmp_path)
    assert saved is not None
    assert said == []
    assert saved.progressed == Progressed(phase=1, step=7, history=[{"a": 1.0}])
    model, optimiser = _trained()
    assert all(torch.equal(saved.model[name], value) for name, value in model.state_dict().items())
    again = torch.optim.Adam(model.parameters())
    restore_moments(again, saved.moments)
    for one, other in zip(
        again.state_dict()["state"].values(), optimiser.state_dict()["state"].values(), strict=True
    ):
        assert all(torch.equal(one[name], other[name]) for name in other)


def test_a_state_of_something_else_is_set_aside_and_found_again(tmp_path: Path) -> None:
    _save(tmp_path)
    other = KEY | {"--batch": 12, "the footage": 32 * "b"}
    saved, (line,) = _take_up(tmp_path, other)
    assert saved is None
    assert "the footage changed, --batch was 24, is 12" in line
    assert "training begins anew" in line
    assert STATE not in _files(tmp_path)
    assert len(_files(tmp_path)) == 1
    assert f"set aside as {next(iter(_files(tmp_path)))}" in line
    _save(tmp_path, other, step=2)
    # With the settings of before, what was set aside is gone on with, and the other is set aside.
    saved, (line,) = _take_up(tmp_path)
    assert saved is not None
    assert saved.progressed.step == 7
    assert "--batch was 12, is 24" in line
    assert len(_files(tmp_path)) == 2
    saved, _ = _take_up(tmp_path, other)
    assert saved is not None
    assert saved.progressed.step == 2


def _cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(bytes(content))


def _write_nonsense(path: Path) -> None:
    path.write_bytes(b"nonsense")


def _drop_metadata(path: Path) -> None:
    save_file(load_file(path), path)


def _no_key(path: Path) -> None:
    save_file(load_file(path), path, metadata={"key": 64 * "0", "state": "{}"})


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    "damage", [_cut_short, _flip_a_bit, _write_nonsense, _drop_metadata, _no_key, _empty]
)
def test_a_damaged_state_is_set_aside(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    _save(tmp_path)
    damage(tmp_path / STATE)
    saved, (line,) = _take_up(tmp_path)
    assert saved is None
    assert "is damaged" in line
    assert "set aside as state.damaged.safetensors; training begins anew" in line
    assert "\n" not in line
    assert _files(tmp_path) == {"state.damaged.safetensors"}
    _save(tmp_path)
    assert _take_up(tmp_path)[0] is not None


@pytest.mark.parametrize("state", ["{", "[]", '{"unknown": 1}', "null"])
def test_a_state_that_tells_nonsense_is_set_aside(tmp_path: Path, state: str) -> None:
    _save(tmp_path)
    tensors = load_file(tmp_path / STATE)
    from safetensors import safe_open

    with safe_open(tmp_path / STATE, framework="pt") as file:
        metadata = file.metadata()
    save_file(tensors, tmp_path / STATE, metadata=metadata | {"state": state})
    saved, (line,) = _take_up(tmp_path)
    assert saved is None
    assert "is damaged" in line


def test_a_full_disk_keeps_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _save(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        with pytest.raises(OutputError, match="No room left"):
            _save(tmp_path, step=8)
    saved, _ = _take_up(tmp_path)
    assert saved is not None
    assert saved.progressed.step == 7
    assert _files(tmp_path) == {STATE}


def test_few_differences_are_named_and_the_rest_counted() -> None:
    new = KEY | {"--batch": 1, "--losses.sync": 2, "the footage": 32 * "c", "--new": 1, "--newer": 2}
    assert differences(KEY, new) == (
        "the footage changed, --batch was 24, is 1, --losses.sync was 0.01, is 2 and 2 more"
    )
