"""How the presenter moves head, eyes and brows while it speaks; the same seed gives the same movement."""

from __future__ import annotations

import zlib

import numpy as np

from speech2lip.conventions import Array
from speech2lip_presenter.render import State
from speech2lip_presenter.speech import SpeechClip
from speech2lip_presenter.visemes import mouth_track

AMPLITUDES = {"yaw": 6.0, "pitch": 3.0, "roll": 2.2}
"""Typical swing of the head in degrees; peaks are about twice as large."""

LIMITS = {"yaw": 17.0, "pitch": 9.0, "roll": 8.0}


def wander(times: Array, *, rng: np.random.Generator, periods: tuple[float, float] = (2.5, 9.0)) -> Array:
    """Smooth random movement [T] of about unit variance: a sum of slow waves."""
    waves = 6
    speed = 2 * np.pi / np.exp(rng.uniform(np.log(periods[0]), np.log(periods[1]), waves))
    phase, size = rng.uniform(0, 2 * np.pi, waves), rng.uniform(0.6, 1.0, waves)
    value = (size * np.sin(times[:, None] * speed + phase)).sum(1)
    return np.asarray(value / np.sqrt((size**2).sum() / 2))


def events(seconds: float, *, every: tuple[float, float], rng: np.random.Generator) -> Array:
    """Times of events that follow each other after random gaps."""
    gaps = rng.uniform(*every, int(seconds / every[0]) + 2)
    times = np.cumsum(gaps) - rng.uniform(0, every[0])
    return np.asarray(times[(times > 0.3) & (times < seconds - 0.45)])


def blinks(times: Array, *, rng: np.random.Generator) -> Array:
    """Closing of the lids [T] in [0, 1]: down in 90 ms, up in 160 ms, never cut by either end of the clip."""
    value = np.zeros(len(times))
    for start in events(float(times[-1]), every=(1.8, 4.5), rng=rng):
        since = times - start
        value = np.maximum(
            value,
            np.where(since < 0.09, np.clip(since / 0.09, 0, 1), np.clip(1 - (since - 0.09) / 0.16, 0, 1)),
        )
    return np.asarray(value * value * (3 - 2 * value))


def nods(times: Array, *, rng: np.random.Generator) -> Array:
    """Pitch [T] in degrees of small nods: down and back within half a second."""
    value = np.zeros(len(times))
    for start in events(float(times[-1]), every=(1.5, 4.0), rng=rng):
        depth, length = rng.uniform(1.5, 4.0), rng.uniform(0.45, 0.7)
        t = np.clip((times - start) / length, 0, 1)
        value -= depth * np.sin(np.pi * t) ** 2
    return value


def glances(times: Array, *, rng: np.random.Generator) -> Array:
    """Small jumps of the eyes [T, 2] in degrees."""
    value = np.zeros((len(times), 2))
    for start in events(float(times[-1]), every=(0.7, 2.5), rng=rng):
        value[times >= start] = rng.normal(0, (1.8, 1.0))
    return value


def clip_states(clip: SpeechClip, fps: float = 25.0, seed: int = 0, *, still: bool = False) -> list[State]:
    """Return the presenter's state for every frame of a clip, as many as fit the sound.

    Args:
        clip: what is said.
        fps: frames a second; frame i shows the time i / fps.
        seed: chooses head movement, blinks and glances.
        still: hold the head still and the eyes open (the mouth speaks all the same).
    """
    times = np.arange(max(1, int(np.floor(clip.seconds * fps)))) / fps
    rng = np.random.default_rng([seed, zlib.crc32(clip.name.encode())])
    mouth = mouth_track(clip.phones, times)
    pose = {
        name: size * wander(times, rng=rng) + rng.normal(0, 0.4 * size) for name, size in AMPLITUDES.items()
    }
    pose["pitch"] = pose["pitch"] + nods(times, rng=rng)
    pose = {name: LIMITS[name] * np.tanh(value / LIMITS[name]) for name, value in pose.items()}
    sway = np.stack([size * wander(times, rng=rng, periods=(4, 12)) for size in (0.05, 0.02, 0.12)], 1)
    sway = sway + rng.normal(0, (0.06, 0.03, 0.15))
    blink, brows = blinks(times, rng=rng), 0.35 * np.abs(wander(times, rng=rng, periods=(1.0, 4.0)))
    gaze = glances(times, rng=rng) - 0.75 * np.stack([pose["yaw"], pose["pitch"]], 1)
    if still:
        pose = {name: 0 * value for name, value in pose.items()}
        sway, blink, brows, gaze = 0 * sway, 0 * blink, 0 * brows, 0 * gaze
    return [
        State(
            moves=mouth_moves({name: float(values[i]) for name, values in mouth.items()})
            | {"blink": float(blink[i]), "brows": float(brows[i] * 0.06)},
            yaw=float(pose["yaw"][i]), pitch=float(pose["pitch"][i]), roll=float(pose["roll"][i]),
            sway=(float(sway[i, 0]), float(sway[i, 1]), float(sway[i, 2])),
            gaze=(float(gaze[i, 0]), float(gaze[i, 1])), phone=clip.phone_at(float(times[i])).name,
        )
        for i in range(len(times))
    ]  # fmt: skip


def mouth_moves(mouth: dict[str, float]) -> dict[str, float]:
    """Turn `visemes.CHANNELS` into the mesh's moves; the lower lip does what jaw and upper lip leave."""
    lower = mouth["opening"] - mouth["lift"] - mouth["jaw"]
    return {
        "jaw": mouth["jaw"], "upper_lip": mouth["lift"], "lower_lip": lower, "wide": mouth["wide"],
        "protrude": mouth["protrude"], "tuck": mouth["tuck"], "tongue": mouth["tongue"],
    }  # fmt: skip
