"""Train a talking-head avatar of one person from a short video, then let it speak any sound file."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from speech2lip._version import __version__

if TYPE_CHECKING:
    from speech2lip._demo import demo as demo
    from speech2lip._doctor import doctor as doctor
    from speech2lip.decomposition.prepare import prepare as prepare
    from speech2lip.evaluation.evaluate import evaluate as evaluate
    from speech2lip.inference.export import export as export
    from speech2lip.inference.live.show import live as live
    from speech2lip.inference.speak import speak as speak
    from speech2lip.inference.stream import stream as stream
    from speech2lip.training.train import train as train
    from speech2lip_presenter import present as present

_PUBLIC = {
    "demo": "speech2lip._demo",
    "doctor": "speech2lip._doctor",
    "evaluate": "speech2lip.evaluation.evaluate",
    "export": "speech2lip.inference.export",
    "live": "speech2lip.inference.live.show",
    "prepare": "speech2lip.decomposition.prepare",
    "present": "speech2lip_presenter.film",
    "speak": "speech2lip.inference.speak",
    "stream": "speech2lip.inference.stream",
    "train": "speech2lip.training.train",
}
"""Public name -> module that holds it, imported on first use: `import speech2lip` stays instant."""

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'speech2lip' has no attribute {name!r}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
