"""What a pretrained encoder hears is the same wherever it is heard, and nothing of what comes later."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from speech2lip.config import ModelSettings
from speech2lip.conventions import MEL_BANDS, MEL_RATE, SAMPLE_RATE
from speech2lip.errors import SettingsError
from speech2lip.model import LipModel
from speech2lip.synthesis import pretrained as hf_speech
from speech2lip.synthesis.pretrained import (
    COMPONENTS,
    STEP,
    WINDOW,
    PretrainedEncoder,
    PretrainedListener,
    Projection,
    at_mel_rate,
    load_pretrained,
    needed_steps,
    open_listener,
    pretrained_name,
    step_windows,
)
from speech2lip.synthesis.speech import SpeechEncoder, log_mel, mel_windows, window_offsets
from tests.made_face import TINY
from tests.synthesis.tiny_encoders import tiny_encoder

SETTINGS = dataclasses.replace(TINY, speech="mel+hf:some/model")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> PretrainedEncoder:
    return load_pretrained(str(tiny_encoder(tmp_path_factory.mktemp("hf") / "hubert", "hubert")))


def _wave(seconds: float, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(round(seconds * SAMPLE_RATE), generator=torch.Generator().manual_seed(seed))


def _listener(encoder: PretrainedEncoder) -> PretrainedListener:
    projection = Projection()
    projection.learn(encoder.features(step_windows(_wave(6))).flatten(0, 1), encoder)
    return PretrainedListener(encoder, projection)


def test_kinds_of_speech() -> None:
    names = {
        "mel": None,
        "hf:facebook/hubert-base-ls960": "facebook/hubert-base-ls960",
        "mel+hf:/models/mel+hf": "/models/mel+hf",
    }
    for speech, name in names.items():
        assert pretrained_name(speech) == name
        SpeechEncoder(dataclasses.replace(TINY, speech=speech))
    for wrong in (
        "hf",
        "hf:",
        "mel+hf:",
        "melhf:a/b",
        "hf+mel:a",
        "noise+hf:a/b",
        "hear",
        "phonetic",
        "mel+phonetic+hf:a/b",
    ):
        with pytest.raises(
            SettingsError, match=r"--model\.speech must be mel, mel\+hf:FOLDER or hf:FOLDER, not"
        ):
            SpeechEncoder(dataclasses.replace(TINY, speech=wrong))


def test_components_are_independent_and_of_one_size(encoder: PretrainedEncoder) -> None:
    listener = _listener(encoder)
    rows = listener.projection(encoder.features(step_windows(_wave(6))).flatten(0, 1))
    assert rows.shape[1] == COMPONENTS
    assert rows.mean(0).abs().max() < 1e-3
    size = rows.std(0)
    assert size[0] == pytest.approx(1, abs=0.02)
    assert size[32:].max() == 0
    covariance = (rows.T @ rows / len(rows)).fill_diagonal_(0)
    assert covariance.abs().max() < 1e-2


def test_between_tokens_is_their_mean() -> None:
    rows = at_mel_rate(torch.tensor([[0.0, 2.0, 4.0]]), 6)
    assert rows.tolist() == [[0, 0, 1, 2, 3, 4]]
    assert at_mel_rate(torch.ones(3, 1), 1).shape == (3, 1)


@pytest.mark.parametrize("samples", [0, 1, 159, 160, 1279, 1280, 5000])
def test_there_is_a_row_for_every_mel_frame(encoder: PretrainedEncoder, samples: int) -> None:
    wave = _wave(1)[:samples]
    assert _listener(encoder).rows(wave).shape == (COMPONENTS, log_mel(wave).shape[1])


def test_a_span_is_heard_as_the_whole_is(encoder: PretrainedEncoder) -> None:
    listener, wave = _listener(encoder), _wave(4)
    whole = listener.rows(wave)
    for begin, end in ((0.0, 0.5), (1.234, 1.9), (2.0, 2.0), (3.5, 9.0)):
        part = listener.rows(wave, span=(begin, end))
        first, last = int(begin * MEL_RATE), min(int(end * MEL_RATE) + 2, whole.shape[1])
        assert torch.equal(part[:, first:last], whole[:, first:last])
        steps = needed_steps(wave, (begin, end))
        assert len(steps) <= (min(end, 4) - begin) * SAMPLE_RATE / STEP + 3
        outside = part[:, steps.stop * 8 + 1 :]
        assert (outside == 0).all()


def test_a_window_is_heard_once(encoder: PretrainedEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    listener, heard = _listener(encoder), list[int]()
    plain = PretrainedEncoder.features

    def counted(self: PretrainedEncoder, windows: torch.Tensor) -> torch.Tensor:
        heard.append(len(windows))
        return plain(self, windows)

    monkeypatch.setattr(PretrainedEncoder, "features", counted)
    first = listener.rows(_wave(2))
    assert torch.equal(listener.rows(_wave(2)), first)
    assert sum(heard) == 26
    listener.rows(torch.zeros(4 * SAMPLE_RATE))
    assert sum(heard) == 27
    monkeypatch.setattr(hf_speech, "_REMEMBERED", 5)
    listener.rows(_wave(2, seed=1))
    assert len(listener._known) == 5


def test_a_moments_code_depends_on_nothing_later_than_the_look_ahead(encoder: PretrainedEncoder) -> None:
    torch.manual_seed(0)
    listener, network = _listener(encoder), SpeechEncoder(SETTINGS).eval()
    offsets = window_offsets(SETTINGS)

    def code(wave: torch.Tensor, moment: float) -> torch.Tensor:
        rows = torch.cat([log_mel(wave), listener.rows(wave)])
        return network(mel_windows(rows, torch.tensor([moment], dtype=torch.float64), offsets))

    wave = _wave(3)
    for moment in (1.5, 1.52, 1.573, 1.6, 1.631):
        spoilt = wave.clone()
        end = round((moment + SETTINGS.ahead_seconds) * SAMPLE_RATE)
        # The mel frames' own windows see 0.02 s further (`_REACH_SECONDS` of the stream).
        spoilt[end + 320 :] = _wave(3, seed=1)[end + 320 :]
        assert torch.equal(code(spoilt, moment), code(wave, moment))
        spoilt[end:] = wave[end:]
        spoilt[end - 3200 :] = 0
        assert not torch.equal(code(spoilt, moment), code(wave, moment))


def test_features_themselves_end_in_time(encoder: PretrainedEncoder) -> None:
    # Without mel, so that only the features' own look-ahead counts: not a sample beyond 0.2 s.
    torch.manual_seed(0)
    settings = dataclasses.replace(SETTINGS, speech="hf:some/model")
    listener, network = _listener(encoder), SpeechEncoder(settings).eval()
    assert network.gate is not None
    torch.nn.init.zeros_(network.gate.weight)
    offsets = window_offsets(settings)
    wave = _wave(3)
    for moment in (1.5, 1.52, 1.5731, 1.6, 1.6399):
        spoilt = wave.clone()
        spoilt[int((moment + settings.ahead_seconds) * SAMPLE_RATE) + 1 :] = 0
        codes = [
            network(
                mel_windows(
                    torch.cat([log_mel(one), listener.rows(one)]),
                    torch.tensor([moment], dtype=torch.float64),
                    offsets,
                )
            )
            for one in (wave, spoilt)
        ]
        assert torch.equal(*codes)


def test_features_reach_the_code(encoder: PretrainedEncoder) -> None:
    torch.manual_seed(0)
    for speech in ("hf:a/b", "mel+hf:a/b"):
        network = SpeechEncoder(dataclasses.replace(TINY, speech=speech)).eval()
        windows = torch.randn(2, MEL_BANDS + COMPONENTS, 60)
        changed = windows.clone()
        changed[:, MEL_BANDS:, 10:20] += 1
        assert network.channels == len(windows[0])
        assert not torch.equal(network(windows), network(changed))
        changed = windows.clone()
        changed[:, MEL_BANDS:, network.in_time :] += 1
        assert network.in_time == 44
        assert torch.equal(network(windows), network(changed))


def test_rows_beyond_the_ends_are_nothing(encoder: PretrainedEncoder) -> None:
    rows = torch.ones(MEL_BANDS + COMPONENTS, 50)
    windows = mel_windows(rows, torch.tensor([0.0]), torch.arange(-40, 20))
    assert (windows[0, MEL_BANDS:, :39] == 0).all()
    assert (windows[0, :MEL_BANDS, :39] == -2).all()


def test_a_projection_of_any_size_is_read_back(encoder: PretrainedEncoder) -> None:
    model = LipModel(SETTINGS, (24, 32))
    assert model.encoder.pretrained is not None
    model.encoder.pretrained.load_state_dict(_listener(encoder).projection.state_dict())
    again = LipModel(SETTINGS, (24, 32))
    again.load_state_dict(model.state_dict())
    assert again.encoder.pretrained is not None
    assert torch.equal(again.encoder.pretrained.components, model.encoder.pretrained.components)
    assert bytes(again.encoder.pretrained.fingerprint.tolist()) == encoder.fingerprint


def test_sizes_are_told_without_room_for_the_numbers() -> None:
    with torch.device("meta"):
        sketched = LipModel(SETTINGS, (24, 32))
    whole = LipModel(SETTINGS, (24, 32))
    assert {name: value.shape for name, value in sketched.state_dict().items()} == {
        name: value.shape for name, value in whole.state_dict().items()
    }
    assert sketched.encoder.in_time == whole.encoder.in_time == 44


def test_only_the_encoder_of_the_training_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right, wrong = (tiny_encoder(tmp_path / f"{seed}", "hubert", seed=seed) for seed in (0, 1))
    projection = _listener(load_pretrained(str(right))).projection
    assert open_listener(f"mel+hf:{right}", projection).rows(_wave(0.3)).shape[0] == COMPONENTS
    with pytest.raises(SettingsError, match="not the speech encoder that this avatar was trained with"):
        open_listener(f"mel+hf:{wrong}", projection)
    with pytest.raises(SettingsError, match="neither a folder nor"):
        open_listener("mel+hf:/moved/away", projection)
    monkeypatch.setenv(hf_speech.PLACE, str(right))
    open_listener("mel+hf:/moved/away", projection)


def test_half_precision_hears_almost_the_same(encoder: PretrainedEncoder) -> None:
    plain, wave = _listener(encoder), _wave(2)
    half = PretrainedListener(encoder, plain.projection, precision="bf16")
    one, other = plain.rows(wave), half.rows(wave)
    assert not torch.equal(one, other)
    assert (one[:8] - other[:8]).norm() < 0.1 * one[:8].norm()


def test_windows_are_not_copied() -> None:
    wave = _wave(2)
    windows = step_windows(wave)
    assert windows.shape == (26, WINDOW)
    assert windows.stride(0) == STEP
    assert ModelSettings().ahead_seconds <= 0.2
