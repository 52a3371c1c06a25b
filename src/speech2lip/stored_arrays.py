"""Arrays in safetensors files: each is checked against what it should be before it is used."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from speech2lip.errors import Speech2LipError

Sizes = dict[str, int]
"""What letters of shapes stand for; the arrays of a take agree in them."""

_KINDS = {"f": ("F64", "F32", "F16"), "i": ("I64", "I32", "I16"), "u": ("U8",)}
_RIGID = 1e-3
"""How far a rotation may be from one: they are kept to 1e-7 at least."""


@dataclass(frozen=True)
class Kept:
    """What an array in a file is."""

    dtype: type[np.generic]
    shape: tuple[int | str, ...]
    """Letters stand for sizes that arrays share."""
    low: float = -np.inf
    high: float = np.inf
    missing: bool = False
    """Whether NaN may stand for what is not known."""
    optional: bool = False


class Damaged(ValueError):
    """An array that is not what it should be; the message is one line without the file's name."""


def read_arrays(path: Path, kept: Mapping[str, Kept], sizes: Sizes) -> dict[str, NDArray[Any]]:
    """Read the arrays of a safetensors file that are asked for; others are passed over.

    Args:
        path: the file.
        kept: what they are, by name.
        sizes: what letters of their shapes stand for as far as is known; what is found is added.

    Raises:
        Damaged: it is no safetensors file, an array is missing, or it is of another type or shape, not finite
            or out of bounds.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            there = set(file.keys())
            for name, one in kept.items():
                if name in there:
                    part = file.get_slice(name)
                    _check_header(name, one, part.get_dtype(), part.get_shape(), sizes)
                elif not one.optional:
                    raise Damaged(f"{name} is missing")
            found = {name: file.get_tensor(name) for name in kept if name in there}
    except (SafetensorError, OSError) as error:
        raise Damaged(str(error)) from error
    for name, array in found.items():
        _check_values(name, kept[name], array)
    return {name: array.astype(kept[name].dtype, copy=False) for name, array in found.items()}


def _check_header(name: str, kept: Kept, dtype: str, shape: list[int], sizes: Sizes) -> None:
    kind = np.dtype(kept.dtype).kind
    letters = [sizes.get(size, size) if isinstance(size, str) else size for size in kept.shape]
    told = f"{name} must be {np.dtype(kept.dtype).name} [{', '.join(map(str, letters))}], not {dtype} {shape}"
    if dtype not in _KINDS[kind] or len(shape) != len(letters):
        raise Damaged(told)
    for wanted, size in zip(letters, shape, strict=True):
        if isinstance(wanted, str):
            sizes[wanted] = size
        elif wanted != size:
            raise Damaged(told)


def _check_values(name: str, kept: Kept, array: NDArray[Any]) -> None:
    with np.errstate(invalid="ignore"):
        fine = (array >= kept.low) & (array <= kept.high)
        if array.dtype.kind == "f":
            fine &= np.isfinite(array)
            if kept.missing:
                fine |= np.isnan(array)
    if not fine.all():
        place = np.unravel_index(int(np.argmin(fine)), array.shape)
        where = ", ".join(map(str, place))
        raise Damaged(
            f"{name}[{where}] must be a number from {kept.low:g} to {kept.high:g}, not {array[place]}"
        )


def check_rigid(name: str, poses: NDArray[np.float64]) -> None:
    """Raise Damaged where transforms [..., 4, 4] are no rigid ones."""
    turned = poses[..., :3, :3]
    off = np.abs(turned @ np.swapaxes(turned, -1, -2) - np.eye(3)).max(axis=(-1, -2))
    fine = (off < _RIGID) & (np.linalg.det(turned) > 0) & (poses[..., 3, :] == (0, 0, 0, 1)).all(axis=-1)
    if not np.all(fine):
        where = int(np.argmin(np.atleast_1d(fine)))
        raise Damaged(f"{name}[{where}] must be a rotation and a shift, and is none")


def check_rising(name: str, times: NDArray[np.float64]) -> None:
    """Raise Damaged where times [T] do not rise from frame to frame."""
    wrong = np.flatnonzero(np.diff(times) <= 0)
    if len(wrong):
        raise Damaged(f"{name}[{wrong[0] + 1}] must come after {name}[{wrong[0]}], and does not")


def inside(folder: Path, name: str, *, error: type[Speech2LipError]) -> Path:
    """Return the path of a file of a folder, which must be a file of its own and not lead elsewhere.

    Args:
        folder: the folder, which may itself be reached by a link.
        name: the file in it, such as `base/take1/picture.mp4`.

    Raises:
        Speech2LipError: it is missing, a link, or no file.
    """
    path = folder
    parts = Path(name).parts
    for place, part in enumerate(parts):
        path /= part
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError as fault:
            raise error(f"{path} is missing") from fault
        except OSError as fault:
            raise error(f"{path} cannot be read: {fault.strerror}") from fault
        last = place == len(parts) - 1
        if stat.S_ISLNK(mode):
            raise error(f"{path} is a link: it could lead outside {folder}; put the file itself there")
        if not (stat.S_ISREG(mode) if last else stat.S_ISDIR(mode)):
            raise error(f"{path} must be a {'file' if last else 'folder'}, and is none")
    return path


def tensor_shapes(path: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return type and shape of every tensor of a safetensors file, from its header alone.

    Raises:
        Damaged: it is no safetensors file.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {name: (one.get_dtype(), tuple(one.get_shape())) for name, one in slices.items()}
    except (SafetensorError, OSError) as error:
        raise Damaged(str(error)) from error
