"""The speech in the package is complete and fits its phone times."""

from __future__ import annotations

import numpy as np
import pytest

from speech2lip.errors import SettingsError
from speech2lip_presenter.motion import CLOSURES, VISEMES
from speech2lip_presenter.speech import FOLDER, SpeechClip, speech_clips
from tools.presenter_speech import recipes


def test_every_recipe_has_its_clip() -> None:
    wanted = [(r.name, r.voice, r.split, r.text.replace(" | ", " ")) for r in recipes()]
    assert [(c.name, c.voice, c.split, c.text) for c in speech_clips()] == wanted


def test_there_are_minutes_of_training_and_two_unseen_voices() -> None:
    assert sum(clip.seconds for clip in speech_clips("a", split="train")) > 180
    assert len(speech_clips("a", split="unseen")) == len(speech_clips("b", split="unseen")) == 4
    seen = {clip.text for clip in speech_clips(split="train")}
    assert not seen & {clip.text for clip in speech_clips(split="unseen")}


def test_the_package_stays_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 2_000_000


@pytest.mark.parametrize("clip", speech_clips()[::9], ids=lambda clip: clip.name)
def test_sound_and_phones_agree(clip: SpeechClip) -> None:
    wave = clip.wave
    assert wave.dtype == np.float32
    assert wave.shape == (clip.samples,)
    assert np.abs(wave).max() <= 1.0
    for before, after in zip(clip.phones, clip.phones[1:], strict=False):
        assert before.end == after.start
        assert after.end > after.start
    assert clip.phones[0].start == 0
    assert abs(clip.phones[-1].end - clip.seconds) < 0.02
    loud = np.array(
        [np.sqrt(np.mean(wave[int(p.start * 16000) : int(p.end * 16000)] ** 2)) for p in clip.phones]
    )
    vowel = np.array(
        [phone.name in ("aa", "ae", "ah", "ay", "ow", "iy", "ey", "eh") for phone in clip.phones]
    )
    silent = np.array([phone.name == "pau" and phone.end - phone.start > 0.2 for phone in clip.phones])
    assert loud[vowel].min() > 5 * loud[silent].max()


def test_every_phone_has_a_viseme_and_all_closures_occur() -> None:
    names = {phone.name for clip in speech_clips() for phone in clip.phones}
    assert names <= set(VISEMES)
    assert names >= CLOSURES


def test_phone_at_a_time() -> None:
    clip = speech_clips()[0]
    third = clip.phones[2]
    assert clip.phone_at((third.start + third.end) / 2) == third
    assert clip.phone_at(1e9) == clip.phones[-1]


def test_an_unknown_voice_or_split_is_told() -> None:
    with pytest.raises(SettingsError, match="voice 'c'"):
        speech_clips("c")
    with pytest.raises(SettingsError, match="split 'all'"):
        speech_clips(split="all")
