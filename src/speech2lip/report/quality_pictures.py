"""Pictures and players of the report: side by side, contact sheets of mouths, worst frames."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from speech2lip.conventions import SAMPLE_RATE, Picture
from speech2lip.evaluation.accumulate import Figures
from speech2lip.evaluation.metrics.mouth_box import Box
from speech2lip.evaluation.speech_labels import Wave
from speech2lip.media.video import VideoFormat, VideoWriter

PANEL = 320
"""Side of each of the three panels of a player, in pixels, at most."""
MOUTH = 96
"""Side of a mouth on a contact sheet."""
GAIN = 3
"""The difference panel shows made minus real this much enlarged, around grey."""

WORST: dict[str, bool] = {
    "mouth_psnr": False, "mouth_ssim": False, "sharpness_ratio": False,
    "lmd_percent": True, "opening_error": True, "seam_ratio": True,
}  # fmt: skip
"""Metrics whose worst frames are shown; whether high is bad."""
KEPT = 4
_APART = 25
"""Frames of a take among which only the worst is shown."""


def data_uri(content: bytes, kind: str) -> str:
    """Return content as a part of the page itself."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def jpeg(picture: Picture) -> bytes:
    """Compress a picture [H, W, 3]."""
    import cv2

    done, packed = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert done, f"a picture of {picture.shape} could not be compressed"
    return bytes(packed.tobytes())


def resized(picture: Picture, width: int, height: int) -> Picture:
    """Resample a picture [H, W, 3]."""
    import cv2

    way = cv2.INTER_AREA if width < picture.shape[1] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(picture, (width, height), interpolation=way), np.uint8)


def head_box(mouth: Box, picture: Picture) -> Box:
    """Return a square around the head of a frame, as large as the frame allows: 3.5 mouth boxes."""
    height, width = picture.shape[:2]
    side = min(height, width, round(3.5 * max(mouth[2] - mouth[0], mouth[3] - mouth[1], 8)))
    x, y = (mouth[0] + mouth[2]) // 2, (mouth[1] + mouth[3]) // 2
    # The mouth lies below the middle of the head.
    x0 = min(max(0, x - side // 2), width - side)
    y0 = min(max(0, y - round(0.68 * side)), height - side)
    return x0, y0, x0 + side, y0 + side


def side_by_side(real: Picture, made: Picture) -> Picture:
    """Put truth, made and their difference beside each other; [h, 3 w, 3]."""
    difference = np.clip(128 + GAIN * (made.astype(np.int16) - real), 0, 255).astype(np.uint8)
    return np.concatenate([real, made, difference], axis=1)


class Player:
    """Writes the small video of one take; pictures go to a file as they come.

    Args:
        wave: [S], the sound from second `start` of the take on.
    """

    def __init__(self, path: Path, box: Box, *, fps: Fraction, wave: Wave, start: float) -> None:
        self.path, self._box, self._wave, self._start = path, box, wave, start
        self._side = min(PANEL, box[2] - box[0]) // 2 * 2
        self._heard = 0
        self._fps = fps
        self.poster: bytes | None = None
        """First frame, JPEG: what is shown before anybody plays it."""
        self._writer = VideoWriter(
            path,
            VideoFormat(width=3 * self._side, height=self._side, fps=fps, sample_rate=SAMPLE_RATE),
            crf=24,
        ).__enter__()

    def write(self, real: Picture, made: Picture, time: float) -> None:
        """Add a frame of the take's second `time`, and the sound until the next."""
        x0, y0, x1, y1 = self._box
        both = [resized(picture[y0:y1, x0:x1], self._side, self._side) for picture in (real, made)]
        shown = side_by_side(*both)
        self.poster = self.poster or jpeg(shown)
        self._writer.write(shown, time=time - self._start)
        until = round((time - self._start + 1 / float(self._fps)) * SAMPLE_RATE)
        if until > self._heard:
            self._writer.write_sound(self._wave[self._heard : until])
            self._heard = until

    def close(self) -> bytes:
        """Finish the video and return it."""
        self._writer.__exit__(None, None, None)
        return self.path.read_bytes()

    def abandon(self, error: BaseException) -> None:
        """Leave the video unfinished."""
        self._writer.__exit__(type(error), error, error.__traceback__)


class ContactSheet:
    """Gathers mouths of some frames of a take: truth above, made below."""

    def __init__(self, indices: Sequence[int]) -> None:
        self._wanted = set(indices)
        self._columns: list[Picture] = []
        self.seconds: list[float] = []
        """Of the take, of each column."""

    def add(self, index: int, time: float, real: Picture, made: Picture, box: Box) -> None:
        """Take a frame in if it is one of the wanted."""
        if index in self._wanted:
            self._columns.append(mouth_pair(real, made, box))
            self.seconds.append(time)

    def picture(self) -> Picture | None:
        """Return the sheet; None if it is empty."""
        return np.concatenate(self._columns, axis=1) if self._columns else None


def mouth_pair(real: Picture, made: Picture, box: Box, *, across: bool = False) -> Picture:
    """Cut out the mouths of both frames, truth above made (or beside it)."""
    x0, y0, x1, y1 = box
    both = [resized(picture[y0:y1, x0:x1], MOUTH, MOUTH) for picture in (real, made)]
    return np.concatenate(both, axis=1 if across else 0)


@dataclass(frozen=True)
class WorstFrame:
    """A frame that a metric finds bad."""

    take: str
    index: int
    value: float
    badness: float
    """Higher is worse, whichever way the metric counts."""
    picture: bytes
    """JPEG."""


class WorstFrames:
    """Keeps the worst few frames of every metric, not two of the same second."""

    def __init__(self) -> None:
        self.found: dict[str, list[WorstFrame]] = {name: [] for name in WORST}

    def add(self, take: str, index: int, figures: Figures, real: Picture, made: Picture, box: Box) -> None:
        """Look at a frame."""
        pair: bytes | None = None
        for name, high in WORST.items():
            value, kept = figures[name], self.found[name]
            if not np.isfinite(value):
                continue
            near = [f for f in kept if f.take == take and abs(f.index - index) < _APART]
            rivals = near or (kept if len(kept) == KEPT else [])
            badness = value if high else -value
            if rivals:
                mildest = min(rivals, key=lambda frame: frame.badness)
                if badness <= mildest.badness:
                    continue
                kept.remove(mildest)
            pair = pair or jpeg(mouth_pair(real, made, box, across=True))
            kept.append(WorstFrame(take, index, value, badness, pair))
            kept.sort(key=lambda frame: frame.badness, reverse=True)
