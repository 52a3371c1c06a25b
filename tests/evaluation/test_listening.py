"""What is heard in a take, and the silences that avatars are driven with."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speech2lip.conventions import MEL_BANDS, MEL_RATE, SAMPLE_RATE
from speech2lip.decomposition.footage import read_footage
from speech2lip.evaluation import speech_labels as listening
from speech2lip.evaluation.held_out import Span
from speech2lip.evaluation.speech_labels import (
    HEARD,
    TRUTH,
    Phones,
    Wave,
    digital_silence,
    listen_to,
    room_noise,
)
from tests.evaluation.made_footage import write_footage


def test_silence_is_silent_and_noise_is_soft() -> None:
    assert digital_silence(4.0).shape == (64_000,)
    assert not digital_silence(4.0).any()
    noise = room_noise(4.0)
    assert noise.dtype == np.float32
    assert len(noise) == 64_000
    assert 20 * np.log10(np.sqrt(np.mean(noise.astype(np.float64) ** 2))) == pytest.approx(-60, abs=0.1)
    assert (noise == room_noise(4.0)).all()


def test_a_take_is_heard_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take = read_footage(write_footage(tmp_path / "made.footage", ("a",))).takes[0]
    rows = (("aa", 0.0, 0.2), ("b", 0.2, 0.3), ("iy", 0.3, 0.5), ("m", 0.5, 0.6), ("pau", 0.6, 1.6))
    monkeypatch.setattr(listening, "phones_of", lambda *_, **__: Phones(rows, TRUTH))
    heard = listen_to(Span(take, 0, len(take.times)))
    assert heard.closures is not None
    assert heard.pauses is not None
    assert heard.closures.tolist() == [[0.2, 0.3], [0.5, 0.6]]
    assert heard.pauses.tolist() == [[0.6, 1.6]]
    assert heard.source == TRUTH
    wave, _ = soundfile.read(take.folder / "sound.flac", dtype="float32")
    assert np.abs(heard.wave - wave).max() < 1e-4
    assert heard.mel.shape == (MEL_BANDS, len(wave) // (SAMPLE_RATE // MEL_RATE) + 1)


def test_without_phones_closures_are_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take = read_footage(write_footage(tmp_path / "made.footage", ("a",))).takes[0]
    monkeypatch.setattr(listening, "phones_of", lambda *_, **__: None)
    heard = listen_to(Span(take, 0, len(take.times)))
    assert heard.closures is None
    assert heard.source is None
    assert heard.pauses is not None  # found by loudness


def test_a_long_take_is_heard_part_by_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take = read_footage(write_footage(tmp_path / "made.footage", ("a",))).takes[0]
    frames = 25 * 400
    random = np.random.default_rng(0)
    whole = random.normal(0, 0.1, 400 * SAMPLE_RATE).astype(np.float32)
    soundfile.write(take.folder / "sound.flac", whole, SAMPLE_RATE, subtype="PCM_16")
    take = dataclasses.replace(take, times=np.arange(frames) / 25, sound_shift=0.25)
    asked: list[tuple[int, float]] = []

    def spoken(_: object, wave: Wave, *, begins: float, transcripts: object) -> Phones:
        asked.append((len(wave), begins))
        return Phones((("b", begins + 3.0, begins + 3.1),), HEARD)

    monkeypatch.setattr(listening, "phones_of", spoken)
    span = Span(take, 25 * 350, frames)
    heard = listen_to(span)
    assert heard.begins == 348
    assert asked == [(52 * SAMPLE_RATE, 348.0)]
    assert heard.closures is not None
    assert heard.closures.tolist() == [[351.0, pytest.approx(351.1)]]
    shifted = take.wave()[348 * SAMPLE_RATE :]
    assert np.abs(heard.wave - shifted).max() < 1e-4
    assert shifted[:-5000].any()
    assert not shifted[-3000:].any()
    assert [(part.start, part.stop) for part in span.parts()] == [(8750, 10000)]
    parts = Span(take, 0, frames).parts()
    assert len(parts) == 7
    assert parts[0].start == 0
    assert parts[-1].stop == frames
    assert all(a.stop == b.start for a, b in itertools.pairwise(parts))
