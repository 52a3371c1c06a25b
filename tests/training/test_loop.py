import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from speech2lip.composition.paste import Paster
from speech2lip.compute import choose_device, faster_precision
from speech2lip.config import LossWeights, TrainSettings, with_preset
from speech2lip.model import LipModel, Spoken
from speech2lip.training.checkpoint import Progressed, load_state
from speech2lip.training.loop import learning_rate_share, run
from speech2lip.training.losses import colour_losses, shape_losses, total
from speech2lip.training.phases import phases
from speech2lip.training.sync import SyncExpert
from tests.made_face import TINY, made_canonical
from tests.training.made_set import made_set

SETTINGS = TrainSettings(
    steps=20,
    batch=4,
    shape_batch=8,
    window=16,
    precision="fp32",
    device="cpu",
    model=TINY,
    blend_share=0.4,
    expert_share=0.2,
    speech_share=0.1,
    speech_batch=8,
    expert_batch=8,
    sync_clips=2,
    sync_share=0.5,
)
CANONICAL = made_canonical()
PASTER = Paster(CANONICAL)


def _model() -> LipModel:
    torch.manual_seed(0)
    model = LipModel(TINY, CANONICAL.patch.size)
    model.lip_shape.components.normal_()
    return model


def _train(
    folder: Path,
    *,
    stop_at: int | None = None,
    settings: TrainSettings = SETTINGS,
    model: LipModel | None = None,
) -> tuple[LipModel, Progressed]:
    model, count = model or _model(), [0]

    def stop(_: Progressed) -> bool:
        count[0] += 1
        return stop_at is not None and count[0] >= stop_at

    expert = SyncExpert()
    state = run(
        nn.ModuleList([model, expert]),
        phases(model, expert, made_set(canonical=CANONICAL), PASTER, settings),
        settings,
        compute=choose_device("cpu"),
        budget_seconds=60,
        state_path=folder / "state.safetensors",
        key="k",
        stop_after=stop,
    )
    return model, state


@pytest.mark.parametrize("stop_at", [2, 5, 10, 15])
def test_twenty_steps_are_some_and_a_stop_and_the_rest(tmp_path: Path, stop_at: int) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    whole, finished = _train(tmp_path / "one")
    _, stopped = _train(tmp_path / "two", stop_at=stop_at)
    resumed, also_finished = _train(tmp_path / "two")
    assert stopped.phase == {2: 0, 5: 1, 10: 2, 15: 3}[stop_at]
    assert (finished.phase, also_finished.phase) == (4, 4)
    for (name, a), (_, b) in zip(whole.state_dict().items(), resumed.state_dict().items(), strict=True):
        assert torch.equal(a, b), name


def test_a_state_of_something_else_is_not_taken_up(tmp_path: Path) -> None:
    _train(tmp_path, stop_at=3)
    assert load_state(tmp_path / "state.safetensors", "k") is not None
    assert load_state(tmp_path / "state.safetensors", "another") is None
    assert load_state(tmp_path / "none.safetensors", "k") is None


def test_training_learns(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, steps=600, blend_share=0.2, voice_changes=0.0, tempo_changes=0.0)
    model, state = _train(tmp_path, settings=settings)
    lips = [note for note in state.history if note["phase"] == 2]
    assert lips[-1]["colour"] < 0.6 * lips[0]["colour"]
    shapes = model.lip_shape.from_outline(made_set(canonical=CANONICAL).outlines)
    mean = shapes.mean(0).expand_as(shapes)
    guess = shape_losses(mean[None], shapes[None], model.lip_shape.components.norm(dim=1))
    assert lips[-1]["shape"] < 0.5 * float(guess["shape"])


def test_time_ends_training_too(tmp_path: Path) -> None:
    model = _model()
    settings = dataclasses.replace(SETTINGS, steps=None)
    state = run(
        model,
        phases(model, SyncExpert(), made_set(canonical=CANONICAL), PASTER, settings),
        settings,
        compute=choose_device("cpu"),
        budget_seconds=0.5,
        state_path=tmp_path / "state.safetensors",
        key="k",
    )
    assert state.phase == 4
    assert 0.4 < state.seconds < 20


def test_learning_rate_rises_then_falls_to_nothing() -> None:
    shares = [learning_rate_share(n / 100) for n in range(101)]
    assert shares[0] < 0.1
    assert max(shares) == pytest.approx(1, abs=0.02)
    assert shares[-1] < 0.01
    assert shares[3:] == sorted(shares[3:], reverse=True)


def test_losses_have_known_values_and_every_name_a_weight() -> None:
    truth, drawn = torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.5)
    losses = colour_losses(drawn, truth, torch.ones(1, 1, 4, 4))
    assert losses["colour"].item() == pytest.approx(0.5)
    assert losses["gradient"].item() == 0
    shape, target = torch.tensor([[[1.0], [1.0]], [[2.0], [3.0]]]), torch.zeros(2, 2, 1)
    found = shape_losses(shape, target, torch.ones(1))
    assert found["shape"].item() == pytest.approx(15 / 4)
    assert found["steady"].item() == pytest.approx(0.5)
    weights = dataclasses.asdict(LossWeights())
    assert set(losses) | set(found) <= set(weights)
    assert total(losses, weights | {"colour": 0.0}).item() == 0


def test_the_faster_precision_wins_only_clearly() -> None:
    import time

    compute, seen = choose_device("cpu"), []

    def work() -> None:
        bf16 = torch.is_autocast_enabled("cpu")
        seen.append(bf16)
        time.sleep(0.001 if bf16 else 0.01)

    assert faster_precision(work, compute) == "bf16"
    assert set(seen) == {True, False}
    assert faster_precision(lambda: time.sleep(0.005), compute) == "fp32"


def test_the_papers_preset_trains_and_goes_on(tmp_path: Path) -> None:
    settings = with_preset(dataclasses.replace(SETTINGS, preset="paper", steps=8))
    settings = dataclasses.replace(settings, batch=4, window=4, speech_share=0.0)
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    untrained = _paper_model().state_dict()
    whole, finished = _train(tmp_path / "one", settings=settings, model=_paper_model())
    _, stopped = _train(tmp_path / "two", settings=settings, model=_paper_model(), stop_at=5)
    resumed, _ = _train(tmp_path / "two", settings=settings, model=_paper_model())
    assert (stopped.phase, finished.phase) == (2, 4)
    for (name, a), (_, b) in zip(whole.state_dict().items(), resumed.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    for name in ("lip_field.colour.weight", "lip_field.skip.time.weight", "blend_net.out.weight"):
        assert not torch.equal(whole.state_dict()[name], untrained[name]), name


def _paper_model() -> LipModel:
    torch.manual_seed(0)
    model = LipModel(dataclasses.replace(TINY, field="paper", blend="paper"), CANONICAL.patch.size)
    model.lip_shape.components.normal_()
    return model


def test_the_blend_net_mends_what_the_avatar_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is frozen does as in use, without dropout; the lips learn under dropout as before."""
    model, modes = _model(), dict[str, bool]()
    plan = phases(model, SyncExpert(), made_set(canonical=CANONICAL), PASTER, SETTINGS)
    listen, draw = model.listen, model.draw

    def listened(*given: torch.Tensor | None) -> Spoken:
        modes.update({name: part.training for name, part in model.encoder.named_modules()})
        modes["lip_shape"] = model.lip_shape.head.training
        return listen(*given)

    def drew(*given: Any) -> torch.Tensor:
        modes["lip_field"] = model.lip_field.training
        return draw(*given)

    monkeypatch.setattr(model, "listen", listened)
    monkeypatch.setattr(model, "draw", drew)
    losses = {phase.name: phase.losses for phase in plan}
    model.train()
    for name, learning in (("lips", True), ("blend", False), ("lips", True)):
        modes.clear()
        losses[name](torch.Generator().manual_seed(0))
        assert set(modes.values()) == {learning}, name
        assert model.blend_net.training
    torch.manual_seed(1)
    one = losses["blend"](torch.Generator().manual_seed(0))["colour"]
    torch.manual_seed(2)
    assert torch.equal(one, losses["blend"](torch.Generator().manual_seed(0))["colour"])
