"""The training loop: batch, named losses, weighted sum, step; now and then it saves what going on needs."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speech2lip.compute import Compute, probe_precision
from speech2lip.config import TrainSettings
from speech2lip.errors import OutputError, TrainingError
from speech2lip.progress import Progress
from speech2lip.training.checkpoint import KeptState, Progressed, Saved, restore_moments
from speech2lip.training.losses import total
from speech2lip.training.phases import Phase

_LOG = logging.getLogger(__name__)

_GO_ON = 0.1
"""Learning rate of what has learned in a phase of its own before, as a share of the full one."""
_WARM_UP = 0.02
"""Share of a phase in which the learning rate grows."""
_NOTE_EVERY = 25
"""Steps after which losses are looked at and averaged; four times as many go into the history once."""


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
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        begun = Progressed(voice_changes=self.settings.voice_changes or 0.0)
        self.state = self.saved.progressed if self.saved else begun
        self._saving_failed = False

    def run(self) -> Progressed:
        """Train to the end.

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
            self._run_phase(phase, optimiser)
            state.phase, state.step, state.phase_seconds = state.phase + 1, 0, 0.0
            self._save(needed=state.phase == len(self.plan))
        return state

    def _run_phase(self, phase: Phase, optimiser: torch.optim.Optimizer) -> None:
        """Train a phase to its end."""
        self.model.train()
        state, averages = self.state, dict[str, float]()
        saved_at = begun = self.clock()
        base_seconds, base_all = state.phase_seconds, state.seconds
        with Progress(f"Training {phase.name}", total=1000, unit="‰") as progress:
            while (done := self._done(phase)) < 1:
                losses = self._step(phase, optimiser, done)
                now = self.clock()
                state.phase_seconds, state.seconds = base_seconds + now - begun, base_all + now - begun
                if state.step % _NOTE_EVERY == 0:
                    self._note(losses, averages)
                    progress.set(1000 * self._done(phase))
                if now - saved_at > self.settings.save_seconds:
                    self._require_finite_weights(phase)
                    self._save(optimiser)
                    saved_at = now
        self._require_finite_weights(phase)

    def _step(self, phase: Phase, optimiser: torch.optim.Optimizer, done: float) -> dict[str, Tensor]:
        """Learn from one batch; its losses."""
        state, settings = self.state, self.settings
        seed = settings.seed * 1_000_003 + state.phase * 10_000_019 + state.step
        torch.manual_seed(seed)
        for group in optimiser.param_groups:
            group["lr"] = group["pace"] * settings.learning_rate * learning_rate_share(done)
        with self.compute.autocast(state.precision):
            losses = phase.losses(torch.Generator().manual_seed(seed))
            loss = total(losses, vars(self.settings.losses))
        state.step += 1
        # On a processor before anything is learned from them: what is looked up at places that are no numbers
        # may crash on the way back. Another device is not waited for at each step; no number stays none.
        looked_at = self.compute.device.type == "cpu" or state.step % _NOTE_EVERY == 0
        if looked_at:
            self._require_finite(phase, {f"loss {name!r}": value for name, value in losses.items()})
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        gradient = torch.nn.utils.clip_grad_norm_([*phase.parameters, *phase.learned_before], 1.0)
        if looked_at:
            self._require_finite(phase, {"gradient": gradient})
        optimiser.step()
        return {name: value.detach() for name, value in losses.items()}

    def _note(self, losses: Mapping[str, Tensor], averages: dict[str, float]) -> None:
        """Average the losses, and note them in the history now and then."""
        state = self.state
        for name, loss in losses.items():
            averages[name] = 0.8 * averages.get(name, float(loss)) + 0.2 * float(loss)
        if state.step % (4 * _NOTE_EVERY) == 0:
            state.history.append(
                {"phase": float(state.phase), "step": float(state.step), "seconds": round(state.seconds, 1)}
                | {name: round(value, 6) for name, value in averages.items()}
            )

    def _require_finite_weights(self, phase: Phase) -> None:
        total = torch.stack([value.detach().float().sum() for value in self.model.parameters()]).sum()
        self._require_finite(phase, {"sum of weights": total})

    def _require_finite(self, phase: Phase, values: Mapping[str, Tensor]) -> None:
        """Raise TrainingError where a value is no finite number."""
        flags = torch.stack([value.detach().float() for value in values.values()]).isfinite().tolist()
        if all(flags):
            return
        kept = f"the last good state is kept in {self.kept.path}"
        if not self.kept.path.exists():
            kept = "nothing had been saved yet"
        advice = (
            f"train with a --learning-rate below {self.settings.learning_rate:g}, which begins anew"
            if self.state.precision == "fp32"
            else "the same command with --precision fp32 goes on from there"
        )
        raise TrainingError(
            f"training stopped at step {self.state.step} of the phase {phase.name!r}: its "
            f"{list(values)[flags.index(False)]} is no longer a finite number; {kept}: {advice}."
        )

    def _done(self, phase: Phase) -> float:
        """Tell how much of a phase is done; 1 is all."""
        if self.settings.steps is not None:
            return self.state.step / max(1, round(self.settings.steps * phase.share))
        return self.state.phase_seconds / max(self.budget_seconds * phase.share, 1e-9)

    def _decide_precision(self, phase: Phase) -> None:
        """Take the precision asked for, or the faster one at the beginning of a phase."""

        def once() -> None:
            losses = phase.losses(torch.Generator().manual_seed(0))
            total(losses, vars(self.settings.losses)).backward()  # type: ignore[no-untyped-call]
            for parameter in [*phase.parameters, *phase.learned_before]:
                parameter.grad = None

        if self.settings.precision != "auto":
            self.state.precision = self.settings.precision
        elif self.state.step == 0:
            self.state.precision = probe_precision(once, self.compute)[0]

    def _save(self, optimiser: torch.optim.Optimizer | None = None, *, needed: bool = False) -> None:
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


def learning_rate_share(done: float) -> float:
    """Return the learning rate over its peak when a share of the phase is done.

    A short rise, then half a cosine to zero.
    """
    if done < _WARM_UP:
        return max(done / _WARM_UP, 0.02)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (done - _WARM_UP) / (1 - _WARM_UP)))) + 1e-3


def _optimiser(phase: Phase) -> torch.optim.Optimizer:
    groups = [{"params": phase.parameters, "pace": 1.0}]
    if phase.learned_before:
        groups.append({"params": phase.learned_before, "pace": _GO_ON})
    return torch.optim.Adam(groups, lr=1.0, betas=(0.9, 0.98))
