"""A made training set: a mouth that gets brighter with the sound."""

import torch

from speech2lip.composition.paste import Paster
from speech2lip.decomposition.canonical import Canonical
from speech2lip.training.dataset import Crops, TrainingSet, motion_weight


def made_set(*, canonical: Canonical, frames: int = 24) -> TrainingSet:
    """Return frames whose brightness is the loudness of their moment."""
    random = torch.Generator().manual_seed(0)
    rows, columns = canonical.patch.size
    loud = torch.rand(frames, generator=random)
    patches = (60 + 120 * loud[:, None, None, None]).expand(-1, 3, rows, columns).byte()
    uv = torch.rand(6, 96, 128, 2, generator=random)
    mel = torch.zeros(80, 4 * frames + 300)
    times = torch.arange(frames, dtype=torch.float64) / 25 + 1
    for moment, level in zip(times, loud, strict=True):
        mel[:, int(moment * 100) - 2 : int(moment * 100) + 2] = level
    return TrainingSet(
        patches=patches,
        mel=mel,
        times=times,
        outlines=loud[:, None].expand(-1, 90).contiguous(),
        poses=torch.zeros(frames, 6),
        light=torch.ones(frames, 3),
        rates=torch.full((frames,), 25.0, dtype=torch.float64),
        followed=torch.arange(frames - 1),
        motion=motion_weight(patches, Paster(canonical).mask[0, 0]),
        crops=Crops(
            torch.arange(6), torch.randint(0, 255, (6, 3, 96, 128), generator=random, dtype=torch.uint8), uv
        ),
        seconds=frames / 25,
    )
