"""Train a talking-head avatar of one person from a short video, then let it speak any sound file."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checkup import doctor
    from .decomposition.prepare import prepare
    from .evaluation.bench import bench
    from .evaluation.evaluate import evaluate
    from .inference.export import export
    from .inference.live.show import live
    from .inference.speak import speak
    from .inference.stream import stream
    from .journey import demo
    from .presenter import present
    from .training.train import train

__version__ = "0.1.0"

_PUBLIC = {
    "bench": "evaluation.bench",
    "demo": "journey",
    "doctor": "checkup",
    "evaluate": "evaluation.evaluate",
    "export": "inference.export",
    "live": "inference.live.show",
    "prepare": "decomposition.prepare",
    "present": "presenter",
    "speak": "inference.speak",
    "stream": "inference.stream",
    "train": "training.train",
}
"""Public name -> module that holds it, imported on first use: `import speech2lip` stays instant."""

__all__ = [
    "__version__",
    "bench",
    "demo",
    "doctor",
    "evaluate",
    "export",
    "live",
    "prepare",
    "present",
    "speak",
    "stream",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'speech2lip' has no attribute {name!r}")
    value = getattr(import_module(f".{_PUBLIC[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
