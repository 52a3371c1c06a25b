"""Every setting of the package, written once: default, help, flag, bounds, keyword and JSON are one."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import tyro

from speech2lip.checks import Unfit, above, between, fit, hints, matching, one_of
from speech2lip.errors import SettingsError

C = TypeVar("C", bound="_Checked")


def _given(metavar: str, kind: Callable[[str], Any]) -> Any:
    """Let the command line take any text, so that a wrong one is told as in Python, in one line."""
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda given: kind(given[0]),
        is_instance=lambda value: isinstance(value, str | os.PathLike),
        str_from_instance=lambda value: [str(value)],
    )


Word = _given("WORD", str)
Hidden: Any = tyro.conf.Suppress
"""Of settings for programs: the command line does not have them."""
File = Annotated[str | os.PathLike[str], _given("PATH", Path)]
Share = Annotated[float, between(0, 1), Hidden]
Weight = Annotated[float, between(0, 1e6)]
Quality = Annotated[float, between(0, 51)]
Seconds = Annotated[float, between(0, 1e6)]
Degrees = Annotated[float, between(-360, 360)]
Steps = Annotated[int, between(0, 1e9)]
Count = Annotated[int, between(1, 1e6)]
Batch = Annotated[int, between(1, 65_536)]
Width = Annotated[int, between(1, 1024), Hidden]
Cells = Annotated[int, between(1, 256)]
Device = Annotated[str, one_of("auto", "cpu", "cuda")]
Speech = Annotated[str, matching(r"mel|(mel\+)?hf:.+", "mel, mel+hf:FOLDER or hf:FOLDER")]
Precision = Annotated[str, one_of("auto", "fp32", "bf16")]

SHORT_MINUTES = 10.0
"""Training that has less time than this leaves out what pays only later."""
VOICE_CHANGES = 0.7
_LEAST_HEARD = 0.08
"""Seconds of sound without which the encoder has nothing to hear."""


@dataclass(frozen=True)
class _Checked:
    """Settings of which every value is checked when they are made: type, finite, bounds, choices."""

    _prefix: ClassVar = ""
    """What the flags of these settings begin with."""

    def __post_init__(self) -> None:
        for one in dataclasses.fields(self):
            try:
                value = fit(getattr(self, one.name), hints(type(self))[one.name], self.flag(one.name))
            except Unfit as error:
                raise SettingsError(str(error)) from error
            object.__setattr__(self, one.name, value)
        self._check_together()

    def flag(self, name: str) -> str:
        """Return the flag of a setting on the command line."""
        return f"--{self._prefix}{name.replace('_', '-')}"

    def _check_together(self) -> None:
        """Raise SettingsError where values do not go together."""


@dataclass(frozen=True)
class PresentSettings(_Checked):
    """What the made presenter says, and how it is filmed."""

    takes: Annotated[int, between(1, 1000)] | None = None
    """How many; None: all there are."""
    size: Annotated[int, between(64, 4096)] = 384
    """Side of the square picture, in pixels; even and at least 64."""
    fps: Annotated[float, between(5, 120)] = 25.0
    """Frames per second."""
    voice: Annotated[Literal["a", "b"], Word] = "a"
    """Which of the two voices; b has only unseen sentences."""
    split: Annotated[Literal["train", "unseen"], Word] = "train"
    """Sentences to train on, or ones to keep for testing."""
    seed: int = 0
    """Seed of the head's movement."""
    still: bool = False
    """Hold the head still."""

    def _check_together(self) -> None:
        if self.size % 2:
            raise SettingsError(f"--size must be an even size of at least 64 pixels, not {self.size}")


@dataclass(frozen=True)
class PrepareSettings(_Checked):
    """How takes become footage."""

    focal: Annotated[float, between(0.1, 100)] = 1.6
    """Focal length of the camera, in units of the longer side of the picture, as far as is known."""
    focal_spread: Annotated[float, between(0, 10)] = 0.4
    """Spread (natural logarithm) of what the footage may say about the focal length; 0 keeps `focal`."""
    photometric: bool = True
    """Refine head poses, depth and focal length by looking at the frames; without, landmarks decide alone."""
    min_face_pixels: Annotated[int, between(1, 10_000)] = 64
    """Smallest width of a face, in pixels, that can be trained on."""
    min_face_seconds: Seconds = 5.0
    """Least time, over all takes, in which a face must be seen."""
    small_face_pixels: Annotated[int, between(0, 10_000)] = 220
    """Faces narrower than this are enlarged before landmarks are looked for."""
    broken_colour_levels: Annotated[float, between(0, 255)] = 35.0
    """A frame whose face is this far (0 to 255) from the median colour is left out of training."""
    max_turn_degrees: Annotated[float, between(0, 180)] = 40.0
    """A frame in which the head is turned this far from where it mostly looks is left out of training."""
    face: str = "longest"
    """Whose face, of several: the `longest` seen, `left`, `right`, or a number from the left (1, 2, ...)."""
    canonical_frame: str = ""
    """The frame with the canonical head pose, as `take1:25` (take and frame number); empty: the best one."""
    smoothing_frames: Annotated[float, between(0, 100), Hidden] = 0.7
    """Standard deviation of the temporal smoothing of head poses, in units of 1/25 s."""
    canvas_pixels: Annotated[int, between(16, 4096)] = 320
    """Longest side of the canonical picture, at most."""
    patch_width: Annotated[int, between(16, 2048)] = 240
    """Width of the lip patch in canonical space, in pixels, at most; smaller faces take fewer."""
    patch_detail: Annotated[float, above(0, 16)] = 1.5
    """Pixels of the lip patch for one pixel of the footage: above 1, resampling blurs less."""
    picture_crf: Annotated[Quality, Hidden] = 17.0
    """Quality of the kept picture (H.264 constant rate factor: lower is better and larger)."""


@dataclass(frozen=True)
class LossWeights(_Checked):
    """Weights of the named losses; 0 turns one off."""

    _prefix: ClassVar = "losses."

    l2: Weight = 0.0
    """Squared colour difference of the lip patch, as published."""
    l1: Weight = 1.0
    """Absolute colour difference of the lip patch, weighted where this person moves."""
    gradient: Weight = 0.5
    """Absolute difference of the patch's horizontal and vertical differences: sharp teeth and lip edges."""
    shape: Weight = 1.0
    """Squared error of the lip shape that is read from speech."""
    sync: Weight = 0.01
    """Contrastive sync loss of drawn clips and their own sound, under the sync expert."""
    sync_negative: Weight = 0.01
    """The same of drawn clips and other sounds; both 0: no expert is trained."""
    expert: Weight = 1.0
    """What the sync expert itself learns by; it has a phase of its own."""
    velocity: Weight = 0.2
    """Squared error of the lip shape's change from frame to frame."""
    silence_closed: Weight = 0.2
    """Squared error of the lip shape under silence, faint noise, breath and clicks: the mouth rests."""


@dataclass(frozen=True)
class ModelSettings(_Checked):
    """Sizes of the networks."""

    _prefix: ClassVar = "model."

    speech: Speech = "mel"
    """What is heard of speech: `mel`, or `mel+hf:` (or `hf:` alone) and the folder or hub name of a
    pretrained encoder: HuBERT, wav2vec 2.0, WavLM or Whisper (docs/speech.md)."""
    code_size: Annotated[int, between(1, 4096), Hidden] = 64
    """Numbers in the speech code of a moment."""
    past_seconds: Annotated[float, between(0, 5)] = 0.4
    """Sound before the moment that the speech encoder hears."""
    ahead_seconds: Annotated[float, between(0, 5)] = 0.2
    """Sound after the moment that the speech encoder hears: the delay of live speech."""
    encoder_width: Width = 192
    """Channels of the speech encoder."""
    shape_size: Annotated[int, between(1, 90), Hidden] = 8
    """Principal components of the lip shape."""
    field: Annotated[Literal["grid", "paper"], Word] = "grid"
    """The lip field: `grid`, ours, or `paper`, the published network."""
    field_width: Width = 48
    """Channels of the lip field's feature grid."""
    field_cells: Annotated[tuple[Cells, Cells], Hidden] = (18, 24)
    """Rows and columns of the lip field's speech-driven feature grid."""
    point_width: Width = 48
    """Width of the network that turns the features of a point into a colour."""
    blend: Annotated[Literal["small", "paper"], Word] = "small"
    """The Blend-Net: `small`, ours, or `paper`, the published one, 22 times as dear."""
    blend_width: Annotated[int, between(1, 256), Hidden] = 12
    """Channels of the first level of our Blend-Net."""

    def _check_together(self) -> None:
        if self.past_seconds + self.ahead_seconds < _LEAST_HEARD:
            raise SettingsError(
                f"--model.past-seconds and --model.ahead-seconds must be {_LEAST_HEARD:g} together, at "
                f"least, not {self.past_seconds + self.ahead_seconds:g}"
            )


@dataclass(frozen=True)
class TrainSettings(_Checked):
    """How an avatar is trained."""

    minutes: Annotated[float, above(0, 1e5)] = 15.0
    """Time that training may take on this machine; the schedule is fitted into it."""
    preset: Annotated[Literal["default", "paper"], Word] = "default"
    """`default`, or `paper`: the published network and losses, the baseline of the tables."""
    steps: Annotated[int, between(1, 1e9)] | None = None
    """Exact number of optimiser steps instead of a time; None fits the schedule into the minutes."""
    hold_out: Annotated[float, between(0, 0.9)] | None = None
    """Share of the footage never trained on; None: every tenth take, of fewer than ten the last 10 %."""
    batch: Batch = 24
    """Frames drawn in a step."""
    shape_batch: Batch = 48
    """Frames in a step whose lip shape is read from speech."""
    voice_changes: Annotated[float, between(0, 1)] | None = None
    """Share of the sound that is varied in voice, room, microphone, level and background while training;
    None: 0.7, or half as much where training has less than ten minutes."""
    encoder_init: Annotated[Literal["built-in", "nothing"], Word] = "built-in"
    """What the speech encoder knows beforehand: phones of synthetic voices (`built-in`), or `nothing`."""
    tempo_changes: Annotated[float, between(0, 0.9)] = 0.4
    """Largest change of the sound's tempo around a frame while training, as a share."""
    crop_points: Annotated[int, between(1, 2048), Hidden] = 48
    """Points on a side of the square that is drawn of each frame's patch in a step."""
    point_jitter_px: Annotated[float, between(0, 16), Hidden] = 0.5
    """How far the square is shifted off the pixel grid, in pixels of the patch from side to side."""
    hole_probability: Share = 0.5
    """Share of the pictures into which a hole is punched for the Blend-Net to fill."""
    point_spacing_px: Annotated[float, above(0, 64), Hidden] = 1.5
    """Pixels of the patch between neighbouring points of the square."""
    learning_rate: Annotated[float, above(0, 1)] = 2e-3
    """Peak learning rate."""
    blend_share: Share = 0.2
    """Share of the time that goes to the Blend-Net."""
    speech_share: Share = 0.2
    """Share of the time that goes to reading lip shapes from speech, before lips are drawn."""
    speech_batch: Batch = 256
    """Frames in a step of reading lip shapes from speech, before lips are drawn."""
    expert_share: Share = 0.05
    """Share of the time that goes to the sync expert, before everything else."""
    expert_batch: Batch = 64
    """Clips that the sync expert compares in a step."""
    sync_clips: Batch = 4
    """Clips of five frames whose drawn lips the sync expert judges together."""
    sync_share: Share = 0.2
    """Share of the steps in which it does: drawing whole clips costs as much as the rest of a step."""
    save_seconds: Seconds = 20.0
    """Time between two savings of the state that resuming takes up."""
    base_seconds: Annotated[float, above(0, 1e6)] = 60.0
    """Footage, at most, that the avatar carries to speak over."""
    seed: Annotated[int, between(0, 2**31 - 1)] = 0
    """Seed of every random choice."""
    device: Device = "auto"
    """`auto`, `cpu` or `cuda`."""
    precision: Precision = "auto"
    """`auto` (a timed probe decides), `fp32` or `bf16`."""
    losses: LossWeights = field(default_factory=LossWeights)
    """Weights of the losses."""
    model: ModelSettings = field(default_factory=ModelSettings)
    """Sizes of the networks."""

    def _check_together(self) -> None:
        shares = self.blend_share + self.speech_share + self.expert_share
        if shares >= 1:
            raise SettingsError(
                "--blend-share, --speech-share and --expert-share must be less than 1 together, or no "
                f"time is left to learn lips, not {shares:g}"
            )


_PAPER: dict[str, Any] = {
    "losses": {"l2": 30.0, "l1": 0.0, "gradient": 0.0, "shape": 0.0, "velocity": 0.0, "silence_closed": 0.0},
    "model": {"speech": "mel", "field": "paper", "blend": "paper"},
    "batch": 16,
    "crop_points": 20,
    "point_spacing_px": 6.0,
    "speech_share": 0.0,
    "encoder_init": "nothing",
    "voice_changes": 0.0,
    "tempo_changes": 0.0,
    "learning_rate": 5e-4,
}


def with_preset(settings: TrainSettings) -> TrainSettings:
    """Return the settings that a preset stands for, and decide what was left to decide.

    The paper's: its lip field on speech code and time code alone, learned by the squared colour difference at
    randomly sampled positions and its sync loss; no lip shape, no changes of voice and tempo. Its Blend-Net,
    at its published width, sees the 96 x 128 pixels around the mouth that ours sees: 4 GMAC instead of the
    79 of a whole frame, which no processor trains in minutes. The default: where training has little time,
    less of it is spent on the person's own voice.

    Raises:
        SettingsError: a setting was given that the preset has otherwise.
    """
    if settings.preset == "paper":
        return _preset(settings, _PAPER)
    if settings.voice_changes is not None:
        return settings
    short = settings.steps is None and settings.minutes < SHORT_MINUTES
    return replace(settings, voice_changes=VOICE_CHANGES / 2 if short else VOICE_CHANGES)


def _preset(settings: C, values: dict[str, Any]) -> C:
    changed = {}
    for name, value in values.items():
        asked = getattr(settings, name)
        if isinstance(value, dict):
            changed[name] = _preset(asked, value)
        elif asked in (value, getattr(type(settings)(), name)):
            changed[name] = value
        else:
            flag = settings.flag(name)
            raise SettingsError(f"--preset paper has {flag} {value}, not {asked}: leave one of the two out")
    return replace(settings, **changed)


@dataclass(frozen=True)
class SpeakSettings(_Checked):
    """How an avatar speaks."""

    take: str | None = None
    """Base take to speak over; None: the longest that the avatar carries."""
    start: Seconds = 0.0
    """Second of the base video to begin at."""
    motion: str = "base"
    """How the head moves: `base`, as in the footage; `still`; or a footage or avatar folder, as in that."""
    yaw_degrees: Degrees = 0.0
    """The head is turned by this much more, to the picture's right."""
    pitch_degrees: Degrees = 0.0
    """The head is lifted by this much more."""
    roll_degrees: Degrees = 0.0
    """The head is tilted by this much more, clockwise."""
    poses: Path | None = None
    """Such angles over time: a CSV file of time in seconds, yaw, pitch and roll."""
    keep_in_front: bool = False
    """Keep what crosses the mouth in the footage, a hand or a microphone, in front of the lips. It is
    searched for first, in a few seconds; what has the skin's very colour is not found."""
    crf: Quality = 18.0
    """Quality of the written picture (H.264 constant rate factor: lower is better and larger)."""
    device: Device = "auto"
    """`auto`, `cpu` or `cuda`."""
    precision: Precision = "auto"
    """`auto` (a timed probe decides), `fp32` or `bf16`."""


@dataclass(frozen=True)
class LiveSettings(_Checked):
    """How an avatar speaks live."""

    port: Annotated[int, between(0, 65_535)] = 8765
    """Port of the page; 0 takes a free one."""
    host: str = "127.0.0.1"
    """Address that the page is served at; the default can be reached from this machine alone."""
    sample_rate: Annotated[int, between(1000, 768_000)] = 16_000
    """Samples a second of raw sound and of the microphone."""
    channels: Annotated[int, between(1, 2)] = 1
    """Channels of raw sound and of the microphone, 1 or 2."""
    stay: bool = False
    """Whether the person stays, silent, when the sound has ended."""
    quality: Annotated[int, between(2, 31)] = 4
    """Quality of the pictures of the page: 2 is best, 31 worst."""
    take: str | None = None
    """Base take to speak over; None: the longest that the avatar carries."""
    start: Seconds = 0.0
    """Second of the base video to begin at."""
    device: Device = "auto"
    """`auto`, `cpu` or `cuda`."""
    precision: Precision = "auto"
    """`auto` (a timed probe decides), `fp32` or `bf16`."""


@dataclass(frozen=True)
class EvaluateSettings(_Checked):
    """How an avatar is judged."""

    silent_frames: Steps = 100
    """Held-out frames, about, that are driven with each kind of silence; 0 leaves that out."""
    pairings: Steps = 28
    """Pairs of takes of which one is shown under the other's sound, to look for leaks; 0 leaves that out."""
    pairing_frames: Count = 75
    """Frames of a pairing, at most."""
    judge_steps: Steps = 600
    """Steps in which our own judge of sync learns from the training takes; 0 leaves it out."""
    lpips_weights: Path | None = None
    """AlexNet and the LPIPS heads as safetensors (docs/metrics.md tells how); without, that column is n/a."""
    syncnet_weights: Path | None = None
    """The public SyncNet as safetensors (docs/metrics.md tells how); without, its columns are n/a."""
    measure_cost: bool = True
    """Whether speed and memory of speaking are measured, in a process of its own."""
    device: Device = "auto"
    """`auto`, `cpu` or `cuda`."""
    precision: Precision = "auto"
    """`auto` (a timed probe decides), `fp32` or `bf16`."""


@dataclass(frozen=True)
class EvaluateInputs:
    """What an avatar is judged with, besides its footage."""

    paper: File | None = None
    """An avatar of the same footage and hold-out that was trained as the paper does it: one more row."""
    transcripts: File | None = None
    """A folder with the words of the takes, `TAKE.txt`; None: beside the source videos."""
    unseen_speakers: Sequence[File] = ()
    """Sounds of speakers that the avatar has never heard; the page shows it speaking 20 s of them."""


@dataclass(frozen=True)
class EvaluateOutputs:
    """What an evaluation writes, besides the table that it prints."""

    json: File | None = None
    """A file for the figures."""
    report: File | None = None
    """A page (.html) with the table, players and plots."""
    overwrite: Annotated[bool, tyro.conf.Suppress] = True
    """Whether older ones are replaced."""
