"""What a saved state was trained on, in a few marks: going on with anything else is not going on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

import speech2lip
from speech2lip.checks import to_plain
from speech2lip.config import TrainSettings, with_preset
from speech2lip.decomposition.footage import Footage, canonical_plain
from speech2lip.errors import FootageError
from speech2lip.synthesis.pretrained import PretrainedEncoder
from speech2lip.synthesis.speech import encoder_weights_fingerprint
from speech2lip.training.dataset import TrainingSet

_MAKE = 1
"""Counted up whenever a state of the same networks would be trained on otherwise."""
_NOT_LEARNED = ("minutes", "save_seconds", "device", "precision", "base_seconds")
"""Settings that change nothing of what is learned, or only how well."""
_BLOCK, _BLOCKS = 1 << 16, 16
"""Bytes of a part of a large file, and how many parts of it are looked at."""


def footage_fingerprint(footage: Footage) -> str:
    """Return a mark of the content of footage, the same for a copy of it.

    Small files are read whole; of pictures and sound size and some parts, spread evenly.

    Raises:
        FootageError: a file is missing or cannot be read.
    """
    try:
        return _fingerprint(footage)
    except OSError as error:
        raise FootageError(
            f"{footage.folder} is damaged ({error.filename}: {error.strerror}); prepare it again"
        ) from error


def _fingerprint(footage: Footage) -> str:
    mark = hashlib.blake2b(digest_size=16)
    _add(mark, [canonical_plain(footage.canonical), footage.settings.focal])
    _add_file(mark, footage.folder / "canonical.safetensors")
    for take in footage.takes:
        _add(mark, [take.name, take.width, take.height, str(take.fps), take.focal, take.sound_shift])
        for name in ("track.safetensors", "poses.safetensors"):
            _add_file(mark, take.folder / name)
        for name in ("picture.mp4", "sound.flac"):
            _add_parts(mark, take.folder / name)
    return mark.hexdigest()


def _add(mark: hashlib.blake2b, values: Any) -> None:
    mark.update(json.dumps(values).encode())


def _add_file(mark: hashlib.blake2b, path: Path) -> None:
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            mark.update(part)


def _add_parts(mark: hashlib.blake2b, path: Path) -> None:
    size = path.stat().st_size
    _add(mark, size)
    with path.open("rb") as file:
        for number in range(_BLOCKS):
            file.seek(max(0, size - _BLOCK) * number // (_BLOCKS - 1))
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
        "the frames trained on": _mark([data.times.tolist(), data.followed.tolist()]),
        "what is learned": _mark([_MAKE, sizes]),
    }
    if settings.encoder_init != "nothing":
        key["the built-in encoder weights"] = encoder_weights_fingerprint()
    if encoder is not None:
        key["the pretrained encoder"] = encoder.fingerprint.hex()
    plain = to_plain(with_preset(settings))
    for name in _NOT_LEARNED:
        plain.pop(name)
    if settings.voice_changes is None:
        plain.pop("voice_changes")
    return key | {f"--{name.replace('_', '-')}": value for name, value in _flat(plain)}


def _mark(values: Any) -> str:
    return hashlib.blake2b(json.dumps(values).encode(), digest_size=16).hexdigest()


def _flat(plain: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in plain.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name, value
