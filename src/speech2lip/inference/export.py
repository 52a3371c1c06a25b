"""An avatar as ONNX graphs, tables and a manifest, for players that know neither Python nor torch."""

from __future__ import annotations

import contextlib
import glob
import logging
import math
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

import speech2lip
from speech2lip.atomic import (
    FolderKind,
    new_folder_atomically,
    output_errors,
    read_json,
    save_tensors,
    write_json,
)
from speech2lip.avatar import Avatar, BaseVideo, read_avatar
from speech2lip.composition.blend_net import CROP_SIZE, BlendNet
from speech2lip.composition.coverage import drawn_shares
from speech2lip.composition.paste import REGION_MARGIN
from speech2lip.conventions import MEL_BANDS, MEL_FFT, MEL_HOP, MEL_RATE, MEL_WINDOW, SAMPLE_RATE, AnyPath
from speech2lip.errors import MissingExtra, OutputError, SettingsError, Speech2LipError
from speech2lip.geometry.mapping import canonical_from_observed_points, sample
from speech2lip.inference.engine import Engine
from speech2lip.synthesis.lip_field import POSE_SIZE, LipField
from speech2lip.synthesis.speech import SILENT_MEL, mel_filters, window_offsets

_LOG = logging.getLogger(__name__)

FORMAT = 1
_OPSET = 17
_MANIFEST, _TABLES = "manifest.json", "tables.safetensors"

Table = tuple[NDArray[Any], str]
"""An array and its unit."""

_STEPS = (
    "mel: compute the spectrum of the sound; frame f is centred on second f / mel_rate",
    "for a picture at second t take the mel frames t x mel_rate + window_offsets (linear between frames, "
    "silent_mel beyond the ends) and run listen",
    "run grid with the pose of the base frame (tables: pose)",
    "project the outline to find the region, add region_margin of its size and 2 pixels on each side",
    "run map for the centres of the region's pixels (x + 0.5, y + 0.5), or for every fourth and interpolate",
    "run read for their uv; multiply lips and reference with the light of the base frame",
    "pasted = frame + (lips - frame) x mask, colours in [0, 1]",
    "reduce pasted, mask and reference to crop_size (bilinear, antialiased), run blend, enlarge the residual "
    "(bilinear) and add it where mask > 0; elsewhere the frame stays as it is",
    "mix the result with the frame as it was by `drawn` (tables), or skip base frames where it is below 1",
)


def export(avatar: AnyPath, *, onnx: AnyPath, overwrite: bool = False) -> Path:
    """Write the networks and tables of an avatar as ONNX files with a manifest.

    Args:
        avatar: an avatar folder.
        onnx: the folder to write: `manifest.json`, a graph for each step (`mel`, `listen`, `grid`, `map`,
            `read`, `blend`), `tables.safetensors`, and the base videos' pictures.
        overwrite: replace an older export; it stays until the new one is complete.

    Raises:
        AvatarError, OutputError, MissingExtra: as their messages say.
    """
    avatar, onnx = Path(avatar), Path(onnx)
    try:
        import onnx as _  # noqa: F401
    except ImportError as error:
        raise MissingExtra('Export needs onnx: pip install "speech2lip[onnx]"') from error
    if onnx.exists() and not overwrite:
        raise OutputError(f"{onnx} exists already. Choose another name, or allow it (--overwrite).")
    engine = _exportable(avatar)
    person = engine.avatar
    with output_errors(onnx):
        onnx.absolute().parent.mkdir(parents=True, exist_ok=True)
    tables = _tables(person, engine)
    with new_folder_atomically(onnx, replaces=_kind(onnx) if overwrite else None) as folder:
        written = {name: _write(graph, folder / f"{name}.onnx") for name, graph in graphs(engine).items()}
        save_tensors(folder / _TABLES, {name: table for name, (table, _) in tables.items()})
        for base in person.bases:
            shutil.copyfile(base.picture_path, folder / f"{base.name}.mp4")
        write_json(folder / _MANIFEST, _manifest(person, written, tables))
    size = sum(file.stat().st_size for file in onnx.iterdir()) / 1e6
    _LOG.info(
        f"{onnx}: {len(written)} graphs, {len(tables)} tables, {len(person.bases)} base videos, {size:.1f} MB"
    )
    return onnx


def _exportable(avatar: Path) -> Engine:
    """Load an avatar; raise SettingsError where its networks cannot be exported."""
    engine = Engine(read_avatar(avatar), device="cpu", precision="fp32")
    if engine.listener is not None:
        raise SettingsError(
            f"{avatar} hears with a pretrained encoder ({engine.model.settings.speech}); "
            "train it with --model.speech mel to export it"
        )
    ours = isinstance(engine.model.lip_field, LipField) and isinstance(engine.model.blend_net, BlendNet)
    if not ours:
        raise SettingsError(
            f"{avatar} was trained with other networks than the default ones; those cannot be exported"
        )
    return engine


def _kind(onnx: Path) -> FolderKind:
    """Describe an export that may be replaced: it holds what its own manifest lists and nothing else."""
    files = [_MANIFEST, _TABLES]
    with contextlib.suppress(Speech2LipError, AttributeError, TypeError, KeyError):
        manifest = read_json(onnx / _MANIFEST)
        listed = [*manifest["graphs"].values(), *manifest["bases"]]
        files += [glob.escape(str(one["file"])) for one in listed]
    return FolderKind("an exported avatar", manifest=_MANIFEST, key="made_by", files=tuple(files))


def _tables(person: Avatar, engine: Engine) -> dict[str, Table]:
    paster = engine.paster
    depth = sample(paster.depth[None, None], paster.outline[None])[0, 0]
    tables: dict[str, Table] = {
        "outline": (paster.outline.numpy(), "canonical pixels (x, y) around the replaced region"),
        "outline_depth": (depth.numpy(), "eye units: 1 is the distance of the outer eye corners"),
        "k_canonical": (paster.k.numpy(), "canonical pixels"),
        "window_offsets": (window_offsets(engine.model.settings).numpy().astype(np.int32), "mel frames"),
    }
    for base in person.bases:
        tables |= {f"{base.name}/{name}": table for name, table in _track(base, engine).items()}
    return tables


def _track(base: BaseVideo, engine: Engine) -> dict[str, Table]:
    head, fps = base.head, float(base.fps)
    transforms = head.camera_from_head @ engine.paster.head_from_canonical
    drawn = drawn_shares(engine.surface.bears_frames(head.camera_from_head, fps=fps), fps=fps)
    track = {
        "times": (base.times, "seconds from the first frame"),
        "observed_from_canonical": (transforms, "rigid transforms between cameras, eye units"),
        "canonical_from_observed": (np.linalg.inv(transforms), "their inverses"),
        "pose": (
            head.pose,
            "the lip field's input: rotation vector / 0.2 rad, tanh of the shift in eye units",
        ),
        "light": (head.light_gain, "red, green, blue over the canonical light"),
        "k_observed": (head.k, "pixels of the base video"),
        "drawn": (
            drawn,
            "share, 0 where the head has turned away and the frame is shown as it was filmed",
        ),
    }
    return {name: (np.ascontiguousarray(table, np.float32), unit) for name, (table, unit) in track.items()}


def _manifest(person: Avatar, written: dict[str, Any], tables: dict[str, Table]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "made_by": f"speech2lip {speech2lip.__version__}",
        "avatar": person.folder.name,
        "synthetic": "lip movements; say so wherever the pictures are shown",
        "steps": list(_STEPS),
        "constants": {
            "sample_rate": SAMPLE_RATE,
            "mel_rate": MEL_RATE,
            "window_samples": MEL_WINDOW,
            "transform_samples": MEL_FFT,
            "hop_samples": MEL_HOP,
            "silent_mel": SILENT_MEL,
            "region_margin": REGION_MARGIN,
            "crop_size": list(CROP_SIZE),
            "patch_size": list(person.canonical.patch.size),
            "pixel_centres": 0.5,
            "base_colours": "BT.709, video range",
        },
        "graphs": written,
        "tables": {
            name: {"shape": list(table.shape), "type": str(table.dtype), "unit": unit}
            for name, (table, unit) in tables.items()
        },
        "bases": [
            {
                "name": base.name,
                "file": f"{base.name}.mp4",
                "width": base.width,
                "height": base.height,
                "fps": str(base.fps),
                "frames": len(base.times),
            }
            for base in person.bases
        ],
    }


@dataclass(frozen=True)
class Graph:
    """One ONNX file to be."""

    does: str
    """What it computes, for the manifest."""
    compute: Callable[..., Tensor | tuple[Tensor, ...]]
    inputs: dict[str, Tensor]
    """Examples, by name."""
    outputs: tuple[str, ...]
    free: dict[str, dict[int, str]] = field(default_factory=dict)
    """Axes of any length: input or output, axis, name."""
    weights: nn.Module | None = None
    """What of the model it runs."""


class _Traced(nn.Module):
    """A graph's function with its weights, as the exporter wants it."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.weights, self.compute = graph.weights, graph.compute

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.compute(*inputs)


def _write(graph: Graph, path: Path) -> dict[str, Any]:
    """Write a graph; return what the manifest tells of it."""
    module = _Traced(graph).eval().requires_grad_(False)
    examples = tuple(graph.inputs.values())
    with warnings.catch_warnings(), torch.no_grad():
        # torch would rather use its newer exporter, which needs one more package; and it tells that shapes of
        # constants are kept, which is what we want.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            examples,
            str(path),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_axes=graph.free,
            opset_version=_OPSET,
            dynamo=False,
        )
        given = module(*examples)
    outputs = dict(zip(graph.outputs, (given,) if isinstance(given, Tensor) else given, strict=True))

    def shapes(tensors: dict[str, Tensor]) -> dict[str, list[int | str]]:
        return {
            name: [graph.free.get(name, {}).get(axis, size) for axis, size in enumerate(tensor.shape)]
            for name, tensor in tensors.items()
        }

    return {
        "file": path.name,
        "does": graph.does,
        "inputs": shapes(graph.inputs),
        "outputs": shapes(outputs),
    }


def convolved_mel() -> Callable[[Tensor], Tensor]:
    """Return what computes `log_mel` of a wave [1, S] with its transform written as a convolution."""
    window = torch.hann_window(MEL_WINDOW, dtype=torch.float64)
    start = (MEL_FFT - MEL_WINDOW) // 2
    padded = functional.pad(window, (start, MEL_FFT - MEL_WINDOW - start))
    samples = torch.arange(MEL_FFT, dtype=torch.float64)
    angle = 2 * math.pi / MEL_FFT * torch.arange(MEL_FFT // 2 + 1)[:, None] * samples
    basis = torch.cat([angle.cos(), angle.sin()]) * padded / (window**2).sum().sqrt()
    kernel, filters = basis[:, None].float(), mel_filters()

    def mel(wave: Tensor) -> Tensor:
        around = functional.pad(wave[None], (MEL_FFT // 2, MEL_FFT // 2))
        real, imaginary = functional.conv1d(around, kernel, stride=MEL_HOP)[0].chunk(2)
        power = filters @ (real**2 + imaginary**2)
        return (power.clamp_min(1e-6).log() / math.log(10) + 3.0) / 1.5

    return mel


def graphs(engine: Engine) -> dict[str, Graph]:
    """Return the graphs of an avatar by name, in the order in which a player runs them."""
    model, paster = engine.model, engine.paster
    lips, settings = model.grid_field, model.settings

    def listen(windows: Tensor) -> tuple[Tensor, Tensor]:
        spoken = model.encode_speech(windows)
        return spoken.code, spoken.shape

    def place(pixels: Tensor, forth: Tensor, back: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        found = canonical_from_observed_points(
            pixels, paster.depth, forth, paster.k, k, canonical_from_observed=back
        )
        uv = (found - paster.box_start) / paster.box_size
        return uv, paster.warp_mask(uv)

    def read(grid: Tensor, uv: Tensor) -> tuple[Tensor, Tensor]:
        return lips.read(grid, uv), sample(lips.mean, uv * uv.new_tensor(lips.patch_size[::-1]))

    spoken = {
        "code": torch.zeros(1, settings.code_size),
        "shape": torch.zeros(1, settings.shape_size),
        "pose": torch.zeros(1, POSE_SIZE),
    }
    transform = torch.eye(4)[None]
    observed = {
        "pixels": torch.rand(1, 5, 2),
        "observed_from_canonical": transform,
        "canonical_from_observed": transform,
        "k_observed": torch.eye(3),
    }
    with torch.no_grad():
        drawn = {"grid": lips.grid(*spoken.values()), "uv": torch.rand(1, 5, 2)}
    crop = {name: torch.zeros(1, c, *CROP_SIZE) for name, c in (("pasted", 3), ("mask", 1), ("reference", 3))}
    windows = {"windows": torch.zeros(2, MEL_BANDS, len(window_offsets(settings)))}
    batch, points, last = {0: "batch"}, {1: "points"}, {2: "points"}
    return {
        "mel": Graph(
            "log-mel spectrum of a mono wave at 16 kHz",
            convolved_mel(),
            {"wave": torch.zeros(1, SAMPLE_RATE)},
            ("mel",),
            {"wave": {1: "samples"}, "mel": {1: "frames"}},
        ),
        "listen": Graph(
            "what speech says about a moment",
            listen,
            windows,
            ("code", "shape"),
            dict.fromkeys(("windows", "code", "shape"), batch),
            model,
        ),
        "grid": Graph("feature grid of the lips", lips.grid, spoken, ("grid",), weights=lips),
        "map": Graph(
            "where on the patch pixels of a frame lie",
            place,
            observed,
            ("uv", "mask"),
            {"pixels": points, "uv": points, "mask": last},
        ),
        "read": Graph(
            "colours of the lips at places of the patch",
            read,
            drawn,
            ("lips", "reference"),
            {"uv": points, "lips": last, "reference": last},
            lips,
        ),
        "blend": Graph(
            "what to add to the pasted picture",
            model.blend_net,
            crop,
            ("residual",),
            dict.fromkeys((*crop, "residual"), batch),
            model.blend_net,
        ),
    }
