"""Pieces of work done side by side and handed over in order, only so many at once as there is room for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from speech2lip.parallel import usable_cores

Job = TypeVar("Job")
Done = TypeVar("Done")

_MOST_WORKERS = 4


def worker_count(device: torch.device) -> int:
    """Frames' batches to work on side by side: one a core on a processor, one on a graphics card."""
    return min(_MOST_WORKERS, len(usable_cores())) if device.type == "cpu" else 1


def in_order(work: Callable[[Job], Done], jobs: Iterable[Job], *, workers: int) -> Iterator[Done]:
    """Yield `work(job)` for each job in order; `workers` run at once and one more waits.

    Each worker computes on one core: two that share their cores' threads would wait for each other.
    """
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
