"""Landmarks in a file: 16-bit fractions of the picture, squeezed block by block, unpacked when asked for."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from speech2lip.arrays import Points
from speech2lip.checks import Unfit
from speech2lip.conventions import LANDMARK_COUNT
from speech2lip.errors import FootageError
from speech2lip.formats import Kept, Sizes, read_arrays

Packed = NDArray[np.int16]

BLOCK = 256
"""Frames that are unpacked together: 1.5 MB."""
_MISSING = -32768


def pack_landmarks(points: Points, longer_side: int) -> Packed:
    """Keep landmarks as 16-bit fractions of twice the picture's longer side; NaN becomes a mark."""
    scaled = np.round(points / (2 * longer_side) * 32767)
    return np.where(np.isnan(points), _MISSING, np.clip(scaled, -32767, 32767)).astype(np.int16)


def squeeze_landmarks(packed: Packed) -> dict[str, NDArray[Any]]:
    """Compress packed landmarks [T, 478, 3] without loss, to about half.

    Returns:
        What a track file keeps: `landmarks`, the compressed blocks one after the other; `landmark_blocks`,
        where each begins and the last one ends.
    """
    blocks = [_squeezed(packed[start : start + BLOCK]) for start in range(0, len(packed), BLOCK)]
    return {
        "landmarks": np.concatenate([np.zeros(0, np.uint8), *blocks]),
        "landmark_blocks": np.cumsum([0, *map(len, blocks)], dtype=np.int64),
    }


def _squeezed(packed: Packed) -> NDArray[np.uint8]:
    """Compress what changes from frame to frame, high and low bytes apart."""
    changes = np.diff(packed, axis=0, prepend=np.zeros_like(packed[:1]))  # wraps around, and back in the sum
    planes = np.ascontiguousarray(changes).view(np.uint8).reshape(-1, 2).T
    return np.frombuffer(zlib.compress(planes.tobytes(), 6), np.uint8)


def _expanded(squeezed: NDArray[np.uint8], frames: int) -> Packed:
    """Undo `_squeezed`; nothing is unpacked that is larger than so many frames.

    Raises:
        Unfit: it holds anything else.
    """
    size = frames * LANDMARK_COUNT * 3 * 2
    inflater = zlib.decompressobj()
    try:
        unpacked = inflater.decompress(squeezed.tobytes(), size + 1)
    except zlib.error as error:
        raise Unfit(f"landmarks cannot be unpacked ({error})") from error
    if len(unpacked) != size or not inflater.eof:
        raise Unfit(f"landmarks do not unpack to those of {frames} frames")
    planes = np.frombuffer(unpacked, np.uint8).reshape(2, -1)
    changes = np.ascontiguousarray(planes.T).view(np.int16).reshape(-1, LANDMARK_COUNT, 3)
    return np.cumsum(changes, axis=0, dtype=np.int16)


def chosen_points(landmarks: Points | KeptLandmarks, rows: NDArray[np.intp], points: Sequence[int]) -> Points:
    """Look up some points of some frames; [R, P, 3]. Never are all points of many frames in memory."""
    starts = range(0, len(rows), BLOCK)
    parts = [landmarks[rows[start : start + BLOCK]][:, list(points)] for start in starts]
    return np.concatenate([np.zeros((0, len(points), 3), np.float32), *parts])


class KeptLandmarks:
    """Landmarks of a take, [T, 478, 3] in pixels, NaN where no face was found, as an array to look things up.

    A block of frames is in memory at a time, however long the take is.

    Args:
        path: the track file.
        frames: T.
        longer_side: of the picture, in pixels.

    Raises:
        Unfit: the file does not hold landmarks of so many frames. Looking up raises FootageError where a
            block of them is damaged.
    """

    def __init__(self, path: Path, *, frames: int, longer_side: int) -> None:
        self.shape = (frames, LANDMARK_COUNT, 3)
        self._path, self._scale = path, np.float32(2 * longer_side / 32767)
        blocks = -(-frames // BLOCK)
        sizes = Sizes()
        kept = {
            "landmark_blocks": Kept(np.int64, (blocks + 1,), 0, 1e12),
            "landmarks": Kept(np.uint8, ("bytes",), later=True),
        }
        self._bounds = read_arrays(path, kept, sizes)["landmark_blocks"]
        edges = (self._bounds[0], self._bounds[-1])
        fine = (np.diff(self._bounds) >= 0).all() and edges == (0, sizes["bytes"])
        if not fine:
            raise Unfit(f"landmark_blocks must be where {blocks} blocks begin and end, and is not")
        self._latest: tuple[int, Points] | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Points:
        """Look up as in an array [T, 478, 3]."""
        rows, *rest = key if isinstance(key, tuple) else (key,)
        if rows is Ellipsis:
            rows, rest = slice(None), [Ellipsis, *rest]
        wanted = np.arange(len(self))[rows]
        if wanted.ndim == 0:
            return np.array(self[[int(wanted)]][0][tuple(rest)], np.float32)
        within = (slice(None), *rest)
        like = np.empty((0, *self.shape[1:]), np.float32)[within]
        found = np.empty((len(wanted), *like.shape[1:]), np.float32)
        for number in np.unique(wanted // BLOCK).tolist():
            here = wanted // BLOCK == number
            found[here] = self._block(number)[wanted[here] % BLOCK][within]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Return all of them at once."""
        return np.asarray(self[:], dtype)

    def _block(self, number: int) -> Points:
        if self._latest is None or self._latest[0] != number:
            try:
                with safe_open(self._path, framework="numpy") as file:
                    begin, end = self._bounds[number : number + 2].tolist()
                    squeezed = file.get_slice("landmarks")[begin:end]
                packed = _expanded(squeezed, min(BLOCK, len(self) - number * BLOCK))
            except (Unfit, SafetensorError, OSError) as error:
                reason = " ".join(str(error).split())
                raise FootageError(f"{self._path} is damaged: {reason}; prepare it again") from error
            points = packed.astype(np.float32) * self._scale
            points[packed == _MISSING] = np.nan
            self._latest = (number, points)
        return self._latest[1]
