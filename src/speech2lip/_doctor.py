"""What this machine has: versions, devices, room, and the parts that are missing."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from speech2lip._version import __version__
from speech2lip.compute import usable_cores

_REQUIRED = {
    "torch": 'pip install "torch>=2.6,<2.14"',
    "mediapipe": 'pip install "mediapipe==0.10.21" (needed to prepare and evaluate, not to train and speak)',
} | {
    name: f"pip install {name}"
    for name in ("numpy", "scipy", "av", "soundfile", "soxr", "safetensors", "numba", "scikit-image")
}
"""Package -> what to do where it is missing."""
_MODULES = {"scikit-image": "skimage"}
"""Of packages whose module has another name."""

_ROOM_WANTED = 2.0
"""Gigabytes that footage, an avatar and a few videos take at most."""


@dataclass(frozen=True)
class Check:
    """One finding."""

    name: str
    good: bool
    found: str
    """What was found, in a few words."""
    required: bool = True
    """Whether the main job needs it."""
    remedy: str = ""
    """What to do where it is not good."""


def doctor() -> list[Check]:
    """Look at everything that the commands need and return the findings; nothing is changed."""
    cores = len(usable_cores())
    system = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {cores} cores"
    supported = (3, 10) <= sys.version_info[:2] < (3, 13)
    packages = [_package(name, remedy) for name, remedy in _REQUIRED.items()]
    return [
        Check("python", supported, system, remedy="use Python 3.10, 3.11 or 3.12"),
        Check("speech2lip", True, f"{__version__} in {Path(__file__).parent}"),
        *packages,
        *(_torch() if packages[0].good else []),
        _coder(),
        _room(),
    ]


def report(checks: list[Check]) -> str:
    """The findings as lines for people."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        mark = "ok     " if check.good else ("MISSING" if check.required else "without")
        lines.append(f"{mark}  {check.name:<{width}}  {check.found}")
        if not check.good and check.remedy:
            lines.append(f"{'':7}  {'':<{width}}  -> {check.remedy}")
    return "\n".join(lines)


def _package(name: str, remedy: str) -> Check:
    try:
        import_module(_MODULES.get(name, name))
        return Check(name, True, version(name))
    except (ImportError, OSError, AttributeError) as error:
        return Check(name, False, _short(error), remedy=remedy)


def _torch() -> list[Check]:
    import torch

    card = "no CUDA device: running on CPU"
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        card = f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB"
    fast = sorted(_processor_flags() & {"amx_bf16", "avx512_bf16"})
    slow = "not in hardware: training runs in fp32, more slowly"
    waiting = os.environ.get("OMP_WAIT_POLICY", "active").lower()
    return [
        Check("graphics card", torch.cuda.is_available(), card, required=False),
        Check("bf16", bool(fast), f"in hardware ({', '.join(fast)})" if fast else slow, required=False),
        Check(
            "OpenMP waiting",
            waiting == "passive",
            waiting,
            required=False,
            remedy="export OMP_WAIT_POLICY=PASSIVE before importing torch (the commands do it themselves)",
        ),
    ]


def _coder() -> Check:
    """PyAV may be built without the H.264 encoder."""
    try:
        import av

        av.Codec("libx264", "w")
        av.Codec("aac", "w")
    except (ImportError, ValueError, OSError) as error:
        remedy = "pip install --force-reinstall --only-binary=:all: av"
        return Check("H.264 and AAC", False, _short(error), remedy=remedy)
    return Check("H.264 and AAC", True, "can be written")


def _room() -> Check:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    found, remedy = f"{free:.1f} GB free in {Path.cwd()}", "a few gigabytes are needed"
    return Check("room on disk", free >= _ROOM_WANTED, found, required=False, remedy=remedy)


def _processor_flags() -> set[str]:
    information = Path("/proc/cpuinfo")
    text = information.read_text(encoding="utf-8", errors="replace") if information.exists() else ""
    line = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), ":")
    return set(line.split(":", 1)[1].split())


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:120]}"
