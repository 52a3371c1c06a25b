"""Golden figures as a text file: what is written, read and compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

FILE = Path(__file__).with_name("presenter.txt")
HEAD = """\
# What the made presenter gives in small: two takes of 3.2 s, 192 x 192 pixels, 60 steps of training in fp32,
# seed 0 (tests/golden/journey.py). Measured, never typed in: `make golden` writes this file anew.
#
# The third column is how far a figure may lie from the second. The number of threads changes nothing in the
# digits shown, a processor with AVX2 instead of AVX-512 hardly anything, and one without any of these moved
# the figures by half of it at most. Half or twice the learning rate, a new encoder, no photometric
# refinement or stronger smoothing move several figures out of it: either something broke, or the method has
# changed. Then renew the file together with the change, and say why the new figures are right.
"""
TOLERANCES = {
    "prepare.frames": 0.0,
    "prepare.frames_kept": 2.0,
    "prepare.focal": 0.04,
    "prepare.turn_error_degrees": 0.04,
    "prepare.opening_r": 0.004,
    "prepare.opening_bias": 0.001,
    "prepare.relief": 0.015,
    "train.speech_r": 0.05,
    "train.colour_weights": 0.0005,
    "train.blend_weights": 0.0006,
    "evaluate.real_video.opening_r": 0.002,
    "evaluate.real_video.sync_confidence": 0.03,
    "evaluate.static_lips.mouth_psnr": 0.13,
    "evaluate.static_lips.mouth_ssim": 0.002,
    "evaluate.nearest.mouth_psnr": 0.1,
    "evaluate.nearest.opening_r": 0.01,
    "evaluate.ours.mouth_psnr": 0.13,
    "evaluate.ours.mouth_ssim": 0.0025,
    "evaluate.ours.sharpness_ratio": 0.006,
    "evaluate.ours.lmd_percent": 0.03,
    "evaluate.ours.seam_ratio": 0.025,
}
"""Figure name to the difference that other processors may make, with room to spare."""


def write(found: Mapping[str, float], file: Path = FILE) -> None:
    """Write figures with their tolerances."""
    lines = [f"{name:<38}{found[name]:>12.6g}{TOLERANCES[name]:>10g}" for name in TOLERANCES]
    file.write_text(HEAD + "\n".join(lines) + "\n")


def read(file: Path = FILE) -> dict[str, tuple[float, float]]:
    """Return name -> (figure, tolerance)."""
    rows = (line.split() for line in file.read_text().splitlines() if line and not line.startswith("#"))
    return {name: (float(figure), float(tolerance)) for name, figure, tolerance in rows}


def departures(found: Mapping[str, float], golden: Mapping[str, tuple[float, float]]) -> list[str]:
    """Say which figures lie beyond their tolerance, or are on one side alone."""
    told = [f"{name} is on one side alone" for name in sorted(found.keys() ^ golden.keys())]
    for name in sorted(found.keys() & golden.keys()):
        figure, tolerance = golden[name]
        if not abs(found[name] - figure) <= tolerance:
            told.append(f"{name} is {found[name]:.6g}, not {figure:g} within {tolerance:g}")
    return told
