"""Train a talking-head avatar of one person from a short video, then let it speak any sound file."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from speech2lip.checkup import doctor
    from speech2lip.decomposition.prepare import prepare
    from speech2lip.evaluation.bench import bench
    from speech2lip.evaluation.evaluate import evaluate
    from speech2lip.inference.export import export
    from speech2lip.inference.live.show import live
    from speech2lip.inference.speak import speak
    from speech2lip.inference.stream import stream
    from speech2lip.journey import demo
    from speech2lip.presenter import present
    from speech2lip.training.train import train

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
