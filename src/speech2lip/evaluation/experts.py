"""Experts whose weights the user gives: they watch an evaluation and add their own columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

import torch

from speech2lip.config import EvaluateSettings
from speech2lip.evaluation.lpips import Likeness, Lpips, load_lpips
from speech2lip.evaluation.syncnet import SyncNet, load_syncnet
from speech2lip.evaluation.syncnet_trials import SyncNetTrials
from speech2lip.evaluation.table import Row
from speech2lip.evaluation.watching import Watcher


class Expert(Watcher, Protocol):
    """A watcher that has figures to tell."""

    def figures(self) -> Mapping[str, Row]:
        """Return its columns by row."""
        ...


class GivenWeights:
    """The networks of those weights that the settings name; read at once, so that a wrong file is told early.

    Raises:
        SettingsError: a file is missing or holds something else.
    """

    def __init__(self, settings: EvaluateSettings) -> None:
        lpips, syncnet = settings.lpips_weights, settings.syncnet_weights
        self.lpips: Lpips | None = None if lpips is None else load_lpips(lpips)
        self.syncnet: SyncNet | None = None if syncnet is None else load_syncnet(syncnet)

    def experts(self, rows: Iterable[str], device: torch.device) -> list[Expert]:
        """Return the experts that there are weights for."""
        names = list(rows)
        found: list[Expert] = []
        if self.lpips is not None:
            found.append(Likeness(self.lpips.to(device), names))
        if self.syncnet is not None:
            found.append(SyncNetTrials(self.syncnet.to(device), names))
        return found
