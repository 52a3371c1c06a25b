"""The files of avatars and footage: their contents, format numbers, and migrations of older ones."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from speech2lip.arrays import Array
from speech2lip.atomic import read_json
from speech2lip.checks import PLAIN_NAME, Unfit, between, one_of, parse, shown, unfit
from speech2lip.config import ModelSettings, PrepareSettings
from speech2lip.conventions import LANDMARK_SCHEME
from speech2lip.errors import AvatarError, FootageError, SettingsError, Speech2LipError

D = TypeVar("D")
Plain = dict[str, Any]
Migration = Callable[[Plain], Plain]
"""Takes the JSON object of a format, returns that of the next."""

Name = Annotated[str, PLAIN_NAME]
Index = Annotated[int, between(0, 1e9)]
Pixel = Annotated[float, between(-1e5, 1e5)]
Side = Annotated[int, between(16, 16_384)]
Rate = Annotated[Fraction, between(0.05, 1000)]
Focal = Annotated[float, between(0.05, 1000)]
Level = Annotated[float, between(0, 255)]
Amount = Annotated[float, between(0, 1e9)]


class Broken(Exception):
    """Raised by a migration that cannot be: the message says why files of that format are of no use."""


@dataclass(frozen=True)
class Format:
    """A kind of folder of ours, its main JSON file, and the formats that this has had."""

    manifest: str
    """Name of the JSON file with the format's number."""
    number: int
    """Today's format."""
    error: type[Speech2LipError]
    """What faults in it are."""
    again: str
    """How to make a new one."""
    migrations: Mapping[int, Migration] = field(default_factory=dict)
    """Format n -> how its JSON becomes that of format n + 1."""

    def read(self, kind: type[D], folder: Path, name: str) -> D:
        """Read a JSON file of a folder, every field checked; the main one is brought up to date first.

        Raises:
            Speech2LipError: it is missing or damaged, or of a newer version.
        """
        with self.file(folder, name) as path:
            plain = read_json(path, error=self.error)
            if name == self.manifest:
                plain = self.up_to_date(plain, path)
            return parse(kind, plain)

    @contextmanager
    def file(self, folder: Path, name: str) -> Iterator[Path]:
        """Yield the path of a file of a folder; what is found unfit in the block is damage of this file.

        Raises:
            Speech2LipError: it is missing, a link, no file, or damaged.
        """
        path = inside(folder, name, error=self.error)
        try:
            yield path
        except (Unfit, SettingsError) as error:
            raise self.damaged(path, str(error)) from error

    def up_to_date(self, plain: Plain, path: Path) -> Plain:
        """Bring the contents of a main file to today's format, step by step.

        Raises:
            Speech2LipError: it was made by a newer version, its format cannot be brought up to date, or it
                has none.
        """
        number = plain.get("format")
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise self.damaged(path, f"format must be a whole number from 1, not {shown(number)}")
        if number > self.number:
            raise self._newer(path, f"format {shown(number)}, this version reads up to {self.number}")
        for step in range(number, self.number):
            try:
                plain = self.migrations[step](plain) | {"format": step + 1}
            except Broken as error:
                raise self.error(f"{self.again}: {path} has format {number}; {error}") from error
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise self.damaged(path, f"format {number}: {type(error).__name__} {error}") from error
        model = plain.get("model")
        known = ModelSettings.__dataclass_fields__
        if unknown := sorted(set(model) - set(known)) if isinstance(model, dict) else []:
            raise self._newer(path, f"this one knows no model setting {shown(unknown[0])}")
        return plain

    def refuse_newer(self, folder: Path) -> None:
        """Raise an error where a folder is of a newer version, which must not be written over."""
        path = folder / self.manifest
        try:
            number = read_json(path).get("format")
        except Speech2LipError:
            return
        if isinstance(number, int) and number > self.number:
            self.up_to_date({"format": number}, path)

    def _newer(self, path: Path, why: str) -> Speech2LipError:
        return self.error(f"{path} was made by a newer version of speech2lip ({why}): update speech2lip")

    def damaged(self, path: Path, reason: str) -> Speech2LipError:
        """Say that a file is damaged, how, and what to do."""
        return self.error(
            f"{path} is damaged: {' '.join(reason.split())[:300]}; copy it again or {self.again}"
        )


def _renamed(plain: Plain, **names: str) -> Plain:
    """The same JSON object with other names for some of its values."""
    return {names.get(name, name): value for name, value in plain.items()}


def _avatar_2(plain: Plain) -> Plain:
    model = plain.get("model")
    if isinstance(model, dict):
        if "phonetic" in str(model.get("speech")):
            raise Broken("it hears scores of phones, which this version no longer does")
        if model.get("blend") == "colour":
            raise Broken("it has a Blend-Net that this version no longer has")
    return _renamed(plain, usual_light="median_skin_colour")


def _footage_2(plain: Plain) -> Plain:
    return _renamed(plain, left_out_takes="rejected_takes", left_out_frames="rejected_frames")


AVATAR = Format("avatar.json", 2, AvatarError, "train it again", {1: _avatar_2})
FOOTAGE = Format("footage.json", 2, FootageError, "prepare it again", {1: _footage_2})


@dataclass(frozen=True)
class CanonicalInfo:
    """What avatar.json and footage.json say of the canonical space."""

    take: str
    frame_index: Index
    patch_box: tuple[Pixel, Pixel, Pixel, Pixel]
    """x0, y0, x1, y1 in canonical pixels."""
    patch_size: tuple[Annotated[int, between(8, 4096)], Annotated[int, between(8, 4096)]]
    """Rows and columns."""
    score: float | None = None
    """How well the frame serves, 0 at best."""

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.patch_box
        if x1 - x0 < 1 or y1 - y0 < 1:
            raise unfit("canonical.patch_box", "x0, y0, x1, y1 of a box", list(self.patch_box))


@dataclass(frozen=True)
class AvatarInfo:
    """The contents of avatar.json."""

    model: ModelSettings
    canonical: CanonicalInfo
    focal: Focal
    """Focal length of the base videos, in units of the longer side."""
    bases: tuple[Name, ...]
    """Takes to speak over, the longest first."""
    format: int = AVATAR.number
    version: str = ""
    """Of speech2lip that made it."""
    settings: dict[str, Any] = field(default_factory=dict)
    """The training settings, as they were then."""
    median_skin_colour: tuple[Level, Level, Level] = (128.0, 128.0, 128.0)
    """Of the footage."""
    footage: str = ""
    takes: tuple[str, ...] = ()
    """Takes that it knows."""
    held_out: dict[str, tuple[Index, Index]] = field(default_factory=dict)
    """First frame and end of what it has not seen of a take."""
    seconds_footage: Amount = 0.0
    seconds_trained: Amount = 0.0
    precision: str = ""
    device: str = ""
    history: tuple[dict[str, float], ...] = ()
    """Losses while it was trained."""

    def __post_init__(self) -> None:
        for name, (start, stop) in self.held_out.items():
            if stop < start:
                raise unfit(f"held_out.{name}", "a first frame and an end", [start, stop])


@dataclass(frozen=True)
class BaseInfo:
    """The contents of an avatar's base/NAME/take.json."""

    width: Side
    height: Side
    fps: Rate


@dataclass(frozen=True)
class SoundOffset:
    """How late a take's sound is."""

    milliseconds: Annotated[float, between(-1e5, 1e5)] | None
    """Positive: the sound comes after the lips. None: it cannot be told."""
    error: Amount | None
    """Standard error in milliseconds."""
    correlation: Annotated[float, between(-1.01, 1.01)]
    """Of lips and sound at the peak."""
    basis: Literal["take", "all takes", "none"]
    """What it was found from."""
    corrected: bool
    """Whether the sound is looked up that much later."""

    @property
    def shift_seconds(self) -> float:
        """Time to add to a picture's time to find its sound."""
        return (self.milliseconds or 0.0) / 1000 if self.corrected else 0.0


@dataclass(frozen=True)
class FootageInfo:
    """The contents of footage.json."""

    takes: tuple[Name, ...]
    canonical: CanonicalInfo
    format: int = FOOTAGE.number
    version: str = ""
    """Of speech2lip that made it."""
    settings: PrepareSettings = field(default_factory=PrepareSettings)
    focal: Focal | None = None
    """What the footage showed, in units of the longer side; None: the settings'."""
    refined_share: Annotated[float, between(0, 1)] | None = None
    """Of frames whose head pose was refined; None: of none."""
    rejected_takes: dict[str, str] = field(default_factory=dict)
    """Why takes could not be used."""
    rejected_frames: dict[str, dict[str, Index]] = field(default_factory=dict)
    """How many frames of a take, by reason."""
    shots: dict[str, Index] = field(default_factory=dict)
    """Of takes with more than one."""
    people: dict[str, Index] = field(default_factory=dict)
    """In takes with more than one."""
    sound_offsets: dict[str, SoundOffset] = field(default_factory=dict)
    prepare_fps: Amount | None = None
    """Frames a second that were prepared; None where it was not measured."""


@dataclass(frozen=True)
class SourceInfo:
    """Where a take comes from."""

    path: str = ""
    bytes: Annotated[int, between(0, 1e18)] = 0
    modified: int = 0
    """Time of the last change, in nanoseconds."""
    small_face_pixels: int = 0
    picture_crf: float = 0.0
    face: str = ""
    """Settings of the first pass."""
    tracking: int = 0
    """Counts the ways takes were read."""


@dataclass(frozen=True)
class TakeInfo:
    """The contents of takes/NAME/take.json in footage."""

    width: Side
    height: Side
    fps: Rate
    landmarks: Annotated[str, one_of(LANDMARK_SCHEME)] = LANDMARK_SCHEME
    broken_packets: Index = 0
    people: Index = 1
    source: SourceInfo = field(default_factory=SourceInfo)


Sizes = dict[str, int]
"""What letters of shapes stand for; the arrays of a take agree in them."""

_KINDS = {"f": ("F64", "F32", "F16"), "i": ("I64", "I32", "I16"), "u": ("U8",)}
_RIGID = 1e-3
"""How far a rotation may be from one: they are kept to 1e-7 at least."""


@dataclass(frozen=True)
class Kept:
    """What an array in a file is."""

    dtype: type[np.generic] | np.dtype[Any]
    shape: tuple[int | str, ...]
    """Letters stand for sizes that arrays share."""
    low: float = -np.inf
    high: float = np.inf
    missing: bool = False
    """Whether NaN may stand for what is not known."""
    optional: bool = False
    later: bool = False
    """Whether it is read when it is asked for: now type and shape are looked at alone."""
    check: Callable[[str, NDArray[Any]], None] | None = None
    """Raises Unfit where the values do not go together."""


def read_arrays(
    path: Path, kept: Mapping[str, Kept], sizes: Sizes, *, others: bool = True
) -> dict[str, NDArray[Any]]:
    """Read the arrays of a safetensors file that are asked for, in their order.

    Args:
        path: the file.
        kept: what they are, by name.
        sizes: what letters of their shapes stand for as far as is known; what is found is added.
        others: whether arrays that are not asked for may be there; they are passed over.

    Raises:
        Unfit: it is no safetensors file, an array is missing, or it is of another type or shape, not finite
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
                    raise Unfit(f"{name} is missing")
            for name in () if others else sorted(there - set(kept)):
                raise Unfit(f"{name} is no part of it")
            wanted = [name for name, one in kept.items() if name in there and not one.later]
            found = {name: file.get_tensor(name) for name in wanted}
    except (SafetensorError, OSError) as error:
        raise Unfit(str(error)) from error
    for name, array in found.items():
        _check_values(name, kept[name], array)
    return {name: array.astype(kept[name].dtype, copy=False) for name, array in found.items()}


def _check_header(name: str, kept: Kept, dtype: str, shape: list[int], sizes: Sizes) -> None:
    wanted = np.dtype(kept.dtype)
    letters = [sizes.get(size, size) if isinstance(size, str) else size for size in kept.shape]
    fault = f"{name} must be {wanted.name} [{', '.join(map(str, letters))}], not {dtype} {shape}"
    if dtype not in _KINDS[wanted.kind] or len(shape) != len(letters):
        raise Unfit(fault)
    for letter, size in zip(letters, shape, strict=True):
        if isinstance(letter, str):
            sizes[letter] = size
        elif letter != size:
            raise Unfit(fault)


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
        raise Unfit(
            f"{name}[{where}] must be a number from {kept.low:g} to {kept.high:g}, not {array[place]}"
        )
    if kept.check is not None:
        kept.check(name, array)


def rigid(name: str, poses: Array) -> None:
    """Raise Unfit where transforms [..., 4, 4] are no rigid ones."""
    turned = poses[..., :3, :3]
    off = np.abs(turned @ np.swapaxes(turned, -1, -2) - np.eye(3)).max(axis=(-1, -2))
    fine = (off < _RIGID) & (np.linalg.det(turned) > 0) & (poses[..., 3, :] == (0, 0, 0, 1)).all(axis=-1)
    if not np.all(fine):
        where = int(np.argmin(np.atleast_1d(fine)))
        raise Unfit(f"{name}[{where}] must be a rotation and a shift, and is none")


def rising(name: str, times: Array) -> None:
    """Raise Unfit where there are no times [T], or they do not rise from frame to frame."""
    if not len(times):
        raise Unfit(f"{name} is empty")
    wrong = np.flatnonzero(np.diff(times) <= 0)
    if len(wrong):
        raise Unfit(f"{name}[{wrong[0] + 1}] must come after {name}[{wrong[0]}], and does not")


def inside(folder: Path, name: str, *, error: type[Speech2LipError]) -> Path:
    """Return the path of a file of a folder, which must be a file of its own and not lead elsewhere.

    Args:
        folder: the folder, which may itself be reached by a link.
        name: the file in it, such as `base/take1/picture.mp4`.

    Raises:
        Speech2LipError: it is missing, a link, or no file.
    """
    path = folder / name
    try:
        for part in [path, *path.parents][: len(Path(name).parts)]:
            if part.is_symlink():
                raise error(f"{part} is a link: it could lead outside {folder}; put the file itself there")
        mode = path.stat().st_mode
    except FileNotFoundError as fault:
        raise error(f"{path} is missing") from fault
    except OSError as fault:
        raise error(f"{path} cannot be read: {fault.strerror}") from fault
    if not stat.S_ISREG(mode):
        raise error(f"{path} must be a file, and is none")
    return path
