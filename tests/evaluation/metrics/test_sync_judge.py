"""The judge of sync learns on made mouths, and known faults of sync give known verdicts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from speech2lip.decomposition.av_offset import av_offset
from speech2lip.evaluation.metrics import sync_judge
from speech2lip.evaluation.metrics.sync_judge import SyncJudge, SyncTrial, _Lesson, _lesson_loss, mouth

FPS = 25
BOX = (10, 10, 50, 50)


def _talk(seed: int, frames: int = 150) -> tuple[NDArray[np.float64], torch.Tensor]:
    """Return a loudness for every frame and the spectrum [80, F] that has it."""
    random = np.random.default_rng(seed)
    loud = np.convolve(random.random(frames + 4), np.ones(3) / 3, "same")[2:-2]
    loud = np.clip((loud - 0.5) * 3 + 0.5, 0, 1)
    mel = torch.from_numpy(np.interp(np.arange(frames * 4) / 4, np.arange(frames) + 0.5, loud)).float()
    return loud, mel.expand(80, -1).contiguous()


def _picture(open_mouth: float) -> NDArray[np.uint8]:
    picture = np.full((60, 60, 3), 150, np.uint8)
    half = 1 + round(8 * open_mouth)
    picture[30 - half : 30 + half, 20:40] = 30
    return picture


@pytest.fixture(scope="module")
def judge() -> SyncJudge:
    torch.manual_seed(0)
    judge = SyncJudge()
    lessons = []
    for seed in range(4):
        loud, mel = _talk(seed)
        mouths = np.stack([mouth(_picture(one), BOX) for one in loud])
        times = np.arange(len(loud)) / FPS
        lessons.append(_Lesson(mouths, times, np.arange(len(loud) - 4), mel, 1 / FPS))
    optimiser = torch.optim.Adam(judge.parameters(), lr=2e-3)
    random = np.random.default_rng(0)
    for _ in range(60):
        optimiser.zero_grad()
        _lesson_loss(judge, lessons, random).backward()
        optimiser.step()
    return judge.eval()


def _verdict(judge: SyncJudge, *, late: int = 0, sound: int = 9, still: bool = False) -> SyncTrial:
    loud, mel = _talk(9)
    trial = SyncTrial(judge)
    for index in range(len(loud)):
        shown = 0.4 if still else loud[max(0, index - late)]
        trial.add(index / FPS, _picture(float(shown)), BOX)
    trial.end_take(mel if sound == 9 else _talk(sound)[1])
    return trial


def test_lips_in_sync_score_best(judge: SyncJudge) -> None:
    true, other = _verdict(judge).figures(), _verdict(judge, sound=10).figures()
    still = _verdict(judge, still=True).figures()
    assert true["expert_offset_ms"] == 0
    assert true["expert_confidence"] > 2 * max(other["expert_confidence"], still["expert_confidence"])
    assert true["expert_distance"] < min(other["expert_distance"], still["expert_distance"])


@pytest.mark.parametrize("late", [3, 7])
def test_late_lips_have_the_sign_that_the_sync_offset_gives_them(judge: SyncJudge, late: int) -> None:
    loud, _ = _talk(9)
    lips = loud[np.maximum(0, np.arange(len(loud)) - late)]
    noise = np.random.default_rng(0).normal(size=len(loud) * 640)
    wave = noise * np.repeat(10 ** (2 * loud - 2), 640)
    other = av_offset(lips, wave.astype(np.float32), np.arange(len(loud)) / FPS, max_lag=0.5)
    assert other.milliseconds < 0
    assert _verdict(judge, late=late).figures()["expert_offset_ms"] == pytest.approx(-40 * late)


def test_shifted_sound_is_told_from_true_sound(judge: SyncJudge) -> None:
    told = _verdict(judge).told_shifts()
    assert set(told) == {"2", "3", "5"}
    assert told["5"] > 0.8
    blind = _verdict(judge, still=True).told_shifts()
    assert blind["5"] < 0.7


def test_a_gap_is_not_bridged(judge: SyncJudge) -> None:
    trial = SyncTrial(judge)
    for index in range(9):
        if index == 4:
            trial.skip()
        else:
            trial.add(index / FPS, _picture(0.5), BOX)
    trial.end_take(_talk(9)[1])
    assert trial.figures()["expert_confidence"] is None  # never five in a row
    trial.add(0.0, _picture(0.5), (0, 0, 0, 0))  # a mouth outside the frame is a gap too


def test_a_kept_judge_of_something_else_is_not_used(tmp_path: Path, judge: SyncJudge) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "sync_judge.safetensors"
    assert sync_judge._kept_judge(path, "a") is None
    save_file(judge.state_dict(), path, metadata={"key": "a"})
    kept = sync_judge._kept_judge(path, "a")
    assert kept is not None
    assert sync_judge._kept_judge(path, "b") is None
    clip = torch.randint(0, 255, (2, 5, sync_judge.SIDE, sync_judge.SIDE), dtype=torch.uint8)
    assert torch.allclose(kept.see(clip), judge.see(clip), atol=1e-5)


@pytest.mark.parametrize(("fps", "clip"), [(25, [0, 1, 2, 3, 4]), (60, [0, 2, 5, 7, 10])])
def test_a_clip_lasts_as_long_at_any_frame_rate(judge: SyncJudge, fps: int, clip: list[int]) -> None:
    trial = SyncTrial(judge)
    trial.begin_take(fps)
    for index in range(20):
        trial.add(index / fps, _picture(index / 20), BOX)
    mouths = np.stack([mouth(_picture(index / 20), BOX) for index in range(20)])
    shown = np.stack(trial._clips)
    assert np.array_equal(shown, np.stack([mouths[np.add(clip, k)] for k in range(20 - clip[-1])]))
    assert trial._moments == [(clip[2] + k) / fps for k in range(20 - clip[-1])]
    assert sync_judge.clip_frames(fps).tolist() == clip
