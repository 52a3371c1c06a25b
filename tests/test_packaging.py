"""What the package says about itself and what it needs agrees in every file that says it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import speech2lip

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads pyproject.toml")
    told: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return told["project"]


@pytest.fixture(scope="module")
def pins() -> dict[str, Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if not line.startswith("#")]
    assert all([s.operator for s in pin.specifier] == ["=="] for pin in found)
    named: dict[str, Requirement] = {canonicalize_name(pin.name): pin for pin in found}
    assert len(named) == len(found)
    return named


def _needed(project: dict[str, Any], *extras: str) -> list[Requirement]:
    more = [line for extra in extras for line in project["optional-dependencies"][extra]]
    return [Requirement(line) for line in [*project["dependencies"], *more]]


def test_tested_versions_are_allowed_ones(project: dict[str, Any], pins: dict[str, Requirement]) -> None:
    needed = _needed(project, "onnx", "dev")
    assert [one.name for one in needed if canonicalize_name(one.name) not in pins] == []
    for one in needed:
        (pin,) = pins[canonicalize_name(one.name)].specifier
        assert one.specifier.contains(pin.version, prereleases=True), f"{one} leaves out {pin.version}"


def test_nothing_is_taken_in_versions_that_nobody_has_tried(project: dict[str, Any]) -> None:
    unbounded = [
        one.name
        for one in _needed(project, "onnx", "hf")
        if not any(s.operator in ("<", "<=", "==") for s in one.specifier)
    ]
    assert unbounded == []


def test_the_citation_names_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == speech2lip.__version__
    assert citation["references"][0]["authors"][0]["family-names"] == "Wu"


def test_the_workflow_tries_every_python_and_both_ends_of_torch(project: dict[str, Any]) -> None:
    text = (ROOT / ".github" / "workflows" / "checks.yml").read_text(encoding="utf-8")
    matrix = yaml.safe_load(text)["jobs"]["tests"]["strategy"]["matrix"]
    told = [
        line.split(" :: ")[-1] for line in project["classifiers"] if re.search(r"Python :: 3\.\d+$", line)
    ]
    assert matrix["python"] == told
    assert matrix["versions"] == ["lowest", "highest"]
    torch = next(one for one in _needed(project) if one.name == "torch")
    lowest = next(s.version for s in torch.specifier if s.operator == ">=")
    assert f'"torch=={lowest}.*"' in text


def test_an_install_can_be_held_to_the_tested_versions(tmp_path: Path) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("no make on this machine")
    words = ["--dry-run", "install", f"VENV={tmp_path / 'none'}"]
    plain, held = (
        subprocess.run([make, *words, *more], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for more in ([], ["CONSTRAINTS=constraints.txt"])
    )
    assert "-c constraints.txt" not in plain
    assert "-c constraints.txt -e" in held
