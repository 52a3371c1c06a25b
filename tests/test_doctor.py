"""The doctor finds what is there and what is missing."""

from __future__ import annotations

import sys

import pytest

import speech2lip
from speech2lip._doctor import Check, doctor, report
from speech2lip.cli import main


def test_everything_that_is_required_is_here() -> None:
    checks = {check.name: check for check in speech2lip.doctor()}
    assert all(check.good for check in checks.values() if check.required), report(list(checks.values()))
    assert {"python", "torch", "mediapipe", "av", "H.264 and AAC", "room on disk", "bf16"} <= set(checks)
    assert speech2lip.__version__ in checks["speech2lip"].found


def test_a_missing_part_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soxr", None)  # importing it now fails
    checks = {check.name: check for check in doctor()}
    assert not checks["soxr"].good
    assert "pip install soxr" in report(list(checks.values()))


def test_exit_code_says_whether_the_machine_will_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = [Check("python", True, "3.11"), Check("graphics card", False, "none", required=False)]
    bad = [*good, Check("torch", False, "no such module", remedy="pip install torch")]
    for checks, code in ((good, 0), (bad, 1)):
        monkeypatch.setattr("speech2lip._doctor.doctor", lambda checks=checks: checks)
        assert main(["doctor"]) == code
    told = capsys.readouterr().out
    assert "MISSING  torch" in told
    assert "-> pip install torch" in told
