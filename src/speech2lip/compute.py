"""Where networks run and in which precision; decided by what the machine shows, not by what it claims."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch

from speech2lip.errors import SettingsError

M = TypeVar("M", bound=torch.nn.Module)

_PROBES = 3


@dataclass(frozen=True)
class Compute:
    """A device and how to run networks on it."""

    device: torch.device

    def autocast(self, precision: str) -> torch.autocast:
        """Run matrix work inside the block in `bf16` or leave it in `fp32`."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=precision == "bf16")

    def place(self, model: M) -> M:
        """Move networks to the device, channels of pictures last: almost twice as fast on processors."""
        return model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def wait(self) -> None:
        """Wait until the device has done all that it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def choose_device(name: str) -> Compute:
    """Choose `cpu`, `cuda`, or with `auto` CUDA where there is one.

    Raises:
        SettingsError: the device is unknown or not there.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise SettingsError(f"device must be auto, cpu or cuda, not {name!r}")
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise SettingsError(
            "device cuda was asked for, but torch finds none; use --device cpu or see `speech2lip doctor`"
        )
    return Compute(torch.device("cuda" if there and name != "cpu" else "cpu"))


def probe_precision(work: Callable[[], None], compute: Compute) -> tuple[str, float]:
    """Time a piece of work in both precisions.

    Returns:
        The faster: `bf16` must win by a tenth; and how many times as fast as fp32 bf16 was.
    """
    seconds = {}
    for precision in ("fp32", "bf16"):
        times = []
        with compute.autocast(precision):
            for _ in range(1 + _PROBES):  # the first one prepares
                begun = time.perf_counter()
                work()
                compute.wait()
                times.append(time.perf_counter() - begun)
        seconds[precision] = min(times[1:])
    return ("bf16" if seconds["bf16"] < 0.9 * seconds["fp32"] else "fp32"), seconds["fp32"] / seconds["bf16"]


def device_name(compute: Compute) -> str:
    """Name the device for tables."""
    if compute.device.type == "cuda":
        return torch.cuda.get_device_name(compute.device)
    return f"{torch.get_num_threads()} CPU threads"
