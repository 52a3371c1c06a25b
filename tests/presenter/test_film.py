"""Videos of the presenter: picture, sound and truth belong together."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import av
import numpy as np
import pytest

from speech2lip.config import PresentSettings
from speech2lip.errors import FootageError, OutputError, SettingsError
from speech2lip_presenter import SpeechClip, clip_states, present, read_truth, render_frame, speech_clips
from speech2lip_presenter.film import film_clip


@pytest.fixture(scope="module")
def short_clip() -> SpeechClip:
    """The first 0.8 s of a clip."""
    clip = speech_clips("a", split="unseen")[0]
    return dataclasses.replace(clip, samples=12_800)


@pytest.fixture(scope="module")
def video(short_clip: SpeechClip, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "short.mp4"
    assert film_clip(short_clip, path, settings=PresentSettings(size=128, seed=1)) == 20
    return path


def test_picture_and_sound_have_the_clip_s_length(video: Path, short_clip: SpeechClip) -> None:
    with av.open(str(video)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with av.open(str(video)) as container:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert len(frames) == 20
    assert frames[0].shape == (128, 128, 3)
    wave = short_clip.wave
    lags = range(-80, 81)
    scores = [np.dot(wave[6000:12000], sound[6000 + lag : 12000 + lag]) for lag in lags]
    assert abs(lags[int(np.argmax(scores))]) <= 16  # a millisecond


def test_truth_tells_of_every_frame(video: Path) -> None:
    truth = read_truth(video)
    assert truth.camera_from_head.shape == (20, 4, 4)
    assert truth.landmarks.shape == (20, 12, 2)
    assert truth.times[-1] == pytest.approx(19 / 25)
    assert truth.phone[0] == "pau"
    assert set(truth.phone) > {"pau"}
    assert truth.lip_opening[0] < 1e-3 < truth.lip_opening.max()
    assert 0.4 < truth.lip_width.min() < truth.lip_width.max() < 0.8


def test_a_frame_can_be_rendered_again_from_its_truth(video: Path, short_clip: SpeechClip) -> None:
    truth = read_truth(video)
    rgb, depth, _ = render_frame(truth.state(7), size=128)
    np.testing.assert_array_equal(depth, render_frame(clip_states(short_clip, seed=1)[7], size=128)[1])
    with av.open(str(video)) as container:
        filmed = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)][7]
    assert np.abs(filmed.astype(int) - rgb).mean() < 4


def test_what_cannot_be_presented_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="even size"):
        present(tmp_path, settings=PresentSettings(size=65))
    with pytest.raises(SettingsError, match="5 to 120"):
        present(tmp_path, settings=PresentSettings(fps=1))
    with pytest.raises(SettingsError, match="64 to 4,096"):
        present(tmp_path, settings=PresentSettings(size=62))
    with pytest.raises(SettingsError, match="Voice 'b' has no 'train'"):
        present(tmp_path, settings=PresentSettings(voice="b", split="train"))
    with pytest.raises(SettingsError, match="20 'train' clips, not 99"):
        present(tmp_path, settings=PresentSettings(takes=99))
    assert not any(tmp_path.iterdir())


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    kept = tmp_path / "train_a_00.mp4"
    kept.write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists"):
        present(tmp_path, settings=PresentSettings(takes=1))
    assert kept.read_bytes() == b"mine"


def test_a_video_without_truth_is_told(tmp_path: Path) -> None:
    with pytest.raises(FootageError, match="No truth"):
        read_truth(tmp_path / "other.mp4")
