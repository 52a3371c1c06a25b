"""Nothing is decoded more often than it has to be, and nothing that changed is taken for what it was."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speech2lip.decomposition.tracking.take import check_take
from speech2lip.media import sound, video
from speech2lip.media.sound import SoundReader, check_speech, read_wave
from speech2lip.media.video import VideoReader, probe_video
from tests.media.made import RATE, VideoMaker, clicks


def counted(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[Any]:
    """Note the calls of a function of a module."""
    calls: list[Any] = []
    plain: Callable[..., Any] = getattr(module, name)

    def noted(*given: Any, **more: Any) -> Any:
        calls.append(given)
        return plain(*given, **more)

    monkeypatch.setattr(module, name, noted)
    return calls


def age(path: Path) -> None:
    """Let a file look as if it had been lying there for an hour."""
    hour_ago = path.stat().st_mtime - 3600
    os.utime(path, (hour_ago, hour_ago))


def test_a_video_is_looked_at_once(make_video: VideoMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(frames=5, wave=clicks(0.2, [0.1]))
    age(path)
    looks = counted(monkeypatch, video, "_probe")
    check_take(path)
    assert probe_video(path).frame_count == 5
    read_wave(path)
    assert len(list(VideoReader(path).frames())) == 5
    assert len(looks) == 1


def test_a_video_that_changed_is_looked_at_again(make_video: VideoMaker) -> None:
    path = make_video(frames=5)
    assert probe_video(path).frame_count == 5, "just written: what is seen is not kept"
    make_video(frames=7)
    assert probe_video(path).frame_count == 7
    age(path)
    assert probe_video(path).frame_count == 7
    make_video(frames=9)
    assert probe_video(path).frame_count == 9


def test_short_speech_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.flac"
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * RATE) * np.repeat([1.0, 0.01, 1.0], RATE)
    soundfile.write(path, noise, RATE)
    plain = np.concatenate(list(SoundReader(path)))
    passes = counted(monkeypatch, sound, "decode_packets")
    reader = SoundReader(path, keep=True)
    level = check_speech(reader)
    assert np.array_equal(np.concatenate(list(reader)), plain)
    assert len(passes) == 1
    assert check_speech(SoundReader(path)) == level
    monkeypatch.setattr(sound, "_KEPT_BYTES", 2 * 4 * RATE)
    long = SoundReader(path, keep=True)
    for _ in range(2):
        assert np.array_equal(np.concatenate(list(long)), plain)
    assert len(passes) == 4


def test_a_pass_that_was_broken_off_is_not_kept(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", clicks(4.0, [1.0]), RATE)
    reader = SoundReader(tmp_path / "a.wav", keep=True)
    next(iter(reader))
    assert sum(map(len, reader)) == 4 * RATE
    assert sum(map(len, reader)) == 4 * RATE


def test_keeping_needs_no_more_memory_for_longer_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sound, "_KEPT_BYTES", 1_000_000)
    with soundfile.SoundFile(tmp_path / "a.flac", "w", RATE, 1) as file:
        for _ in range(4):
            file.write(np.zeros(60 * RATE, np.float32))
    reader = SoundReader(tmp_path / "a.flac", keep=True)
    tracemalloc.start()
    length = sum(map(len, reader))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert length == 240 * RATE
    assert peak < 4e6, f"{peak / 1e6:.1f} MB for sound that takes {length * 4 / 1e6:.0f} MB"
