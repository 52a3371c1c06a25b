"""The sync loss: an expert that knows this person's lips and sounds, and what it says of drawn lips."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from speech2lip.conventions import MEL_BANDS, MEL_RATE
from speech2lip.geometry.mapping import sample
from speech2lip.model import LipModel, SpeechFeatures
from speech2lip.synthesis.lip_field import uv_lattice
from speech2lip.synthesis.speech import SILENT_MEL, mel_windows
from speech2lip.training.dataset import TrainingSet
from speech2lip.training.losses import contrastive_losses
from speech2lip.training.stretches import MOMENT_SECONDS, frames_apart, stretch_starts

CLIP = 5
"""Frames 0.04 s apart that are seen together: lips that move, as in SyncNet."""
_HEARD = torch.arange(-MEL_RATE // 5, MEL_RATE // 5)
"""Mel frames, 0.2 s around the middle of a clip, that are heard: lips lead and follow the sound a little."""
_SIGHT = (24, 36)
"""Rows and columns in which the expert sees the mouth."""
_MARGIN = 0.25
"""What is seen around the lips, as a share of their extent over the footage."""
_NEAR_SECONDS = 0.35
"""Clips nearer than this in time do not serve as each other's negatives: they may truly look alike."""


class SyncExpert(nn.Module):
    """Embeds clips of lips and stretches of sound so that what belongs together points the same way."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        size = 64
        self.sight = nn.Sequential(
            nn.Conv2d(CLIP, width, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(2 * width * (_SIGHT[0] // 8) * -(-_SIGHT[1] // 8), size),
        )
        self.hearing = nn.Sequential(
            nn.Conv1d(MEL_BANDS, 3 * width, 5, stride=2, padding=2),
            nn.GELU(),
            nn.Conv1d(3 * width, 3 * width, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(3 * width * -(-len(_HEARD) // 4), size),
        )
        self.scale = nn.Parameter(torch.tensor(2.0))

    def embed_lips(self, clips: Tensor) -> Tensor:
        """Embed clips of grey lips [B, 5, h, w] about 0; [B, D] of length 1."""
        return functional.normalize(self.sight(clips).float(), dim=1)

    def embed_sound(self, windows: Tensor) -> Tensor:
        """Embed mel windows [B, M, W]; [B, D] of length 1."""
        return functional.normalize(self.hearing(windows).float(), dim=1)


class SyncClips:
    """Clips of a training set as the expert sees and hears them."""

    def __init__(self, data: TrainingSet) -> None:
        self.data = data
        self.offsets = _HEARD.to(data.patches.device)
        self.starts = stretch_starts(data.followed, data.rates, CLIP)
        # 0.04 s, as exactly as the footage's own clock has it.
        gaps = data.times[data.followed + 1] - data.times[data.followed]
        self.moment = (gaps * data.rates[data.followed] * MOMENT_SECONDS).median()
        self.uv = sight_uv(data.outlines)
        size = self.uv.new_tensor([data.patches.shape[-1], data.patches.shape[-2]])
        some = data.patches[:: max(1, len(data.patches) // 500)].float() / 255
        self.pixels = self.uv * size
        self.mean_grey = sample(some, self.pixels.expand(len(some), -1, -1, -1)).mean((0, 1))

    def chosen(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw clips, told by their first frames; [B]."""
        return self.starts[
            torch.randint(len(self.starts), (count,), generator=generator).to(self.starts.device)
        ]

    def frames(self, starts: Tensor) -> Tensor:
        """Return the frames of clips; [B, 5]."""
        return starts[:, None] + frames_apart(self.data.rates[starts], CLIP)

    def middle_times(self, starts: Tensor) -> Tensor:
        """Return the seconds of the middles of clips; [B]."""
        return self.data.times[self.frames(starts)[:, CLIP // 2]]

    def shown(self, starts: Tensor) -> Tensor:
        """Return real clips [B, 5, h, w]."""
        index = self.frames(starts).flatten()
        patches = self.data.patches[index].float() / 255
        return self.grey(sample(patches, self.pixels.expand(len(index), -1, -1, -1)))

    def grey(self, lips: Tensor) -> Tensor:
        """Turn lips [5 B, 3, h, w] into what the expert sees [B, 5, h, w]."""
        grey = (lips.float().mean(1) - self.mean_grey) * 6
        return grey.reshape(-1, CLIP, *grey.shape[1:])

    def heard(self, times: Tensor) -> Tensor:
        """Return the mel windows at the middles of clips [B, M, W]."""
        return mel_windows(self.data.mel, times, self.offsets)


def sight_uv(outlines: Tensor) -> Tensor:
    """Return where on the patch the expert looks: the lips' extent and a margin; [1, h, w, 2]."""
    points = outlines.reshape(len(outlines), -1, 2)
    flat = points.reshape(-1, 2)[:: max(1, points.shape[0] * points.shape[1] // 100_000)].float()
    low, high = torch.quantile(flat, 0.01, dim=0), torch.quantile(flat, 0.99, dim=0)
    low, high = low - _MARGIN * (high - low), high + _MARGIN * (high - low)
    return low + uv_lattice(*_SIGHT).to(flat.device) * (high - low)


def expert_losses(
    expert: SyncExpert, clips: SyncClips, batch: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Teach the expert: every clip of a batch against every sound, small shifts of its own among them.

    Negatives are other takes, other times of the same take, and the clip's own sound 0.08 to 0.48 s off.
    """
    device, starts = clips.data.patches.device, clips.chosen(batch, generator)
    times = clips.middle_times(starts)
    contrast = 1 + 0.4 * (torch.rand(batch, 1, 1, 1, generator=generator) - 0.5)
    seen = expert.embed_lips(clips.shown(starts) * contrast.to(device))
    size = torch.randint(2, 13, (batch,), generator=generator)
    sign = torch.randint(0, 2, (batch,), generator=generator) * 2 - 1
    shifted = times + (size * sign).to(device) * clips.moment
    windows = _vary(clips.heard(torch.cat([times, shifted])), generator)
    heard, off = expert.embed_sound(windows).chunk(2)
    others = (seen @ heard.T).masked_fill(_near(times), -1)
    own = (seen * off).sum(1, keepdim=True)
    scale = expert.scale.exp().clamp(max=30)
    target = torch.arange(batch, device=device)
    loss = functional.cross_entropy(scale * torch.cat([others, own], dim=1), target)
    back = functional.cross_entropy(scale * others.T, target)
    return {"expert": loss + back}


def _near(times: Tensor) -> Tensor:
    """Tell which pairs of clips [B] are too near in time to be each other's negatives; [B, B]."""
    near = (times[:, None] - times[None]).abs() < _NEAR_SECONDS
    return near.fill_diagonal_(False)


def _vary(windows: Tensor, generator: torch.Generator) -> Tensor:
    """Change the level and drop some bands, so that the expert listens to more than one of them."""
    batch, bands, _ = windows.shape
    level = (torch.rand(batch, 1, 1, generator=generator) - 0.5).to(windows.device) * 0.6
    kept = (torch.rand(batch, bands, 1, generator=generator) > 0.1).to(windows.device)
    return torch.where(kept, windows + level, SILENT_MEL)


def drawn_sync_losses(
    expert: SyncExpert,
    model: LipModel,
    clips: SyncClips,
    windows_at: Callable[[Tensor], Tensor],
    batch: int,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Judge clips that the model draws: they must match their own sound and none of the batch's others.

    Gradient flows through the drawn lips of matched and of unmatched pairs.

    Args:
        windows_at: frame indices [B] -> mel windows of the speech encoder [B, M, W].
    """
    starts = clips.chosen(batch, generator)
    index = clips.frames(starts).flatten()
    spoken: SpeechFeatures = model.encode_speech(windows_at(index))
    lips = model.draw(spoken, clips.data.poses[index], clips.uv.expand(len(index), -1, -1, -1))
    times = clips.middle_times(starts)
    seen, heard = expert.embed_lips(clips.grey(lips)), expert.embed_sound(clips.heard(times))
    cosine = seen @ heard.T
    return contrastive_losses(cosine.masked_fill(_near(times), torch.nan))
