import contextlib
import dataclasses
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from speech2lip.composition.paste import Paster
from speech2lip.compute import choose_device, probe_precision
from speech2lip.config import LossWeights, TrainSettings, with_preset
from speech2lip.errors import OutputError, TrainingError
from speech2lip.model import LipModel, SpeechFeatures
from speech2lip.training.checkpoint import KeptState, Progressed
from speech2lip.training.loop import TrainingRun, learning_rate_share
from speech2lip.training.losses import colour_losses, shape_losses, total
from speech2lip.training.phases import phases
from speech2lip.training.sync import SyncExpert
from tests.made_face import TINY, made_canonical
from tests.training.made_set import made_set

SETTINGS = TrainSettings(
    steps=20,
    batch=4,
    shape_batch=8,
    crop_points=16,
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


def _model(seed: int = 0) -> LipModel:
    torch.manual_seed(seed)
    model = LipModel(TINY, CANONICAL.patch.size)
    model.lip_shape.components.normal_()
    return model


def _run(folder: Path, model: LipModel, settings: TrainSettings) -> TrainingRun:
    """Return a training of the made set that goes on from what is kept in a folder."""
    expert = SyncExpert()
    plan = phases(model, expert, made_set(canonical=CANONICAL), PASTER, settings)
    kept = KeptState(folder, {"made": "set"})
    networks = nn.ModuleList([model, expert])
    return TrainingRun(networks, plan, settings, choose_device("cpu"), kept, kept.take_up())


class Killed(Exception):
    """Training ends as if by a signal."""


def _train(
    folder: Path,
    *,
    stop_at: int | None = None,
    settings: TrainSettings = SETTINGS,
    model: LipModel | None = None,
) -> tuple[LipModel, Progressed]:
    """Train to the end, or until so many steps have been done and saved."""
    model, steps = model or _model(), count(1)
    run = _run(folder, model, dataclasses.replace(settings, save_seconds=0.0))
    plain = run._step

    def step(*given: Any) -> Any:
        if stop_at is not None and next(steps) > stop_at:
            raise Killed
        return plain(*given)

    run._step = step  # type: ignore
    with contextlib.suppress(Killed):
        run.run()
    return model, run.state


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


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_training_learns(tmp_path: Path, seed: int) -> None:
    """Losses are far below those of the untrained model; on eight seeds they fell to less than a third."""
    settings = dataclasses.replace(
        SETTINGS,
        steps=60,
        learning_rate=1e-2,
        speech_share=0.3,
        blend_share=0.1,
        voice_changes=0.0,
        tempo_changes=0.0,
        losses=LossWeights(sync=0.0, sync_negative=0.0),
        seed=seed,
    )
    model = _model(seed)
    torch.nn.init.zeros_(model.lip_field.mean)
    run = _run(tmp_path, model, settings)
    before = _judged(run)
    run.run()
    after = _judged(run)
    assert after["shape"] < 0.5 * before["shape"]
    assert after["silence_closed"] < 0.5 * before["silence_closed"]
    assert after["l1"] < 0.6 * before["l1"]


def _judged(run: TrainingRun) -> dict[str, float]:
    """Return the mean losses of the lips over the same batches each time, without dropout."""
    run.model.eval()
    lips = next(phase for phase in run.plan if phase.name == "lips")
    with torch.no_grad():
        batches = [lips.losses(torch.Generator().manual_seed(number)) for number in range(8)]
    return {name: float(torch.stack([batch[name] for batch in batches]).mean()) for name in batches[0]}


def test_time_ends_training_too(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, steps=None, save_seconds=3.0)
    run, ticks = _run(tmp_path, _model(), settings), count(100.0, 0.5)
    run.budget_seconds, run.clock = 10.0, lambda: next(ticks)
    state = run.run()
    assert state.phase == 4
    # Half a second a step; each of the four phases may end a step late.
    assert 10 <= state.seconds <= 12


def test_learning_rate_rises_then_falls_to_nothing() -> None:
    shares = [learning_rate_share(n / 100) for n in range(101)]
    assert shares[0] < 0.1
    assert max(shares) == pytest.approx(1, abs=0.02)
    assert shares[-1] < 0.01
    assert shares[3:] == sorted(shares[3:], reverse=True)


def test_losses_have_known_values_and_every_name_a_weight() -> None:
    truth, drawn = torch.zeros(2, 3, 4, 4), torch.full((2, 3, 4, 4), 0.5)
    losses = colour_losses(drawn, truth, torch.ones(1, 1, 4, 4))
    assert losses["l1"].item() == pytest.approx(0.5)
    assert losses["gradient"].item() == 0
    shape, target = torch.tensor([[[1.0], [1.0]], [[2.0], [3.0]]]), torch.zeros(2, 2, 1)
    found = shape_losses(shape, target, torch.ones(1))
    assert found["shape"].item() == pytest.approx(15 / 4)
    assert found["velocity"].item() == pytest.approx(0.5)
    weights = dataclasses.asdict(LossWeights())
    assert set(losses) | set(found) <= set(weights)
    assert total(losses, weights | {"l1": 0.0}).item() == 0


def test_the_faster_precision_wins_only_clearly(monkeypatch: pytest.MonkeyPatch) -> None:
    compute, seen, now = choose_device("cpu"), list[bool](), [0.0]
    monkeypatch.setattr("speech2lip.compute.time.perf_counter", lambda: now[0])

    def work(bf16_seconds: float) -> None:
        bf16 = torch.is_autocast_enabled("cpu")
        seen.append(bf16)
        now[0] += bf16_seconds if bf16 else 1.0

    assert probe_precision(lambda: work(0.8), compute)[0] == "bf16"
    assert set(seen) == {True, False}
    assert probe_precision(lambda: work(0.95), compute)[0] == "fp32"


def test_the_papers_preset_trains_and_goes_on(tmp_path: Path) -> None:
    paper = with_preset(TrainSettings(preset="paper"))
    own = ("losses", "learning_rate", "voice_changes", "tempo_changes", "encoder_init", "point_spacing_px")
    settings = dataclasses.replace(SETTINGS, steps=8, batch=2, crop_points=4, speech_share=0.0)
    settings = dataclasses.replace(settings, **{name: getattr(paper, name) for name in own})
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
    listen, draw = model.encode_speech, model.draw

    def listened(*given: torch.Tensor | None) -> SpeechFeatures:
        modes.update({name: part.training for name, part in model.encoder.named_modules()})
        modes["lip_shape"] = model.lip_shape.head.training
        return listen(*given)

    def drew(*given: Any) -> torch.Tensor:
        modes["lip_field"] = model.lip_field.training
        return draw(*given)

    monkeypatch.setattr(model, "encode_speech", listened)
    monkeypatch.setattr(model, "draw", drew)
    losses = {phase.name: phase.losses for phase in plan}
    model.train()
    for name, learning in (("lips", True), ("blend", False), ("lips", True)):
        modes.clear()
        losses[name](torch.Generator().manual_seed(0))
        assert set(modes.values()) == {learning}, name
        assert model.blend_net.training
    torch.manual_seed(1)
    one = losses["blend"](torch.Generator().manual_seed(0))["l1"]
    torch.manual_seed(2)
    assert torch.equal(one, losses["blend"](torch.Generator().manual_seed(0))["l1"])


def _spoil(run: TrainingRun, phase: str, step: int, what: str = "shape") -> None:
    """Let a loss of a phase be no number from a step of it on."""
    number = [one.name for one in run.plan].index(phase)
    plain = run.plan[number].losses

    def losses(random: torch.Generator) -> dict[str, torch.Tensor]:
        found = plain(random)
        if run.state.step + 1 >= step:
            found[what] = found[what] * torch.nan
        return found

    run.plan[number] = dataclasses.replace(run.plan[number], losses=losses)


def test_a_loss_that_is_no_number_stops_training_and_spoils_nothing(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, steps=40, save_seconds=0.0, precision="bf16")
    run = _run(tmp_path, _model(), settings)
    _spoil(run, "lips", 3)
    with pytest.raises(TrainingError) as error:
        run.run()
    line = str(error.value)
    assert "step 3 of the phase 'lips': its loss 'shape' is no longer a finite number" in line
    assert f"kept in {tmp_path / 'state.safetensors'}" in line
    assert "--precision fp32" in line
    # What is kept is from before, and the same command with that setting goes on from it.
    again = _run(tmp_path, _model(), dataclasses.replace(settings, precision="fp32"))
    assert (again.state.phase, again.state.step) == (2, 2)
    assert all(bool(value.isfinite().all()) for value in again.saved.model.values())
    assert again.run().precision == "fp32"


def test_a_gradient_that_is_no_number_is_not_saved(tmp_path: Path) -> None:
    """The loss of the step is finite, the weights after it are not."""
    settings = dataclasses.replace(SETTINGS, steps=40, save_seconds=0.0)
    run = _run(tmp_path, _model(), settings)
    lips = run.plan[2]

    def losses(random: torch.Generator) -> dict[str, torch.Tensor]:
        found = lips.losses(random)
        if run.state.step == 1:
            zero = (lips.parameters[0] * 0).sum()
            found["l1"] = found["l1"] + zero.sqrt() * 0
        return found

    run.plan[2] = dataclasses.replace(lips, losses=losses)
    with pytest.raises(TrainingError, match=r"step 2 of the phase 'lips': its gradient .*--learning-rate"):
        run.run()
    kept = _run(tmp_path, _model(), settings).saved
    assert all(bool(value.isfinite().all()) for value in kept.model.values())


def test_weights_that_are_no_numbers_are_not_learned_from(tmp_path: Path) -> None:
    """Texture looked up at places that are no numbers ends the process on the way back."""
    model = _model()
    run = _run(tmp_path, model, dataclasses.replace(SETTINGS, steps=40))
    lips = run.plan[2]

    def losses(random: torch.Generator) -> dict[str, torch.Tensor]:
        torch.nn.init.constant_(model.grid_field.start, torch.nan)
        return lips.losses(random)

    run.plan[2] = dataclasses.replace(lips, losses=losses)
    with pytest.raises(TrainingError, match=r"step 1 of the phase 'lips': its loss 'l2'"):
        run.run()


def test_training_goes_on_when_saving_fails_and_says_so_once(
    messages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _run(tmp_path, _model(), dataclasses.replace(SETTINGS, save_seconds=0.0))
    save, tries = KeptState.save, count(1)

    def sometimes(kept: KeptState, *given: Any) -> None:
        if next(tries) < 6:
            raise OutputError("No room left while writing state.safetensors.")
        save(kept, *given)

    monkeypatch.setattr(KeptState, "save", sometimes)
    assert run.run().phase == 4
    assert messages == [
        "No room left while writing state.safetensors. Training goes on without being saved, and tries again."
    ]
    assert next(tries) > 6
    assert KeptState(tmp_path, {"made": "set"}).take_up().progressed.phase == 4


def test_the_last_save_must_succeed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _run(tmp_path, _model(), SETTINGS)

    def full(*_: Any) -> None:
        raise OutputError("No room left")

    monkeypatch.setattr(KeptState, "save", full)
    with pytest.raises(OutputError, match="No room left"):
        run.run()
    assert run.state.phase == 4
