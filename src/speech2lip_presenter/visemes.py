"""From phones to the movement of the mouth: a target for each phone, blended with its neighbours.

Blending by dominance functions: M. Cohen, D. Massaro,
"Modeling coarticulation in synthetic visual speech", 1993.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from speech2lip.conventions import Array
from speech2lip_presenter.speech import Phone

CHANNELS = ("jaw", "opening", "lift", "wide", "protrude", "tuck", "tongue")
"""Jaw drop, distance between the lips and lift of the upper lip in eye units; the rest in shares."""


@dataclass(frozen=True)
class Viseme:
    """What the mouth aims at for a phone, named as in `CHANNELS`, and how strongly it insists."""

    jaw: float
    opening: float
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
        lift = 0.22 * self.opening if self.lift is None else self.lift
        return (self.jaw, self.opening, lift, self.wide, self.protrude, self.tuck, self.tongue)


_CLOSED = Viseme(0.015, 0.0, -0.02, 0.15, strength=4.0, closes=True)
_F = Viseme(0.025, 0.045, 0.02, 0.0, lift=0.030, tuck=1.0, strength=3.0)
_S = Viseme(0.020, 0.075, 0.10, 0.0, lift=0.024, tongue=0.5, strength=1.6)
_SH = Viseme(0.030, 0.095, -0.16, 0.75, lift=0.032, tongue=0.4, strength=2.0)
_TH = Viseme(0.045, 0.085, 0.03, 0.0, tongue=1.0, strength=1.5)
_T = Viseme(0.040, 0.070, 0.03, 0.0, tongue=0.9, strength=0.8)
_K = Viseme(0.060, 0.090, 0.02, 0.0, tongue=0.2, strength=0.6)
_R = Viseme(0.050, 0.080, -0.16, 0.55, tongue=0.5, strength=1.1)
_W = Viseme(0.035, 0.035, -0.34, 1.0, strength=2.2)

VISEMES: dict[str, Viseme] = {
    "pau": Viseme(0.0, 0.0, 0.0, 0.0, strength=1.6),
    "p": _CLOSED, "b": _CLOSED, "m": _CLOSED,
    "f": _F, "v": _F, "s": _S, "z": _S, "sh": _SH, "zh": _SH, "ch": _SH, "jh": _SH,
    "th": _TH, "dh": _TH, "t": _T, "d": _T, "n": _T,
    "l": Viseme(0.060, 0.105, 0.03, 0.0, tongue=1.0, strength=0.9),
    "k": _K, "g": _K, "ng": _K,
    "hh": Viseme(0.070, 0.110, 0.0, 0.0, strength=0.4),
    "y": Viseme(0.035, 0.080, 0.12, 0.0, tongue=0.5, strength=0.9),
    "r": _R, "er": Viseme(0.060, 0.095, -0.14, 0.5, tongue=0.5), "w": _W,
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
}  # fmt: skip
"""Targets for the phones of flite (ARPAbet)."""

CLOSURES = frozenset(name for name, viseme in VISEMES.items() if viseme.closes)
"""Phones with lips shut: p, b, m."""


def mouth_track(phones: tuple[Phone, ...], times: Array) -> dict[str, Array]:
    """Return each of `CHANNELS` at the given times [T] in seconds."""
    targets = np.array([VISEMES[phone.name].target for phone in phones])
    weights = dominance(phones, times)
    blended = weights @ targets
    track = dict(zip(CHANNELS, blended.T, strict=True))
    shut = closure(phones, times)
    track["opening"] = np.maximum(track["opening"] * (1 - shut), 0.0)
    track["lift"] = np.minimum(track["lift"] * (1 - shut), track["opening"])
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
