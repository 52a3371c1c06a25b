"""How much this process may do at once."""

from __future__ import annotations

import os
from collections.abc import Callable


def usable_cores() -> list[int]:
    """Return the numbers of the processor cores that this process may use; at least one."""
    affinity: Callable[[int], set[int]] | None = getattr(os, "sched_getaffinity", None)  # Linux has it
    return sorted(affinity(0)) if affinity else list(range(os.cpu_count() or 1))
