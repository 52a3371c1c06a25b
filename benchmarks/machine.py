"""The machine that figures were measured on."""

from __future__ import annotations

import platform
from pathlib import Path

from speech2lip.compute import usable_cores


def machine() -> str:
    """Name the machine for tables: processor and cores."""
    name = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    return f"{name}, {len(usable_cores())} cores"
