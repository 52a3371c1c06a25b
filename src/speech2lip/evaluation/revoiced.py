"""Held-out takes in other voices: the true lips are known, so what an unheard voice costs can be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from speech2lip.avatar import Avatar
from speech2lip.decomposition.footage import Footage
from speech2lip.decomposition.landmarks import LandmarkDetector
from speech2lip.evaluation.agreement import pearson
from speech2lip.evaluation.driven import driven_openings
from speech2lip.evaluation.held_out import Span, unseen_spans
from speech2lip.evaluation.revoice import REVOICINGS, revoice
from speech2lip.evaluation.rows import Spoken, usual_light_of
from speech2lip.inference.engine import Engine
from speech2lip.synthesis.lip_shape import outline_opening
from speech2lip.synthesis.speech import log_mel

OWN = "own voice"


@dataclass(frozen=True)
class Revoiced:
    """How well lips follow a voice."""

    kind: str
    """`own voice`, or one of `REVOICINGS`."""
    shape_r: float
    """Correlation of the lip opening that is read from speech with the true one."""
    picture_r: float | None
    """The same of the opening in the drawn frames; None: not drawn."""


def evaluate_revoiced(
    avatar: Avatar,
    footage: Footage,
    *,
    kinds: Sequence[str] = tuple(REVOICINGS),
    draw: bool = False,
    device: str = "auto",
) -> list[Revoiced]:
    """Let held-out frames speak their own sentences in other voices.

    Args:
        kinds: of re-voicing; the take's own voice comes first in any case.
        draw: also draw every frame and find the lips in it, which takes much longer.

    Returns:
        One entry for each voice, frames of all held-out takes together.

    Raises:
        FootageError: the avatar has seen all of the footage.
        SettingsError: no such kind.
    """
    engine, spans = Engine(avatar, device=device), unseen_spans(avatar, footage)
    maker = Spoken(engine, usual_light_of(avatar)) if draw else None
    return [_one(kind, engine, spans, footage, maker) for kind in (OWN, *kinds)]


def _one(
    kind: str, engine: Engine, spans: Sequence[Span], footage: Footage, maker: Spoken | None
) -> Revoiced:
    true, shape, picture = [], [], []
    for span in spans:
        wave = span.take.wave()
        mel = log_mel(torch.from_numpy(wave if kind == OWN else revoice(wave, kind)))
        known = np.where(span.take.left_out[span.start : span.stop] == 0, 1.0, np.nan)
        true.append(span.take.opening[span.start : span.stop] * known)
        shape.append(heard_opening(engine, mel, span.times))
        if maker is not None:
            with LandmarkDetector(enlarge_below=footage.settings.small_face_pixels) as detector:
                picture.append(driven_openings(maker, span, mel, span.times, detector))
    truth = np.concatenate(true)
    return Revoiced(
        kind,
        shape_r=pearson(np.concatenate(shape), truth),
        picture_r=pearson(np.concatenate(picture), truth) if picture else None,
    )


def heard_opening(engine: Engine, mel: torch.Tensor, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the lip opening that is read from speech at moments [T], in heights of the lip patch; [T]."""
    shape = engine.listen(mel, times).shape.float()
    opening = outline_opening(engine.model.lip_shape.outline(shape))
    return opening.double().cpu().numpy()


def revoiced_table(rows: Sequence[Revoiced]) -> str:
    """Write a Markdown table, with how far each voice falls behind the own one."""
    lines = ["| voice | opening r from speech | fall | in drawn frames | fall |", "|---|---|---|---|---|"]
    own = rows[0]
    for row in rows:
        drawn = ["", ""]
        if row.picture_r is not None and own.picture_r is not None:
            drawn = [f"{row.picture_r:.3f}", f"{own.picture_r - row.picture_r:.3f}"]
        fall = f"{own.shape_r - row.shape_r:.3f}"
        lines.append(f"| {row.kind} | {row.shape_r:.3f} | {fall} | {drawn[0]} | {drawn[1]} |")
    return "\n".join(lines)
