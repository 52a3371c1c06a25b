"""The state of training in one file that appears whole or not at all, to put down and take up."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from speech2lip.storage import write_atomically


@dataclass
class Progressed:
    """How far training is; with weights and optimiser moments this is all that it needs to go on."""

    phase: int = 0
    step: int = 0
    """Steps done in this phase."""
    phase_seconds: float = 0.0
    """Time spent in this phase."""
    seconds: float = 0.0
    """Time spent in all, reading the footage included."""
    precision: str = ""
    history: list[dict[str, float]] = field(default_factory=list)
    """Averages of the losses, now and then."""


def save_state(
    path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, state: Progressed, key: str
) -> None:
    """Write the state. `key` names what is trained on what; another key cannot take it up."""
    tensors = {f"model.{name}": value.detach().contiguous() for name, value in model.state_dict().items()}
    for index, moments in optimiser.state_dict()["state"].items():
        for name, value in moments.items():
            tensors[f"optimiser.{index}.{name}"] = torch.as_tensor(value).contiguous()
    with write_atomically(path) as temporary:
        save_file(tensors, temporary, metadata={"key": key, "state": json.dumps(vars(state))})


def load_state(path: Path, key: str) -> tuple[Progressed, dict[str, torch.Tensor]] | None:
    """Read a state that was saved under the same key; None where there is none."""
    if not path.is_file():
        return None
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("key") != key:
            return None
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return Progressed(**json.loads(metadata["state"])), tensors


def restore_model(model: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Put the saved weights into a model."""
    model.load_state_dict({name[6:]: value for name, value in tensors.items() if name.startswith("model.")})


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Put the saved moments into an optimiser over the same parameters."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, index, moment = name.split(".", 2)
            state.setdefault(int(index), {})[moment] = value
    plain = optimiser.state_dict()
    optimiser.load_state_dict({"state": state, "param_groups": plain["param_groups"]})
