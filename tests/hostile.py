"""JSON and array files with something wrong in them, for tests of what reads them."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HeadView = tuple[str | int, ...]

NASTY: tuple[Any, ...] = (
    None, "", "nan", "../..", "/etc", "a\0b", "x" * 100_000, True, -1, 0, 0.5, 3, 1e308, -1e308, 10**30, [],
    [1], [[]], {}, {"a": 1}, "25/0", "1/999999999999", "-25", [0] * 1000,
)  # fmt: skip
RAW = ("NaN", "Infinity", "-Infinity", "1" * 5000, "[" * 100_000, "1e999", '"\\ud800"', "\x00", "")
"""What JSON that was not written by Python may hold."""
_MARK = '"a value to be replaced"'


def places(plain: Any, here: HeadView = ()) -> Iterator[HeadView]:
    """Yield where every value of a JSON object stands."""
    children = (
        plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ()
    )
    for name, value in children:
        yield (*here, name)
        yield from places(value, (*here, name))


def replaced(plain: Any, place: HeadView, value: Any) -> Any:
    """Return a JSON object with one value written over."""
    changed = copy.deepcopy(plain)
    inner = changed
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    return changed


def without(plain: Any, place: HeadView) -> Any:
    """Return a JSON object with one value left out."""
    changed = copy.deepcopy(plain)
    inner = changed
    for name in place[:-1]:
        inner = inner[name]
    del inner[place[-1]]
    return changed


def hostile_texts(path: Path) -> Iterator[tuple[str, str]]:
    """Yield what is wrong, and the JSON file with that."""
    plain = json.loads(path.read_text())
    for place in places(plain):
        told = f"{path.name}: {'.'.join(map(str, place))}"
        yield f"{told} left out", json.dumps(without(plain, place))
        for value in NASTY:
            yield f"{told} = {value!r:.40}", json.dumps(replaced(plain, place, value))
        marked = json.dumps(replaced(plain, place, json.loads(_MARK)))
        for raw in RAW:
            yield f"{told} = {raw:.40}", marked.replace(_MARK, raw)


def flipped(content: bytes, seed: int) -> bytes:
    """Return a file's bytes with some of them wrong: in the header, in the numbers, or both; or cut short."""
    chance = random.Random(seed)
    header = 8 + int.from_bytes(content[:8], "little")
    start, stop = chance.choice([(0, 8), (8, header), (header, len(content)), (0, len(content))])
    changed = bytearray(content)
    for _ in range(chance.choice([1, 1, 4, 64])):
        changed[chance.randrange(start, stop)] ^= 1 << chance.randrange(8)
    return bytes(changed[: chance.randrange(len(changed))] if chance.random() < 0.1 else changed)
