"""Videos of the presenter, with sound and truth."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from fractions import Fraction
from functools import partial
from pathlib import Path

from speech2lip.atomic import check_output, output_errors
from speech2lip.config import PresentSettings
from speech2lip.conventions import SAMPLE_RATE
from speech2lip.errors import SettingsError
from speech2lip.media.video_writer import VideoFormat, VideoWriter
from speech2lip.progress import Progress
from speech2lip_presenter.motion import clip_states
from speech2lip_presenter.render import State, measure, render_frame, write_truth
from speech2lip_presenter.speech import SpeechClip, speech_clips


def film_clip(
    clip: SpeechClip,
    path: Path,
    *,
    settings: PresentSettings,
    states: list[State] | None = None,
    overwrite: bool = False,
    filmed: Callable[[], None] = lambda: None,
) -> int:
    """Render one clip, or other `states` that say it; return the number of frames.

    The truth is written first, so that no video ever stands without it. `filmed` is called after each frame.
    """
    rate = Fraction(settings.fps).limit_denominator(1001)
    states = states or clip_states(clip, float(rate), settings.seed, still=settings.still)
    write_truth(measure(states, fps=float(rate), size=settings.size), path)
    wave, written = clip.wave, 0
    with VideoWriter(
        path,
        VideoFormat(width=settings.size, height=settings.size, fps=rate, sample_rate=SAMPLE_RATE),
        crf=14,
        metadata={"title": clip.name, "comment": "A made head, nobody's face, with synthetic speech."},
        overwrite=overwrite,
    ) as writer:
        for done, state in enumerate(states, 1):
            writer.write(render_frame(state, size=settings.size)[0])
            end = round(done * SAMPLE_RATE / rate)
            writer.write_sound(wave[written:end])
            written = end
            filmed()
    return len(states)


def present(
    folder: Path | str,
    *,
    settings: PresentSettings | None = None,
    overwrite: bool = False,
    workers: int = 1,
) -> list[Path]:
    """Make videos of the presenter: `<folder>/<clip>.mp4`, and beside each its `<clip>.truth.npz`.

    Args:
        folder: where to; made if missing.
        settings: what it says and how it is filmed.
        overwrite: replace videos that exist.
        workers: clips rendered at the same time, each in its own process.

    Raises:
        SettingsError: the voice has no such sentences, or not so many.
        OutputError: the folder cannot be written to, or a video exists.
    """
    settings = settings or PresentSettings()
    shots = {Path(folder) / f"{clip.name}.mp4": clip for clip in _clips(settings)}
    with output_errors(Path(folder)):
        Path(folder).mkdir(parents=True, exist_ok=True)
    for path in shots:
        check_output(path, overwrite=overwrite)
    total = sum(int(clip.seconds * settings.fps) for clip in shots.values())
    film = partial(film_clip, settings=settings, overwrite=overwrite)
    with Progress("Filming the presenter", total=total, unit="frames") as progress:
        if workers <= 1:
            for path, clip in shots.items():
                film(clip, path, filmed=progress.advance)
            return list(shots)
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            for one in as_completed([pool.submit(film, clip, path) for path, clip in shots.items()]):
                progress.advance(one.result())
    return list(shots)


def _clips(settings: PresentSettings) -> list[SpeechClip]:
    """Return what is said.

    Raises:
        SettingsError: the voice has no such sentences, or not so many.
    """
    voice, split, takes = settings.voice, settings.split, settings.takes
    clips = speech_clips(voice, split=split)
    if not clips:
        raise SettingsError(
            f"Voice {voice!r} has no {split!r} clips: ask for voice 'a', or for split 'unseen'."
        )
    if takes is not None and takes > len(clips):
        raise SettingsError(
            f"Voice {voice!r} has {len(clips)} {split!r} clips, not {takes}: ask for 1 to {len(clips)}."
        )
    return clips[:takes]
