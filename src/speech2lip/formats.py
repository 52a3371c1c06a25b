"""The JSON files of avatars and footage: their contents, format numbers, and migrations of older ones."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from speech2lip.atomic import read_json
from speech2lip.checks import Choice, PlainName, Range, Unfit, parse, shown
from speech2lip.config import ModelSettings, PrepareSettings
from speech2lip.conventions import LANDMARK_SCHEME
from speech2lip.errors import AvatarError, FootageError, SettingsError, Speech2LipError

D = TypeVar("D")
Plain = dict[str, Any]
Migration = Callable[[Plain], Plain]
"""Takes the JSON object of a format, returns that of the next."""

Name = Annotated[str, PlainName()]
Index = Annotated[int, Range(0, 1e9)]
Pixel = Annotated[float, Range(-1e5, 1e5)]
Side = Annotated[int, Range(16, 16_384)]
Rate = Annotated[Fraction, Range(0.05, 1000)]
Focal = Annotated[float, Range(0.05, 1000)]
Level = Annotated[float, Range(0, 255)]
Amount = Annotated[float, Range(0, 1e9)]


class Broken(Exception):
    """Raised by a migration that cannot be: the message says why files of that format are of no use."""


@dataclass(frozen=True)
class Format:
    """One of our JSON files, and the formats that it has had."""

    noun: str
    """What it is about, for messages."""
    number: int
    """Today's format."""
    error: type[Speech2LipError]
    """What faults in it are."""
    again: str
    """How to make a new one."""
    migrations: Mapping[int, Migration] = field(default_factory=dict)
    """Format n -> how its JSON becomes that of format n + 1."""

    def up_to_date(self, plain: Plain, path: Path) -> Plain:
        """Bring the contents of a file to today's format, step by step.

        Raises:
            Speech2LipError: it was made by a newer version, its format cannot be brought up to date, or it
                has none.
        """
        number = plain.get("format")
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise self.damaged(path, f"format must be a whole number from 1, not {shown(number)}")
        if number > self.number:
            raise self._newer(path, number)
        for step in range(number, self.number):
            try:
                plain = self.migrations[step](plain) | {"format": step + 1}
            except Broken as error:
                raise self.error(f"{self.again}: {path} has format {number}; {error}") from error
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise self.damaged(path, f"format {number}: {type(error).__name__} {error}") from error
        return plain

    def refuse_newer(self, path: Path) -> None:
        """Raise an error where there is a file of a newer version, which must not be written over."""
        try:
            number = read_json(path).get("format")
        except Speech2LipError:
            return
        if isinstance(number, int) and number > self.number:
            raise self._newer(path, number)

    def _newer(self, path: Path, number: int) -> Speech2LipError:
        return self.error(
            f"{path} was made by a newer version of speech2lip (format {shown(number)}, this version "
            f"reads up to {self.number}): update speech2lip"
        )

    def damaged(self, path: Path, reason: str) -> Speech2LipError:
        """Say that a file is damaged, how, and what to do."""
        return self.error(
            f"{path} is damaged: {' '.join(reason.split())[:300]}; copy it again or {self.again}"
        )

    def parsed(self, kind: type[D], plain: Plain, path: Path) -> D:
        """Read what a file says of this format, every field checked."""
        try:
            return parse(kind, plain)
        except (Unfit, SettingsError) as error:
            raise self.damaged(path, str(error)) from error


AVATAR = Format("an avatar", 1, AvatarError, "train it again")
FOOTAGE = Format("footage", 1, FootageError, "prepare it again")


@dataclass(frozen=True)
class CanonicalInfo:
    """What avatar.json and footage.json say of the canonical space."""

    take: str
    frame_index: Index
    patch_box: tuple[Pixel, Pixel, Pixel, Pixel]
    """x0, y0, x1, y1 in canonical pixels."""
    patch_size: tuple[Annotated[int, Range(8, 4096)], Annotated[int, Range(8, 4096)]]
    """Rows and columns."""
    score: float | None = None
    """How well the frame serves, 0 at best."""

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.patch_box
        if x1 - x0 < 1 or y1 - y0 < 1:
            raise Unfit("canonical.patch_box", "x0, y0, x1, y1 of a box", list(self.patch_box))


@dataclass(frozen=True)
class AvatarInfo:
    """The contents of avatar.json, format 1."""

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
    usual_light: tuple[Level, Level, Level] = (128.0, 128.0, 128.0)
    """Median colour of the skin in the footage."""
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
                raise Unfit(f"held_out.{name}", "a first frame and an end", [start, stop])


@dataclass(frozen=True)
class BaseInfo:
    """The contents of an avatar's base/NAME/take.json."""

    width: Side
    height: Side
    fps: Rate


@dataclass(frozen=True)
class SoundOffset:
    """How late a take's sound is."""

    milliseconds: Annotated[float, Range(-1e5, 1e5)] | None
    """Positive: the sound comes after the lips. None: it cannot be told."""
    error: Amount | None
    """Standard error in milliseconds."""
    correlation: Annotated[float, Range(-1.01, 1.01)]
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
    """The contents of footage.json, format 1."""

    takes: tuple[Name, ...]
    canonical: CanonicalInfo
    format: int = FOOTAGE.number
    version: str = ""
    """Of speech2lip that made it."""
    settings: PrepareSettings = field(default_factory=PrepareSettings)
    focal: Focal | None = None
    """What the footage showed, in units of the longer side; None: the settings'."""
    refined_share: Annotated[float, Range(0, 1)] | None = None
    """Of frames whose head pose was refined; None: of none."""
    left_out_takes: dict[str, str] = field(default_factory=dict)
    """Why takes could not be used."""
    left_out_frames: dict[str, dict[str, Index]] = field(default_factory=dict)
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
    bytes: Annotated[int, Range(0, 1e18)] = 0
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
    landmarks: Annotated[str, Choice(LANDMARK_SCHEME)] = LANDMARK_SCHEME
    broken_packets: Index = 0
    people: Index = 1
    source: SourceInfo = field(default_factory=SourceInfo)


def read_avatar_json(path: Path) -> AvatarInfo:
    """Read avatar.json.

    Raises:
        AvatarError: it is missing or damaged, or of a newer version.
    """
    plain = AVATAR.up_to_date(read_json(path, error=AvatarError), path)
    model = plain.get("model")
    unknown = sorted(set(model) - set(ModelSettings.__dataclass_fields__)) if isinstance(model, dict) else []
    if unknown:
        raise AvatarError(
            f"{path} was made by a newer version of speech2lip (this one knows no model setting "
            f"{shown(unknown[0])}): update speech2lip"
        )
    # Avatars that do not say what they hear were made when there was nothing but mel.
    if isinstance(model, dict):
        plain = plain | {"model": {"speech": "mel"} | model}
    return AVATAR.parsed(AvatarInfo, plain, path)


def read_base_json(path: Path) -> BaseInfo:
    """Read take.json of an avatar's base video.

    Raises:
        AvatarError: it is missing or damaged.
    """
    return AVATAR.parsed(BaseInfo, read_json(path, error=AvatarError), path)


def read_footage_json(path: Path) -> FootageInfo:
    """Read footage.json.

    Raises:
        FootageError: it is missing or damaged, or of a newer version.
    """
    plain = FOOTAGE.up_to_date(read_json(path, error=FootageError), path)
    return FOOTAGE.parsed(FootageInfo, plain, path)


def read_take_json(path: Path) -> TakeInfo:
    """Read take.json of a footage folder.

    Raises:
        FootageError: it is missing or damaged.
    """
    return FOOTAGE.parsed(TakeInfo, read_json(path, error=FootageError), path)


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
