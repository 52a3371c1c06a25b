import dataclasses
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
import torch

from speech2lip.avatar import read_avatar
from speech2lip.config import SpeakSettings
from speech2lip.errors import AvatarError, OutputError, SettingsError, SoundError
from speech2lip.inference.audio_buffer import HeardWindows
from speech2lip.inference.engine import Engine
from speech2lip.inference.speak import audio_chunks, batch_frames, speak
from speech2lip.media.container import decode_packets
from speech2lip.media.sound import SoundReader
from speech2lip.media.video import read_coded
from speech2lip.synthesis.speech import log_mel, mel_windows, window_offsets
from tests.made_face import SIZE, TINY, made_avatar
from tests.reference.inference.renderer import PlainRenderer

PLAIN = SpeakSettings(device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def avatar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_avatar(tmp_path_factory.mktemp("avatar") / "a.avatar")


def _sound(path: Path, seconds: float, *, rate: int = 16_000, channels: int = 1) -> Path:
    random = np.random.default_rng(0)
    wave = (
        random.normal(0, 0.1, (round(seconds * rate), channels))
        * (1 + np.sin(np.arange(round(seconds * rate)) / rate * 9))[:, None]
    )
    soundfile.write(path, wave.astype(np.float32), rate)
    return path


@pytest.mark.parametrize(
    ("rate", "channels", "seconds"), [(16_000, 1, 0.2), (44_100, 2, 3.13), (48_000, 1, 1.0), (8_000, 1, 2.02)]
)
def test_picture_and_sound_have_equal_length_to_the_frame(
    avatar: Path, tmp_path: Path, rate: int, channels: int, seconds: float
) -> None:
    sound = _sound(tmp_path / "s.wav", seconds, rate=rate, channels=channels)
    spoke = speak(sound, avatar=avatar, output=tmp_path / "o.mp4", settings=PLAIN)
    assert spoke.frames == int(np.ceil(round(seconds * rate) / rate * 25))
    with av.open(str(tmp_path / "o.mp4")) as file:
        assert "synthetic" in file.metadata["comment"]
        pictures = list(file.decode(video=0))
    with av.open(str(tmp_path / "o.mp4")) as file:
        samples = sum(frame.samples for frame in file.decode(audio=0))
    assert len(pictures) == spoke.frames
    assert (pictures[0].width, pictures[0].height) == (SIZE[1], SIZE[0])
    assert abs(samples / rate - spoke.seconds) < 2100 / rate


def test_short_speech_is_decoded_once(avatar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []

    def noted(*given: Any) -> Any:
        passes.append(given)
        return decode_packets(*given)

    monkeypatch.setattr("speech2lip.media.sound.decode_packets", noted)
    path = _sound(tmp_path / "s.wav", 0.3)
    speak(path, avatar=avatar, output=tmp_path / "o.mp4", settings=PLAIN)
    assert len(passes) == 1


def test_a_base_video_cut_short_is_one_line(avatar: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(avatar, tmp_path / "a.avatar"))
    video = next(copy.glob("base/*/picture.mp4"))
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    with pytest.raises(AvatarError) as error:
        speak(_sound(tmp_path / "s.wav", 0.3), avatar=copy, output=tmp_path / "o.mp4", settings=PLAIN)
    assert str(video) in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "o.mp4").exists()


def test_stretches_hear_what_one_piece_hears(tmp_path: Path) -> None:
    path = _sound(tmp_path / "s.wav", 4.37, rate=44_100)
    fps = Fraction(30_000, 1001)
    wave = np.concatenate([b for b in _resampled(path)])
    whole = log_mel(torch.from_numpy(wave))
    offsets = window_offsets(TINY)
    index, native = 0, 0
    for stretch in audio_chunks(SoundReader(path), HeardWindows.of(TINY, fps)):
        times = torch.tensor(
            [float((index + i) / fps) for i in range(len(stretch.moments))], dtype=torch.float64
        )
        expected = mel_windows(whole, times, offsets)
        found = mel_windows(
            log_mel(torch.from_numpy(stretch.wave)),
            torch.tensor(stretch.moments, dtype=torch.float64),
            offsets,
        )
        middle = (times > 0.5) & (times < 3.9)
        if middle.any():
            assert (expected - found)[middle].abs().max() < 2e-3
        index, native = index + len(times), native + len(stretch.native)
    assert index == int(np.ceil(4.37 * fps))
    assert native == round(index * 44_100 / fps)


def _resampled(path: Path) -> list[np.ndarray]:
    from speech2lip.media.sound import resample_blocks

    reader = SoundReader(path)
    return list(resample_blocks(reader, reader.sample_rate))


def test_nothing_is_left_behind_by_bad_input(avatar: Path, tmp_path: Path) -> None:
    good = _sound(tmp_path / "s.wav", 0.5)
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(16_000, np.float32), 16_000)
    (tmp_path / "old.mp4").write_bytes(b"old")
    with pytest.raises(OutputError, match="exists"):
        speak(good, avatar=avatar, output=tmp_path / "old.mp4", settings=PLAIN)
    with pytest.raises(SoundError):
        speak(tmp_path / "none.wav", avatar=avatar, output=tmp_path / "o.mp4", settings=PLAIN)
    with pytest.raises(SoundError):
        speak(silent, avatar=avatar, output=tmp_path / "o.mp4", settings=PLAIN)
    with pytest.raises(AvatarError, match="no avatar"):
        speak(good, avatar=tmp_path / "none.avatar", output=tmp_path / "o.mp4", settings=PLAIN)
    with pytest.raises(SettingsError, match="other"):
        speak(
            good,
            avatar=avatar,
            output=tmp_path / "o.mp4",
            settings=SpeakSettings(take="other", device="cpu", precision="fp32"),
        )
    assert (tmp_path / "old.mp4").read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old.mp4", "s.wav", "silent.wav"]


@pytest.mark.parametrize(
    "victim", ["weights.safetensors", "avatar.json", "canonical.safetensors", "base/base/track.safetensors"]
)
def test_a_damaged_avatar_is_one_line(tmp_path: Path, victim: str) -> None:
    folder = made_avatar(tmp_path / "a.avatar", frames=2)
    (folder / victim).write_bytes(b"\x00garbage")
    with pytest.raises(AvatarError, match="damaged") as told:
        read_avatar(folder)
    assert "\n" not in str(told.value)


def test_bf16_draws_what_fp32_draws(avatar: Path) -> None:
    person = read_avatar(avatar)
    torch.nn.init.normal_(person.model.get_parameter("lip_field.colour.4.weight"), std=0.5)
    drawn = []
    for precision in ("fp32", "bf16"):
        engine = Engine(person, device="cpu", precision=precision)
        spoken = engine.encode_speech(torch.zeros(80, 200), [0.5, 1.0])
        drawn.append(PlainRenderer(engine).draw(spoken, person.bases[0].head[[0, 9]]))
    error = ((drawn[0] - drawn[1]) ** 2).mean()
    assert drawn[0].std() > 0.05
    assert -10 * torch.log10(error) > 35


def test_memory_does_not_grow_with_the_sound(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", 16_000, 1) as file:
        for second in range(200):
            file.write(np.random.default_rng(second).normal(0, 0.1, 16_000).astype(np.float32))
    peaks, frames = [], 0
    tracemalloc.start()
    for stretch in audio_chunks(SoundReader(path), HeardWindows.of(TINY, Fraction(25))):
        frames += len(stretch.moments)
        if frames % 500 < 8:
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.reset_peak()
    tracemalloc.stop()
    assert frames == 5000
    assert len(peaks) == 10
    assert max(peaks[2:]) < 1.5 * peaks[1] < 5e6  # the whole sound would be 13 MB


def test_fewer_large_pictures_are_drawn_at_once(tmp_path: Path) -> None:
    assert [batch_frames(*size) for size in ((512, 512), (1920, 1080), (3840, 2160), (8000, 8000))] == [
        8,
        6,
        1,
        1,
    ]
    path = _sound(tmp_path / "s.wav", 1.0)
    stretches = list(audio_chunks(SoundReader(path), HeardWindows.of(TINY, Fraction(25)), batch=3))
    assert [len(stretch.moments) for stretch in stretches] == [3] * 8 + [1]
    assert sum(len(stretch.native) for stretch in stretches) == 16_000


def test_drawing_at_the_frames_pixels_agrees_with_carrying_a_patch(tmp_path: Path) -> None:
    person = read_avatar(made_avatar(tmp_path / "ana.avatar"))
    engine = Engine(person, device="cpu", precision="fp32")
    base = person.bases[0]
    frame = next(iter(base.frames(0, 1))).rgb
    head = base.head[0]
    spoken = engine.encode_speech(torch.zeros(80, 200), [1.0])
    plain = PlainRenderer(engine)
    direct = plain.compose_directly(frame, plain.draw_grids(spoken, head)[0], head, blend=False)
    carried = plain.compose(frame, plain.draw(spoken, head)[0], head, blend=False)
    assert (direct != frame).any()
    error = ((direct.astype(float) - carried) ** 2).mean()
    assert 10 * np.log10(255**2 / max(error, 1e-9)) > 40


def test_the_papers_network_speaks_too(tmp_path: Path) -> None:
    settings = dataclasses.replace(TINY, field="paper")
    person = read_avatar(made_avatar(tmp_path / "ana.avatar", settings=settings))
    engine = Engine(person, device="cpu", precision="fp32")
    head = person.bases[0].head[0]
    (frame,) = read_coded(person.bases[0].picture_path, start_frame=0, stop_frame=1)
    spoken = engine.encode_speech(torch.zeros(80, 200), [1.0])
    (composed,) = engine.renderer.speak([frame], head, spoken)
    assert composed.shape == frame.shape
    assert (composed != frame).any()
    height = frame.shape[0] * 2 // 3
    x0, y0, x1, y1 = engine.paster.regions(head, (height, frame.shape[1]))[0]
    outside = np.ones((height, frame.shape[1]), bool)
    outside[y0:y1, x0:x1] = False
    assert (composed[:height][outside] == frame[:height][outside]).all()
