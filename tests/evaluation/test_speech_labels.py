"""What is said when, and where nobody speaks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speech2lip.evaluation.speech_labels import ALIGNED, HEARD, TRUTH, Phones, heard_phones, pauses, phones_of
from speech2lip_presenter.speech import speech_clips
from tests.evaluation.made_footage import made_take


def _take(tmp_path: Path, name: str) -> Any:
    take = made_take(name, folder=tmp_path)
    take.folder.mkdir()
    (take.folder / "take.json").write_text(json.dumps({"source": {"path": str(tmp_path / f"{name}.mp4")}}))
    return take


def test_the_presenters_truth_comes_first(tmp_path: Path) -> None:
    from speech2lip_presenter.motion import clip_states
    from speech2lip_presenter.render import measure, write_truth

    clip = speech_clips("a", split="unseen")[0]
    take = _take(tmp_path, "a")
    write_truth(measure(clip_states(clip, 25.0, 0)[:75], fps=25.0, size=64), tmp_path / "a.mp4")
    phones = phones_of(take, clip.wave)
    assert phones is not None
    assert phones.source == TRUTH
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
    exact = Phones((("pau", 0.0, 0.6), ("b", 0.6, 0.7), ("pau", 0.7, 0.9)), TRUTH)
    assert pauses(wave, exact).tolist() == [[0.0, 0.6]]
