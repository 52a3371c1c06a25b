"""The journey whose figures are golden, in small: the presenter filmed, prepared, trained on and judged."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.robustness.bench import OWN, robustness
from speech2lip.avatar import Avatar
from speech2lip.config import EvaluateSettings, PrepareSettings, PresentSettings, TrainSettings
from speech2lip.conventions import SAMPLE_RATE
from speech2lip.decomposition.footage import Footage, Take
from speech2lip.decomposition.prepare import prepare
from speech2lip.evaluation.evaluate import evaluate
from speech2lip.evaluation.held_out import Span
from speech2lip.evaluation.methods import AvatarLips
from speech2lip.evaluation.metrics.statistics import pearson
from speech2lip.inference.engine import Engine
from speech2lip.training.train import train
from speech2lip_presenter import Truth, read_truth, speech_clips
from speech2lip_presenter.film import film_clip

Figures = dict[str, float]

TAKES, SECONDS, SIZE = 2, 3.2, 192
# The patch would be 111.5 pixels wide, rounded to eights: at 96 it is 96 x 80 wherever this runs.
PREPARING = PrepareSettings(patch_width=96)
TRAINING = TrainSettings(
    steps=60,
    hold_out=0.2,
    batch=8,
    shape_batch=16,
    speech_batch=64,
    expert_batch=16,
    seed=0,
    device="cpu",
    precision="fp32",
)
JUDGING = EvaluateSettings(
    judge_steps=0, pairings=0, silent_frames=0, measure_cost=False, device="cpu", precision="fp32"
)


def film_takes(folder: Path) -> list[Path]:
    """Film the first seconds of some clips, each with its truth beside it."""
    found = []
    for clip in speech_clips("a", split="train")[:TAKES]:
        short = dataclasses.replace(clip, samples=round(SECONDS * SAMPLE_RATE))
        path = folder / f"{clip.name}.mp4"
        film_clip(short, path, settings=PresentSettings(size=SIZE))
        found.append(path)
    return found


def prepared(folder: Path) -> tuple[Footage, Figures]:
    """Film and prepare in a folder; return the footage and its figures."""
    with _silent():
        takes, target = film_takes(folder), folder / "presenter.footage"
        footage = prepare(takes, footage=target, settings=PREPARING)
    return footage, _footage_figures(footage)


def trained(footage: Footage, folder: Path, settings: TrainSettings = TRAINING) -> Figures:
    """Train on that footage and judge the avatar; return the figures of both."""
    with _silent():
        target = folder / "presenter.avatar"
        avatar = train(footage=footage.folder, avatar=target, settings=settings)
        return _avatar_figures(avatar, footage) | _judged_figures(avatar, footage)


def figures(folder: Path) -> Figures:
    """Make the whole journey in an empty folder; return all figures."""
    footage, found = prepared(folder)
    return found | trained(footage, folder)


def _footage_figures(footage: Footage) -> Figures:
    """Measure footage against the presenter's truth."""
    opening = np.concatenate([take.lip_opening for take in footage.takes]).astype(np.float64)
    exact = np.concatenate([_truth_of(take).lip_opening for take in footage.takes])
    kept = sum(int(take.kept.sum()) for take in footage.takes)
    depth = footage.canonical.depth
    return {
        "prepare.frames": float(sum(len(take.times) for take in footage.takes)),
        "prepare.frames_kept": float(kept),
        "prepare.focal": footage.settings.focal,
        "prepare.turn_error_degrees": _turn_error(footage),
        "prepare.opening_r": pearson(opening, exact),
        "prepare.opening_bias": float(np.nanmean(opening - exact)),
        "prepare.relief": float(np.percentile(depth, 90) - np.percentile(depth, 10)),
    }


def _truth_of(take: Take) -> Truth:
    """Read the truth beside the video that the take was read from."""
    return read_truth(take.folder.parents[2] / f"{take.name}.mp4")


def _turn_error(footage: Footage) -> float:
    """Return the median angle between fitted and true head poses, but for the one turn between their axes."""
    found = np.concatenate([take.camera_from_head[:, :3, :3] for take in footage.takes])
    true = np.concatenate([_truth_of(take).camera_from_head[:, :3, :3] for take in footage.takes])
    left, _, right = np.linalg.svd(np.einsum("tji,tjk->tik", found, true).mean(0))
    error = np.einsum("tij,jk,tlk->til", found, left @ right, true)
    cosine: NDArray[np.float64] = (np.trace(error, axis1=1, axis2=2) - 1) / 2
    return float(np.degrees(np.median(np.arccos(np.clip(cosine, -1, 1)))))


def _avatar_figures(avatar: Avatar, footage: Footage) -> Figures:
    """Tell what the networks have learned: both last layers are zero before training."""
    model, method = avatar.model, AvatarLips(Engine(avatar, device="cpu", precision="fp32"))
    every = [Span(take, 0, len(take.times)) for take in footage.takes]
    heard = robustness(method, every, footage, voices=())[OWN]["speech_r"]
    assert heard is not None
    return {
        "train.speech_r": heard,
        "train.colour_weights": _root_mean_square(list(model.grid_field.colour.parameters())[-2]),
        "train.blend_weights": _root_mean_square(model.blend_net.out.weight),
    }


def _root_mean_square(weight: torch.Tensor) -> float:
    return float(weight.detach().double().square().mean().sqrt())


def _judged_figures(avatar: Avatar, footage: Footage) -> Figures:
    rows = evaluate(avatar=avatar.folder, footage=footage.folder, settings=JUDGING).rows
    wanted = {
        "real_video": ("opening_r", "sync_confidence"),
        "static_lips": ("mouth_psnr", "mouth_ssim"),
        "nearest": ("mouth_psnr", "opening_r"),
        "ours": ("mouth_psnr", "mouth_ssim", "sharpness_ratio", "lmd_percent", "seam_ratio"),
    }
    found: Figures = {}
    for row, metrics in wanted.items():
        for metric in metrics:
            value = rows[row][metric]
            assert value is not None, f"{row} has no {metric}"
            found[f"evaluate.{row}.{metric}"] = value
    return found


def _silent() -> contextlib.AbstractContextManager[object]:
    """Keep the progress of the steps to ourselves."""
    return contextlib.redirect_stderr(io.StringIO())


def _nothing(_: str) -> None:
    """Say nothing."""
