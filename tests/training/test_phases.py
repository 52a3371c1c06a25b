import pytest
import torch

from speech2lip.composition.paste import Paster
from speech2lip.config import LossWeights, TrainSettings
from speech2lip.model import LipModel, SpeechFeatures
from speech2lip.synthesis.lip_field import outline_opening
from speech2lip.synthesis.speech import SILENT_MEL
from speech2lip.training.augmentation import quiet_windows
from speech2lip.training.dataset import TrainingSet
from speech2lip.training.phases import phases
from speech2lip.training.resting import CLOSED_SHARE, LEAST_FRAMES, QUIET_AFTER, QUIET_BEFORE, resting_frames
from speech2lip.training.sync import SyncExpert
from tests.made_face import TINY, made_canonical
from tests.training.made_set import made_set

CANONICAL = made_canonical()


def _footage(speech: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ten seconds of faint hiss with speech; lips open more and more.

    The shape is 1 where nobody speaks, 5 elsewhere.
    """
    mel = SILENT_MEL + 0.2 + 0.05 * torch.rand(80, 1000, generator=torch.Generator().manual_seed(0))
    mel[:, speech] = 0.8
    times = torch.arange(0, 10, 0.04, dtype=torch.float64)
    start, stop = speech.start / 100, speech.stop / 100
    away = (times < start - QUIET_AFTER) | (times > stop + QUIET_BEFORE)
    return torch.where(away, 1.0, 5.0)[:, None], times.float() / 10, mel, times


def test_the_mouth_rests_as_it_does_where_nobody_speaks() -> None:
    shapes, *footage = _footage(slice(400, 900))
    resting = resting_frames(*footage)
    assert resting is not None
    assert resting.in_silence
    assert resting.shape(shapes).tolist() == [1.0]


def test_without_a_quiet_moment_closed_lips_stand_for_rest() -> None:
    _, openings, mel, times = _footage(slice(20, 990))
    assert LEAST_FRAMES > 2
    resting = resting_frames(openings, mel, times)
    assert resting is not None
    assert not resting.in_silence
    assert 0 < resting.shape(openings[:, None]).item() < CLOSED_SHARE


def test_footage_without_any_sound_tells_nothing() -> None:
    assert resting_frames(torch.zeros(100), torch.full((80, 400), SILENT_MEL), torch.arange(100) / 25) is None


def test_quiet_windows_are_quiet_and_repeatable() -> None:
    windows, again = (quiet_windows(64, 80, 60, generator=torch.Generator().manual_seed(4)) for _ in range(2))
    assert windows.shape == (64, 80, 60)
    assert torch.equal(windows, again)
    assert windows.min() == SILENT_MEL
    # Clicks may be loud, for a moment.
    loud = (windows.mean(1) > -0.5).float().mean(1)
    assert loud.max() < 0.2
    assert windows.mean(1).quantile(0.9).item() < -0.5
    assert (windows.amax((1, 2)) == SILENT_MEL).any()
    assert (windows.amax((1, 2)) > -0.5).any()


@pytest.mark.parametrize("frames", [40, 60])
def test_any_length_will_do(frames: int) -> None:
    assert quiet_windows(3, 80, frames, generator=torch.Generator().manual_seed(0)).shape == (3, 80, frames)


def test_training_asks_for_rest_unless_the_footage_is_mute() -> None:
    data = made_set(canonical=CANONICAL, frames=60)
    data.mel[:, 220:] = SILENT_MEL
    data.mel[:, :220] = 0.8
    assert "silence_closed" in _speech_losses(data, LossWeights())
    assert "silence_closed" not in _speech_losses(data, LossWeights(silence_closed=0.0))
    data.mel[:] = 0.8
    assert "silence_closed" in _speech_losses(data, LossWeights())
    data.mel[:] = SILENT_MEL
    assert "silence_closed" not in _speech_losses(data, LossWeights())


def _speech_losses(data: TrainingSet, losses: LossWeights) -> dict[str, torch.Tensor]:
    settings = TrainSettings(losses=losses, model=TINY, device="cpu")
    model = LipModel(TINY, CANONICAL.patch.size)
    plan = phases(model, SyncExpert(), data, Paster(CANONICAL), settings)
    speech = next(phase for phase in plan if phase.name == "speech")
    return speech.losses(torch.Generator().manual_seed(0))


@pytest.mark.parametrize("silent", [True, False])
def test_closed_lips_are_drawn_under_quiet_sounds_where_silence_was_never_seen(
    silent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = made_set(canonical=CANONICAL, frames=60)
    data.mel[:] = 0.8
    torch.nn.init.uniform_(data.outlines)
    if silent:
        data.mel[:, 220:] = SILENT_MEL
    model = LipModel(TINY, CANONICAL.patch.size)
    torch.nn.init.normal_(model.lip_shape.components)
    plan = phases(
        model, SyncExpert(), data, Paster(CANONICAL), TrainSettings(model=TINY, device="cpu", batch=8)
    )
    drawn: list[tuple[SpeechFeatures, torch.Tensor]] = []
    draw = model.draw

    def watch(spoken: SpeechFeatures, pose: torch.Tensor, uv: torch.Tensor) -> torch.Tensor:
        drawn.append((spoken, pose))
        return draw(spoken, pose, uv)

    monkeypatch.setattr(model, "draw", watch)
    lips = next(phase for phase in plan if phase.name == "lips")
    losses = lips.losses(torch.Generator().manual_seed(0))
    assert torch.isfinite(losses["l1"])
    spoken, pose = drawn[0]
    assert len(spoken.code) == len(spoken.shape) == len(pose) == (8 if silent else 12)
    if not silent:
        openings = outline_opening(data.outlines)
        closed = model.lip_shape.from_outline(data.outlines[openings <= openings.quantile(CLOSED_SHARE)])
        assert all(any(torch.allclose(shape, other) for other in closed) for shape in spoken.shape[8:])
