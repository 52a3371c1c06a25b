"""What every test may use."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from jaxtyping import install_import_hook

from tests.messages import heard
from tests.shapes import modules_with_shapes

# Shapes in signatures are checked at every call while tests run; users do not pay for it.
install_import_hook(
    ["speech2lip.composition", "speech2lip.synthesis", *modules_with_shapes()], "beartype.beartype"
)

# The same examples on every run; `make test-order` looks for others.
hypothesis.settings.register_profile("same", derandomize=True, deadline=None)
hypothesis.settings.load_profile("same")

# Before anything imports torch, as the command line does. What tests compute is small: a second thread costs
# more than it brings, twice as much where others want the core. OMP_NUM_THREADS=2 tries two all the same.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")

_SET_BY_OTHERS = ("PYTEST_", "GLOG_", "QT_", "TF_", "TPU_", "TORCH", "KMP_", "LD_LIBRARY_PATH")
"""Beginnings of what pytest, and libraries that are loaded by a test, set in the environment."""


@pytest.fixture(autouse=True)
def as_found() -> Iterator[None]:
    """Let each test begin with the same random numbers, and see that it leaves the process as it was.

    So no test depends on which others ran before it.
    """
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)
    before = _process()
    yield
    after = _process()
    changed = {name: after.get(name) for name in before | after if _differs(name, before, after)}
    assert not changed, f"a test leaves the process changed: {changed}"


def _differs(name: str, before: dict[str, object], after: dict[str, object]) -> bool:
    """Tell whether something was changed; what torch says is new where a test was the first to load it."""
    return before.get(name) != after.get(name) and (name.startswith("$") or name in before)


def _process() -> dict[str, object]:
    """Return what tests could change for those after them."""
    found: dict[str, object] = {"folder": Path.cwd()}
    found |= {f"${name}": os.environ[name] for name in os.environ if not name.startswith(_SET_BY_OTHERS)}
    torch = sys.modules.get("torch")
    if torch is not None:
        found["threads"] = torch.get_num_threads()
        found["type"] = torch.get_default_dtype()
        found["gradients"] = torch.is_grad_enabled()
    return found


@pytest.fixture(scope="session")
def real_footage() -> Path:
    """The folder of real footage; a test that asks for it is skipped where there is none."""
    named = os.environ.get("SPEECH2LIP_DATA")
    if not named:
        pytest.skip("no real footage: SPEECH2LIP_DATA is not set")
    folder = Path(named)
    if not folder.is_dir():
        pytest.skip(f"no real footage: SPEECH2LIP_DATA names {folder}, which is no folder")
    return folder


@pytest.fixture
def messages() -> Iterator[list[str]]:
    """What the package tells while the test runs."""
    with heard() as told:
        yield told
