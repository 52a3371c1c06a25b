"""`python -m benchmarks speed`: how fast an avatar speaks and what it needs, all ratios from one run."""

from __future__ import annotations

import itertools
import logging
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import soundfile
import torch
import tyro

from benchmarks.machine import machine
from benchmarks.speed.memory import speak_watched
from benchmarks.speed.page import speed_page
from benchmarks.speed.plots import speed_plots
from benchmarks.speed.resized import Size, resized_avatar
from benchmarks.speed.stages import stages_ms
from speech2lip.atomic import output_errors, write_atomically, write_json
from speech2lip.avatar import BaseVideo, read_avatar
from speech2lip.compute import device_name, usable_cores
from speech2lip.config import SpeakSettings
from speech2lip.conventions import SAMPLE_RATE
from speech2lip.errors import SettingsError
from speech2lip.evaluation.cost import gflop_per_frame
from speech2lip.inference.speak import speak
from speech2lip.inference.speaker import BaseVideoReader, Speaker
from speech2lip.inference.stream import stream
from speech2lip.media.video_writer import VideoFormat, VideoWriter

_LOG = logging.getLogger(__name__)

Figures = dict[str, Any]
_AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
"""How networks are held to what every laptop of ten years has."""

_SIZES = (
    Size("256", 256),
    Size("512", 512),
    Size("768", 768),
    Size("512 in 720p", 512, (1280, 720)),
    Size("512 in 1080p", 512, (1920, 1080)),
    Size("512 in 4K", 512, (3840, 2160)),
)
_MANY_PIXELS = 2_100_000
"""Pictures larger than 1920 x 1080 speak less: their speed shows soon, and they take long."""


@dataclass(frozen=True)
class SpeedPlan:
    """Which picture sizes are measured, and how much sound is spoken."""

    sizes: tuple[Size, ...] = _SIZES
    seconds: float = 20.0
    """Of sound for each size, a quarter of it for the largest."""
    long_minutes: float = 10.0
    """Of sound for the memory."""
    stream_seconds: float = 3.0
    """For each number of streams."""
    canvas: tuple[int, int] = (1920, 1080)
    """Size of the picture in which heads of several heights are laid."""
    faces: tuple[int, ...] = (256, 512, 768, 1080)
    """Heights of these heads."""


@dataclass(frozen=True)
class Arguments:
    """Measure how fast the first avatar of a folder speaks, at several picture sizes; nothing is trained."""

    work: Path = Path("runs/bench")
    """Folder with avatars in it; `NAME.paper.avatar` is measured beside, if there is one."""
    results: Path = Path("benchmarks/results")
    """`speed.json` is written here."""
    page: Path = Path("docs/speed.md")
    """The page that is made of it."""
    settings: Annotated[SpeakSettings, tyro.conf.arg(name="")] = field(default_factory=SpeakSettings)
    """How."""


def main(arguments: Arguments, plan: SpeedPlan = SpeedPlan()) -> None:
    """Measure the first avatar of a folder at several picture sizes; write `speed.json` and the page.

    Raises:
        SettingsError: there is no avatar in the folder.
    """
    work, results, page, settings = arguments.work, arguments.results, arguments.page, arguments.settings
    avatars = sorted(work.glob("*.avatar"))
    own = [path for path in avatars if not path.name.endswith(".paper.avatar")]
    if not own:
        raise SettingsError(
            f"there is no avatar in {work}; name a folder with one by --work (`speech2lip demo` makes demo/)"
        )
    with tempfile.TemporaryDirectory() as folder:
        room = Path(folder)
        sound = write_noise(room / "sound.wav", plan.seconds)
        short = write_noise(room / "short.wav", plan.seconds / 4)
        rows: list[Figures] = []
        for size in plan.sizes:
            avatar = resized_avatar(own[0], size, room / f"{len(rows)}.avatar")
            large = size.canvas is not None and size.canvas[0] * size.canvas[1] > _MANY_PIXELS
            spoken = short if large else sound
            rows.append({"name": size.name, **_one_size(avatar, spoken, settings)})
            _LOG.info(
                f"{size.name}: {rows[-1]['speak_fps']:.0f} frames/s, {rows[-1]['codec_fps']:.0f} without us"
            )
        middle = min(1, len(rows) - 1)
        figures: Figures = {
            "avatar": own[0].name,
            "machine": machine(),
            "cores": len(usable_cores()),
            "sizes": rows,
            "streams": _streams(room / f"{middle}.avatar", settings, plan.stream_seconds),
            "memory": _watched(
                room / "0.avatar", write_noise(room / "long.wav", 60 * plan.long_minutes), settings
            ),
            "faces": _faces(own[0], settings, plan.canvas, plan.faces),
            "lengths": _lengths(room / f"{middle}.avatar", settings, plan.seconds),
        }
        if figures["sizes"][0]["device"].endswith("CPU threads"):
            held = _watched(room / f"{middle}.avatar", sound, settings, **_AVX2)
            figures["avx2"] = {"name": rows[middle]["name"], "speak_fps": held["frames_per_second"]}
            _LOG.info(f"{rows[middle]['name']} held to AVX2: {held['frames_per_second']:.0f} frames/s")
        paper = next((path for path in avatars if path.name.endswith(".paper.avatar")), None)
        if paper is not None:
            figures["paper"] = _paper(paper, write_noise(room / "paper.wav", 2.0), settings)
    with output_errors(results):
        results.mkdir(parents=True, exist_ok=True)
        page.absolute().parent.mkdir(parents=True, exist_ok=True)
    write_json(results / "speed.json", figures)
    with write_atomically(page, overwrite=True) as partial:
        partial.write_text(speed_page(figures), encoding="utf-8")
    pictures = page.parent / "images"
    with output_errors(pictures):
        pictures.mkdir(exist_ok=True)
    with write_atomically(pictures / "speed.svg", overwrite=True) as partial:
        partial.write_text(speed_plots(figures), encoding="utf-8")
    _LOG.info(f"{page}: the tables; {results / 'speed.json'}: the figures")


def write_noise(path: Path, seconds: float) -> Path:
    """Write noise that comes and goes as speech does."""
    random = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1) as file:
        for start in range(0, round(seconds * SAMPLE_RATE), SAMPLE_RATE):
            count = min(SAMPLE_RATE, round(seconds * SAMPLE_RATE) - start)
            loud = 0.05 * (1 + np.sin((start + np.arange(count)) / SAMPLE_RATE * 9))
            file.write((random.normal(0, 1, count) * loud).astype(np.float32))
    return path


def _one_size(avatar: Path, sound: Path, settings: SpeakSettings) -> Figures:
    began = time.perf_counter()
    with Speaker(avatar, settings=settings) as speaker:
        loaded = time.perf_counter() - began
        engine = speaker.engine
        figures: Figures = {
            **_picture(speaker),
            "precision": engine.precision,
            "path": engine.path,
            "device": device_name(engine.compute),
            "load_ms": 1000 * loaded,
            "first_frame_ms": 1000 * _first_frame(speaker),
            "stages_ms": stages_ms(speaker),
            "gflop_per_frame": gflop_per_frame(engine),
        }
    with tempfile.TemporaryDirectory() as folder:
        spoke = speak(sound, avatar=avatar, output=Path(folder) / "o.mp4", settings=settings)
        figures["speak_fps"] = spoke.frames_per_second
        figures["codec_fps"] = _codec_fps(read_avatar(avatar).bases[0], spoke.frames, Path(folder) / "c.mp4")
    return figures


def _picture(speaker: Speaker) -> Figures:
    base, engine = speaker.base, speaker.engine
    left, top, right, bottom = engine.paster.regions(base.head[0], (base.height, base.width))[0]
    return {"width": base.width, "height": base.height, "region_pixels": (right - left) * (bottom - top)}


def _first_frame(speaker: Speaker) -> float:
    """Return the seconds from when the look-ahead has been heard to the first frame."""
    with stream(speaker) as speech:
        speech.push(np.zeros(SAMPLE_RATE // 2, np.float32))
        began = time.perf_counter()
        speech.pull()
        return time.perf_counter() - began


def _codec_fps(base: BaseVideo, frames: int, output: Path) -> float:
    """Return the frames a second of decoding and encoding the base video alone, with as much sound."""
    began = time.perf_counter()
    order = itertools.islice(itertools.cycle(range(len(base.times))), frames)
    sound = np.random.default_rng(0).normal(0, 0.05, round(SAMPLE_RATE / float(base.fps))).astype(np.float32)
    writer = VideoWriter(
        output, VideoFormat(width=base.width, height=base.height, fps=base.fps, sample_rate=SAMPLE_RATE)
    )
    with BaseVideoReader(base) as planes, writer:
        for index in order:
            writer.write(planes[index])
            writer.write_sound(sound)
    return frames / (time.perf_counter() - began)


def _streams(avatar: Path, settings: SpeakSettings, seconds: float) -> Figures:
    """Return the frames a second of several numbers of streams together; they share an avatar."""
    with Speaker(avatar, settings=settings) as speaker:
        counts = sorted({1, 2, len(usable_cores()), 2 * len(usable_cores())})
        return {
            "fps": float(speaker.base.fps),
            "width": speaker.base.width,
            "height": speaker.base.height,
            "together": {str(count): _together(speaker, count, seconds) for count in counts},
        }


def _together(speaker: Speaker, count: int, seconds: float) -> float:
    def go(seed: int) -> int:
        torch.set_num_threads(1)
        frames = 0
        with stream(speaker) as speech:
            while time.perf_counter() < until:
                speech.pull(silence=True)
                frames += 1
        return frames

    threads = torch.get_num_threads()
    until = time.perf_counter() + seconds
    with ThreadPoolExecutor(count) as pool:
        frames = sum(pool.map(go, range(count)))
    torch.set_num_threads(threads)
    return frames / seconds


def _faces(
    avatar: Path, settings: SpeakSettings, canvas: tuple[int, int], heights: Sequence[int]
) -> list[Figures]:
    """Return what drawing takes for heads of several sizes in one size of picture."""
    rows = []
    for height in heights:
        with tempfile.TemporaryDirectory() as folder:
            size = Size(f"{height} rows", height, canvas)
            resized = resized_avatar(avatar, size, Path(folder) / "a.avatar")
            with Speaker(resized, settings=settings) as speaker:
                rows.append({"name": size.name, "stages_ms": stages_ms(speaker), **_picture(speaker)})
    return rows


def _lengths(avatar: Path, settings: SpeakSettings, seconds: float) -> list[Figures]:
    """Return how long sounds of several lengths take."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "o.mp4"
        for length in (seconds / 4, seconds / 2, seconds, 2 * seconds):
            sound = write_noise(Path(folder) / "s.wav", length)
            began = time.perf_counter()
            spoke = speak(sound, avatar=avatar, output=output, settings=settings, overwrite=True)
            rows.append({"seconds": spoke.seconds, "took": time.perf_counter() - began})
    return rows


def _watched(avatar: Path, sound: Path, settings: SpeakSettings, **environment: str) -> Figures:
    """Let a fresh process speak; return its speed and memory."""
    with tempfile.TemporaryDirectory() as folder:
        return speak_watched(avatar, sound, Path(folder) / "o.mp4", settings, environment=environment)


def _paper(avatar: Path, sound: Path, settings: SpeakSettings) -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        spoke = speak(sound, avatar=avatar, output=Path(folder) / "o.mp4", settings=settings)
    person = read_avatar(avatar)
    return {"avatar": avatar.name, "speak_fps": spoke.frames_per_second, "width": person.bases[0].width}
