"""Sound comes in whole, in step with the picture, in bounded memory."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from speech2lip.errors import SoundError
from speech2lip.media.sound import SoundReader, check_speech, read_wave, resample_blocks
from tests.media.made import RATE, VideoMaker, clicks


def speechlike(seconds: float, rate: int = RATE, seed: int = 0) -> np.ndarray[Any, Any]:
    """Noise that comes and goes four times a second, as syllables do."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).standard_normal(len(time))
    return (0.1 * noise * np.clip(np.sin(2 * np.pi * 4 * time), 0, 1)).astype(np.float32)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (48_000, 2), (44_100, 1), (8_000, 2)])
def test_any_file_becomes_a_mono_wave(tmp_path: Path, name: str, rate: int, channels: int) -> None:
    mono = clicks(1.5, [0.3, 1.0], rate=rate)
    soundfile.write(tmp_path / name, np.repeat(mono[:, None], channels, axis=1), rate)
    reader = SoundReader(tmp_path / name)
    assert (reader.sample_rate, reader.channels) == (rate, channels)
    wave = read_wave(tmp_path / name)
    assert wave.dtype == np.float32
    # Ogg and MP3 come in blocks, and ffmpeg does not cut the last one to the sample.
    slack = {"a.ogg": 0.02, "a.mp3": 0.1}.get(name, 1 / RATE)
    assert len(wave) / RATE == pytest.approx(1.5, abs=slack)
    assert int(np.argmax(np.abs(wave) > 0.4)) / RATE == pytest.approx(0.3, abs=0.003)
    if name in ("a.wav", "a.flac"):
        wanted = soxr.resample(mono, rate, RATE)
        assert np.abs(wave - np.clip(wanted, -1, 1)).max() < 1e-3


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "FLOAT", "DOUBLE"])
def test_any_sample_format(tmp_path: Path, subtype: str) -> None:
    wave = speechlike(0.3)
    soundfile.write(tmp_path / "a.wav", wave, RATE, subtype=subtype)
    assert np.abs(read_wave(tmp_path / "a.wav") - wave).max() < 0.01


def test_six_channels_become_two(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.repeat(speechlike(0.3)[:, None], 6, axis=1), RATE)
    assert next(iter(SoundReader(tmp_path / "a.wav"))).shape == (4800, 2)


def test_resampling_in_blocks_equals_one_piece() -> None:
    wave = speechlike(3.0, 44_100)
    cuts = [0, 1, 700, 44_100, 44_101, 100_000, len(wave)]
    blocks = [wave[a:b, None] for a, b in pairwise(cuts)]
    together = np.concatenate(list(resample_blocks(blocks, 44_100)))
    assert np.abs(together - soxr.resample(wave, 44_100, RATE)).max() < 1e-6
    same = np.concatenate(list(resample_blocks([wave[:, None].repeat(2, axis=1)], RATE)))
    assert np.allclose(same, wave)


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
@pytest.mark.parametrize(("picture_from", "sound_from"), [(0.0, 0.0), (0.0, 0.4), (0.4, 0.0), (1.0, 1.2)])
def test_sample_0_is_at_the_first_picture(
    make_video: VideoMaker, name: str, picture_from: float, sound_from: float
) -> None:
    """The click lies 0.5 s into the sound."""
    path = make_video(
        name, frames=50, first=round(picture_from * 25), wave=clicks(2.0, [0.5]), sound_starts=sound_from
    )
    onset = int(np.argmax(np.abs(read_wave(path)) > 0.3)) / RATE
    assert onset == pytest.approx(sound_from + 0.5 - picture_from, abs=0.005)


def test_memory_stays_flat(tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    with soundfile.SoundFile(path, "w", RATE, 1) as file:
        for _ in range(20):
            file.write(np.zeros(60 * RATE, np.float32))
    reader = SoundReader(path)
    tracemalloc.start()
    length = sum(len(block) for block in resample_blocks(reader, RATE, 8000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert length == 20 * 60 * 8000
    assert reader.seconds == pytest.approx(1200)
    assert peak < 3e6, f"{peak / 1e6:.1f} MB for 20 minutes that take {length * 4 / 1e6:.0f} MB"


def test_blocks_are_about_a_second(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", speechlike(5.3), RATE)
    lengths = [len(block) for block in SoundReader(tmp_path / "a.wav")]
    assert sum(lengths) == round(5.3 * RATE)
    assert max(lengths) < 2 * RATE
    assert len(lengths) >= 3


def test_a_file_cut_short_gives_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, speechlike(4.0), RATE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert RATE < len(read_wave(path)) < 3 * RATE


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "There is no file"),
        (b"", "is empty"),
        (b"hello " * 300, "is not a sound file|has no sound in it"),
    ],
)
def test_what_is_no_sound_is_one_line(tmp_path: Path, content: bytes | None, told: str) -> None:
    path = tmp_path / "words.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SoundError, match=told):
        SoundReader(path)


def test_no_sound_and_no_samples(tmp_path: Path, make_video: VideoMaker) -> None:
    with pytest.raises(SoundError, match="has no sound in it"):
        SoundReader(make_video(frames=3))
    with pytest.raises(SoundError, match="is a folder"):
        SoundReader(tmp_path)
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.float32), RATE)
    with pytest.raises(SoundError, match="is empty"):
        read_wave(tmp_path / "none.wav")
    soundfile.write(tmp_path / "nan.wav", np.full(100, np.nan, np.float32), RATE, subtype="FLOAT")
    with pytest.raises(SoundError, match="are no numbers"):
        read_wave(tmp_path / "nan.wav")


def test_speech_is_told_from_silence_and_noise(tmp_path: Path) -> None:
    time = np.arange(4 * RATE) / RATE
    cases = {
        "silence": (np.zeros(4 * RATE), "Nobody is heard"),
        "whisper of a cable": (speechlike(4.0) * 1e-3, "Nobody is heard"),
        "noise": (np.random.default_rng(0).standard_normal(4 * RATE) * 0.1, "steady noise"),
        "tone": (0.3 * np.sin(2 * np.pi * 440 * time), "steady noise"),
    }
    for name, (wave, told) in cases.items():
        soundfile.write(tmp_path / f"{name}.wav", wave, RATE)
        with pytest.raises(SoundError, match=told):
            check_speech(SoundReader(tmp_path / f"{name}.wav"))


def test_speech_passes_even_when_short_or_among_silence(tmp_path: Path) -> None:
    short = tmp_path / "short.wav"
    soundfile.write(short, speechlike(0.2), RATE)
    assert check_speech(SoundReader(short)) > -40
    sparse = tmp_path / "sparse.wav"
    soundfile.write(sparse, np.concatenate([speechlike(2.0), np.zeros(18 * RATE, np.float32)]), RATE)
    assert check_speech(SoundReader(sparse)) > -40


def test_level_is_in_decibels_of_full_scale(tmp_path: Path) -> None:
    path = tmp_path / "square.wav"
    soundfile.write(path, np.full(RATE, 0.1, np.float32), RATE, subtype="FLOAT")
    assert check_speech(SoundReader(path)) == pytest.approx(-20.0, abs=0.01)


@pytest.mark.footage
def test_real_speech_passes(real_footage: Path) -> None:
    for path in sorted((real_footage / "speech").iterdir()):
        assert check_speech(SoundReader(path)) > -30
