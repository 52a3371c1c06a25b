"""Kill work on files at a chosen moment, or let the disk be full, and look at what is left.

Run as a process of its own, `python -m tests.killing FOLDER WORK KILL-OR-FULL COUNT`: everything is imported
once, and each try is a fork of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from speech2lip import atomic
from speech2lip.avatar import read_avatar
from speech2lip.config import ModelSettings, PrepareSettings, SpeakSettings, TrainSettings
from speech2lip.decomposition.footage import read_footage
from speech2lip.decomposition.prepare import prepare
from speech2lip.errors import Speech2LipError
from speech2lip.inference.speak import speak
from speech2lip.media.video import VideoReader
from speech2lip.media.video_writer import VideoFormat, VideoWriter
from speech2lip.training.train import train

DATA = Path(__file__).parent / "data" / "version_1"
PREPARE = PrepareSettings(
    min_face_pixels=40, min_face_seconds=0.5, canvas_pixels=56, patch_width=16, picture_crf=27,
    photometric=False,
)  # fmt: skip
TRAIN = TrainSettings(
    steps=40, batch=4, shape_batch=8, crop_points=8, speech_batch=8, expert_batch=8, sync_clips=2,
    save_seconds=0.01, device="cpu", precision="fp32", base_seconds=0.5,
    model=ModelSettings(
        code_size=8, encoder_width=8, shape_size=4, field_width=4, field_cells=(6, 8), point_width=16,
        blend_width=2,
    ),
)  # fmt: skip
SPEAK = SpeakSettings(device="cpu", precision="fp32")
_EVENTS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.chmod", "speech2lip.rename"}


@dataclass(frozen=True)
class Work:
    """Something that is done in a folder, what is there before, and what must hold after it was killed."""

    begin: Callable[[Path], None]
    do: Callable[[Path], None]
    holds: Callable[[Path], None]
    """Raises AssertionError unless nothing whole was lost."""
    done: Callable[[Path], None]
    """Raises AssertionError unless the work is complete."""


def quiet(_: str) -> None:
    pass


def video(name: str, target: Path) -> None:
    """Write a take of the kept footage as a video with sound."""
    take = DATA / "presenter.footage" / "takes" / name
    wave, _ = soundfile.read(take / "sound.flac", dtype="float32")
    frames = list(VideoReader(take / "picture.mp4").frames())
    height, width = frames[0].rgb.shape[:2]
    with _writer(target, width, height) as writer:
        for frame in frames:
            writer.write(frame.rgb)
            writer.write_sound(wave[frame.index * 640 : (frame.index + 1) * 640])


def _writer(target: Path, width: int, height: int) -> VideoWriter:
    return VideoWriter(target, VideoFormat(width=width, height=height, fps=Fraction(25), sample_rate=16_000))


def begin_prepare(folder: Path) -> None:
    """Good footage of one take, and another take to add."""
    for name in "ab":
        video(name, folder / f"{name}.mp4")
    prepare([folder / "a.mp4"], footage=folder / "p.footage", settings=PREPARE)
    (folder / "sums").write_text(_sums(folder))


def do_prepare(folder: Path) -> None:
    takes = [folder / "a.mp4", folder / "b.mp4"]
    prepare(takes, footage=folder / "p.footage", settings=PREPARE)


def prepare_holds(folder: Path) -> None:
    names = [take.name for take in read_footage(folder / "p.footage").takes]
    assert names in (["a"], ["a", "b"]), names
    assert (folder / "sums").read_text() == _sums(folder), "a video has changed"


def prepare_done(folder: Path) -> None:
    footage = read_footage(folder / "p.footage")
    assert [take.name for take in footage.takes] == ["a", "b"]
    _nothing_left(folder / "p.footage")
    _nothing_left(folder / "p.footage" / "takes")


def _sums(folder: Path) -> str:
    return " ".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.mp4")))


def begin_train(_: Path) -> None:
    """Nothing but footage, which is not touched."""


def do_train(folder: Path) -> None:
    train(footage=DATA / "presenter.footage", avatar=folder / "p.avatar", settings=TRAIN)


def train_holds(folder: Path) -> None:
    if (folder / "p.avatar").exists():
        read_avatar(folder / "p.avatar")


def train_done(folder: Path) -> None:
    assert read_avatar(folder / "p.avatar").info.settings["steps"] == TRAIN.steps
    _nothing_left(folder)


def begin_replace(folder: Path) -> None:
    shutil.copytree(DATA / "presenter.avatar", folder / "p.avatar")


def do_replace(folder: Path) -> None:
    train(
        footage=DATA / "presenter.footage",
        avatar=folder / "p.avatar",
        settings=TRAIN,
        overwrite=True,
    )


def replace_holds(folder: Path) -> None:
    assert len(read_avatar(folder / "p.avatar").bases) > 0


def begin_speak(folder: Path) -> None:
    """A video of that name is there already."""
    wave = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    soundfile.write(folder / "words.wav", wave, 16_000)
    do_speak(folder)
    (folder / "old").write_text(_sums(folder))


def do_speak(folder: Path) -> None:
    speak(
        folder / "words.wav", avatar=DATA / "presenter.avatar", output=folder / "out.mp4", settings=SPEAK,
        overwrite=True,
    )  # fmt: skip


def speak_holds(folder: Path) -> None:
    assert len(list(VideoReader(folder / "out.mp4").frames())) == 25


def speak_done(folder: Path) -> None:
    speak_holds(folder)
    _nothing_left(folder)


WORKS = {
    "prepare": Work(begin_prepare, do_prepare, prepare_holds, prepare_done),
    "train": Work(begin_train, do_train, train_holds, train_done),
    "replace": Work(begin_replace, do_replace, replace_holds, train_done),
    "speak": Work(begin_speak, do_speak, speak_holds, speak_done),
}


def _nothing_left(folder: Path) -> None:
    left = [path.name for path in folder.iterdir() if path.name.startswith(".") and path.name != ".lock"]
    assert not left, f"left behind: {left}"


def forked(
    do: Callable[[], Any], *, folder: Path | None = None, kill_at: int | None = None, kill_after: float = 0
) -> tuple[int, Any]:
    """Do something in a process of its own, killed at a change of files in `folder` or after some seconds.

    Args:
        do: what to do.
        folder: whose changes are counted.
        kill_at: number of the change just before which it is killed.
        kill_after: seconds after which it is killed, if more than 0.

    Returns:
        The exit status as `os.waitpid` gives it, and what `do` returned or the number of changes.
    """
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if kill_after:
                signal.setitimer(signal.ITIMER_REAL, kill_after)  # nobody listens to its signal: it kills
            counted = _count_changes(folder, kill_at) if folder is not None else lambda: 0
            result = do()
            os.write(writable, json.dumps(counted() if folder is not None else result).encode())
            status = 0
        except Speech2LipError as error:
            os.write(writable, json.dumps(f"told: {error}").encode()[:4000])
            status = 3
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writable)
    with os.fdopen(readable, "rb") as pipe:
        content = pipe.read()
    _, ended = os.waitpid(child, 0)
    return ended, json.loads(content) if content else None


def _count_changes(folder: Path, kill_at: int | None) -> Callable[[], int]:
    changes = 0
    inside = str(folder)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal changes
        if event == "open":
            path, mode, flags = arguments
            writes = any(letter in (mode or "") for letter in "wxa+") or bool(
                isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)
            )
            if not writes:
                return
        elif event in _EVENTS:
            path = arguments[0]
        else:
            return
        if not str(path).startswith(inside):
            return
        if changes == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        changes += 1

    original = atomic._rename

    def told_rename(source: Path, target: Path, flag: int) -> bool:
        sys.audit("speech2lip.rename", str(source))
        return original(source, target, flag)

    atomic._rename = told_rename
    sys.addaudithook(hook)
    return lambda: changes


def kill_often(folder: Path, work: Work, moments: int) -> list[str]:
    """Kill the work at moments that a seed chooses; return what was wrong."""
    start = folder / "start"
    start.mkdir()
    assert forked(lambda: work.begin(start))[0] == 0
    whole = _copy(start, folder / "whole")
    began = time.monotonic()
    status, changes = forked(lambda: work.do(whole), folder=whole)
    seconds = time.monotonic() - began
    assert status == 0, status
    wrong = []
    seeded = random.Random(0)
    at_changes = sorted(seeded.sample(range(changes), min(moments // 2, changes)))
    at_times = sorted(seeded.uniform(0, seconds) for _ in range(moments - len(at_changes)))
    plans = [{"kill_at": change} for change in at_changes] + [{"kill_after": at} for at in at_times]
    killed = 0
    for number, plan in enumerate(plans):
        moment = str(plan)
        tried = _copy(start, folder / f"killed-{number}")
        status, _ = forked(partial(work.do, tried), folder=tried, **plan)
        killed += os.WIFSIGNALED(status)
        if "kill_at" in plan and not os.WIFSIGNALED(status):
            wrong.append(f"at change {moment} of {changes} it was not killed: status {status}")
        again = (
            [("the same again", work.do)] if status else []
        )  # ended in time: there is nothing to go on with
        for what, call in [("holds", work.holds), *again, ("done", work.done)]:
            status, told = forked(partial(call, tried))
            if status:
                wrong.append(f"killed at change {moment} of {changes}, {what}: {told or status}")
        shutil.rmtree(tried)
    print(json.dumps({"changes": changes, "moments": len(plans), "killed": killed, "wrong": wrong}))
    return wrong


def fill_often(folder: Path, work: Work, sizes: int) -> list[str]:
    """Let the work run out of room at amounts that are spread evenly; return what was wrong."""
    start = folder / "start"
    start.mkdir()
    assert forked(lambda: work.begin(start))[0] == 0
    before = _mounted(folder / "roomy", start, 256_000_000)
    used = shutil.disk_usage(before).used
    peak = _peak(lambda: work.do(before), before)
    subprocess.run(["umount", str(before)], check=True)
    wrong, told_lines = [], []
    for number in range(sizes):
        room = max(4096, used + (peak - used) * number // sizes)  # 0 would mean no bound
        tight = _mounted(folder / f"tight-{number}", start, room)
        status, told = forked(partial(work.do, tight))
        code = os.waitstatus_to_exitcode(status)
        if code not in (0, 3) or (code == 3 and ("\n" in told or "No room left" not in told)):
            wrong.append(f"with {room} bytes: {told or code}")
        told_lines += [told] if code == 3 else []
        status, told = forked(partial(work.holds, tight))
        if status:
            wrong.append(f"with {room} bytes, what was there does not hold: {told or status}")
        subprocess.run(["mount", "-o", "remount,size=256m", str(tight)], check=True)
        for what, call in [("the same again", work.do)] * bool(code) + [("done", work.done)]:
            status, told = forked(partial(call, tight))
            if status:
                wrong.append(f"after {room} bytes, {what}: {told or status}")
        subprocess.run(["umount", str(tight)], check=True)
    print(
        json.dumps({"peak": peak, "full": len(told_lines), "told": sorted(set(told_lines)), "wrong": wrong})
    )
    return wrong


def _mounted(place: Path, start: Path, size: int) -> Path:
    place.mkdir()
    options = f"size={size},huge=never"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True)
    shutil.copytree(start, place, dirs_exist_ok=True)
    return place


def _peak(do: Callable[[], None], place: Path) -> int:
    """Return the most room that is taken while something is done, looked at again and again."""
    child = os.fork()
    if child == 0:
        try:
            do()
        finally:
            os._exit(0)
    most = 0
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        usage = shutil.disk_usage(place)
        most = max(most, usage.used)
    return most


def _copy(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


if __name__ == "__main__":
    where, name, how, count = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    found = (kill_often if how == "kill" else fill_often)(where, WORKS[name], count)
    sys.exit(bool(found))
