"""An avatar as ONNX graphs, tables and a manifest, for players that know neither Python nor torch."""

from __future__ import annotations

import contextlib
import glob
import logging
import math
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
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
from speech2lip.conventions import MEL_BANDS, MEL_RATE, SAMPLE_RATE, AnyPath
from speech2lip.errors import MissingExtra, OutputError, SettingsError, Speech2LipError
from speech2lip.geometry.mapping import ROUNDS, look_up, map_points
from speech2lip.inference.engine import Engine
from speech2lip.model import LipModel
from speech2lip.synthesis.lip_field import FLOW_SCALE_PX, POSE_SIZE, LipField
from speech2lip.synthesis.speech import SILENT_MEL, mel_filters, window_offsets

_LOG = logging.getLogger(__name__)

FORMAT = 1
_OPSET = 17
_MANIFEST = "manifest.json"

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
    _need_onnx()
    if onnx.exists() and not overwrite:
        raise OutputError(f"{onnx} exists already. Choose another name, or allow it (--overwrite).")
    person, engine = _exportable(avatar)
    with output_errors(onnx):
        onnx.absolute().parent.mkdir(parents=True, exist_ok=True)
    tables = _tables(person, engine)
    with new_folder_atomically(onnx, replaces=_kind(onnx) if overwrite else None) as folder:
        listed = [_write(graph, folder) for graph in graphs(engine)]
        save_tensors(folder / "tables.safetensors", tables)
        for take in person.bases:
            shutil.copyfile(take.folder / "picture.mp4", folder / f"{take.name}.mp4")
        write_json(folder / _MANIFEST, _manifest(person, listed, tables))
    size = sum(file.stat().st_size for file in onnx.iterdir()) / 1e6
    _LOG.info(
        f"{onnx}: {len(listed)} graphs, {len(tables)} tables, {len(person.bases)} base videos, {size:.1f} MB"
    )
    return onnx


def _exportable(avatar: Path) -> tuple[Avatar, Engine]:
    """Load an avatar; raise SettingsError where its networks cannot be exported."""
    person = read_avatar(avatar)
    engine = Engine(person, device="cpu", precision="fp32")
    if engine.listener is not None:
        raise SettingsError(
            f"{avatar} hears with a pretrained encoder ({person.model.settings.speech}); "
            "train it with --model.speech mel to export it"
        )
    if not isinstance(person.model.lip_field, LipField) or not isinstance(person.model.blend_net, BlendNet):
        raise SettingsError(
            f"{avatar} was trained with other networks than the default ones; those cannot be exported"
        )
    return person, engine


def _kind(onnx: Path) -> FolderKind:
    """Describe an export that may be replaced: it holds what its own manifest lists and nothing else."""
    files = [_MANIFEST, "tables.safetensors"]
    with contextlib.suppress(Speech2LipError, AttributeError, TypeError, KeyError):
        manifest = read_json(onnx / _MANIFEST)
        listed = [*manifest["graphs"].values(), *manifest["bases"]]
        files += [glob.escape(str(one["file"])) for one in listed]
    return FolderKind("an exported avatar", manifest=_MANIFEST, key="made_by", files=tuple(files))


def _need_onnx() -> None:
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise MissingExtra('Export needs onnx: pip install "speech2lip[onnx]"') from error


def _write(graph: Graph, folder: Path) -> dict[str, Any]:
    module = graph.module.eval().requires_grad_(False)
    examples = tuple(graph.inputs.values())
    path = folder / f"{graph.name}.onnx"
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
    outputs = (given,) if isinstance(given, Tensor) else given
    return {
        "file": path.name,
        "does": graph.does,
        "inputs": {name: _shape(tensor, graph.free.get(name, {})) for name, tensor in graph.inputs.items()},
        "outputs": {
            name: _shape(tensor, graph.free.get(name, {}))
            for name, tensor in zip(graph.outputs, outputs, strict=True)
        },
    }


def _shape(tensor: Tensor, free: dict[int, str]) -> list[int | str]:
    return [free.get(axis, size) for axis, size in enumerate(tensor.shape)]


def _tables(person: Avatar, engine: Engine) -> dict[str, np.ndarray[Any, Any]]:
    paster = engine.paster
    tables = {
        "outline": paster.outline.numpy(),
        "outline_depth": _depths(engine).numpy(),
        "k_canonical": paster.k.numpy(),
        "window_offsets": window_offsets(engine.model.settings).numpy().astype(np.int32),
    }
    for take in person.bases:
        tables |= {f"{take.name}/{name}": table for name, table in _track(take, engine).items()}
    return {name: np.ascontiguousarray(table) for name, table in tables.items()}


def _depths(engine: Engine) -> Tensor:
    return look_up(engine.paster.depth[None, None], engine.paster.outline[None])[0, 0]


def _track(take: BaseVideo, engine: Engine) -> dict[str, np.ndarray[Any, Any]]:
    head = take.head
    transforms = head.camera_from_head @ engine.paster.head_from_canonical
    borne = engine.surface.bears_frames(head.camera_from_head, fps=float(take.fps))
    return {
        "times": take.times.astype(np.float32),
        "observed_from_canonical": transforms.astype(np.float32),
        "canonical_from_observed": np.linalg.inv(transforms).astype(np.float32),
        "pose": head.pose,
        "light": head.light_gain.astype(np.float32),
        "k_observed": head.k.astype(np.float32),
        "drawn": drawn_shares(borne, fps=float(take.fps)).astype(np.float32),
    }


_UNITS = {
    "outline": "canonical pixels (x, y) around the replaced region",
    "outline_depth": "eye units: 1 is the distance of the outer eye corners",
    "k_canonical": "canonical pixels",
    "window_offsets": "mel frames",
    "times": "seconds from the first frame",
    "observed_from_canonical": "rigid transforms between cameras, eye units",
    "canonical_from_observed": "their inverses",
    "pose": "the lip field's input: rotation vector / 0.2 rad, tanh of the shift in eye units",
    "light": "red, green, blue over the canonical light",
    "k_observed": "pixels of the base video",
    "drawn": "share, 0 where the head has turned away and the frame is shown as it was filmed",
}


def _manifest(
    person: Avatar, listed: list[dict[str, Any]], tables: dict[str, np.ndarray[Any, Any]]
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "made_by": f"speech2lip {speech2lip.__version__}",
        "avatar": person.folder.name,
        "synthetic": "lip movements; say so wherever the pictures are shown",
        "steps": list(_STEPS),
        "constants": {
            "sample_rate": SAMPLE_RATE,
            "mel_rate": MEL_RATE,
            "window_samples": WINDOW,
            "transform_samples": FFT,
            "hop_samples": HOP,
            "silent_mel": SILENT_MEL,
            "region_margin": REGION_MARGIN,
            "crop_size": list(CROP_SIZE),
            "patch_size": list(person.canonical.patch.size),
            "pixel_centres": 0.5,
            "base_colours": "BT.709, video range",
        },
        "graphs": {Path(graph["file"]).stem: graph for graph in listed},
        "tables": {
            name: {
                "shape": list(table.shape),
                "type": str(table.dtype),
                "unit": _UNITS[name.rsplit("/", 1)[-1]],
            }
            for name, table in tables.items()
        },
        "bases": [
            {
                "name": take.name,
                "file": f"{take.name}.mp4",
                "width": take.width,
                "height": take.height,
                "fps": str(take.fps),
                "frames": len(take.times),
            }
            for take in person.bases
        ],
    }


WINDOW, FFT, HOP = 400, 512, SAMPLE_RATE // MEL_RATE
"""Of the spectrum: samples of the Hann window, of the transform, and between mel frames, as in `log_mel`."""


@dataclass(frozen=True)
class Graph:
    """One ONNX file to be."""

    name: str
    does: str
    """What it computes, for the manifest."""
    module: nn.Module
    inputs: dict[str, Tensor]
    """Examples, by name."""
    outputs: tuple[str, ...]
    free: dict[str, dict[int, str]]
    """Axes of any length: input or output, axis, name."""


class Mel(nn.Module):
    """The log-mel spectrum of a wave, its transform written as a convolution; twin: `log_mel`."""

    basis: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        window = torch.hann_window(WINDOW, dtype=torch.float64)
        start = (FFT - WINDOW) // 2
        padded = functional.pad(window, (start, FFT - WINDOW - start))
        angle = (
            2 * math.pi / FFT * torch.arange(FFT // 2 + 1)[:, None] * torch.arange(FFT, dtype=torch.float64)
        )
        basis = torch.cat([angle.cos(), angle.sin()]) * padded / (window**2).sum().sqrt()
        self.register_buffer("basis", basis[:, None].float())
        self.register_buffer("filters", mel_filters())

    def forward(self, wave: Tensor) -> Tensor:
        """[1, S] -> [M, F]."""
        padded = functional.pad(wave[None], (FFT // 2, FFT // 2))
        real, imaginary = functional.conv1d(padded, self.basis, stride=HOP)[0].chunk(2)
        power = self.filters @ (real**2 + imaginary**2)
        return (power.clamp_min(1e-6).log() / math.log(10) + 3.0) / 1.5


class Listen(nn.Module):
    """Mel windows to speech codes and lip shapes."""

    def __init__(self, model: LipModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """[B, M, W] -> [B, D], [B, K]."""
        spoken = self.model.encode_speech(windows)
        return spoken.code, spoken.shape


class Grid(nn.Module):
    """Speech code, lip shape and head pose to the lip field's feature grid."""

    def __init__(self, model: LipModel) -> None:
        super().__init__()
        self.field = model.grid_field

    def forward(self, code: Tensor, shape: Tensor, pose: Tensor) -> Tensor:
        """[1, D], [1, K], [1, 6] -> [1, 2 + C, r, c]."""
        return self.field.grid(code, shape, pose)


class Read(nn.Module):
    """Colours of places of the patch, from a feature grid, and those of the person's mean lower face.

    Twin: `LipField.read`, whose way of moving axes the exporter does not know.
    """

    def __init__(self, model: LipModel) -> None:
        super().__init__()
        self.field = model.grid_field
        self.texture = torch.cat([model.grid_field.texture, model.grid_field.mean], dim=1).detach()

    def forward(self, grid: Tensor, uv: Tensor) -> tuple[Tensor, Tensor]:
        """[1, 2 + C, r, c], [1, N, 2] -> [1, 3, N], [1, 3, N]."""
        size = uv.new_tensor([self.field.patch_size[1], self.field.patch_size[0]])
        found = look_up(grid, uv * uv.new_tensor([grid.shape[-1], grid.shape[-2]]))
        texture = look_up(self.texture, uv * size + found[:, :2].transpose(1, 2) * FLOW_SCALE_PX)
        both = torch.cat([found[:, 2:], texture[:, :-3]], dim=1).transpose(1, 2)
        lips = texture[:, -3:] + self.field.colour(both).transpose(1, 2)
        return lips, look_up(self.field.mean, uv * size)


class Map(nn.Module):
    """Where on the patch the pixels of a frame lie, and how far they are covered by the jaw mask."""

    depth: Tensor
    mask: Tensor
    k: Tensor
    box: Tensor

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        paster = engine.paster
        self.register_buffer("depth", paster.depth[None, None].cpu())
        self.register_buffer("mask", paster.mask.cpu())
        self.register_buffer("k", paster.k.cpu())
        self.register_buffer("box", torch.cat([paster.box_start, paster.box_size]).float().cpu())

    def forward(
        self,
        pixels: Tensor,
        observed_from_canonical: Tensor,
        canonical_from_observed: Tensor,
        k_observed: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """[1, N, 2], [1, 4, 4], [1, 4, 4], [3, 3] -> uv [1, N, 2], mask [1, 1, N]."""
        found = self.k.new_tensor([self.depth.shape[-1] / 2, self.depth.shape[-2] / 2]).expand_as(pixels)
        for _ in range(ROUNDS + 1):
            there = look_up(self.depth, found)[:, 0]
            depth = map_points(found, there, observed_from_canonical, self.k, k_observed)[1]
            found = map_points(pixels, depth, canonical_from_observed, k_observed, self.k)[0]
        uv = (found - self.box[:2]) / self.box[2:]
        size = uv.new_tensor([self.mask.shape[-1], self.mask.shape[-2]])
        return uv, look_up(self.mask, uv * size, padding="zeros")


def graphs(engine: Engine) -> list[Graph]:
    """List the graphs of an avatar, in the order in which a player runs them."""
    model, settings = engine.model, engine.model.settings
    windows = torch.zeros(2, MEL_BANDS, len(window_offsets(settings)))
    code, shape, pose = (
        torch.zeros(1, settings.code_size),
        torch.zeros(1, settings.shape_size),
        torch.zeros(1, POSE_SIZE),
    )
    with torch.no_grad():
        grid = model.grid_field.grid(code, shape, pose)
    points, one = torch.rand(1, 5, 2), torch.eye(4)[None]
    crop = {name: torch.zeros(1, c, *CROP_SIZE) for name, c in (("pasted", 3), ("mask", 1), ("reference", 3))}
    batch, some = {0: "batch"}, {1: "points"}
    return [
        Graph(
            "mel",
            "log-mel spectrum of a mono wave at 16 kHz",
            Mel(),
            {"wave": torch.zeros(1, 16_000)},
            ("mel",),
            {"wave": {1: "samples"}, "mel": {1: "frames"}},
        ),
        Graph(
            "listen",
            "what speech says about a moment",
            Listen(model),
            {"windows": windows},
            ("code", "shape"),
            {"windows": batch, "code": batch, "shape": batch},
        ),
        Graph(
            "grid",
            "feature grid of the lips",
            Grid(model),
            {"code": code, "shape": shape, "pose": pose},
            ("grid",),
            {},
        ),
        Graph(
            "map",
            "where on the patch pixels of a frame lie",
            Map(engine),
            {
                "pixels": points,
                "observed_from_canonical": one,
                "canonical_from_observed": one,
                "k_observed": torch.eye(3),
            },
            ("uv", "mask"),
            {"pixels": some, "uv": some, "mask": {2: "points"}},
        ),
        Graph(
            "read",
            "colours of the lips at places of the patch",
            Read(model),
            {"grid": grid, "uv": points},
            ("lips", "reference"),
            {"uv": some, "lips": {2: "points"}, "reference": {2: "points"}},
        ),
        Graph(
            "blend",
            "what to add to the pasted picture",
            model.blend_net,
            crop,
            ("residual",),
            dict.fromkeys(("pasted", "mask", "reference", "residual"), batch),
        ),
    ]
