"""The depth of the head refined once more when an avatar is trained, on the frames that it is trained on."""

from __future__ import annotations

import dataclasses
import logging

import torch

from speech2lip.decomposition.depth import Views, disagreement, learn_depth
from speech2lip.decomposition.footage import Footage, Take
from speech2lip.decomposition.regions import fill_polygon, jaw_outline
from speech2lip.decomposition.sampled_frames import sample_frames
from speech2lip.geometry.mapping import pixel_centres
from speech2lip.progress import Progress
from speech2lip.training.split import Ranges, trainable

_LOG = logging.getLogger(__name__)

_FRAMES = 80
"""Frames looked at."""
_JUDGED_EVERY = 4
"""Every so manyth of them judges, and is not learned from."""


def with_refined_depth(footage: Footage, ranges: Ranges, steps: int) -> Footage:
    """Refine the depth photometrically, with the head poses as they are; kept only where it is better.

    It is judged on frames that it was not learned from, none of them held out: how far they are from the
    mean picture in canonical space. Footage whose depth is the face mesh alone (`prepare --no-photometric
    --depth-steps 0`) can so be given one on a machine that cannot prepare.

    Args:
        ranges: frames that nothing is learned from.
        steps: optimiser steps.

    Returns:
        The footage with another canonical depth, or the same.
    """
    canonical = footage.canonical
    takes = [_only_trained_on(take, ranges) for take in footage.takes]
    scale = canonical.k[0, 0] / next(t for t in takes if t.name == canonical.take).k[0, 0]
    sample = sample_frames(takes, scale, count=_FRAMES, home=(canonical.take, canonical.frame_index))
    usable = torch.tensor([takes[n].left_out[i] == 0 for n, i in sample.places])
    judging = usable & (torch.arange(len(usable)) % _JUDGED_EVERY == 1)
    where = pixel_centres(*canonical.size).numpy()
    views = Views(
        sample.frames,
        sample.transforms(takes, canonical.camera_from_head),
        torch.from_numpy(canonical.k).float(),
        sample.cameras(takes),
        torch.from_numpy(~fill_polygon(jaw_outline(canonical.points), where)).float(),
    )
    errors, depths = [], []
    with Progress("Refining the depth", total=steps) as progress:
        for count in (0, steps):
            depth, mean = learn_depth(
                torch.from_numpy(canonical.depth),
                views.chosen(usable & ~judging),
                steps=count,
                report=progress.set,
            )
            errors.append(disagreement(depth, mean, views.chosen(judging)))
            depths.append(depth)
    better = errors[1] < errors[0]
    _LOG.info(
        f"depth refined in {steps} steps: frames that it was not learned from differ by {errors[1]:.2f} grey "
        f"levels from their mean instead of {errors[0]:.2f}; {'kept' if better else 'the old one stays'}"
    )
    if not better:
        return footage
    return dataclasses.replace(footage, canonical=dataclasses.replace(canonical, depth=depths[1].numpy()))


def _only_trained_on(take: Take, ranges: Ranges) -> Take:
    left_out = take.left_out.copy()
    left_out[(left_out == 0) & ~trainable(take, ranges)] = 255
    return dataclasses.replace(take, left_out=left_out)
