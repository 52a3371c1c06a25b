"""What this machine has: versions, devices, room, and the optional parts that are missing."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from speech2lip.parallel import usable_cores

_REQUIRED = {
    "numpy": "numpy",
    "scipy": "scipy",
    "av": "av",
    "soundfile": "soundfile",
    "soxr": "soxr",
    "safetensors": "safetensors",
    "numba": "numba",
    "skimage": "scikit-image",
}
"""Module -> package; torch and mediapipe are looked at in checks of their own."""

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
    return [
        _python(),
        _package(),
        *_torch(),
        _mediapipe(),
        *(_import(module, package) for module, package in _REQUIRED.items()),
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


def _python() -> Check:
    good = (3, 10) <= sys.version_info[:2] < (3, 13)
    cores = len(usable_cores())
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {cores} cores"
    return Check("python", good, found, remedy="use Python 3.10, 3.11 or 3.12")


def _package() -> Check:
    from speech2lip._version import __version__

    return Check("speech2lip", True, f"{__version__} in {Path(__file__).parent}")


def _torch() -> list[Check]:
    try:
        import torch
    except (ImportError, OSError) as error:
        return [Check("torch", False, _short(error), remedy='pip install "torch>=2.6,<2.14"')]
    checks = [Check("torch", True, f"{torch.__version__}, {torch.get_num_threads()} threads")]
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        found = f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB"
        checks.append(Check("graphics card", True, found, required=False))
    else:
        checks.append(
            Check("graphics card", False, "none that torch can use: the processor does all", required=False)
        )
    flags = _processor_flags()
    fast = sorted(flags & {"amx_bf16", "avx512_bf16"})
    found = (
        f"in hardware ({', '.join(fast)})" if fast else "not in hardware: training runs in fp32, more slowly"
    )
    checks.append(Check("bf16", bool(fast), found, required=False))
    passive = os.environ.get("OMP_WAIT_POLICY", "").upper() == "PASSIVE"
    remedy = "export OMP_WAIT_POLICY=PASSIVE before importing torch (the commands do it by themselves)"
    checks.append(
        Check("OpenMP waiting", passive, "passive" if passive else "active", required=False, remedy=remedy)
    )
    return checks


def _mediapipe() -> Check:
    remedy = 'pip install "mediapipe==0.10.21" (needed to prepare and evaluate, not to train and speak)'
    return _import("mediapipe", "mediapipe", remedy=remedy)


def _import(module: str, package: str, *, required: bool = True, remedy: str = "") -> Check:
    remedy = remedy or f"pip install {package}"
    try:
        import_module(module)
        return Check(package, True, version(package), required=required)
    except PackageNotFoundError:
        return Check(package, True, "version unknown", required=required)
    except (ImportError, OSError, AttributeError) as error:
        return Check(package, False, _short(error), required=required, remedy=remedy)


def _coder() -> Check:
    """PyAV may be built without the H.264 encoder."""
    remedy = "pip install --force-reinstall --only-binary=:all: av"
    try:
        import av

        av.Codec("libx264", "w")
        av.Codec("aac", "w")
    except (ImportError, ValueError, OSError) as error:
        return Check("H.264 and AAC", False, _short(error), remedy=remedy)
    return Check("H.264 and AAC", True, "can be written")


def _room() -> Check:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    found = f"{free:.1f} GB free in {Path.cwd()}"
    return Check(
        "room on disk", free >= _ROOM_WANTED, found, required=False, remedy="a few gigabytes are wanted"
    )


def _processor_flags() -> set[str]:
    information = Path("/proc/cpuinfo")
    if not information.exists():
        return set()
    for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith(("flags", "Features")):
            return set(line.split(":", 1)[1].split())
    return set()


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:120]}"
