"""`python -m benchmarks NAME`: what is measured of the project; `make bench` runs `quality`."""

from __future__ import annotations

import sys
from importlib import import_module

import tyro

from speech2lip.errors import Speech2LipError

BENCHMARKS = {
    "quality": "quality.bench",
    "speed": "speed.bench",
    "geometry": "geometry.bench",
    "new_pose": "new_pose.bench",
    "robustness": "robustness.bench",
    "ablation": "ablation",
    "long_sound": "long_sound",
    "sheet": "sheet",
}
"""Name -> module with `Arguments` and `main`."""


def run(words: list[str]) -> int:
    """Run the benchmark that the first word names; return the exit code."""
    name, *rest = words or ["--help"]
    if name not in BENCHMARKS:
        print(f"usage: python -m benchmarks {{{','.join(BENCHMARKS)}}} ...")
        return 0 if name in ("-h", "--help") else 2
    module = import_module(f"benchmarks.{BENCHMARKS[name]}")
    try:
        module.main(tyro.cli(module.Arguments, prog=f"python -m benchmarks {name}", args=rest))
    except Speech2LipError as error:
        print(f"benchmarks: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
