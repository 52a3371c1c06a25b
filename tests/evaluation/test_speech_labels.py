"""What is said when, where nobody speaks, and the silences that avatars are driven with."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from speech2lip.conventions import SAMPLE_RATE
from speech2lip.decomposition.footage import read_footage
from speech2lip.evaluation import speech_labels
from speech2lip.evaluation.held_out import Span
from speech2lip.evaluation.speech_labels import (
    ALIGNED,
    GROUND_TRUTH,
    HEARD,
    Phones,
    heard_phones,
    listen_to,
    pauses,
    phones_of,
)
from speech2lip_presenter.speech import speech_clips
from tests.evaluation.made_footage import made_take, write_footage


def _take(tmp_path: Path, name: str) -> Any:
    return made_take(name, folder=tmp_path, source=str(tmp_path / f"{name}.mp4"))


def test_the_presenters_truth_comes_first(tmp_path: Path) -> None:
    from speech2lip_presenter.motion import clip_states
    from speech2lip_presenter.render import measure, write_truth

    clip = speech_clips("a", split="unseen")[0]
    take = _take(tmp_path, "a")
    write_truth(measure(clip_states(clip, 25.0, 0)[:75], fps=25.0, size=64), tmp_path / "a.mp4")
    phones = phones_of(take, clip.wave)
    assert phones is not None
    assert phones.source == GROUND_TRUTH
    exact = [(p.name, p.start) for p in clip.phones if p.end < 2.9 and p.end - p.start > 0.08]
    found = {name: start for name, start, _ in phones.rows}
    assert sum(name in found for name, _ in exact) == len(exact)
    ends = [end for _, _, end in phones.rows]
    assert ends == sorted(ends)
    assert all(a[2] == pytest.approx(b[1]) for a, b in zip(phones.rows[:-1], phones.rows[1:], strict=True))


def test_words_are_aligned_and_without_them_phones_are_heard(tmp_path: Path) -> None:
    pytest.importorskip("pocketsphinx", reason="alignment needs pocketsphinx")
    clip = speech_clips("a", split="unseen")[0]
    take = _take(tmp_path, "a")
    heard = phones_of(take, clip.wave)
    assert heard is not None
    assert heard.source == HEARD
    assert len(heard.rows) > 10
    assert heard_phones(clip.wave) == heard
    words = "".join(letter for letter in clip.text.lower() if letter.isalpha() or letter in " '")
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "a.txt").write_text(words)
    aligned = phones_of(take, clip.wave, transcripts=tmp_path / "words")
    assert aligned is not None
    assert aligned.source == ALIGNED
    exact = [p.start for p in clip.phones if p.name in ("p", "b", "m")]
    found = [start for name, start, _ in aligned.rows if name in ("P", "B", "M")]
    assert len(found) == pytest.approx(len(exact), abs=1)
    near = [min(abs(start - other) for other in found) for start in exact]
    assert np.median(near) < 0.06
    (tmp_path / "words" / "a.txt").write_text("xyzzy plugh")
    assert phones_of(take, clip.wave, transcripts=tmp_path / "words") == heard


def test_pauses() -> None:
    random = np.random.default_rng(0)
    second = np.arange(16_000 * 4) / 16_000
    loud = (second < 1.0) | ((second > 2.0) & (second < 2.3)) | (second > 3.5)
    wave = (random.normal(0, 0.1, len(second)) * np.where(loud, 1, 0.002)).astype(np.float32)
    rumble = (0.1 * np.sin(2 * np.pi * 15 * second)).astype(np.float32)
    for sound in (wave, wave + rumble):
        assert pauses(sound) == pytest.approx(np.array([[1.0, 2.0], [2.3, 3.5]]), abs=0.08)
    assert pauses(np.zeros(16_000, np.float32)).shape == (0, 2)
    assert pauses(np.zeros(0, np.float32)).shape == (0, 2)
    exact = Phones((("pau", 0.0, 0.6), ("b", 0.6, 0.7), ("pau", 0.7, 0.9)), GROUND_TRUTH)
    assert pauses(wave, exact).tolist() == [[0.0, 0.6]]


def test_a_take_is_heard_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take = read_footage(write_footage(tmp_path / "made.footage", ("a",))).takes[0]
    rows = (("aa", 0.0, 0.2), ("b", 0.2, 0.3), ("iy", 0.3, 0.5), ("m", 0.5, 0.6), ("pau", 0.6, 1.6))
    monkeypatch.setattr(speech_labels, "phones_of", lambda *_, **__: Phones(rows, GROUND_TRUTH))
    heard = listen_to(Span(take, 0, len(take.times)))
    assert heard.closures is not None
    assert heard.pauses is not None
    assert heard.closures.tolist() == [[0.2, 0.3], [0.5, 0.6]]
    assert heard.pauses.tolist() == [[0.6, 1.6]]
    assert heard.source == GROUND_TRUTH
    wave, _ = soundfile.read(take.folder / "sound.flac", dtype="float32")
    assert np.abs(heard.wave - wave).max() < 1e-4


def test_without_phones_closures_are_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take = read_footage(write_footage(tmp_path / "made.footage", ("a",))).takes[0]
    monkeypatch.setattr(speech_labels, "phones_of", lambda *_, **__: None)
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

    def spoken(_: object, wave: NDArray[np.float32], *, begins: float, transcripts: object) -> Phones:
        asked.append((len(wave), begins))
        return Phones((("b", begins + 3.0, begins + 3.1),), HEARD)

    monkeypatch.setattr(speech_labels, "phones_of", spoken)
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
