"""What is trained in which order.

The sync expert and speech, then the lips in canonical space, then the Blend-Net in the observed frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from speech2lip.composition.blend_net import punch_holes
from speech2lip.composition.paste import Paster
from speech2lip.config import TrainSettings
from speech2lip.conventions import MEL_BANDS, MEL_RATE
from speech2lip.geometry.mapping import sample
from speech2lip.model import LipModel, SpeechFeatures
from speech2lip.synthesis.lip_field import outline_opening
from speech2lip.synthesis.speech import cut_windows, mel_windows, window_offsets
from speech2lip.training.augmentation import quiet_windows, vary_speech
from speech2lip.training.dataset import TrainingSet
from speech2lip.training.losses import colour_losses, shape_losses
from speech2lip.training.resting import Resting, resting_frames
from speech2lip.training.stretches import FrameSequence, frames_apart, longest_stretches, moments_apart
from speech2lip.training.sync import SyncClips, SyncExpert, drawn_sync_losses, expert_losses

_QUIET_BATCH = 16
"""Quiet sounds in a step."""
_CLOSED_BATCH = 4
"""Closed mouths drawn under quiet sounds in a step, where the footage has no silence."""


@dataclass(frozen=True)
class Phase:
    """What learns by which losses, and for how long."""

    name: str
    share: float
    """Of the whole time."""
    losses: Callable[[torch.Generator], dict[str, Tensor]]
    """Draws a batch and returns its named losses."""
    parameters: list[nn.Parameter]
    """That learn at the full rate."""
    learned_before: list[nn.Parameter] = field(default_factory=list)
    """That go on learning, at a lower rate."""


def phases(
    model: LipModel, expert: SyncExpert, data: TrainingSet, paster: Paster, settings: TrainSettings
) -> list[Phase]:
    """List the phases in order."""
    clips = SyncClips(data)
    weight = settings.losses.sync + settings.losses.sync_negative
    use_sync = weight > 0 and len(clips.starts) > settings.expert_batch
    batches = _Batches(model, expert if use_sync else None, clips, paster, settings)
    expert_share = settings.expert_share if use_sync else 0.0
    lips_share = 1 - settings.speech_share - settings.blend_share - expert_share
    speech = [*model.encoder.parameters(), *model.lip_shape.parameters()]
    lips = list(model.lip_field.parameters())
    listed = [
        Phase("sync expert", expert_share, batches.expert_losses, list(expert.parameters())),
        Phase("speech", settings.speech_share, batches.speech_losses, speech),
        # An encoder that has not learned anything yet learns together with the lips.
        Phase("lips", lips_share, batches.lip_losses, lips, speech)
        if settings.speech_share
        else Phase("lips", lips_share, batches.lip_losses, [*speech, *lips]),
        Phase("blend", settings.blend_share, batches.blend_losses, list(model.blend_net.parameters())),
    ]
    return listed if use_sync else listed[1:]


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
        self.sound = data.mel if data.heard is None else data.heard
        self.voice_changes = settings.voice_changes or 0.0
        self.shapes = model.lip_shape.from_outline(data.outlines)
        self.spread = model.lip_shape.components.norm(dim=1)
        self.starts, self.length = longest_stretches(data.followed, data.rates)
        self.resting: Resting | None = None
        if settings.losses.silence_closed:
            self.resting = resting_frames(outline_opening(data.outlines), data.mel, data.times)
        self.closed = None if self.resting is None else self.resting.shape(self.shapes)
        rows, columns = data.patches.shape[-2:]
        self.size = torch.tensor([columns, rows], device=self.device)
        self.points = min(settings.crop_points, rows, columns)
        self.spacing = min(settings.point_spacing_px, (min(rows, columns) - 1) / self.points)
        reach = min(rows, columns, math.ceil(self.points * self.spacing))
        near = nn.functional.avg_pool2d(data.motion[None, None], reach, stride=1)[0, 0]
        self.corners = near.shape
        self.chances = (near**2).flatten().cpu()

    def windows_at(self, index: Tensor) -> Tensor:
        """Cut the windows of frames out of the sound as it is."""
        return mel_windows(self.sound, self.data.times[index], self.offsets)

    def expert_losses(self, random: torch.Generator) -> dict[str, Tensor]:
        """What the sync expert learns by from real clips."""
        assert self.expert is not None
        expert = self.expert.requires_grad_(True).train()
        return expert_losses(expert, self.clips, self.settings.expert_batch, random)

    def speech_losses(self, random: torch.Generator) -> dict[str, Tensor]:
        """Lip shape alone for many frames: before anything is drawn, as that costs much more."""
        index, spoken = self._varied_speech(self.settings.speech_batch, random)
        return self._shape_losses(spoken.shape, index) | self._silence_loss(random)

    def lip_losses(self, random: torch.Generator) -> dict[str, Tensor]:
        """Lip shape for stretches of frames; for some the colour of random squares of the patch."""
        data, settings = self.data, self.settings
        index, spoken = self._varied_speech(settings.shape_batch, random)
        losses = self._shape_losses(spoken.shape, index)
        # Of each stretch, frames far apart.
        shown = torch.arange(len(index), device=index.device).reshape(-1, self.length).T.flatten()
        shown = shown[: settings.batch]
        index, code = index[shown], spoken.code[shown]
        shape = self._mixed_shape(spoken.shape[shown], self.shapes[index], random)
        if self.resting is not None and not self.resting.in_silence:
            closed, quiet = self._closed_in_silence(self.resting, random)
            index, code = torch.cat([index, closed]), torch.cat([code, quiet])
            shape = torch.cat([shape, self.shapes[closed].to(shape.dtype)])
        square = self._squares(len(index), random)
        moment = index.float() / len(data.times)
        drawn = self.model.draw(SpeechFeatures(code, shape, moment), data.poses[index], square / self.size)
        target = sample(data.patches[index].float() / 255, square, mode="bicubic")
        weight = sample(data.motion.expand(len(target), 1, -1, -1), square)
        losses |= colour_losses(drawn, target, weight)
        return losses | self._silence_loss(random) | self._sync_loss(random)

    def blend_losses(self, random: torch.Generator) -> dict[str, Tensor]:
        """Colour of the mended crop, with holes punched into some of them."""
        data, crops, model, settings = self.data, self.data.crops, self.model, self.settings
        chosen = self._chosen(len(crops.index), settings.batch // 2, random)
        index, uv = crops.index[chosen], crops.uv[chosen]
        # It mends what the avatar will draw: without dropout and what else is left out while learning.
        model.eval()
        with torch.no_grad():
            spoken = model.encode_speech(self.windows_at(index))
            lips = model.draw(spoken, data.poses[index], uv).float()
            lips = lips * data.light[index][..., None, None]
            truth = crops.picture[chosen].float() / 255
            mask = self.paster.warp_mask(uv)
            pasted = truth + (lips - truth) * mask
            mean = model.lip_field.mean.expand(len(index), -1, -1, -1)
            reference = self.paster.warp(mean, uv, data.light[index])
            pasted = punch_holes(pasted, mask, share=settings.hole_probability, generator=random)
        model.train()
        mended = pasted + model.blend_net(pasted, mask, reference).float()
        return colour_losses(mended, truth, mask / mask.mean().clamp_min(1e-3))

    def _chosen(self, among: int, count: int, random: torch.Generator) -> Tensor:
        return torch.randint(among, (count,), generator=random).to(self.device)

    def _varied_speech(self, count: int, random: torch.Generator) -> tuple[Tensor, SpeechFeatures]:
        """Listen at stretches of neighbouring frames, `count` in all; their indices and what was heard.

        A stretch is varied as one. The tempo changes too: the lips of the moment hardly depend on it, and
        without it the encoder learns the footage's sentences by heart.
        """
        data = self.data
        starts = self.starts[self._chosen(len(self.starts), max(1, count // self.length), random)]
        change = self.settings.tempo_changes * (2 * torch.rand(len(starts), generator=random) - 1)
        pace = (1 + change).to(self.device)
        index = starts[:, None] + frames_apart(data.rates[starts], self.length)
        sequence = FrameSequence.of(data.times[index], self.offsets, pace)
        moments = data.times[starts] + self._version_seconds(len(starts), random)
        sound = mel_windows(self.sound, moments, sequence.offsets, pace=pace)
        windows = cut_windows(self._varied(sound, random), sequence.columns)
        return index.flatten(), self.model.encode_speech(windows)

    def _version_seconds(self, count: int, random: torch.Generator) -> Tensor | float:
        """Choose which version of the sound a pretrained encoder heard, mostly another than it is."""
        frames = self.data.mel.shape[1]
        if self.sound.shape[1] == frames:
            return 0.0
        other = torch.randint(1, self.sound.shape[1] // frames, (count,), generator=random)
        changed = torch.rand(count, generator=random) < self.voice_changes
        return (other * changed).to(self.device) * (frames / MEL_RATE)

    def _varied(self, sound: Tensor, random: torch.Generator) -> Tensor:
        """Change voice, room, microphone, level and background of some of the stretches."""
        mel = vary_speech(sound[:, :MEL_BANDS], generator=random)
        varied = torch.cat([mel, sound[:, MEL_BANDS:]], dim=1)
        chosen = torch.rand(len(sound), 1, 1, generator=random) < self.voice_changes
        return torch.where(chosen.to(self.device), varied, sound)

    def _shape_losses(self, shape: Tensor, index: Tensor) -> dict[str, Tensor]:
        together = (-1, self.length, shape.shape[1])
        moments = moments_apart(self.data.rates[index[:: self.length]], self.length)
        truth = self.shapes[index].reshape(together)
        return shape_losses(shape.reshape(together), truth, self.spread, moments)

    def _silence_loss(self, random: torch.Generator) -> dict[str, Tensor]:
        """Lip shape where nobody speaks; nothing if the footage never shows the mouth at rest."""
        if self.closed is None:
            return {}
        heard = self.model.encode_speech(self._quiet_windows(random)).shape
        closed = self.closed.expand_as(heard)
        return {"silence_closed": shape_losses(heard[:, None], closed[:, None], self.spread)["shape"]}

    def _quiet_windows(self, random: torch.Generator) -> Tensor:
        quiet = self.data.quiet
        if quiet is None:
            windows = quiet_windows(_QUIET_BATCH, MEL_BANDS, len(self.offsets), generator=random)
            return windows.to(self.device)
        first, last = int(self.offsets[0]), int(self.offsets[-1])
        room = quiet.shape[1] - 2 - last + first
        times = (torch.rand(_QUIET_BATCH, generator=random, dtype=torch.float64) * room - first) / MEL_RATE
        return mel_windows(quiet, times.to(self.device), self.offsets)

    def _closed_in_silence(self, resting: Resting, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return frames of closed lips to be drawn under quiet sounds, and the codes of these.

        Footage in which nobody is ever silent does not show the lip field what silence sounds like.
        """
        closed = resting.frames[self._chosen(len(resting.frames), _CLOSED_BATCH, random)]
        return closed, self.model.encode_speech(self._quiet_windows(random)[:_CLOSED_BATCH]).code

    def _sync_loss(self, random: torch.Generator) -> dict[str, Tensor]:
        """Let the expert, which learns no more, judge drawn clips in some of the steps."""
        passed_over = float(torch.rand(1, generator=random)) >= self.settings.sync_share
        if self.expert is None or passed_over:
            return {}
        expert = self.expert.requires_grad_(False).eval()
        clips = self.settings.sync_clips
        return drawn_sync_losses(expert, self.model, self.clips, self.windows_at, clips, random)

    def _mixed_shape(self, heard: Tensor, truth: Tensor, random: torch.Generator) -> Tensor:
        """Give the lip field the true lip shape, a little disturbed, for half of the frames.

        Sound does not tell everything about the lips. With the heard shape alone the field would average over
        what sound leaves open and blur; with the true one it learns to draw each shape sharply.
        """
        noise = 0.1 * torch.randn(truth.shape, generator=random).to(truth.device)
        use_truth = (torch.rand(len(truth), 1, generator=random) < 0.5).to(truth.device)
        return torch.where(use_truth, truth + noise, heard.float())

    def _squares(self, count: int, random: torch.Generator) -> Tensor:
        """Choose squares of points in pixels of the patch, more often where it moves, and off the grid."""
        corner = torch.multinomial(self.chances, count, replacement=True, generator=random)
        offset = torch.stack([corner % self.corners[1], corner // self.corners[1]], dim=-1).float()
        offset = offset + (torch.rand(count, 2, generator=random) - 0.5) * self.settings.point_jitter_px
        steps = (torch.arange(self.points) + 0.5) * self.spacing
        square = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1)
        return (square[None] + offset[:, None, None]).to(self.device)
