from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import speech2lip
from speech2lip.arrays import Picture
from speech2lip.config import SpeakSettings
from speech2lip.errors import SoundError
from speech2lip.inference import speaker as speaking
from speech2lip.inference.audio_buffer import AudioBuffer, HeardWindows
from speech2lip.inference.speak import audio_chunks, spoken_pictures
from speech2lip.inference.speaker import Speaker
from speech2lip.inference.stream import SpeechStream, Streamed, stream
from speech2lip.media.sound import SoundReader
from tests.made_face import made_avatar

PLAIN = SpeakSettings(device="cpu", precision="fp32")
RATE = 16_000


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Speaker]:
    folder = made_avatar(tmp_path_factory.mktemp("avatar") / "a.avatar")
    with Speaker(folder, settings=PLAIN) as speaker:
        model: Any = speaker.engine.model
        for weight, spread in (
            (model.lip_field.colour[-1].weight, 0.5),
            (model.lip_field.flow.weight, 0.05),
            (model.lip_shape.head[-1].weight, 0.5),
        ):
            torch.nn.init.normal_(weight, std=spread)
        del speaker.engine.renderer  # its tables were made of the weights before
        yield speaker


def _speech(seconds: float, rate: int = RATE, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    return (random.normal(0, 0.1, len(time)) * (1 + np.sin(time * 9))).astype(np.float32)


def _all(speech: SpeechStream, **how: bool) -> list[Streamed]:
    found = []
    while (one := speech.pull(**how)) is not None:
        found.append(one)
    return found


def _offline(speaker: Speaker, path: Path) -> tuple[list[Picture], np.ndarray]:
    base, engine = speaker.base, speaker.engine
    model = engine.model.settings
    stretches = audio_chunks(SoundReader(path), HeardWindows.of(model, base.fps))
    pictures, native = [], []
    for stretch, composed in spoken_pictures(speaker, stretches, workers=2):
        pictures += composed
        native.append(stretch.native)
    return pictures, np.concatenate(native)


@pytest.mark.parametrize(("rate", "channels"), [(RATE, 1), (44_100, 2)])
def test_streamed_frames_are_those_of_a_file(
    speaker: Speaker, tmp_path: Path, rate: int, channels: int
) -> None:
    wave = np.stack([_speech(1.7, rate)] * channels, axis=1)
    soundfile.write(tmp_path / "s.wav", wave, rate, subtype="FLOAT")
    pictures, sound = _offline(speaker, tmp_path / "s.wav")
    random = np.random.default_rng(1)
    found: list[Streamed] = []
    with stream(speaker, sample_rate=rate, channels=channels) as speech:
        while len(wave):
            size = int(random.integers(1, rate // 5))
            speech.push(wave[:size])
            wave = wave[size:]
            found += _all(speech)
        before_the_end = len(found)
        speech.finish()
        found += _all(speech)
    assert len(pictures) - 8 < before_the_end < len(pictures)
    assert [one.time for one in found] == [pytest.approx(i / 25) for i in range(len(pictures))]
    assert (np.concatenate([one.sound for one in found]) == sound).all()
    worst = max(
        np.abs(one.coded.astype(int) - truth).max() for one, truth in zip(found, pictures, strict=True)
    )
    changes = np.mean([np.abs(a.astype(int) - b).mean() for a, b in itertools.pairwise(pictures)])
    assert worst <= 2 < 100 * changes


def test_a_frame_waits_for_the_look_ahead_and_no_longer(speaker: Speaker) -> None:
    with stream(speaker) as speech:
        ready = []
        for milliseconds in range(0, 500, 5):
            speech.push(np.zeros(RATE // 200, np.float32))
            ready += [milliseconds + 5 - 40 * (speech.frames - 1) for _ in _all(speech)]
    assert len(ready) == 8
    assert max(ready) <= 225


def test_silence_keeps_the_person_alive(speaker: Speaker) -> None:
    with stream(speaker) as speech:
        assert speech.pull() is None
        frames = [speech.pull(silence=True) for _ in range(12)]
        speech.push(_speech(0.4))
        later = [speech.pull(silence=True) for _ in range(16)]
    assert [one.time for one in frames + later if one] == [pytest.approx(i / 25) for i in range(28)]
    assert all(not one.sound.any() for one in frames if one)
    heard = np.concatenate([one.sound for one in later if one])[:, 0]
    # What silence stood for has passed; the speech comes whole, within the look-ahead.
    start = np.flatnonzero(heard)[0]
    assert start <= 0.24 * RATE
    assert (heard[start : start + 6400] == _speech(0.4)[-6400:]).all()
    moved = [np.abs(a.coded.astype(int) - b.coded).mean() for a, b in itertools.pairwise(frames) if a and b]
    assert min(moved) > 0


def test_interruption_stops_sound_and_lips_without_a_jump(speaker: Speaker) -> None:
    def shapes(speech: SpeechStream, count: int) -> tuple[np.ndarray, np.ndarray]:
        drawn: list[np.ndarray] = []
        renderer = speech.speaker.engine.renderer
        speak = renderer.speak

        def watch(pictures, head, spoken, **more):  # type: ignore[no-untyped-def]
            drawn.append(spoken.shape[0].numpy().copy())
            return speak(pictures, head, spoken, **more)

        renderer.speak = watch  # type: ignore[method-assign]
        try:
            frames = [speech.pull(silence=True) for _ in range(count)]
        finally:
            del renderer.speak
        return np.array(drawn), np.concatenate([one.sound for one in frames if one])[:, 0]

    with stream(speaker) as speech:
        quiet, _ = shapes(speech, 20)
        speech.push(_speech(3.0))
        spoken, heard = shapes(speech, 30)
        assert heard.any()
        speech.interrupt()
        rest, after = shapes(speech, 20)
        assert not after[RATE // 25 :].any()
        assert np.abs(after[: RATE // 25]).max() <= np.abs(_speech(3.0)).max()
        speech.push(_speech(1.0, seed=1))
        again, sound = shapes(speech, 20)
    steps = np.abs(np.diff(np.concatenate([spoken[-1:], rest]), axis=0)).max(axis=1)
    apart = np.abs(spoken[8:] - quiet[-1]).max(axis=1).mean()
    # Two frames share the way back to rest; about a third and two thirds of it.
    assert steps[:2].min() > 0.1 * np.abs(spoken[-1] - quiet[-1]).max()
    assert np.abs(rest[2:] - quiet[-1]).max() < 0.3 * apart
    assert sound.any()
    assert np.abs(again[-1] - quiet[-1]).max() > 0


def test_left_out_frames_keep_their_sound_and_are_counted(speaker: Speaker) -> None:
    wave = _speech(1.0)
    with stream(speaker) as speech:
        speech.push(wave)
        speech.finish()
        found: list[Streamed] = []
        while (one := speech.pull(draw=len(found) % 3 > 0)) is not None:
            found.append(one)
        assert speech.frames_dropped == 9
        assert speech.frames == 25
    assert [one.coded is None for one in found[:4]] == [True, False, False, True]
    assert found[0].rgb is None
    assert found[1].rgb is not None
    assert (np.concatenate([one.sound for one in found])[:, 0] == wave).all()


def test_streams_share_a_speaker_and_do_not_disturb_each_other(speaker: Speaker) -> None:
    waves = [_speech(0.6, seed=seed) for seed in (0, 1)]
    alone = []
    for wave in waves:
        with stream(speaker) as speech:
            speech.push(wave)
            speech.finish()
            alone.append(_all(speech))
    with stream(speaker) as first, stream(speaker) as second:
        for one, wave in ((first, waves[0]), (second, waves[1])):
            one.push(wave)
            one.finish()
        together: list[list[Streamed]] = [[], []]
        while (frame := first.pull()) is not None:
            together[0].append(frame)
            other = second.pull()
            assert other is not None
            together[1].append(other)
    for lone, shared in zip(alone, together, strict=True):
        assert len(lone) == len(shared) == 15
        assert all((a.coded == b.coded).all() for a, b in zip(lone, shared, strict=True))
    assert any((a.coded != b.coded).any() for a, b in zip(*together, strict=True))


def test_no_frame_waits_for_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speaking, "_WHOLE_BYTES", 1)
    folder = made_avatar(tmp_path / "a.avatar", frames=90)
    with Speaker(folder, settings=PLAIN) as speaker, stream(speaker) as speech:
        late = []
        for number, asked in enumerate(itertools.islice(speaker.motion.shown(), 70)):
            before = set(speaker.pictures._chunks)
            assert speech.pull(silence=True) is not None
            if number and asked.index // 25 not in before:
                late.append(number)
        assert len(speaker.pictures._chunks) <= 2
    assert late == []


def test_sixteen_bit_bytes_are_the_same_sound(speaker: Speaker) -> None:
    whole = np.round(_speech(0.5) * 20_000).clip(-32768, 32767).astype("<i2")
    frames = []
    for block in (whole.astype(np.float32) / 32768, whole, whole.tobytes()):
        with stream(speaker) as speech:
            speech.push(block)
            frames.append(_all(speech)[-1])
    assert all((one.coded == frames[0].coded).all() for one in frames)


def test_wrong_sound_is_one_line(speaker: Speaker) -> None:
    with stream(speaker, channels=2) as speech:
        for wrong in (np.zeros(10), np.zeros((4, 3), np.float32), b"abc", np.full(2, np.nan, np.float32)):
            with pytest.raises(SoundError) as told:
                speech.push(wrong)  # type: ignore[arg-type]
            assert "\n" not in str(told.value)
        with pytest.raises(SoundError, match="wait"):
            speech.push(np.zeros((61 * RATE, 2), np.float32))
        speech.finish()
        with pytest.raises(SoundError, match="finished"):
            speech.push(np.zeros((10, 2), np.float32))


def test_memory_of_a_stream_does_not_grow(speaker: Speaker) -> None:
    import tracemalloc

    block = _speech(1.0)
    peaks = []
    tracemalloc.start()
    with stream(speaker) as speech:
        for second in range(60):
            speech.push(block)
            while speech.pull(draw=False) is not None:
                pass
            if second % 10 == 9:
                peaks.append(tracemalloc.get_traced_memory()[1])
                tracemalloc.reset_peak()
    tracemalloc.stop()
    assert peaks[-1] < 2 * peaks[1] < 2e6  # the whole sound would be 4 MB


def test_moving_sound_ends_where_it_is_told() -> None:
    sound = AudioBuffer(1)
    sound.push(np.ones(100, np.float32))
    sound.cut(20, 40)
    sound.end_at(60, fade=10)
    assert sound.end == 60
    found = sound.cut(20, 80)[:, 0]
    assert (found[:30] == 1).all()
    assert (np.diff(found[30:40]) < 0).all()
    assert not found[40:].any()
    sound.end_at(90, fade=0)
    sound.push(np.ones(5, np.float32))
    assert (sound.cut(80, 100)[:, 0] == [0] * 10 + [1] * 5 + [0] * 5).all()


def test_the_public_function_opens_a_folder_that_a_string_names(tmp_path: Path) -> None:
    folder = made_avatar(tmp_path / "a.avatar", frames=3, fps=Fraction(30))
    with speech2lip.stream(str(folder), settings=PLAIN) as speech:
        speech.push(np.zeros(RATE, np.float32))
        found = _all(speech)
    assert len(found) > 20
    assert found[1].time == pytest.approx(1 / 30)
