"""Training that is killed goes on where it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from speech2lip.config import PresentSettings
from speech2lip_presenter import present

pytest.importorskip("mediapipe", reason="preparing footage needs mediapipe")


@pytest.mark.slow
def test_training_that_is_killed_goes_on_and_ends(tmp_path: Path) -> None:
    present(tmp_path / "takes", settings=PresentSettings(takes=1, size=192))
    take = next((tmp_path / "takes").glob("*.mp4"))
    command = [sys.executable, "-m", "speech2lip", "train", str(take), "--avatar", str(tmp_path / "p.avatar")]
    # Saved every few steps, so that however fast the machine is, most of the work is left to do.
    command += ["--steps", "150", "--save-seconds", "0.1", "--batch", "8"]
    command += ["--shape-batch", "16", "--device", "cpu"]
    state = tmp_path / ".p.avatar.training" / "state.safetensors"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        while not state.exists():
            assert process.poll() is None, "training ended before it could be killed"
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    assert state.exists()
    assert not (tmp_path / "p.avatar").exists()
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "up to date" in again.stdout
    assert "going on after" in again.stdout
    assert (tmp_path / "p.avatar" / "avatar.json").is_file()
    assert not state.parent.exists()
    once_more = subprocess.run(command, capture_output=True, text=True, check=False)
    assert once_more.returncode == 1
    assert "exists already" in once_more.stderr
