"""What the work runs on: cores, threads, a device, a precision, and loops compiled for the machine.

Nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import inspect
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from speech2lip.errors import SettingsError

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")
Done = TypeVar("Done")
Model = TypeVar("Model", bound="torch.nn.Module")
Function = TypeVar("Function", bound=Callable[..., object])

_END: Any = object()
_MOST_WORKERS = 4
_PROBES = 3


def usable_cores() -> list[int]:
    """Return the numbers of the processor cores that this process may use; at least one."""
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)  # Linux has it
    return sorted(affinity(0)) if affinity else list(range(os.cpu_count() or 1))


def prefetch(items: Generator[Item], *, most: int = 6) -> Generator[Item]:
    """Yield the items of a generator that runs up to `most` of them ahead, in one other thread.

    What it raises comes out here, at its place. Close this generator to close that one.
    """
    try:
        with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
            waiting = deque(pool.submit(next, items, _END) for _ in range(most))
            try:
                while (item := waiting.popleft().result()) is not _END:
                    waiting.append(pool.submit(next, items, _END))
                    yield item
            finally:
                for job in waiting:
                    job.cancel()
    finally:
        items.close()  # its thread has ended


def worker_count(device: torch.device) -> int:
    """Batches of frames to work on side by side: one a core on a CPU, one on a GPU."""
    return min(_MOST_WORKERS, len(usable_cores())) if device.type == "cpu" else 1


def ordered_map(work: Callable[[Item], Done], jobs: Iterable[Item], *, workers: int) -> Iterator[Done]:
    """Yield `work(job)` for each job in order; `workers` run at once and one more waits.

    Each worker computes on one core: two that share their cores' threads would wait for each other.
    """
    import torch

    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    waiting: deque[Future[Done]] = deque()
    try:
        for job in jobs:
            waiting.append(pool.submit(work, job))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        # What threads that come later begin with is the last number that any thread asked for.
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Compute:
    """A device and how to run networks on it."""

    device: torch.device

    def autocast(self, precision: str) -> torch.autocast:
        """Run matrix work inside the block in `bf16` or leave it in `fp32`."""
        import torch

        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=precision == "bf16")

    def place(self, model: Model) -> Model:
        """Move networks to the device, channels of pictures last: almost twice as fast on processors."""
        import torch

        return model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def wait(self) -> None:
        """Wait until the device has done all that it was given."""
        import torch

        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def choose_device(name: str) -> Compute:
    """Choose `cpu`, `cuda`, or with `auto` CUDA where there is one.

    Raises:
        SettingsError: the device is unknown or not there.
    """
    import torch

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
    import torch

    if compute.device.type == "cuda":
        return torch.cuda.get_device_name(compute.device)
    return f"{torch.get_num_threads()} CPU threads"


def compiled(*, fastmath: bool = False) -> Callable[[Function], Function]:
    """Compile a function at its first call; it runs without Python's lock and is typed as the plain one.

    Where nothing can be kept, in a read-only installation without a home folder or on a full disk, it is
    compiled in every run. A folder for everybody, as `/tmp`, is no place for it: what is kept there is run.

    Args:
        fastmath: allow sums to be reordered, for speed, where the last bits do not matter.
    """

    def compile_it(function: Function) -> Function:
        import numba

        plain = inspect.unwrap(function)  # without what checks types while tests run
        made: Any = numba.njit(fastmath=fastmath, error_model="numpy", nogil=True)(plain)
        if made is not plain:  # numba compiles at all
            with suppress(RuntimeError):  # it knows no place to keep what it compiles
                made.enable_caching()
                _let_saving_fail(made._cache)
        return cast(Function, made)

    return compile_it


def _let_saving_fail(cache: Any) -> None:
    """Let a place that cannot be written to be no fault."""
    save = cache.save_overload

    def save_where_possible(signature: Any, result: Any) -> None:
        try:
            save(signature, result)
        except OSError:  # what was compiled is in memory; only the next run waits again
            cache.disable()

    cache.save_overload = save_where_possible
