"""Held-out takes in other voices: the true lips are known, so what an unheard voice costs can be told.

python -m benchmarks robustness --avatar ana.avatar --footage ana.footage
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.robustness.voices import VOICES, in_voice
from speech2lip.arrays import Array
from speech2lip.atomic import check_output, write_json
from speech2lip.avatar import read_avatar
from speech2lip.decomposition.footage import Footage, read_footage
from speech2lip.evaluation.cross_driven import driven_openings
from speech2lip.evaluation.held_out import Span, unseen_parts
from speech2lip.evaluation.methods import AvatarLips
from speech2lip.evaluation.metrics.statistics import pearson
from speech2lip.evaluation.result import Row, format_table
from speech2lip.faces.landmarks import INNER_LIPS, SHAPE_POINTS
from speech2lip.inference.engine import Engine
from speech2lip.progress import Progress

OWN = "own voice"
MOST_DROP = 0.05
"""How far another voice may fall behind the own one."""
COLUMNS = ("speech_r", "speech_drop", "opening_r", "opening_drop")
_PLACE = {point: place for place, point in enumerate(SHAPE_POINTS)}


@dataclass(frozen=True)
class Arguments:
    """Let held-out takes speak their own sentences in other voices and over other channels."""

    avatar: Path
    """The avatar."""
    footage: Path
    """The footage that it was trained on."""
    frames: int = 300
    """Frames, about, that are drawn for each voice; 0: only what is read from speech is judged."""
    json: Path | None = None
    """A file for the figures too."""
    device: str = "auto"
    """`auto`, `cpu` or `cuda`."""


def main(arguments: Arguments) -> None:
    """Measure, tell."""
    if arguments.json is not None:
        check_output(arguments.json, overwrite=True)
    avatar, footage = read_avatar(arguments.avatar), read_footage(arguments.footage)
    method = AvatarLips(Engine(avatar, device=arguments.device))
    rows = robustness(method, unseen_parts(avatar, footage), footage, frames=arguments.frames)
    print(robustness_table(rows))
    if arguments.json is not None:
        write_json(arguments.json, rows)


def robustness(
    method: AvatarLips,
    spans: Sequence[Span],
    footage: Footage,
    *,
    frames: int = 0,
    voices: Sequence[str] = tuple(VOICES),
) -> dict[str, Row]:
    """Let frames speak their own sentences in other voices.

    Args:
        frames: that are drawn, about, from the middle of all spans alike, which takes much longer; 0: none.
        voices: what is tried; the take's own voice comes first in any case.

    Returns:
        Voice to correlations with the true opening, and how far they fall behind the own voice's: `speech_r`,
        `speech_drop` of the opening read from speech; `opening_r`, `opening_drop` of the one in drawn frames.

    Raises:
        SettingsError: no such voice.
    """
    found: dict[str, dict[str, float | None]] = {}
    with Progress("Trying other voices", total=1 + len(voices), unit="voices") as progress:
        for voice in (OWN, *voices):
            drawn = -(-frames // max(1, len(spans)))
            found[voice] = _correlations(voice, method, spans, footage, drawn)
            progress.set(len(found))
    for row in found.values():
        for name in ("speech", "opening"):
            own, other = found[OWN][f"{name}_r"], row[f"{name}_r"]
            row[f"{name}_drop"] = None if own is None or other is None else own - other
    return dict(found)


def _correlations(
    voice: str, method: AvatarLips, spans: Sequence[Span], footage: Footage, drawn: int
) -> dict[str, float | None]:
    """Judge one voice; `drawn` frames of each span are drawn."""
    speech: list[Array] = []
    picture: list[Array] = []
    for span in spans:
        wave, begins = span.sound()
        mel = method.engine.mel_features(torch.from_numpy(wave if voice == OWN else in_voice(wave, voice)))
        speech.append(np.stack([heard_opening(method.engine, mel, span.times - begins), span.lip_opening]))
        if drawn:
            part = span.middle(drawn)
            made = driven_openings({voice: method}, part, mel, part.times - begins, footage)[voice]
            picture.append(np.stack([made, part.lip_opening]))
    return {
        "speech_r": pearson(*np.concatenate(speech, axis=1)),
        "opening_r": pearson(*np.concatenate(picture, axis=1)) if picture else None,
    }


def heard_opening(engine: Engine, mel: torch.Tensor, times: Array) -> Array:
    """Return the lip opening that is read from speech at moments [T], in heights of the lip patch; [T]."""
    shape = engine.encode_speech(mel, times).shape.float()
    outline = engine.model.lip_shape.outline(shape).reshape(len(times), -1, 2)
    gaps = [outline[:, _PLACE[low], 1] - outline[:, _PLACE[high], 1] for high, low in INNER_LIPS]
    return torch.stack(gaps).mean(0).double().cpu().numpy()


def robustness_table(rows: dict[str, Row]) -> str:
    """Write a Markdown table; what was not drawn has no column."""
    known = [name for name in COLUMNS if any(row.get(name) is not None for row in rows.values())]
    return format_table(rows, known, decimals=3)
