"""How much this process may do at once."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")
Done = TypeVar("Done")

_END: Any = object()
_MOST_WORKERS = 4


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
