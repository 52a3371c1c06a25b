"""The command line is instant, and every fault of a user is one line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from speech2lip import cli
from speech2lip.atomic import write_atomically
from speech2lip.cli import COMMANDS, main
from speech2lip.errors import FootageError
from tools import cli_reference as reference

HEAVY = ("torch", "numpy", "av", "mediapipe", "numba", "cv2", "scipy", "skimage", "soundfile")


def speech2lip(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own; what needs torch takes seconds to start."""
    command = [sys.executable, "-m", "speech2lip", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def helped() -> dict[str, tuple[int, list[str], str]]:
    """Return what asking for help gives in one process of its own: exit code, heavy modules, text."""
    program = (
        "import contextlib, io, json, sys\nfrom speech2lip.cli import COMMANDS, main\nfound = {}\n"
        "for name in ('', *COMMANDS):\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as told:\n"
        "        code = main([*name.split(), '--help'])\n"
        f"    heavy = [module for module in {HEAVY!r} if module in sys.modules]\n"
        "    found[name] = code, heavy, told.getvalue()\n"
        "print(json.dumps(found))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout))


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_loads_nothing_heavy(helped: dict[str, tuple[int, list[str], str]], command: str) -> None:
    """What makes help instant is what it leaves out; seconds depend on the machine."""
    code, heavy, text = helped[command]
    assert (code, heavy) == (0, [])
    assert f"usage: speech2lip {command}".strip() in text


def test_version_and_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("speech2lip 0.")
    assert main([]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in COMMANDS)


def test_a_mistyped_command_is_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert "Did you mean `train`?" in capsys.readouterr().err


def test_a_wrong_flag_is_wrong_usage() -> None:
    result = speech2lip("speak", "a.wav", "--loud")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_a_users_fault_ends_the_process_with_one_line() -> None:
    result = speech2lip("demo", __file__)  # the soonest told
    assert result.returncode == 1
    assert result.stderr.startswith("speech2lip: ")
    assert result.stderr.count("\n") == 1


def test_a_users_fault_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: list[str]) -> int:
        raise FootageError("take.mp4 is not a video.\nGive one.")

    monkeypatch.setattr(cli, "run", fail)
    assert main(["train"]) == 1
    assert capsys.readouterr().err == "speech2lip: take.mp4 is not a video. Give one.\n"


def test_control_c_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stop(_: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run", stop)
    assert main(["train"]) == 130
    told = capsys.readouterr().err
    assert told.startswith("speech2lip: stopped")
    assert told.count("\n") == 1


def test_our_own_faults_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(_: list[str]) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "run", bug)
    with pytest.raises(ZeroDivisionError):
        main(["train"])


@pytest.mark.parametrize("set_before", ["", "ACTIVE"])
def test_openmp_waits_passively_unless_told(set_before: str) -> None:
    program = "import os, speech2lip.cli as cli\ncli.main(['-v'])\nprint(os.environ['OMP_WAIT_POLICY'])"
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    if set_before:
        environment["OMP_WAIT_POLICY"] = set_before
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=False
    )
    assert result.stdout.splitlines()[-1] == (set_before or "PASSIVE")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["prepare", "none.mp4", "--footage", "a.footage"], "There is no file none.mp4"),
        (["prepare", "words.txt", "--footage", "a.footage"], "words.txt is not a video|no moving picture"),
        (["train", "none.mp4", "--avatar", "a.avatar"], "There is no file none.mp4"),
        (["train", "--avatar", "a.avatar"], "nothing to train on"),
        (["speak", "none.wav", "--avatar", "a.avatar", "--output", "a.mp4"], "none.wav|a.avatar"),
        (["speak", "words.txt", "--avatar", "a.avatar", "--output", "words.txt"], "words.txt"),
        (["evaluate", "--avatar", "a.avatar", "--footage", "a.footage"], "a.avatar|a.footage"),
        (["demo", "words.txt"], "words.txt: a file is in the way"),
        (["present", "words.txt"], "words.txt"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    tmp_path: Path,
    arguments: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "words.txt").write_text("hello " * 300)
    monkeypatch.chdir(tmp_path)
    code, errors = main(arguments), capfd.readouterr().err  # what libraries write past Python as well
    assert code == 1, errors
    lines = errors.splitlines()
    assert len(lines) == 1, errors
    assert lines[0].startswith("speech2lip: ")
    assert any(word in lines[0] for word in told.split("|")), lines[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["words.txt"]


def test_the_reference_holds_every_command_and_flag() -> None:
    text = reference.reference()
    assert all(f"## {name}" in text for name in COMMANDS)
    assert all(
        flag in text for flag in ("--minutes", "--avatar", "--footage", "--hold-out", "--json", "--output")
    )
    assert "\x1b" not in text


def test_being_ended_by_the_system_removes_what_is_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(_: list[str]) -> int:
        with write_atomically(tmp_path / "out.mp4") as part:
            part.write_text("half")
            os.kill(os.getpid(), signal.SIGTERM)
            for _step in range(100):  # the signal is noticed between two steps
                pass
            part.write_text("whole")
        return 0

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(cli, "run", work)
    try:
        assert main([]) == 143
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "stopped; the same command again goes on" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_is_no_text_can_be_told() -> None:
    name = os.fsdecode(b"/nowhere/caf\xe9.wav")
    told = speech2lip("speak", name, "--avatar", "none.avatar", "--output", "/tmp/x.mp4")
    assert told.returncode == 1
    assert told.stderr.count("\n") == 1
    assert "caf\\udce9.wav" in told.stderr
