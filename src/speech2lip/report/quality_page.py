"""The report of an evaluation, which needs no network: table, players, plots, worst frames."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile

from speech2lip.arrays import Floats, Picture
from speech2lip.avatar import Avatar
from speech2lip.config import EvaluateSettings, SpeakSettings
from speech2lip.conventions import SAMPLE_RATE, AnyPath, Box
from speech2lip.errors import SoundError
from speech2lip.evaluation.accumulate import Figures, Moment, Openings
from speech2lip.evaluation.held_out import Span
from speech2lip.evaluation.result import COST, METRICS, Result, ground_truth_line
from speech2lip.evaluation.runner import Observer
from speech2lip.evaluation.speech_labels import Heard
from speech2lip.media.sound import read_wave
from speech2lip.media.video import read_frames
from speech2lip.media.video_writer import VideoFormat, VideoWriter
from speech2lip.progress import quietly
from speech2lip.report.page import (
    data_uri,
    opening_plot,
    picture_uri,
    resized,
    training_plots,
    write_page,
)

TAKES_SHOWN = 12
SECONDS_SHOWN = 20.0
"""Of a take's player and plot, and of unseen speakers."""
MOUTHS = 12
"""On a contact sheet."""
MOUTH = 96
"""Side of a mouth on a contact sheet."""
JUDGED = "ours"
"""The row that is shown."""
PANEL = 320
"""Side of each of the three panels of a player, in pixels, at most."""
GAIN = 3
"""The difference panel shows made minus real this much enlarged, around grey."""
CRF = 26.0
"""Quality of videos: a page that is looked at once should stay small."""

WORST: dict[str, bool] = {
    "mouth_psnr": False, "mouth_ssim": False, "sharpness_ratio": False,
    "lmd_percent": True, "opening_error": True, "seam_ratio": True,
}  # fmt: skip
"""Metrics whose worst frames are shown; whether high is bad."""
KEPT = 4
_APART = 25
"""Frames of a take among which only the worst is shown."""


class QualityPage(Observer):
    """Watches an evaluation for its page; holds small pictures only.

    Args:
        avatar: who is judged.
        stack: closes and removes, at its end, what is written on the way.
    """

    def __init__(self, avatar: Avatar, stack: contextlib.ExitStack) -> None:
        self.avatar = avatar
        self.takes: list[dict[str, object]] = []
        """What the page shows of each take; pictures and video are data URIs."""
        self.not_shown = 0
        """Takes that the page has no room for."""
        self.worst = WorstFrames()
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="speech2lip-report-")))
        self._open = stack.enter_context(contextlib.ExitStack())
        """Holds the player while it is written."""
        self._player: Player | None = None
        self._wanted: set[int] = set()
        """Frames of this take that are shown on its sheet."""
        self._mouths: list[tuple[float, Picture]] = []

    def begin_take(self, span: Span, heard: Heard) -> None:
        """Get ready for a take, if there is room for one more."""
        super().begin_take(span, heard)
        self._mouths = []
        kept = span.kept
        places = np.linspace(0, len(kept) - 1, min(MOUTHS, len(kept))).astype(int)
        self._wanted = set(kept[places].tolist())
        self.not_shown += len(self.takes) == TAKES_SHOWN

    def frame(self, moment: Moment, made: Mapping[str, Picture], figures: Mapping[str, Figures]) -> None:
        """Show a frame."""
        self.worst.add(self.span.take.name, moment, made[JUDGED], figures[JUDGED])
        self.pass_over(moment, made)

    def pass_over(self, moment: Moment, made: Mapping[str, Picture]) -> None:
        """Show a frame in the player and on the contact sheet, but not among the worst."""
        if len(self.takes) == TAKES_SHOWN:
            return
        if moment.index in self._wanted:
            self._mouths.append((moment.time, np.concatenate(mouths(moment, made[JUDGED]))))
        begun = float(self.span.times[0])
        if moment.time - begun > SECONDS_SHOWN:
            return
        if self._player is None:
            wave = self.heard.wave[round((begun - self.heard.begins) * SAMPLE_RATE) :]
            box = head_box(moment.box, moment.real)
            player = Player(self._folder / "player.mp4", box, fps=self.span.take.fps, wave=wave, start=begun)
            self._player = self._open.enter_context(player)
        self._player.show(moment.real, made[JUDGED], moment.time)

    def end_take(self, openings: Mapping[str, Openings]) -> None:
        """Put the take's parts together."""
        player, self._player = self._player, None
        if player is None or player.poster is None:
            return
        self._open.close()
        ours = openings[JUDGED]
        shown = ours.times - ours.times[0] <= SECONDS_SHOWN
        lines = {"truth": ours.real[shown], "ours": ours.made[shown]}
        self.takes.append({
            "name": _name(self.span),
            "frames": len(self.span.kept),
            "video": data_uri(player.path.read_bytes(), "video/mp4"),
            "poster": picture_uri(player.poster),
            "plot": opening_plot(ours.times[shown], lines, self.heard),
            "sheet": picture_uri(np.concatenate([pair for _, pair in self._mouths], axis=1)),
            "seconds": [second for second, _ in self._mouths],
        })  # fmt: skip

    def write(
        self,
        path: Path,
        result: Result,
        about: str,
        unseen_speakers: Sequence[AnyPath],
        settings: EvaluateSettings,
    ) -> None:
        """Write the page, with the person speaking what unseen speakers said."""
        sounds = [Path(sound) for sound in unseen_speakers]
        speaker = unseen_speaker(self.avatar.folder, sounds, settings) if sounds else None
        write_page(path, "quality.html", unseen_speaker=speaker, **self.content(result, about))

    def content(self, result: Result, about: str) -> dict[str, object]:
        """Return what the template shows of an evaluation and its takes."""
        rows = result.rows.values()
        return {
            "command": "evaluate",
            "title": f"{self.avatar.folder.name} on {result.footage}",
            "about": f"{about.strip()}.",
            "result": result,
            "metrics": METRICS,
            "missing": [name for name in METRICS if all(row.get(name) is None for row in rows)],
            "costs": COST,
            "truth": ground_truth_line(result.details),
            "gain": GAIN,
            "takes": self.takes,
            "not_shown": self.not_shown,
            "worst": self.worst.found,
            "training": training_plots(self.avatar.info.history),
        }


def _name(span: Span) -> str:
    """Name a span by its take and, where it is not all of it, its seconds."""
    if len(span.times) == len(span.take.times):
        return span.take.name
    return f"{span.take.name}, {span.times[0]:.1f} to {span.times[-1]:.1f} s"


def head_box(mouth: Box, picture: Picture) -> Box:
    """Return a square around the head of a frame, as large as the frame allows: 3.5 mouth boxes."""
    height, width = picture.shape[:2]
    side = min(height, width, round(3.5 * max(mouth[2] - mouth[0], mouth[3] - mouth[1], 8)))
    x, y = (mouth[0] + mouth[2]) // 2, (mouth[1] + mouth[3]) // 2
    # The mouth lies below the middle of the head.
    x0 = min(max(0, x - side // 2), width - side)
    y0 = min(max(0, y - round(0.68 * side)), height - side)
    return x0, y0, x0 + side, y0 + side


def mouths(moment: Moment, made: Picture) -> list[Picture]:
    """Cut out the mouths of both frames: truth, made."""
    return [_cut(picture, moment.box, MOUTH) for picture in (moment.real, made)]


def side_by_side(real: Picture, made: Picture) -> Picture:
    """Put truth, made and their difference beside each other; [h, 3 w, 3]."""
    difference = np.clip(128 + GAIN * (made.astype(np.int16) - real), 0, 255).astype(np.uint8)
    return np.concatenate([real, made, difference], axis=1)


def _cut(picture: Picture, box: Box, side: int) -> Picture:
    x0, y0, x1, y1 = box
    return resized(picture[y0:y1, x0:x1], side, side)


class Player(VideoWriter):
    """Writes the small video of one take; pictures go to a file as they come.

    Args:
        wave: [S], the sound from second `start` of the take on.
    """

    def __init__(self, path: Path, box: Box, *, fps: Fraction, wave: Floats, start: float) -> None:
        self._box, self._wave, self._start, self._frame_seconds = box, wave, start, 1 / float(fps)
        self._side = side = min(PANEL, box[2] - box[0]) // 2 * 2
        self._heard = 0
        self.poster: Picture | None = None
        """First frame: what is shown before anybody plays it."""
        video = VideoFormat(width=3 * side, height=side, fps=fps, sample_rate=SAMPLE_RATE)
        super().__init__(path, video, crf=CRF, overwrite=True)

    def show(self, real: Picture, made: Picture, time: float) -> None:
        """Add a frame of the take's second `time`, and the sound until the next."""
        shown = side_by_side(*(_cut(picture, self._box, self._side) for picture in (real, made)))
        self.poster = shown if self.poster is None else self.poster
        self.write(shown, time=time - self._start)
        until = round((time - self._start + self._frame_seconds) * SAMPLE_RATE)
        if until > self._heard:
            self.write_sound(self._wave[self._heard : until])
            self._heard = until


@dataclass(frozen=True)
class WorstFrame:
    """A frame that a metric finds bad."""

    take: str
    index: int
    value: float
    picture: str
    """Data URI."""


class WorstFrames:
    """Keeps the worst few frames of every metric, not two of the same second."""

    def __init__(self) -> None:
        self.found: dict[str, list[WorstFrame]] = {name: [] for name in WORST}
        """By metric, the worst first."""

    def add(self, take: str, moment: Moment, made: Picture, figures: Figures) -> None:
        """Look at a frame."""
        pair: str | None = None
        for name, high in WORST.items():
            value, kept = figures[name], self.found[name]
            if not np.isfinite(value):
                continue
            near = [one for one in kept if one.take == take and abs(one.index - moment.index) < _APART]
            if rivals := near or (kept if len(kept) == KEPT else []):
                mildest = rivals[-1]
                if value <= mildest.value if high else value >= mildest.value:
                    continue
                kept.remove(mildest)
            pair = pair or picture_uri(np.concatenate(mouths(moment, made), axis=1))
            kept.append(WorstFrame(take, moment.index, value, pair))
            kept.sort(key=lambda frame: frame.value, reverse=high)


def unseen_speaker(avatar: Path, sounds: Sequence[Path], settings: EvaluateSettings) -> dict[str, object]:
    """Let an avatar speak the sounds of others, whom it has never heard.

    Returns:
        `names` of the sounds that are heard, `video` (a data URI, marked as every output is), `first` frame.

    Raises:
        SoundError, AvatarError: as their messages say.
    """
    from speech2lip.inference.speak import speak

    how = SpeakSettings(crf=CRF, device=settings.device, precision=settings.precision)
    with tempfile.TemporaryDirectory(prefix="speech2lip-unseen-") as folder:
        sound, video = Path(folder) / "unseen.wav", Path(folder) / "unseen.mp4"
        wave, names = joined(sounds)
        soundfile.write(sound, wave, SAMPLE_RATE)
        with quietly():
            speak(sound, avatar=avatar, output=video, settings=how)
        first = next(iter(read_frames(video, stop_frame=1)))
        return {"names": names, "video": data_uri(video.read_bytes(), "video/mp4"), "first": first.rgb}


def joined(sounds: Sequence[Path], *, seconds: float = SECONDS_SHOWN) -> tuple[Floats, list[str]]:
    """Put sounds one after the other, with short silences between them, up to a length.

    Returns:
        [S] at 16 kHz, and the names of the sounds that are heard in it.

    Raises:
        SoundError: one of them cannot be read, or there is none.
    """
    between = np.zeros(round(0.4 * SAMPLE_RATE), np.float32)
    wanted, wave, names = round(seconds * SAMPLE_RATE), np.zeros(0, np.float32), list[str]()
    for path in sounds:
        if len(wave) + len(between) < wanted:
            wave = np.concatenate([wave, *([between] if names else []), read_wave(path)])
            names.append(path.stem)
    if not names:
        raise SoundError("no sound of an unseen speaker given; name at least one sound file")
    return wave[:wanted], names
