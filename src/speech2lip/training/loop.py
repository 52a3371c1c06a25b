"""The training loop: batch, named losses, weighted sum, step; now and then it saves what going on needs."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from speech2lip.compute import Compute, faster_precision
from speech2lip.config import TrainSettings
from speech2lip.progress import Progress
from speech2lip.training.checkpoint import (
    Progressed,
    load_state,
    restore_model,
    restore_optimiser,
    save_state,
)
from speech2lip.training.losses import total
from speech2lip.training.phases import Phase

_GO_ON = 0.1
"""Learning rate of what has learned in a phase of its own before, as a share of the full one."""
_WARM_UP = 0.02
"""Share of a phase in which the learning rate grows."""


def run(
    model: nn.Module,
    plan: list[Phase],
    settings: TrainSettings,
    *,
    compute: Compute,
    budget_seconds: float,
    state_path: Path,
    key: str,
    stop_after: Callable[[Progressed], bool] = lambda _: False,
    say: Callable[[str], None] = print,
) -> Progressed:
    """Train all phases, going on from `state_path` where it holds a state of the same key.

    Args:
        budget_seconds: time for all phases where `settings.steps` is None.
        stop_after: asked after each step; True saves and returns.
        say: told where training goes on from.
    """
    weights = dataclasses.asdict(settings.losses)
    saved = load_state(state_path, key)
    state, tensors = saved if saved else (Progressed(), {})
    if saved:
        restore_model(model, tensors)
        say(f"going on after {state.seconds:.0f} s of training")
    while state.phase < len(plan):
        phase = plan[state.phase]
        optimiser = _optimiser(phase)
        if tensors:
            restore_optimiser(optimiser, tensors)
            tensors = {}
        if state.step == 0:
            state.precision = _choose_precision(phase, settings, weights, compute)
        finished = _run_phase(
            model,
            phase,
            optimiser,
            state,
            settings,
            weights,
            compute,
            budget_seconds,
            state_path,
            key,
            stop_after,
        )
        if not finished:
            return state
        state.phase, state.step, state.phase_seconds = state.phase + 1, 0, 0.0
        save_state(state_path, model, _optimiser(phase), state, key)
    return state


def _optimiser(phase: Phase) -> torch.optim.Optimizer:
    groups = [{"params": phase.parameters, "pace": 1.0}]
    if phase.learned_before:
        groups.append({"params": phase.learned_before, "pace": _GO_ON})
    return torch.optim.Adam(groups, lr=1.0, betas=(0.9, 0.98))


def _run_phase(
    model: nn.Module,
    phase: Phase,
    optimiser: torch.optim.Optimizer,
    state: Progressed,
    settings: TrainSettings,
    weights: dict[str, float],
    compute: Compute,
    budget_seconds: float,
    state_path: Path,
    key: str,
    stop_after: Callable[[Progressed], bool],
) -> bool:
    model.train()
    saved_at = begun = time.monotonic()
    base_seconds, base_all = state.phase_seconds, state.seconds
    averages: dict[str, float] = {}

    def done() -> float:
        if settings.steps is not None:
            return state.step / max(1, round(settings.steps * phase.share))
        return state.phase_seconds / max(budget_seconds * phase.share, 1e-9)

    with Progress(f"Training {phase.name}", total=1000, unit="‰") as progress:
        while done() < 1:
            seed = settings.seed * 1_000_003 + state.phase * 10_000_019 + state.step
            torch.manual_seed(seed)
            for group in optimiser.param_groups:
                group["lr"] = group["pace"] * settings.learning_rate * learning_rate_share(done())
            with compute.autocast(state.precision):
                losses = phase.losses(torch.Generator().manual_seed(seed))
                loss = total(losses, weights)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_([*phase.parameters, *phase.learned_before], 1.0)
            optimiser.step()
            state.step += 1
            now = time.monotonic()
            state.phase_seconds, state.seconds = base_seconds + now - begun, base_all + now - begun
            if state.step % 25 == 0:
                _note(averages, losses, state)
                progress.set(1000 * done())
            stopping = stop_after(state)
            if stopping or now - saved_at > settings.save_seconds:
                save_state(state_path, model, optimiser, state, key)
                saved_at = now
            if stopping:
                return False
    return True


def learning_rate_share(done: float) -> float:
    """Return the learning rate over its peak when a share of the phase is done.

    A short rise, then half a cosine to zero.
    """
    if done < _WARM_UP:
        return max(done / _WARM_UP, 0.02)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (done - _WARM_UP) / (1 - _WARM_UP)))) + 1e-3


def _note(averages: dict[str, float], losses: dict[str, torch.Tensor], state: Progressed) -> None:
    for name, value in losses.items():
        averages[name] = 0.8 * averages.get(name, float(value.detach())) + 0.2 * float(value.detach())
    if state.step % 100 == 0:
        state.history.append(
            {"phase": float(state.phase), "step": float(state.step), "seconds": round(state.seconds, 1)}
            | {name: round(value, 6) for name, value in averages.items()}
        )


def _choose_precision(
    phase: Phase, settings: TrainSettings, weights: dict[str, float], compute: Compute
) -> str:
    if settings.precision != "auto":
        return settings.precision

    def once() -> None:
        total(phase.losses(torch.Generator().manual_seed(0)), weights).backward()  # type: ignore[no-untyped-call]
        for parameter in [*phase.parameters, *phase.learned_before]:
            parameter.grad = None

    return faster_precision(once, compute)
