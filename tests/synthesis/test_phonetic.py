import math

import numpy as np
import pytest
import torch

from speech2lip.config import ModelSettings, TrainSettings, with_preset
from speech2lip.conventions import MEL_RATE
from speech2lip.errors import SettingsError
from speech2lip.synthesis import phonetic
from speech2lip.synthesis.phonetic import PHONES, SCORES, PhoneScores
from speech2lip.synthesis.recogniser import Recogniser, find_recogniser, read_recogniser
from speech2lip.synthesis.speech import SpeechEncoder, log_mel, mel_windows, window_offsets
from speech2lip_presenter.speech import SpeechClip, speech_clips
from tests.synthesis.made_recogniser import made_recogniser

SETTINGS = ModelSettings(speech="mel+phonetic", encoder_width=16, code_size=8)


def _windows(count: int = 6) -> torch.Tensor:
    wave = torch.from_numpy(speech_clips("a")[0].wave[:48_000].copy())
    return mel_windows(log_mel(wave), torch.linspace(0.6, 2.4, count), window_offsets(SETTINGS))


def _plain(streams: np.ndarray, model: Recogniser) -> np.ndarray:
    """[3, 13] -> [126]: a mixture's density written out."""
    total = np.zeros((PHONES, 3))
    for stream in range(3):
        for phone in range(PHONES):
            mean, variance = model.means[phone, stream], model.variances[phone, stream]
            exponent = -0.5 * (((streams[stream] - mean) ** 2) / variance).sum(1)
            density = np.exp(exponent) / np.sqrt((2 * math.pi * variance.astype(np.float64)).prod(1))
            total[phone] += np.log(density @ model.weights[phone, stream])
    flat = total.reshape(-1)
    return flat - np.log(np.exp(flat - flat.max()).sum()) - flat.max()


def test_scores_are_those_of_the_mixtures_written_out() -> None:
    windows, model = _windows(), made_recogniser()
    scores = PhoneScores()
    scores.learn(model, windows)
    found = scores(windows)
    assert found.shape == (6, SCORES, 30)
    cepstra = scores._cepstra(windows) - scores.mean[:, None]
    cepstra[:, 0] -= (phonetic._loudness(cepstra) - scores.peak).clamp(*phonetic._SHIFT)[:, None]
    streams = phonetic._streams(cepstra).double().numpy()
    for place, moment in ((0, 0), (2, 11), (5, 29)):
        plain = np.maximum(_plain(streams[:, place, moment], model), -36) / 10 + 1
        assert found[place, :, moment].numpy() == pytest.approx(plain, abs=2e-3)


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = PhoneScores()
    scores.learn(made_recogniser(), _windows())
    whole = scores(_windows())
    monkeypatch.setattr(phonetic, "_BLOCK", 7)
    assert torch.allclose(scores(_windows()), whole, atol=1e-4)


def test_loudness_hardly_matters() -> None:
    scores = PhoneScores()
    scores.learn(made_recogniser(), _windows())
    softer = _windows() - 20 / 15
    assert (scores(softer) - scores(_windows())).abs().mean() < 0.05
    # It does where it is evened out no more: 60 dB softer is no speech.
    assert (scores(_windows() - 4) - scores(_windows())).abs().mean() > 0.1


_NAMES = """
+nsn+ +spn+ aa ae ah ao aw ay b ch d dh eh er ey f g hh ih iy jh k l m n ng ow oy p r s sh pau t th uh uw v w
y z zh
"""
"""The recogniser's phones, as the presenter's are written."""


def _truth(clip: SpeechClip, seconds: np.ndarray) -> list[str]:
    starts = np.array([phone.start for phone in clip.phones])
    return [clip.phones[i].name for i in np.searchsorted(starts, seconds, side="right") - 1]


def test_phones_of_the_presenter_are_heard() -> None:
    pytest.importorskip("pocketsphinx")
    names = _NAMES.split()
    clip = speech_clips("a")[1]
    mel = log_mel(torch.from_numpy(clip.wave.copy()))
    seconds = np.arange(0.5, mel.shape[1] / MEL_RATE - 0.5, 0.02)
    windows = mel_windows(mel, torch.from_numpy(seconds), window_offsets(SETTINGS))
    scores = PhoneScores()
    scores.learn(read_recogniser(find_recogniser()), windows)
    middle = scores(windows)[:, :, 20].reshape(len(seconds), PHONES, 3).amax(2)
    found = [names[i] for i in middle.argmax(1).tolist()]
    right = np.mean([a == b for a, b in zip(found, _truth(clip, seconds), strict=True)])
    # One in 42 would be chance; it is about three in ten.
    assert right > 0.15


@pytest.mark.parametrize("speech", ["mel", "phonetic", "mel+phonetic"])
def test_the_encoder_hears_either_or_both(speech: str) -> None:
    encoder = SpeechEncoder(ModelSettings(speech=speech, encoder_width=16, code_size=8)).eval()
    if encoder.scores is not None:
        encoder.scores.learn(made_recogniser(), _windows())
    code = encoder(_windows())
    assert code.shape == (6, 8)
    assert code.std(0).min() > 0


def test_short_training_varies_the_sound_less() -> None:
    asked = (TrainSettings(), TrainSettings(minutes=9), TrainSettings(minutes=9, steps=100))
    assert [with_preset(one).voice_changes for one in asked] == [0.7, 0.35, 0.7]
    own = TrainSettings(minutes=9, voice_changes=0.1)
    assert with_preset(own) == own


def test_another_speech_is_refused() -> None:
    with pytest.raises(SettingsError, match="'chroma'"):
        SpeechEncoder(ModelSettings(speech="chroma"))
