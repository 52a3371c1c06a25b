"""Items worked out in a thread of their own while those before are used."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")

_END: Any = object()


def ahead(items: Generator[Item], *, most: int = 6) -> Generator[Item]:
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
