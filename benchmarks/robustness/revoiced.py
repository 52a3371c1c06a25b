"""Held-out takes in other voices: the true lips are known, so what an unheard voice costs can be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.robustness.revoice import REVOICINGS, revoice
from speech2lip.avatar import Avatar
from speech2lip.decomposition.footage import Footage
from speech2lip.evaluation.cross_driven import driven_openings
from speech2lip.evaluation.held_out import Span, unseen_spans
from speech2lip.evaluation.methods import Spoken, usual_light_of
from speech2lip.evaluation.metrics.statistics import pearson
from speech2lip.evaluation.result import Row, format_revoiced
from speech2lip.faces.landmarks import INNER_LIPS, SHAPE_POINTS, LandmarkDetector
from speech2lip.inference.engine import Engine
from speech2lip.progress import Progress

OWN = "own voice"
MOST_DROP = 0.05
"""How far another voice may fall behind the own one."""
_PLACE = {point: place for place, point in enumerate(SHAPE_POINTS)}


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
    maker, frames = Spoken(engine, usual_light_of(avatar)), sum(len(span.times) for span in spans)
    spans = [part for span in spans for part in span.parts()]
    return compare_voices(maker, spans, footage, kinds=kinds, frames=frames if draw else 0)


def compare_voices(
    maker: Spoken,
    spans: Sequence[Span],
    footage: Footage,
    *,
    frames: int,
    kinds: Sequence[str] = tuple(REVOICINGS),
) -> list[Revoiced]:
    """Do as `evaluate_revoiced`; `frames` are drawn, about, from the middle of all spans alike."""
    found = []
    with Progress("Trying other voices", total=1 + len(kinds), unit="voices") as progress:
        for kind in (OWN, *kinds):
            found.append(_one(kind, maker, spans, footage, -(-frames // max(1, len(spans)))))
            progress.set(len(found))
    return found


def _one(kind: str, maker: Spoken, spans: Sequence[Span], footage: Footage, drawn: int) -> Revoiced:
    """Judge one voice; `drawn` frames of each span are drawn."""
    shape: list[NDArray[np.float64]] = []
    picture: list[NDArray[np.float64]] = []
    for span in spans:
        wave, begins = span.take.wave_around(float(span.times[0]), float(span.times[-1]))
        mel = maker.engine.mel_features(torch.from_numpy(wave if kind == OWN else revoice(wave, kind)))
        shape.append(np.stack([heard_opening(maker.engine, mel, span.times - begins), _true_opening(span)]))
        if drawn:
            part = span.part(max(0, (span.stop - span.start - drawn) // 2), drawn)
            with LandmarkDetector(enlarge_below=footage.settings.small_face_pixels) as detector:
                made = driven_openings(maker, part, mel, part.times - begins, detector)
            picture.append(np.stack([made, _true_opening(part)]))
    return Revoiced(
        kind,
        shape_r=pearson(*np.concatenate(shape, axis=1)),
        picture_r=pearson(*np.concatenate(picture, axis=1)) if picture else None,
    )


def _true_opening(span: Span) -> NDArray[np.float64]:
    known = np.where(span.take.left_out[span.start : span.stop] == 0, 1.0, np.nan)
    return span.take.opening[span.start : span.stop] * known


def heard_opening(engine: Engine, mel: torch.Tensor, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the lip opening that is read from speech at moments [T], in heights of the lip patch; [T]."""
    shape = engine.encode_speech(mel, times).shape.float()
    outline = engine.model.lip_shape.outline(shape).reshape(len(times), -1, 2)
    gaps = [outline[:, _PLACE[low], 1] - outline[:, _PLACE[high], 1] for high, low in INNER_LIPS]
    return torch.stack(gaps).mean(0).double().cpu().numpy()


def revoiced_rows(found: Sequence[Revoiced]) -> dict[str, Row]:
    """Return what the JSON file keeps, by voice: correlations, and how far they fall behind the own voice's.

    `speech_r`, `speech_drop`: of the opening read from speech; `opening_r`, `opening_drop`: of the opening in
    the drawn frames, None where they were not drawn.
    """
    own = found[0]
    return {
        row.kind: {
            "speech_r": row.shape_r,
            "speech_drop": own.shape_r - row.shape_r,
            "opening_r": row.picture_r,
            "opening_drop": None
            if row.picture_r is None or own.picture_r is None
            else own.picture_r - row.picture_r,
        }
        for row in found
    }


def revoiced_table(found: Sequence[Revoiced]) -> str:
    """Write a Markdown table, with how far each voice falls behind the own one."""
    return format_revoiced(revoiced_rows(found))
