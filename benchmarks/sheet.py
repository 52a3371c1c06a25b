"""Side-by-side pictures of held-out frames: truth, ours and their difference (grey: none), as one PNG.

python -m benchmarks sheet demo/presenter.avatar demo/presenter.footage docs/images/presenter.png --rows 2
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import torch
import tyro

from speech2lip.arrays import Picture
from speech2lip.avatar import read_avatar
from speech2lip.decomposition.footage import read_footage
from speech2lip.evaluation.held_out import unseen_spans
from speech2lip.evaluation.methods import AvatarLips
from speech2lip.inference.engine import Engine


def sheet(avatar: Path, footage: Path, *, frames: int, rows: int, side: int, margin: float) -> Picture:
    """Return columns of held-out frames, evenly spread over the first held-out take that is long enough."""
    person, prepared = read_avatar(avatar), read_footage(footage)
    span = unseen_spans(person, prepared)[0]
    take, method = span.take, AvatarLips(Engine(person))
    mel = method.engine.mel_features(torch.from_numpy(take.wave()))
    wanted = set(np.linspace(span.start + 2, span.stop - 3, frames).astype(int).tolist())
    columns = []
    for frame in (frame for batch in span.batches() for frame in batch if frame.index in wanted):
        made = method.make(take, [frame], mel, np.array([frame.time]))[0]
        size = (frame.rgb.shape[0], frame.rgb.shape[1])
        x0, y0, x1, y1 = method.engine.paster.regions(method.head(take)[frame.index], size, margin=margin)[0]
        truth, ours = frame.rgb[y0:y1, x0:x1], made[y0:y1, x0:x1]
        difference = np.clip(128 + 2 * (ours.astype(int) - truth), 0, 255).astype(np.uint8)
        size = (side, round(side * truth.shape[0] / truth.shape[1]))
        columns.append([np.asarray(cv2.resize(p, size)) for p in (truth, ours, difference)[:rows]])
    height = min(column[0].shape[0] for column in columns)
    return np.hstack([np.vstack([picture[:height] for picture in column]) for column in columns])


@dataclass(frozen=True)
class Arguments:
    """Draw a sheet of held-out frames: truth, ours, and their difference."""

    avatar: Annotated[Path, tyro.conf.Positional]
    """Who speaks."""
    footage: Annotated[Path, tyro.conf.Positional]
    """What it was trained on."""
    output: Annotated[Path, tyro.conf.Positional]
    """The picture."""
    frames: int = 8
    """How many."""
    rows: int = 3
    """2: truth and ours; 3: their difference as well."""
    side: int = 160
    """Of one picture, in pixels."""
    margin: float = 0.35
    """Surroundings shown, as a share of the region."""


def main(arguments: Arguments) -> None:
    """Write the picture that the command line asks for."""
    picture = sheet(
        arguments.avatar,
        arguments.footage,
        frames=arguments.frames,
        rows=arguments.rows,
        side=arguments.side,
        margin=arguments.margin,
    )
    cv2.imwrite(str(arguments.output), picture[..., ::-1])
