"""Every setting of the package, written once: default, help text, flag, keyword and saved JSON are the
same field.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from speech2lip.conventions import AnyPath
from speech2lip.errors import SettingsError

S = TypeVar("S")


SHORT_MINUTES = 10.0
"""Training that has less time than this leaves out what pays only later."""
VOICE_CHANGES = 0.7
BUILT_IN_EAR, NO_EAR = "built-in", "nothing"


@dataclass(frozen=True)
class PrepareSettings:
    """How takes become footage."""

    focal: float = 1.6
    """Focal length of the camera, in units of the longer side of the picture, as far as is known."""
    focal_spread: float = 0.4
    """How far (natural logarithm) the focal length that the footage itself shows usually is from `focal`; 0
    keeps `focal`.
    """
    photometric: bool = True
    """Refine head poses, depth and focal length by looking at the frames; without, landmarks alone are
    believed.
    """
    min_face_pixels: int = 64
    """Smallest width of a face, in pixels, that can be trained on."""
    min_face_seconds: float = 5.0
    """Least time, over all takes, in which a face must be seen."""
    small_face_pixels: int = 220
    """Faces narrower than this are enlarged before landmarks are looked for."""
    broken_colour_levels: float = 35.0
    """A frame whose face is this far (0 to 255) from the median colour is left out of training."""
    max_turn_degrees: float = 40.0
    """A frame in which the head is turned this far from where it mostly looks is left out of training."""
    face: str = "longest"
    """Whose face, where there are several: `longest` (seen for the longest time), `left`, `right`, or a
    number counted from the left, beginning with 1.
    """
    canonical_frame: str = ""
    """The frame whose head pose is the canonical one, as name of the take and frame number (`take1:25`);
    empty for the one that scores best.
    """
    smoothing_frames: float = 0.7
    """Standard deviation of the temporal smoothing of head poses, in frames."""
    canvas_pixels: int = 320
    """Longest side of the canonical picture, at most."""
    patch_width: int = 240
    """Width of the lip patch in canonical space, in pixels, at most; smaller faces take fewer."""
    patch_detail: float = 1.5
    """Pixels of the lip patch for one pixel of the footage: above 1, resampling blurs less."""
    depth_steps: int = 150
    """Optimiser steps that refine the depth of the head where looking at the frames did not find it; 0 keeps
    the depth of the face mesh.
    """
    picture_crf: float = 17.0
    """Quality of the kept picture (H.264 constant rate factor: lower is better and larger)."""


@dataclass(frozen=True)
class LossWeights:
    """Weights of the named losses; 0 turns one off."""

    squared: float = 0.0
    """Squared colour difference of the lip patch, as published."""
    colour: float = 1.0
    """Absolute colour difference of the lip patch, weighted where this person moves."""
    gradient: float = 0.5
    """Absolute difference of the patch's horizontal and vertical differences: sharp teeth and lip edges."""
    shape: float = 1.0
    """Squared error of the lip shape that is read from speech."""
    sync: float = 0.01
    """Contrastive sync loss of drawn clips and their own sound, under the sync expert."""
    apart: float = 0.01
    """The same of drawn clips and other sounds; both 0: no expert is trained."""
    expert: float = 1.0
    """What the sync expert itself learns by; it has a phase of its own."""
    steady: float = 0.2
    """Squared error of the lip shape's change from frame to frame."""
    rest: float = 0.2
    """Squared error of the lip shape under silence, faint noise, breath and clicks: the mouth rests."""


@dataclass(frozen=True)
class ModelSettings:
    """Sizes of the networks."""

    speech: str = "mel"
    """What is heard of speech: `mel`; `phonetic`, scores of a recogniser's phones; or `mel+phonetic`, for
    training that has an hour or a GPU. A pretrained encoder can hear too: `mel+hf:` and the folder or hub
    name of a HuBERT, wav2vec 2.0, WavLM or Whisper (docs/speech.md).
    """
    code_size: int = 64
    """Numbers in the speech code of a moment."""
    past_seconds: float = 0.4
    """Sound before the moment that the speech encoder hears."""
    ahead_seconds: float = 0.2
    """Sound after the moment that the speech encoder hears: the delay of live speech."""
    encoder_width: int = 192
    """Channels of the speech encoder."""
    shape_size: int = 8
    """Principal components of the lip shape."""
    field: str = "grid"
    """The lip field: `grid`, ours, or `paper`, the published network."""
    field_width: int = 48
    """Channels of the lip field's feature grid."""
    field_cells: tuple[int, int] = (18, 24)
    """Rows and columns of the lip field's speech-driven feature grid."""
    point_width: int = 48
    """Width of the network that turns the features of a point into a colour."""
    blend: str = "small"
    """The Blend-Net: `small`, ours; `colour`, ours without residual; or `paper`, the published one, 22 times
    as dear."""
    blend_width: int = 12
    """Channels of the first level of our Blend-Net."""


@dataclass(frozen=True)
class TrainSettings:
    """How an avatar is trained."""

    minutes: float = 15.0
    """Time that training may take on this machine; the schedule is fitted into it."""
    preset: str = "default"
    """`default`, or `paper`: the published network and losses, the baseline of the tables."""
    steps: int | None = None
    """Exact number of optimiser steps instead of a time; None fits the schedule into the minutes."""
    hold_out: float | None = None
    """Share of the footage that is never trained on; None: every tenth take, or the last 10 % if there are
    fewer than ten; 0: nothing.
    """
    depth_steps: int = 0
    """Optimiser steps that refine the depth of the head once more, on the frames that are trained on; it is
    kept only where it is better.
    """
    batch: int = 24
    """Frames drawn in a step."""
    shape_batch: int = 48
    """Frames in a step whose lip shape is read from speech."""
    voice_changes: float | None = None
    """Share of the sound that is varied in voice, room, microphone, level and background while training;
    None: 0.7, or half as much where training has less than ten minutes.
    """
    ear: str = BUILT_IN_EAR
    """What the speech encoder knows beforehand: `built-in`, phones that synthetic voices spoke; or `nothing`.
    """
    tempo_changes: float = 0.4
    """Largest change of the sound's tempo around a frame while training, as a share."""
    window: int = 48
    """Side of the square of patch positions that is drawn from each frame in a step."""
    off_grid: float = 0.5
    """How far positions are drawn off the pixel grid, in pixels of the patch from side to side."""
    holes: float = 0.5
    """Share of the pictures into which a hole is punched for the Blend-Net to fill."""
    spacing: float = 1.5
    """Pixels of the patch between neighbouring positions of the square."""
    learning_rate: float = 2e-3
    """Peak learning rate."""
    blend_share: float = 0.2
    """Share of the time that goes to the Blend-Net."""
    speech_share: float = 0.2
    """Share of the time that goes to reading lip shapes from speech, before lips are drawn."""
    speech_batch: int = 256
    """Frames in a step of that."""
    expert_share: float = 0.05
    """Share of the time that goes to the sync expert, before everything else."""
    expert_batch: int = 64
    """Clips that the sync expert compares in a step."""
    sync_clips: int = 4
    """Clips of five frames whose drawn lips the sync expert judges together."""
    sync_share: float = 0.2
    """Share of the steps in which it does: drawing whole clips costs as much as the rest of a step."""
    save_seconds: float = 20.0
    """Time between two savings of the state that resuming takes up."""
    base_seconds: float = 60.0
    """Footage, at most, that the avatar carries to speak over."""
    seed: int = 0
    """Seed of every random choice."""
    device: str = "auto"
    """`auto`, `cpu` or `cuda`."""
    precision: str = "auto"
    """`auto` (a timed probe decides), `fp32` or `bf16`."""
    losses: LossWeights = field(default_factory=LossWeights)
    """Weights of the losses."""
    model: ModelSettings = field(default_factory=ModelSettings)
    """Sizes of the networks."""


def with_preset(settings: TrainSettings) -> TrainSettings:
    """Return the settings that a preset stands for.

    The paper's: its lip field on speech code and time code alone, learned by the squared colour difference at
    randomly sampled positions and its sync loss; no lip shape, no changes of voice and tempo. Its Blend-Net,
    at its published width, sees the 96 x 128 pixels around the mouth that ours sees: 4 GMAC instead of the
    79 of a whole frame, which no processor trains in minutes.

    Raises:
        SettingsError: there is no such preset, or no such ear.
    """
    if settings.ear not in (BUILT_IN_EAR, NO_EAR):
        raise SettingsError(f"there is no ear {settings.ear!r}; there are {BUILT_IN_EAR} and {NO_EAR}")
    if settings.preset == "default":
        return _suited_to_time(settings)
    if settings.preset != "paper":
        raise SettingsError(f"there is no preset {settings.preset!r}; there are default and paper")
    losses = replace(settings.losses, squared=30.0, colour=0.0, gradient=0.0, shape=0.0, steady=0.0, rest=0.0)
    return replace(
        settings,
        losses=losses,
        model=replace(settings.model, speech="mel", field="paper", blend="paper"),
        batch=16,
        window=20,
        spacing=6.0,
        speech_share=0.0,
        ear=NO_EAR,
        voice_changes=0.0,
        tempo_changes=0.0,
        learning_rate=5e-4,
    )


def _suited_to_time(settings: TrainSettings) -> TrainSettings:
    """Decide what was left to decide: little time is spent on the person's own voice."""
    short = settings.steps is None and settings.minutes < SHORT_MINUTES
    if settings.voice_changes is not None:
        return settings
    return replace(settings, voice_changes=VOICE_CHANGES / 2 if short else VOICE_CHANGES)


@dataclass(frozen=True)
class SpeakSettings:
    """How an avatar speaks."""

    take: str | None = None
    """Base take to speak over; None: the longest that the avatar carries."""
    start: float = 0.0
    """Second of the base take to begin at."""
    motion: str = "base"
    """How the head moves: `base`, as in the footage; `still`; or a footage or avatar folder, as in that."""
    yaw_degrees: float = 0.0
    """The head is turned by this much more, to the picture's right."""
    pitch_degrees: float = 0.0
    """The head is lifted by this much more."""
    roll_degrees: float = 0.0
    """The head is tilted by this much more, clockwise."""
    poses: Path | None = None
    """Such angles over time: a CSV file of time in seconds, yaw, pitch and roll."""
    keep_in_front: bool = False
    """Keep what crosses the mouth in the footage, a hand or a microphone, in front of the lips. It is
    searched for first, in a few seconds; what has the skin's very colour is not found."""
    crf: float = 18.0
    """Quality of the written picture (H.264 constant rate factor: lower is better and larger)."""
    device: str = "auto"
    """`auto`, `cpu` or `cuda`."""
    precision: str = "auto"
    """`auto` (a timed probe decides), `fp32` or `bf16`."""


@dataclass(frozen=True)
class LiveSettings:
    """How an avatar speaks live."""

    port: int = 8765
    """Port of the page; 0 takes a free one."""
    host: str = "127.0.0.1"
    """Address that the page is served at; the default can be reached from this machine alone."""
    sample_rate: int = 16_000
    """Samples a second of raw sound and of the microphone."""
    channels: int = 1
    """Channels of raw sound and of the microphone, 1 or 2."""
    stay: bool = False
    """Whether the person stays, silent, when the sound has ended."""
    quality: int = 4
    """Quality of the pictures of the page: 2 is best, 31 worst."""
    take: str | None = None
    """Base take to speak over; None: the longest that the avatar carries."""
    start: float = 0.0
    """Second of the base take to begin at."""
    device: str = "auto"
    """`auto`, `cpu` or `cuda`."""
    precision: str = "auto"
    """`auto` (a timed probe decides), `fp32` or `bf16`."""


@dataclass(frozen=True)
class EvaluateSettings:
    """How an avatar is judged."""

    silent_frames: int = 100
    """Held-out frames, about, that are driven with each kind of silence; 0 leaves that out."""
    pairings: int = 28
    """Pairs of takes of which one is shown under the other's sound, to look for leaks; 0 leaves that out."""
    pairing_frames: int = 75
    """Frames of a pairing, at most."""
    judge_steps: int = 600
    """Steps in which our own judge of sync learns from the training takes; 0 leaves it out."""
    revoiced: bool = False
    """Whether held-out takes also speak in other voices, by telephone, in a room ... (docs/speech.md)."""
    revoiced_frames: int = 300
    """Frames, about, that are drawn for each of these voices; 0: only what is read from speech is judged."""
    lpips_weights: Path | None = None
    """AlexNet and the LPIPS heads as safetensors (docs/metrics.md tells how); without, that column is n/a."""
    syncnet_weights: Path | None = None
    """The public SyncNet as safetensors (docs/metrics.md tells how); without, its columns are n/a."""
    measure_cost: bool = True
    """Whether speed and memory of speaking are measured, in a process of its own."""
    device: str = "auto"
    """`auto`, `cpu` or `cuda`."""
    precision: str = "auto"
    """`auto` (a timed probe decides), `fp32` or `bf16`."""


@dataclass(frozen=True)
class EvaluateInputs:
    """What an avatar is judged with, besides its footage."""

    paper: AnyPath | None = None
    """An avatar of the same footage and hold-out that was trained as the paper does it: one more row."""
    transcripts: AnyPath | None = None
    """A folder with the words of the takes, `TAKE.txt`; None: beside the source videos."""
    foreign: Sequence[AnyPath] = ()
    """Sounds of strangers; the page shows the person speaking 20 s of them."""


@dataclass(frozen=True)
class EvaluateOutputs:
    """What an evaluation writes, besides the table that it prints."""

    json: AnyPath | None = None
    """A file for the figures."""
    report: AnyPath | None = None
    """A page (.html) with the table, players and plots."""
    overwrite: bool = True
    """Whether older ones are replaced."""


def to_plain(settings: Any) -> dict[str, Any]:
    """Turn a settings dataclass into plain JSON values."""
    return dataclasses.asdict(settings)


def from_plain(kind: type[S], plain: Mapping[str, Any]) -> S:
    """Read a settings dataclass back from JSON values; unknown names are an error, missing ones take the
    default.
    """
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(plain) - set(fields))
    if unknown:
        raise SettingsError(
            f"unknown setting {unknown[0]!r} in saved {kind.__name__}; update speech2lip or remove it"
        )
    values: dict[str, Any] = {}
    for name, value in plain.items():
        factory = fields[name].default_factory
        default = fields[name].default if factory is dataclasses.MISSING else factory()
        if dataclasses.is_dataclass(default) and isinstance(value, Mapping):
            value = from_plain(type(default), value)
        values[name] = tuple(value) if isinstance(default, tuple) else value
    return kind(**values)
