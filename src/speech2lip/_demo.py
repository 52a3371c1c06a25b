"""The whole journey on the made presenter, as a demonstration: takes, avatar, a new sentence, figures."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Literal

from speech2lip.atomic import new_folder_atomically, output_errors, read_json
from speech2lip.compute import usable_cores
from speech2lip.config import EvaluateOutputs, EvaluateSettings, PresentSettings, TrainSettings
from speech2lip.errors import OutputError

_LOG = logging.getLogger(__name__)

_MINE = ("takes", "unseen", "presenter.footage", "presenter.avatar", "spoken.mp4", "metrics.json")


def demo(folder: Path = Path("demo"), *, minutes: float = 5.5, takes: int = 16, size: int = 384) -> Path:
    """Film the made presenter, train an avatar of it, let it speak a sentence it has never heard, measure it.

    What is there already is kept: the same call again goes on where it stopped.

    Args:
        folder: everything is written into it; it is made if missing.
        minutes: time for the training.
        takes: videos to learn from, about 10 s each.
        size: side of the square picture, in pixels.

    Returns:
        The video of the sentence.

    Raises:
        OutputError: the folder cannot be written to, or holds something else.
    """
    import speech2lip

    began = time.monotonic()
    _claim(folder)
    seen = _film(folder / "takes", takes=takes, size=size, split="train")
    unseen = _film(folder / "unseen", takes=1, size=size, split="unseen")
    footage, avatar = folder / "presenter.footage", folder / "presenter.avatar"
    if not avatar.exists():
        settings = TrainSettings(minutes=minutes)
        speech2lip.train(seen, avatar=avatar, footage=footage, settings=settings)
    spoken = folder / "spoken.mp4"
    if not spoken.exists():
        speech2lip.speak(unseen[0], avatar=avatar, output=spoken)
    metrics = folder / "metrics.json"
    if not metrics.exists():
        # The search for leaks takes longest: a few pairs are enough for a first look.
        quick = EvaluateSettings(pairings=4, judge_steps=300)
        figures = EvaluateOutputs(json=metrics)
        speech2lip.evaluate(avatar=avatar, footage=footage, outputs=figures, settings=quick)
    # How the lips' opening agrees with the presenter's own, which is known exactly.
    known = read_json(metrics).get("details", {}).get("against_ground_truth")
    if known is None:
        _LOG.warning(f"{metrics} is of an older version; remove it, and the same command measures anew")
    for name, row in (known or {}).items():
        r = f"{row['opening_r']:.3f}"
        _LOG.info(f"Lip opening against the known one on unseen sentences, {name}: r = {r}")
    _LOG.info(f"Done after {(time.monotonic() - began) / 60:.1f} minutes. Look at")
    _LOG.info(f"  {spoken}  a sentence that the avatar has never heard")
    _LOG.info(f"  {unseen[0]}  the presenter saying it")
    _LOG.info(f"  {metrics}  how good it is on footage that it has not seen")
    _LOG.info(f"  {avatar}  the avatar: speech2lip speak words.wav --avatar {avatar} --output out.mp4")
    return spoken


def _claim(folder: Path) -> None:
    """Make the folder; hidden names in one that is there are what a stopped run left behind."""
    there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    for name in there:
        if name not in _MINE and not name.startswith("."):
            raise OutputError(f"{folder} holds something else ({name}). Name a new folder for the demo.")
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


def _film(folder: Path, *, takes: int, size: int, split: Literal["train", "unseen"]) -> list[Path]:
    """Videos of the presenter in a folder that is there whole or not at all."""
    from speech2lip_presenter import present

    if not folder.exists():
        _LOG.info(f"Filming the presenter: {takes} {split} takes of {size} x {size} pixels")
        workers = min(takes, len(usable_cores()))
        with new_folder_atomically(folder) as made:
            settings = PresentSettings(takes=takes, size=size, split=split)
            present(made, settings=settings, workers=workers)
    return sorted(folder.glob("*.mp4"))
