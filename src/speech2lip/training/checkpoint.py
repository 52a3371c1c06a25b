"""The state of training in one file that appears whole or not at all, to put down and take up.

It is taken up by the same training alone: a key names what is trained on what.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

import speech2lip
from speech2lip.atomic import LOCK, locked, output_errors, save_tensors, write_atomically
from speech2lip.avatar import Avatar, read_avatar
from speech2lip.config import TrainSettings, with_preset
from speech2lip.decomposition.footage import Footage, canonical_plain
from speech2lip.errors import AvatarError, FootageError, OutputError
from speech2lip.synthesis.pretrained import PretrainedEncoder
from speech2lip.synthesis.speech import ENCODER_WEIGHTS
from speech2lip.training.dataset import TrainingSet

_LOG = logging.getLogger(__name__)

Key = Mapping[str, Any]
"""What is trained on what: JSON values by what they stand for, as a message names it."""

_MOST_NAMED = 3
"""Differences that a message names."""
_MAKE = 1
"""Counted up whenever a state of the same networks would be trained on otherwise."""
_NOT_LEARNED = ("minutes", "save_seconds", "device", "precision", "base_seconds")
"""Settings that change nothing of what is learned, or only how well."""
_BLOCK, _PARTS = 1 << 16, 16
"""Bytes of a part of a large file, and how many parts of it are looked at."""


@dataclass
class Progressed:
    """How far training is; with weights and optimiser moments this is all that it needs to go on."""

    phase: int = 0
    step: int = 0
    """Steps done in this phase."""
    phase_seconds: float = 0.0
    """Time spent in this phase."""
    seconds: float = 0.0
    """Time spent in all phases."""
    precision: str = ""
    history: list[dict[str, float]] = field(default_factory=list)
    """Averages of the losses, now and then."""
    voice_changes: float = 0.0
    """Share of the sound that is varied, as it was decided when training began."""


@dataclass(frozen=True)
class Saved:
    """A state as it was read."""

    progressed: Progressed
    model: dict[str, Tensor]
    """Weights by name."""
    moments: dict[int, dict[str, Tensor]]
    """Of the optimiser, by number of the parameter; none at the beginning of a phase."""


class KeptState:
    """The file in which training keeps its state.

    A state of something else is set aside, never overwritten: the same settings and footage find it again.
    """

    def __init__(self, folder: Path, key: Key) -> None:
        """Keep states of what `key` names in a folder."""
        self.key = json.loads(json.dumps(key))
        self.path = folder / "state.safetensors"

    def take_up(self) -> Saved | None:
        """Read the state to go on from; None where there is none.

        Raises:
            OutputError: the file cannot be read.
        """
        found = self._read()
        aside = self._aside(_digest(self.key)[:8])
        if found is None and aside.is_file():
            aside.rename(self.path)
            found = self._read()
        return found

    def save(
        self, model: nn.Module, progressed: Progressed, optimiser: torch.optim.Optimizer | None = None
    ) -> None:
        """Write the state; without an optimiser at the end of a phase.

        Raises:
            OutputError: the disk is full, or the folder may not be written to.
        """
        tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
        moments = {} if optimiser is None else optimiser.state_dict()["state"]
        for index, values in moments.items():
            tensors |= {f"optimiser.{index}.{name}": torch.as_tensor(v) for name, v in values.items()}
        tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        metadata = {
            "key": json.dumps(self.key),
            "state": json.dumps(vars(progressed)),
            "checksum": _checksum(tensors),
        }
        save_tensors(self.path, tensors, metadata=metadata)

    def _aside(self, name: str) -> Path:
        return self.path.with_name(f"state.{name}.safetensors")

    def _read(self) -> Saved | None:
        """Read the file; what is no state of this key is set aside."""
        if not self.path.is_file():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                metadata = file.metadata() or {}
                key = dict(json.loads(metadata["key"]))
                if key == self.key:
                    tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                    return _parsed(metadata, tensors)
        except (SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
            self._set_aside("damaged", f"is damaged ({' '.join(str(error).split())[:80]})")
            return None
        except OSError as error:
            raise OutputError(f"{self.path} cannot be read: {error.strerror or error}.") from error
        self._set_aside(_digest(key)[:8], f"is of another training ({differences(key, self.key)})")
        return None

    def _set_aside(self, name: str, why: str) -> None:
        aside = self._aside(name)
        self.path.replace(aside)
        _LOG.info(f"the state kept in {self.path} {why}: set aside as {aside.name}; training begins anew")


def differences(old: Key, new: Key) -> str:
    """Tell in a few words in what two keys differ."""
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    named = []
    for name in names[:_MOST_NAMED]:
        short = name in old and name in new and len(f"{old[name]}{new[name]}") <= 40
        named.append(f"{name} was {old[name]}, is {new[name]}" if short else f"{name} changed")
    more = len(names) - len(named)
    return ", ".join(named) + (f" and {more} more" if more else "")


def _parsed(metadata: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Saved:
    if _checksum(tensors) != metadata["checksum"]:
        raise ValueError("its checksum is another")
    model, moments = dict[str, Tensor](), dict[int, dict[str, Tensor]]()
    for key, value in tensors.items():
        kind, _, name = key.partition(".")
        if kind == "model":
            model[name] = value
        else:
            index, _, moment = name.partition(".")
            moments.setdefault(int(index), {})[moment] = value
    return Saved(Progressed(**json.loads(metadata["state"])), model, moments)


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    mark = 0
    for name in sorted(tensors):
        mark = zlib.crc32(name.encode(), mark)
        mark = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, mark)
    return f"{mark:08x}"


def _digest(values: Any) -> str:
    return hashlib.blake2b(json.dumps(values).encode(), digest_size=16).hexdigest()


def restore_moments(optimiser: torch.optim.Optimizer, moments: dict[int, dict[str, Tensor]]) -> None:
    """Put saved moments into an optimiser over the same parameters."""
    optimiser.load_state_dict(optimiser.state_dict() | {"state": moments})


def footage_fingerprint(footage: Footage) -> str:
    """Return a mark of the content of footage, the same for a copy of it.

    Small files are read whole; of pictures and sound size and some parts, spread evenly.

    Raises:
        FootageError: a file is missing or cannot be read.
    """
    plain: list[Any] = [canonical_plain(footage.canonical), footage.settings.focal]
    mark = hashlib.blake2b(digest_size=16)
    try:
        _add_file(mark, footage.folder / "canonical.safetensors")
        for take in footage.takes:
            plain += [take.name, take.width, take.height, str(take.fps), take.focal, take.sound_shift]
            for name in ("track.safetensors", "poses.safetensors"):
                _add_file(mark, take.folder / name)
            for name in ("picture.mp4", "sound.flac"):
                _add_file(mark, take.folder / name, parts=_PARTS)
    except OSError as error:
        raise FootageError(
            f"{footage.folder} is damaged ({error.filename}: {error.strerror}); prepare it again"
        ) from error
    mark.update(json.dumps(plain).encode())
    return mark.hexdigest()


def _add_file(mark: hashlib.blake2b, path: Path, *, parts: int | None = None) -> None:
    """Add a file to a mark: its size, and its content or so many parts of it."""
    size = path.stat().st_size
    last = max(0, size - _BLOCK)
    starts = range(0, size, _BLOCK) if parts is None else [last * n // (parts - 1) for n in range(parts)]
    mark.update(str(size).encode())
    with path.open("rb") as file:
        for start in starts:
            file.seek(start)
            mark.update(file.read(_BLOCK))


def training_key(
    footage: str,
    settings: TrainSettings,
    networks: nn.Module,
    *,
    data: TrainingSet,
    encoder: PretrainedEncoder | None,
) -> dict[str, Any]:
    """Name what is trained on what: a saved state of another key is not taken up.

    Args:
        footage: its fingerprint.
        settings: as asked for, before anything is decided by the time that there is.
        data: what is trained on, on the processor.
        encoder: the pretrained one, if any.
    """
    sizes = [(name, list(value.shape)) for name, value in networks.state_dict().items()]
    key: dict[str, Any] = {
        "the version of speech2lip": speech2lip.__version__,
        "the footage": footage,
        "the frames trained on": _digest([data.times.tolist(), data.followed.tolist()]),
        "what is learned": _digest([_MAKE, sizes]),
    }
    if settings.encoder_init != "nothing":
        key["the built-in encoder weights"] = hashlib.sha256(ENCODER_WEIGHTS.read_bytes()).hexdigest()
    if encoder is not None:
        key["the pretrained encoder"] = encoder.fingerprint.hex()
    plain = asdict(with_preset(settings))
    for name in _NOT_LEARNED:
        plain.pop(name)
    if settings.voice_changes is None:
        plain.pop("voice_changes")
    return key | {f"--{name.replace('_', '-')}": value for name, value in _flat(plain)}


def _flat(plain: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in plain.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, value


_WRITTEN = "written"
"""The file that names the avatar which was about to take its place: of its avatar.json, the digest."""


def state_path(avatar: Path) -> Path:
    """Return where training of an avatar keeps its state."""
    target = avatar.resolve() if avatar.is_symlink() else avatar
    name = f".{target.name}.training"
    if len(os.fsencode(name)) > 255:
        name = f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:32]}.training"
    return target.with_name(name)


@contextmanager
def state_folder(avatar: Path) -> Iterator[Path]:
    """Yield that folder, for this process alone.

    What is in it stays, for training to go on; without anything it vanishes.

    Raises:
        OutputError: the avatar is being trained by another process.
    """
    part = state_path(avatar)
    with output_errors(part):
        part.mkdir(exist_ok=True)
    with locked(part):
        try:
            yield part
        finally:
            if all(file.name == LOCK for file in part.iterdir()):
                shutil.rmtree(part)


def note_written(part: Path, avatar: Path) -> None:
    """Note which avatar is about to take its place: should the process be killed then, it is known again."""
    with write_atomically(part / _WRITTEN) as temporary:
        temporary.write_text(_avatar_digest(avatar))


def finished_before(avatar: Path) -> Avatar | None:
    """Return the avatar that is there where its training was killed after it was complete, else None.

    Raises:
        OutputError: another process trains it.
    """
    if not (state_path(avatar) / _WRITTEN).is_file():
        return None
    with state_folder(avatar) as part:
        if not (avatar / "avatar.json").is_file() or (part / _WRITTEN).read_text() != _avatar_digest(avatar):
            return None
        try:
            made = read_avatar(avatar)
        except AvatarError:
            return None  # its state can make it once more
        remove_state(part)
    _LOG.info(f"{avatar} is complete: its training was stopped when only its state was left to remove")
    return made


def remove_state(part: Path) -> None:
    """Remove the state of training that is done; states that were set aside for other settings stay."""
    for name in ("state.safetensors", "state.damaged.safetensors", "heard.safetensors", _WRITTEN):
        (part / name).unlink(missing_ok=True)
    others = sorted(file.name for file in part.glob("state.*.safetensors"))
    if others:
        _LOG.info(
            f"training with other settings is kept in {part} ({', '.join(others)}): remove it if not needed"
        )


def _avatar_digest(avatar: Path) -> str:
    return hashlib.sha256((avatar / "avatar.json").read_bytes()).hexdigest()
