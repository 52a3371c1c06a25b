"""How the presenter moves while it speaks; the same seed gives the same movement.

The mouth has a target for each phone, blended with its neighbours by dominance functions: M. Cohen,
D. Massaro, "Modeling coarticulation in synthetic visual speech", 1993.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from speech2lip.arrays import Array
from speech2lip_presenter.render import State
from speech2lip_presenter.speech import Phone, SpeechClip

Amount = TypeVar("Amount", float, Array)

AMPLITUDES = {"yaw": 6.0, "pitch": 3.0, "roll": 2.2}
"""Typical swing of the head in degrees; peaks are about twice as large."""
LIMITS = {"yaw": 17.0, "pitch": 9.0, "roll": 8.0}

CHANNELS = ("jaw", "lip_opening", "lift", "wide", "protrude", "tuck", "tongue")
"""Jaw drop, distance between the lips and lift of the upper lip in eye units; the rest in shares."""


@dataclass(frozen=True)
class Viseme:
    """What the mouth aims at for a phone, named as in `CHANNELS`, and how strongly it insists."""

    jaw: float
    lip_opening: float
    wide: float = 0.0
    protrude: float = 0.0
    lift: float | None = None
    """None: a share of the opening."""
    tuck: float = 0.0
    tongue: float = 0.0
    strength: float = 1.0
    closes: bool = False
    """The lips must touch while the phone lasts."""

    @property
    def target(self) -> tuple[float, ...]:
        """In the order of `CHANNELS`."""
        lift = 0.22 * self.lip_opening if self.lift is None else self.lift
        return (self.jaw, self.lip_opening, lift, self.wide, self.protrude, self.tuck, self.tongue)


_TARGETS = {
    "pau": Viseme(0.0, 0.0, 0.0, 0.0, strength=1.6),
    "p b m": Viseme(0.015, 0.0, -0.02, 0.15, strength=4.0, closes=True),
    "f v": Viseme(0.025, 0.045, 0.02, 0.0, lift=0.030, tuck=1.0, strength=3.0),
    "s z": Viseme(0.020, 0.075, 0.10, 0.0, lift=0.024, tongue=0.5, strength=1.6),
    "sh zh ch jh": Viseme(0.030, 0.095, -0.16, 0.75, lift=0.032, tongue=0.4, strength=2.0),
    "th dh": Viseme(0.045, 0.085, 0.03, 0.0, tongue=1.0, strength=1.5),
    "t d n": Viseme(0.040, 0.070, 0.03, 0.0, tongue=0.9, strength=0.8),
    "l": Viseme(0.060, 0.105, 0.03, 0.0, tongue=1.0, strength=0.9),
    "k g ng": Viseme(0.060, 0.090, 0.02, 0.0, tongue=0.2, strength=0.6),
    "hh": Viseme(0.070, 0.110, 0.0, 0.0, strength=0.4),
    "y": Viseme(0.035, 0.080, 0.12, 0.0, tongue=0.5, strength=0.9),
    "r": Viseme(0.050, 0.080, -0.16, 0.55, tongue=0.5, strength=1.1),
    "er": Viseme(0.060, 0.095, -0.14, 0.5, tongue=0.5),
    "w": Viseme(0.035, 0.035, -0.34, 1.0, strength=2.2),
    "iy": Viseme(0.040, 0.095, 0.17, 0.0, lift=0.028, tongue=0.4),
    "ih": Viseme(0.065, 0.115, 0.10, 0.0, tongue=0.3, strength=0.8),
    "eh": Viseme(0.100, 0.155, 0.08, 0.0, tongue=0.2),
    "ey": Viseme(0.080, 0.140, 0.14, 0.0, tongue=0.3),
    "ae": Viseme(0.150, 0.215, 0.10, 0.0, tongue=0.1),
    "aa": Viseme(0.190, 0.245, -0.02, 0.0),
    "ay": Viseme(0.170, 0.235, 0.04, 0.0),
    "aw": Viseme(0.160, 0.220, -0.06, 0.25),
    "ah": Viseme(0.120, 0.165, 0.0, 0.0),
    "ax": Viseme(0.075, 0.110, 0.0, 0.0, strength=0.6),
    "ao": Viseme(0.150, 0.190, -0.18, 0.55),
    "ow": Viseme(0.095, 0.120, -0.26, 0.85, strength=1.3),
    "oy": Viseme(0.120, 0.150, -0.22, 0.75, strength=1.2),
    "uh": Viseme(0.065, 0.085, -0.22, 0.70, strength=1.1),
    "uw": Viseme(0.040, 0.050, -0.32, 1.0, strength=1.6),
}
VISEMES = {phone: viseme for phones, viseme in _TARGETS.items() for phone in phones.split()}
"""Targets for the phones of flite (ARPAbet)."""
CLOSURES = frozenset(name for name, viseme in VISEMES.items() if viseme.closes)
"""Phones with lips shut: p, b, m."""


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
        down, up = np.clip(since / 0.09, 0, 1), np.clip(1 - (since - 0.09) / 0.16, 0, 1)
        value = np.maximum(value, np.where(since < 0.09, down, up))
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
    moves = mouth_moves(mouth_track(clip.phones, times)) | {"blink": blink, "brows": brows * 0.06}
    return [
        State(
            moves={name: float(amount[i]) for name, amount in moves.items()},
            **{name: float(angle[i]) for name, angle in pose.items()},
            sway=tuple(sway[i].tolist()),
            gaze=tuple(gaze[i].tolist()),
            phone=clip.phone_at(float(times[i])).name,
        )
        for i in range(len(times))
    ]


def mouth_track(phones: tuple[Phone, ...], times: Array) -> dict[str, Array]:
    """Return each of `CHANNELS` at the given times [T] in seconds."""
    targets = np.array([VISEMES[phone.name].target for phone in phones])
    track = dict(zip(CHANNELS, (dominance(phones, times) @ targets).T, strict=True))
    shut = closure(phones, times)
    track["lip_opening"] = np.maximum(track["lip_opening"] * (1 - shut), 0.0)
    track["lift"] = np.minimum(track["lift"] * (1 - shut), track["lip_opening"])
    track["jaw"] = track["jaw"] * (1 - 0.5 * shut)
    return track


def dominance(phones: tuple[Phone, ...], times: Array) -> Array:
    """How much each phone rules the mouth at each time, rows summing to one, [T, P].

    A phone rules fully in its middle and fades as exp(-(distance / reach)^2) outside of its middle half; lips
    move a little before the sound.
    """
    start = np.array([phone.start for phone in phones])
    end = np.array([phone.end for phone in phones])
    strength = np.array([VISEMES[phone.name].strength for phone in phones])
    middle, half = (start + end) / 2 - 0.015, (end - start) / 4
    silent = np.array([phone.name == "pau" for phone in phones])
    half = np.where(silent, np.maximum((end - start) / 2 - 0.07, 0.01), half)
    distance = np.maximum(np.abs(times[:, None] - middle) - half, 0.0)
    reach = np.where(silent, 0.050, np.clip(0.55 * (end - start), 0.045, 0.080))
    weight = strength * np.exp(-((distance / reach) ** 2)) + 1e-12
    return np.asarray(weight / weight.sum(1, keepdims=True))


def closure(phones: tuple[Phone, ...], times: Array) -> Array:
    """How firmly the lips are held shut at each time, in [0, 1]: 1 inside p, b, m and inside silence."""
    shut = np.zeros(len(times))
    for phone in phones:
        if VISEMES[phone.name].closes:
            # held for at least 60 ms so that every closure is seen in a frame at 25 frames a second
            middle, half = (phone.start + phone.end) / 2, max((phone.end - phone.start) / 2 - 0.015, 0.030)
            hold, release = half, 0.050
        elif phone.name == "pau" and phone.end - phone.start > 0.2:
            middle, half = (phone.start + phone.end) / 2, (phone.end - phone.start) / 2
            hold, release = half - 0.10, 0.10
        else:
            continue
        fade = np.clip(1 - (np.abs(times - middle) - hold) / release, 0, 1)
        shut = np.maximum(shut, fade * fade * (3 - 2 * fade))
    return shut


def mouth_moves(mouth: dict[str, Amount]) -> dict[str, Amount]:
    """Turn `CHANNELS` into the mesh's moves; the lower lip does what jaw and upper lip leave."""
    lower = mouth["lip_opening"] - mouth["lift"] - mouth["jaw"]
    same = {name: mouth[name] for name in ("jaw", "wide", "protrude", "tuck", "tongue")}
    return same | {"upper_lip": mouth["lift"], "lower_lip": lower}
