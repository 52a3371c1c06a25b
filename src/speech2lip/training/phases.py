"""What is trained in which order.

The sync expert and speech, then the lips in canonical space, then the Blend-Net in the observed frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from speech2lip.composition.blend_net import punch_holes
from speech2lip.composition.paste import Paster
from speech2lip.config import TrainSettings
from speech2lip.conventions import MEL_BANDS, MEL_RATE
from speech2lip.geometry.mapping import look_up
from speech2lip.model import LipModel, SpeechFeatures
from speech2lip.synthesis.lip_shape import outline_opening
from speech2lip.synthesis.speech import cut_windows, mel_windows, window_offsets
from speech2lip.training.augmentation import vary_speech
from speech2lip.training.dataset import TrainingSet
from speech2lip.training.losses import colour_losses, shape_losses
from speech2lip.training.resting import Resting, quiet_windows, resting_frames
from speech2lip.training.stretches import (
    FrameSequence,
    frames_apart,
    longest_stretches,
    moments_apart,
)
from speech2lip.training.sync import SyncClips, SyncExpert, drawn_sync_losses, expert_losses

_QUIET_BATCH = 16
"""Quiet sounds in a step."""
_REST_BATCH = 4
"""Closed mouths drawn under quiet sounds in a step, where the footage has no silence."""


@dataclass(frozen=True)
class Lesson:
    """What learns, and for how long."""

    name: str
    share: float
    """Of the whole time."""
    parameters: list[nn.Parameter]
    """That learn at the full rate."""
    learned_before: list[nn.Parameter]
    """That go on learning, at a lower rate."""


@dataclass(frozen=True)
class Phase(Lesson):
    """One stretch of training."""

    losses: Callable[[torch.Generator], dict[str, Tensor]]
    """Draws a batch and returns its named losses."""


def lessons(model: LipModel, expert: SyncExpert, settings: TrainSettings, *, use_sync: bool) -> list[Lesson]:
    """List what is learned, in order; it hangs on settings alone."""
    speech = [*model.encoder.parameters(), *model.lip_shape.parameters()]
    lips = list(model.lip_field.parameters())
    expert_share = settings.expert_share if use_sync else 0.0
    rest = 1 - settings.speech_share - settings.blend_share - expert_share
    listed = [
        Lesson("speech", settings.speech_share, speech, []),
        # An encoder that has not learned anything yet learns together with the lips.
        Lesson("lips", rest, lips, speech)
        if settings.speech_share
        else Lesson("lips", rest, [*speech, *lips], []),
        Lesson("blend", settings.blend_share, list(model.blend_net.parameters()), []),
    ]
    if not use_sync:
        return listed
    return [Lesson("sync expert", expert_share, list(expert.parameters()), []), *listed]


def phases(
    model: LipModel, expert: SyncExpert, data: TrainingSet, paster: Paster, settings: TrainSettings
) -> list[Phase]:
    """List the phases in order."""
    clips = SyncClips(data)
    use_sync = (
        settings.losses.sync + settings.losses.sync_negative > 0 and len(clips.starts) > settings.expert_batch
    )
    view = _Batches(model, expert if use_sync else None, clips, paster, settings)
    losses = {
        "sync expert": view.expert_losses,
        "speech": view.speech_losses,
        "lips": view.lip_losses,
        "blend": view.blend_losses,
    }
    listed = lessons(model, expert, settings, use_sync=use_sync)
    return [Phase(**vars(lesson), losses=losses[lesson.name]) for lesson in listed]


@contextmanager
def _in_use(*modules: nn.Module) -> Iterator[None]:
    """Let modules do within the block what they do when nothing is learned."""
    modes = [module.training for module in modules]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.train(mode)


class _Batches:
    """Draws batches and computes their losses."""

    def __init__(
        self,
        model: LipModel,
        expert: SyncExpert | None,
        clips: SyncClips,
        paster: Paster,
        settings: TrainSettings,
    ) -> None:
        data = clips.data
        self.model, self.data, self.paster, self.settings = model, data, paster, settings
        self.expert, self.clips = expert, clips
        self.device = data.patches.device
        self.offsets = window_offsets(settings.model).to(self.device)
        self.shapes = model.lip_shape.from_outline(data.outlines)
        self.spread = model.lip_shape.components.norm(dim=1)
        self.starts, self.length = longest_stretches(data.followed, data.rates)
        self.resting = self._resting() if settings.losses.silence_closed else None
        self.rest = None if self.resting is None else self.resting.shape(self.shapes)
        rows, columns = data.patches.shape[-2:]
        self.window = min(settings.crop_points, rows, columns)
        self.size = torch.tensor([columns, rows], device=self.device)
        self.spacing = min(settings.point_spacing_px, (min(rows, columns) - 1) / self.window)
        reach = min(rows, columns, math.ceil(self.window * self.spacing))
        near = torch.nn.functional.avg_pool2d(data.motion[None, None], reach, stride=1)[0, 0]
        self.corners = near.shape
        self.chances = (near**2).flatten().cpu()

    def _resting(self) -> Resting | None:
        return resting_frames(outline_opening(self.data.outlines), self.data.mel, self.data.times)

    def windows_at(self, index: Tensor) -> Tensor:
        """Cut the windows of frames out of the sound as it is."""
        return self._sound_at(index, self.offsets)

    def _sound_at(
        self, index: Tensor, offsets: Tensor, pace: Tensor | None = None, version: Tensor | None = None
    ) -> Tensor:
        data, times = self.data, self.data.times[index]
        if data.heard is None:
            return mel_windows(data.mel, times, offsets, pace=pace)
        if version is not None:
            times = times + version * (data.mel.shape[1] / MEL_RATE)
        return mel_windows(data.heard, times, offsets, pace=pace)

    def lip_losses(self, random: torch.Generator) -> dict[str, Tensor]:
        """Lip shape for pairs of consecutive frames; for some the colour of random squares of the patch."""
        data, settings = self.data, self.settings
        index, spoken = self._heard_stretches(settings.shape_batch, random)
        losses = self._shape_losses(spoken.shape, index)
        # Of each stretch, frames far apart.
        shown = torch.arange(len(index), device=index.device).reshape(-1, self.length).T.flatten()
        shown = shown[: settings.batch]
        index, heard = index[shown], spoken.shape[shown]
        drawn_shape = self._mixed_shape(heard, self.shapes[index], random)
        code = spoken.code[shown]
        if self.resting is not None and not self.resting.in_silence:
            index, code, drawn_shape = self._with_rest(self.resting.frames, index, code, drawn_shape, random)
        uv, square = self._squares(index, random)
        moment = index.float() / len(data.times)
        drawn = self.model.draw(SpeechFeatures(code, drawn_shape, moment), data.poses[index], uv)
        target = look_up(data.patches[index].float() / 255, square, mode="bicubic")
        weight = look_up(data.motion.expand(len(target), 1, -1, -1), square)
        losses |= colour_losses(drawn, target, weight)
        return losses | self._rest_loss(random) | self._sync_loss(random)

    def speech_losses(self, random: torch.Generator) -> dict[str, Tensor]:
        """Lip shape alone for many frames: before anything is drawn, as that costs much more."""
        index, spoken = self._heard_stretches(self.settings.speech_batch, random)
        return self._shape_losses(spoken.shape, index) | self._rest_loss(random)

    def _shape_losses(self, shape: Tensor, index: Tensor) -> dict[str, Tensor]:
        together = (-1, self.length, shape.shape[1])
        apart = moments_apart(self.data.rates[index[:: self.length]], self.length)
        truth = self.shapes[index].reshape(together)
        return shape_losses(shape.reshape(together), truth, self.spread, apart)

    def _rest_loss(self, random: torch.Generator) -> dict[str, Tensor]:
        """Lip shape where nobody speaks; nothing if the footage never shows the mouth at rest."""
        if self.rest is None:
            return {}
        heard = self.model.encode_speech(self._quiet_windows(random).to(self.device)).shape
        rest = self.rest.expand_as(heard)
        return {"silence_closed": shape_losses(heard[:, None], rest[:, None], self.spread)["shape"]}

    def _quiet_windows(self, random: torch.Generator) -> Tensor:
        quiet = self.data.quiet
        if quiet is None:
            return quiet_windows(_QUIET_BATCH, self.data.mel.shape[0], len(self.offsets), generator=random)
        first, last = int(self.offsets[0]), int(self.offsets[-1])
        room = quiet.shape[1] - 2 - last + first
        times = (torch.rand(_QUIET_BATCH, generator=random, dtype=torch.float64) * room - first) / MEL_RATE
        return mel_windows(quiet, times.to(self.device), self.offsets)

    def _versions(self, count: int, random: torch.Generator) -> Tensor | None:
        """Choose which version of the sound a pretrained encoder heard; as it is in the usual share."""
        if self.data.heard is None:
            return None
        versions = self.data.heard.shape[1] // self.data.mel.shape[1]
        other = torch.randint(1, versions, (count,), generator=random)
        changed = torch.rand(count, generator=random) < (self.settings.voice_changes or 0.0)
        return (other * changed).to(self.device)

    def _heard_stretches(self, count: int, random: torch.Generator) -> tuple[Tensor, SpeechFeatures]:
        """Listen at stretches of neighbouring frames, `count` in all; their indices and what was heard.

        A stretch is varied as one. The tempo changes too: the lips of the moment hardly depend on it, and
        without it the encoder learns the footage's sentences by heart.
        """
        chosen = torch.randint(len(self.starts), (max(1, count // self.length),), generator=random)
        starts = self.starts[chosen.to(self.device)]
        change = self.settings.tempo_changes * (2 * torch.rand(len(starts), generator=random) - 1)
        pace = (1 + change).to(self.device)
        index = starts[:, None] + frames_apart(self.data.rates[starts], self.length)
        sequence = FrameSequence.of(self.data.times[index], self.offsets, pace)
        sound = self._sound_at(starts, sequence.offsets, pace, self._versions(len(starts), random))
        windows = cut_windows(self._varied(sound, random), sequence.columns)
        return index.flatten(), self.model.encode_speech(windows)

    def _varied(self, sound: Tensor, random: torch.Generator) -> Tensor:
        """Change voice, room, microphone, level and background of some of the stretches."""
        mel = vary_speech(sound[:, :MEL_BANDS], generator=random)
        varied = torch.cat([mel, sound[:, MEL_BANDS:]], dim=1)
        chosen = torch.rand(len(sound), 1, 1, generator=random) < (self.settings.voice_changes or 0.0)
        return torch.where(chosen.to(self.device), varied, sound)

    def _sync_loss(self, random: torch.Generator) -> dict[str, Tensor]:
        """Let the expert, which learns no more, judge drawn clips."""
        left_out = float(torch.rand(1, generator=random)) >= self.settings.sync_share
        if self.expert is None or left_out:
            return {}
        self.expert.requires_grad_(False).eval()
        return drawn_sync_losses(
            self.expert, self.model, self.clips, self.windows_at, self.settings.sync_clips, random
        )

    def expert_losses(self, random: torch.Generator) -> dict[str, Tensor]:
        """What the sync expert learns by from real clips."""
        assert self.expert is not None
        return expert_losses(
            self.expert.requires_grad_(True).train(), self.clips, self.settings.expert_batch, random
        )

    def _with_rest(
        self, resting: Tensor, index: Tensor, code: Tensor, shape: Tensor, random: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Add closed lips under quiet sounds to the frames to be drawn.

        Footage in which nobody is ever silent does not show the lip field what silence sounds like.
        """
        chosen = torch.randint(len(resting), (_REST_BATCH,), generator=random).to(self.device)
        closed = resting[chosen]
        quiet = self.model.encode_speech(self._quiet_windows(random)[:_REST_BATCH].to(self.device)).code
        return (
            torch.cat([index, closed]),
            torch.cat([code, quiet]),
            torch.cat([shape, self.shapes[closed].to(shape.dtype)]),
        )

    def _mixed_shape(self, heard: Tensor, truth: Tensor, random: torch.Generator) -> Tensor:
        """Give the lip field the true lip shape, a little disturbed, for half of the frames.

        Sound does not tell everything about the lips. With the heard shape alone the field would average over
        what sound leaves open
        and blur; with the true one it learns to draw each shape sharply.
        """
        noise = 0.1 * torch.randn(truth.shape, generator=random).to(truth.device)
        use_truth = (torch.rand(len(truth), 1, generator=random) < 0.5).to(truth.device)
        return torch.where(use_truth, truth + noise, heard.float())

    def _squares(self, index: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Choose a square of positions on each patch, more often where it moves, and off the grid."""
        corner = torch.multinomial(self.chances, len(index), replacement=True, generator=random)
        offset = torch.stack([corner % self.corners[1], corner // self.corners[1]], dim=-1).float()
        offset = offset + (torch.rand(len(index), 2, generator=random) - 0.5) * self.settings.point_jitter_px
        steps = (torch.arange(self.window) + 0.5) * self.spacing
        square = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1)
        pixels = (square[None] + offset[:, None, None]).to(self.device)
        return pixels / self.size, pixels

    def blend_losses(self, random: torch.Generator) -> dict[str, Tensor]:
        """Colour of the mended crop, with holes punched into half of them."""
        data, crops, model = self.data, self.data.crops, self.model
        chosen = torch.randint(len(crops.index), (self.settings.batch // 2,), generator=random).to(
            self.device
        )
        index = crops.index[chosen]
        # It mends what the avatar will draw: without dropout and what else is left out while learning.
        with torch.no_grad(), _in_use(model.encoder, model.lip_shape, model.lip_field):
            spoken = model.encode_speech(self.windows_at(index))
            where = crops.uv[chosen]
            lips = model.draw(spoken, data.poses[index], where).float()
            lips = lips * data.light[index][..., None, None]
            truth = crops.picture[chosen].float() / 255
            mask = self.paster.carry_mask(where)
            pasted = truth + (lips - truth) * mask
            reference = self.paster.carry(
                model.lip_field.mean.expand(len(index), -1, -1, -1), where, data.light[index]
            )
            pasted = punch_holes(pasted, mask, share=self.settings.hole_probability, generator=random)
        mended = pasted + model.blend_net(pasted, mask, reference).float()
        return colour_losses(mended, truth, mask / mask.mean().clamp_min(1e-3))
