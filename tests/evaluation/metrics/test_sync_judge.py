"""The judge of sync learns on made mouths, and known faults of sync give known verdicts."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from speech2lip.decomposition.av_offset import pooled_offset, sync_curve
from speech2lip.evaluation.metrics import sync_judge
from speech2lip.evaluation.metrics.published import MAX_OFFSET
from speech2lip.evaluation.metrics.sync_judge import (
    Clips,
    SyncJudge,
    _lesson_loss,
    judge_of,
    judged,
    lag_distances,
    mouth,
)
from speech2lip.evaluation.result import Row

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
        lessons.append(_clips([_picture(one) for one in loud], mel))
    optimiser = torch.optim.Adam(judge.parameters(), lr=2e-3)
    random = np.random.default_rng(0)
    for _ in range(60):
        optimiser.zero_grad()
        _lesson_loss(judge, lessons, random).backward()
        optimiser.step()
    return judge.eval()


def _clips(pictures: list[NDArray[np.uint8]], mel: torch.Tensor, *, fps: float = FPS) -> Clips:
    seen = {index: mouth(picture, BOX) for index, picture in enumerate(pictures)}
    return Clips.of(seen, np.arange(len(pictures)) / fps, mel, fps)


def _distances(judge: SyncJudge, *, late: int = 0, sound: int = 9, still: bool = False) -> torch.Tensor:
    loud, mel = _talk(9)
    shown = [0.4 if still else loud[max(0, index - late)] for index in range(len(loud))]
    pictures = [_picture(float(one)) for one in shown]
    return lag_distances(judge, _clips(pictures, mel if sound == 9 else _talk(sound)[1]))


def _verdict(judge: SyncJudge, **how: Any) -> Row:
    return judged([_distances(judge, **how)])


def test_lips_in_sync_score_best(judge: SyncJudge) -> None:
    true, other = _verdict(judge), _verdict(judge, sound=10)
    still = _verdict(judge, still=True)
    assert true["expert_offset_ms"] == 0
    assert true["expert_confidence"] > 2 * max(other["expert_confidence"], still["expert_confidence"])
    assert true["expert_distance"] < min(other["expert_distance"], still["expert_distance"])


@pytest.mark.parametrize("late", [3, 7])
def test_late_lips_have_the_sign_that_the_sync_offset_gives_them(judge: SyncJudge, late: int) -> None:
    loud, _ = _talk(9)
    lips = loud[np.maximum(0, np.arange(len(loud)) - late)]
    noise = np.random.default_rng(0).normal(size=len(loud) * 640)
    wave = noise * np.repeat(10 ** (2 * loud - 2), 640)
    other = pooled_offset([sync_curve(lips, wave.astype(np.float32), np.arange(len(loud)) / FPS)])
    assert other.milliseconds < 0
    assert _verdict(judge, late=late)["expert_offset_ms"] == pytest.approx(-40 * late)


def test_shifted_sound_is_told_from_true_sound(judge: SyncJudge) -> None:
    told, blind = _distances(judge), _distances(judge, still=True)
    own = MAX_OFFSET

    def share(distances: torch.Tensor) -> float:
        return float((distances[:, own, None] < distances[:, [own - 5, own + 5]]).float().mean())

    assert share(told) > 0.8
    assert share(blind) < 0.7


def test_a_gap_is_not_bridged(judge: SyncJudge) -> None:
    seen = {index: mouth(_picture(0.5), BOX) for index in range(9) if index != 4}
    clips = Clips.of(seen, np.array(list(seen)) / FPS, _talk(9)[1], FPS)
    assert len(clips.frames) == 0  # never five in a row
    assert judged([lag_distances(judge, clips)]) == {}
    assert mouth(_picture(0.5), (0, 0, 0, 0)) is None  # a mouth outside the frame is a gap too


def test_a_judge_is_kept_for_the_same_question(
    tmp_path: Path, judge: SyncJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    person: Any = SimpleNamespace(info=SimpleNamespace(held_out={}, takes=()))
    footage: Any = SimpleNamespace(folder=tmp_path, takes=())
    trained: list[int] = []

    def train(*_: Any, steps: int) -> SyncJudge:
        trained.append(steps)
        return judge

    monkeypatch.setattr(sync_judge, "train_judge", train)
    judge_of(person, footage, steps=5)
    kept = judge_of(person, footage, steps=5)
    assert kept is not None
    assert trained == [5]
    clip = torch.randint(0, 255, (2, 5, sync_judge.SIDE, sync_judge.SIDE), dtype=torch.uint8)
    assert torch.allclose(kept.embed_lips(clip), judge.embed_lips(clip), atol=1e-5)
    judge_of(person, footage, steps=6)
    assert trained == [5, 6]
    (tmp_path / "sync_judge.safetensors").write_bytes(b"damaged")
    judge_of(person, footage, steps=6)
    assert trained == [5, 6, 6]


@pytest.mark.parametrize(("fps", "clip"), [(25, [0, 1, 2, 3, 4]), (60, [0, 2, 5, 7, 10])])
def test_a_clip_lasts_as_long_at_any_frame_rate(fps: int, clip: list[int]) -> None:
    found = _clips([_picture(index / 20) for index in range(20)], _talk(9)[1], fps=fps)
    assert found.frames.tolist() == [[frame + k for frame in clip] for k in range(20 - clip[-1])]
    assert found.times[found.frames[:, 2]].tolist() == [(clip[2] + k) / fps for k in range(20 - clip[-1])]
    assert sync_judge.clip_frames(fps).tolist() == clip
