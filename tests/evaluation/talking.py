"""A made take for tests: lips that open with the sound, a picture of them, and every distortion at hand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from speech2lip.arrays import Picture
from speech2lip.evaluation.accumulate import Accumulator, Moment
from speech2lip.evaluation.metrics.mouth import OpeningScale
from speech2lip.evaluation.speech_labels import Heard
from speech2lip.faces.landmarks import INNER_LIPS, LIPS_OUTER, OUTER_EYE_CORNERS

FPS, FRAMES, SIZE = 25, 250, 96
EYES = 100.0
"""Pixels between the outer corners of the eyes."""
BOX = (16, 24, 80, 88)
REGION = (8, 8, 92, 92)

Series = NDArray[np.float64]


def spoken(seed: int) -> Series:
    """Return lip openings that change as in speech, closed in the last two seconds; [T] in eye distances."""
    random = np.random.default_rng(seed)
    opening = gaussian_filter1d(random.normal(size=FRAMES), 2.0)
    opening = np.clip(0.07 + 0.06 * opening / opening.std(), 0.0, 0.25)
    opening[FRAMES - 2 * FPS :] = 0.0
    return opening


def times() -> Series:
    return np.arange(FRAMES) / FPS


def sound_of(opening: Series, seed: int = 0) -> Heard:
    """Return noise of the vowels' band that is as loud as the mouth is open; closures and the pause known."""
    samples = np.arange(FRAMES * 640) / 16_000
    loud = np.interp(samples, times(), opening)
    noise = np.random.default_rng(seed).normal(size=len(samples))
    wave = (noise * 10 ** (8 * loud - 2) * (loud > 1e-3)).astype(np.float32)
    closed = times()[1:-1][(opening[1:-1] <= 1e-9) & (opening[:-2] > 0.02)]
    closures = np.stack([closed, closed + 0.04], axis=1)
    pause = np.array([[(FRAMES - 2 * FPS) / FPS, FRAMES / FPS]])
    return Heard(wave, closures, pause, "ground truth")


def points_of(opening: Series) -> NDArray[np.float32]:
    """Return landmarks with these lip openings; [T, 478, 3] pixels."""
    points = np.tile(np.random.default_rng(0).normal(200, 40, (478, 3)), (len(opening), 1, 1))
    left, right = OUTER_EYE_CORNERS
    points[:, left, :2], points[:, right, :2] = (150, 150), (150 + EYES, 150)
    for upper, lower in INNER_LIPS:
        points[:, lower, 0] = points[:, upper, 0]
        points[:, lower, 1] = points[:, upper, 1] + EYES * opening
    points[:, LIPS_OUTER[:10], 1] += (0.5 * EYES * opening)[:, None]
    return points.astype(np.float32)


def pictures_of(opening: Series) -> list[Picture]:
    """Draw a dark mouth on grainy skin."""
    grain = gaussian_filter(np.random.default_rng(1).normal(size=(SIZE, SIZE)), 1.2)
    skin = 150 + 8 * grain / grain.std()
    y, x = np.mgrid[:SIZE, :SIZE]
    frames = []
    for value in opening:
        mouth = ((x - 48) / 22) ** 2 + ((y - 56) / (2 + 90 * value)) ** 2 < 1
        frames.append(np.repeat(np.where(mouth, 40, skin)[..., None], 3, 2).clip(0, 255).astype(np.uint8))
    return frames


def mask() -> NDArray[np.float32]:
    """Return what is replaced, over REGION."""
    inside = np.zeros((84, 84), np.float32)
    inside[16:80, 10:74] = 1
    return inside


def judged(
    real: Series,
    made: Series,
    *,
    pictures: list[Picture] | None = None,
    points: NDArray[np.float32] | None = None,
    heard: Heard | None = None,
    missing: range = range(0),
) -> Accumulator:
    """Gather a made take against the real one; pictures and points follow `made` unless given."""
    gathered = Accumulator(OpeningScale.measure(real))
    real_points, real_pictures = points_of(real), pictures_of(real)
    pictures = pictures_of(made) if pictures is None else pictures
    points = points_of(made) if points is None else points
    for i, second in enumerate(times()):
        if i in missing:
            gathered.skip(float(second))
            continue
        moment = Moment(i, float(second), real_pictures[i], BOX, real_points[i], REGION, mask())
        gathered.add(moment, pictures[i], points[i])
    gathered.end_take(heard or sound_of(real))
    return gathered
