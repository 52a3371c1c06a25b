"""What every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

from tests.shapes import modules_with_shapes

# Shapes in signatures are checked at every call while tests run; users do not pay for it.
install_import_hook(
    ["speech2lip.composition", "speech2lip.synthesis", *modules_with_shapes()], "beartype.beartype"
)

# Before anything imports torch, as the command line does.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


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
