"""Videos of the presenter, with sound and truth."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

from speech2lip.config import PresentSettings
from speech2lip.conventions import SAMPLE_RATE
from speech2lip.errors import OutputError, SettingsError
from speech2lip.media.video_writer import VideoFormat, VideoWriter
from speech2lip_presenter import render
from speech2lip_presenter.motion import clip_states
from speech2lip_presenter.speech import SpeechClip, speech_clips
from speech2lip_presenter.truth import measure, truth_path, write_truth

Progress = Callable[[int, int], None]
"""Called with the frames done and the frames to do."""


@dataclass(frozen=True)
class Shot:
    """One video to be made; picklable, so that it can be made in another process."""

    path: Path
    clip: SpeechClip
    settings: PresentSettings
    overwrite: bool


def film_clip(shot: Shot, *, progress: Callable[[int], None] | None = None) -> Path:
    """Render one clip; the truth is written first, so that no video ever stands without it."""
    size = shot.settings.size
    rate = Fraction(shot.settings.fps).limit_denominator(1001)
    states = clip_states(shot.clip, float(rate), shot.settings.seed, still=shot.settings.still)
    wave = shot.clip.wave
    write_truth(measure(states, fps=float(rate), size=size), shot.path)
    with VideoWriter(
        shot.path,
        VideoFormat(width=size, height=size, fps=rate, sample_rate=SAMPLE_RATE),
        crf=14,
        metadata={"title": shot.clip.name, "comment": "A made head, nobody's face, with synthetic speech."},
        overwrite=shot.overwrite,
    ) as writer:
        written = 0
        for i, state in enumerate(states):
            writer.write(render.render_frame(state, size=size)[0])
            end = round((i + 1) * SAMPLE_RATE / rate)
            writer.write_sound(wave[written:end])
            written = end
            if progress is not None:
                progress(i + 1)
    return shot.path


def present(
    folder: Path | str,
    *,
    settings: PresentSettings | None = None,
    overwrite: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[Path]:
    """Make videos of the presenter: `<folder>/<clip>.mp4`, and beside each its `<clip>.truth.npz`.

    Args:
        folder: where to; made if missing.
        settings: what it says and how it is filmed.
        overwrite: replace videos that exist.
        workers: clips rendered at the same time, each in its own process.
        progress: called now and then with frames done and frames to do.

    Raises:
        SettingsError: no such voice, split, size, rate or number of takes.
        OutputError: the folder cannot be written to, or a video exists.
    """
    settings = settings or PresentSettings()
    clips = _clips(settings)
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot make the folder {folder}: {error.strerror}.") from error
    shots = [Shot(folder / f"{clip.name}.mp4", clip, settings, overwrite) for clip in clips]
    for shot in shots:
        if shot.path.exists() and not overwrite:
            raise OutputError(f"{shot.path} exists: choose another folder, or overwrite it.")
    return film_all(shots, workers=workers, progress=progress)


def _clips(settings: PresentSettings) -> Sequence[SpeechClip]:
    """Check the settings and return what is said."""
    if settings.size < 64 or settings.size % 2:
        raise SettingsError(
            f"The presenter cannot be {settings.size} pixels wide: give an even size of at least 64."
        )
    if not 5 <= settings.fps <= 120:
        raise SettingsError(
            f"The presenter cannot be filmed at {settings.fps} frames a second: give 5 to 120."
        )
    voice, split, takes = settings.voice, settings.split, settings.takes
    clips = speech_clips(voice, split=split)
    if not clips:
        raise SettingsError(
            f"Voice {voice!r} has no {split!r} clips: ask for voice 'a', or for split 'unseen'."
        )
    if takes is not None and not 1 <= takes <= len(clips):
        raise SettingsError(
            f"Voice {voice!r} has {len(clips)} {split!r} clips, not {takes}: ask for 1 to {len(clips)}."
        )
    return clips[:takes]


def _say_nothing(done: int, total: int) -> None:
    """Report no progress."""


def _report_from(report: Progress, before: int, total: int, frames: int) -> None:
    report(before + frames, total)


def film_all(shots: list[Shot], *, workers: int, progress: Progress | None) -> list[Path]:
    """Render shots one after the other, or several at a time."""
    lengths = {shot.path: int(shot.clip.seconds * shot.settings.fps) for shot in shots}
    total, done = sum(lengths.values()), 0
    report = progress or _say_nothing
    if workers <= 1:
        for shot in shots:
            film_clip(shot, progress=partial(_report_from, report, done, total))
            done += lengths[shot.path]
        return [shot.path for shot in shots]
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for finished in as_completed([pool.submit(film_clip, shot) for shot in shots]):
            done += lengths[finished.result()]
            report(done, total)
    return [shot.path for shot in shots]


__all__ = ["Shot", "film_clip", "present", "truth_path"]
