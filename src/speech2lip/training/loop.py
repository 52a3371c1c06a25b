"""The training loop: batch, named losses, weighted sum, step; now and then it saves what going on needs."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speech2lip.compute import Compute, faster_precision
from speech2lip.config import TrainSettings
from speech2lip.errors import OutputError, TrainingError
from speech2lip.progress import Progress
from speech2lip.training.checkpoint import KeptState, Progressed, Saved, restore_moments
from speech2lip.training.losses import first_not_finite, total
from speech2lip.training.phases import Phase

_LOG = logging.getLogger(__name__)

_GO_ON = 0.1
"""Learning rate of what has learned in a phase of its own before, as a share of the full one."""
_WARM_UP = 0.02
"""Share of a phase in which the learning rate grows."""
_NOTE_EVERY = 25
"""Steps after which losses are noted; a device that has to be waited for is looked at no more often."""


@dataclass
class TrainingRun:
    """The phases of a plan, trained one after the other, from where the kept state left them."""

    model: nn.Module
    plan: list[Phase]
    settings: TrainSettings
    compute: Compute
    kept: KeptState
    saved: Saved | None = None
    """What the kept state held; None: training begins."""
    budget_seconds: float = math.inf
    """Time for all phases where `settings.steps` is None."""
    stop_after: Callable[[Progressed], bool] = lambda _: False
    """Asked after each step; True saves and returns."""
    """Told where training goes on from, and when the state cannot be saved."""
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self.weights = dataclasses.asdict(self.settings.losses)
        self.state = self.saved.progressed if self.saved else _begun(self.settings)
        self._saving_failed = False

    def run(self) -> Progressed:
        """Train to the end, or until it shall stop.

        Raises:
            TrainingError: a loss is not finite; the last good state is kept.
            OutputError: the state could not be saved at the end.
        """
        state, saved = self.state, self.saved
        if saved:
            self.model.load_state_dict(saved.model)
            _LOG.info(f"going on after {state.seconds:.0f} s of training")
        while state.phase < len(self.plan):
            phase = self.plan[state.phase]
            optimiser = _optimiser(phase)
            if saved:
                restore_moments(optimiser, saved.moments)
                saved = None
            self._decide_precision(phase)
            if not self._run_phase(phase, optimiser):
                return state
            state.phase, state.step, state.phase_seconds = state.phase + 1, 0, 0.0
            self._save(None, needed=state.phase == len(self.plan))
        return state

    def _run_phase(self, phase: Phase, optimiser: torch.optim.Optimizer) -> bool:
        """Train a phase to its end; False where it shall stop before."""
        self.model.train()
        state, watch = self.state, _Watch(self, phase)
        saved_at = begun = self.clock()
        base_seconds, base_all = state.phase_seconds, state.seconds
        with Progress(f"Training {phase.name}", total=1000, unit="‰") as progress:
            while (done := self._done(phase)) < 1:
                self._step(phase, optimiser, done, watch)
                now = self.clock()
                state.phase_seconds, state.seconds = base_seconds + now - begun, base_all + now - begun
                if state.step % _NOTE_EVERY == 0:
                    watch.note()
                    progress.set(1000 * self._done(phase))
                stopping = self.stop_after(state)
                if stopping or now - saved_at > self.settings.save_seconds:
                    watch.check_all()
                    self._save(optimiser, needed=stopping)
                    saved_at = now
                if stopping:
                    return False
        watch.check_all()
        return True

    def _step(self, phase: Phase, optimiser: torch.optim.Optimizer, done: float, watch: _Watch) -> None:
        """Learn from one batch."""
        state, settings = self.state, self.settings
        seed = settings.seed * 1_000_003 + state.phase * 10_000_019 + state.step
        torch.manual_seed(seed)
        for group in optimiser.param_groups:
            group["lr"] = group["pace"] * settings.learning_rate * learning_rate_share(done)
        with self.compute.autocast(state.precision):
            losses = phase.losses(torch.Generator().manual_seed(seed))
            loss = total(losses, self.weights)
        watch.see(losses)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        gradient = torch.nn.utils.clip_grad_norm_([*phase.parameters, *phase.learned_before], 1.0)
        watch.see_gradient(gradient)
        optimiser.step()
        state.step += 1

    def _done(self, phase: Phase) -> float:
        """Tell how much of a phase is done; 1 is all."""
        if self.settings.steps is not None:
            return self.state.step / max(1, round(self.settings.steps * phase.share))
        return self.state.phase_seconds / max(self.budget_seconds * phase.share, 1e-9)

    def _decide_precision(self, phase: Phase) -> None:
        if self.settings.precision != "auto":
            self.state.precision = self.settings.precision
        elif self.state.step == 0:
            self.state.precision = self._faster_precision(phase)

    def _faster_precision(self, phase: Phase) -> str:
        def once() -> None:
            losses = phase.losses(torch.Generator().manual_seed(0))
            total(losses, self.weights).backward()  # type: ignore[no-untyped-call]
            for parameter in [*phase.parameters, *phase.learned_before]:
                parameter.grad = None

        return faster_precision(once, self.compute)

    def _save(self, optimiser: torch.optim.Optimizer | None, *, needed: bool) -> None:
        """Save the state; where it is not `needed` now, training goes on if that fails."""
        try:
            self.kept.save(self.model, self.state, optimiser)
        except OutputError as error:
            if needed:
                raise
            if not self._saving_failed:
                _LOG.info(f"{error} Training goes on without being saved, and tries again.")
            self._saving_failed = True
        else:
            self._saving_failed = False


class _Watch:
    """Looks at the losses of a phase: keeps averages, and stops training that is no longer finite.

    On a processor that is before anything is learned from them: what is looked up at places that are no
    numbers may crash on the way back. Elsewhere the device is not waited for at each step.
    """

    def __init__(self, run: TrainingRun, phase: Phase) -> None:
        self.run, self.phase = run, phase
        self.every = 1 if run.compute.device.type == "cpu" else 2 * _NOTE_EVERY
        self.averages: dict[str, float] = {}
        self.losses: dict[str, Tensor] = {}
        self.unseen: list[tuple[int, dict[str, Tensor]]] = []

    def see(self, losses: Mapping[str, Tensor]) -> None:
        """Take in the losses of the step that is being done."""
        self.losses = {name: value.detach() for name, value in losses.items()}
        self._add({f"loss {name!r}": value for name, value in self.losses.items()})

    def see_gradient(self, length: Tensor) -> None:
        """Take in the length of the step's gradient."""
        self._add({"gradient": length})

    def _add(self, values: dict[str, Tensor]) -> None:
        self.unseen.append((self.run.state.step + 1, values))
        if len(self.unseen) >= self.every:
            self.check()

    def check_all(self) -> None:
        """Do as `check`, and look at the weights too: call it before they are saved."""
        weights = torch.stack([value.detach().float().sum() for value in self.run.model.parameters()]).sum()
        self.unseen.append((self.run.state.step, {"sum of weights": weights}))
        self.check()

    def check(self) -> None:
        """Raise TrainingError if anything since the last check was not finite."""
        found = first_not_finite(self.unseen)
        self.unseen = []
        if found is None:
            return
        (step, name), run = found, self.run
        kept = f"the last good state is kept in {run.kept.path}"
        if not run.kept.path.exists():
            kept = "nothing had been saved yet"
        advice = (
            f"train with a --learning-rate below {run.settings.learning_rate:g}, which begins anew"
            if run.state.precision == "fp32"
            else "the same command with --precision fp32 goes on from there"
        )
        raise TrainingError(
            f"training stopped at step {step} of the phase {self.phase.name!r}: its {name} is no longer a "
            f"finite number; {kept}: {advice}."
        )

    def note(self) -> None:
        """Average the losses, and note them in the history now and then."""
        state, averages = self.run.state, self.averages
        for name, loss in self.losses.items():
            value = float(loss)
            averages[name] = 0.8 * averages.get(name, value) + 0.2 * value
        if state.step % 100 == 0:
            state.history.append(
                {"phase": float(state.phase), "step": float(state.step), "seconds": round(state.seconds, 1)}
                | {name: round(value, 6) for name, value in averages.items()}
            )


def learning_rate_share(done: float) -> float:
    """Return the learning rate over its peak when a share of the phase is done.

    A short rise, then half a cosine to zero.
    """
    if done < _WARM_UP:
        return max(done / _WARM_UP, 0.02)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (done - _WARM_UP) / (1 - _WARM_UP)))) + 1e-3


def _begun(settings: TrainSettings) -> Progressed:
    return Progressed(voice_changes=settings.voice_changes or 0.0)


def _optimiser(phase: Phase) -> torch.optim.Optimizer:
    groups = [{"params": phase.parameters, "pace": 1.0}]
    if phase.learned_before:
        groups.append({"params": phase.learned_before, "pace": _GO_ON})
    return torch.optim.Adam(groups, lr=1.0, betas=(0.9, 0.98))
