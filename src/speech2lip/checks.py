"""What values of settings and saved JSON may be, written beside their fields, and the function that checks.

A field says it in its type: `Annotated[float, between(0, 51)]`, `Literal["cpu", "cuda"]`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

D = TypeVar("D")

_LONGEST_TEXT = 4096
_SHOWN = 60
"""Characters of a wrong value that a message shows."""
_RATE = re.compile(r"\d{1,12}(/\d{1,12})?")


@dataclass(frozen=True)
class Rule:
    """What a value must be besides of its type; it stands in the type of a field."""

    allows: Callable[[Any], bool]
    wanted: str
    """What a message says, with `{kind}` for what the type asks for."""


def between(low: float, high: float) -> Rule:
    """Allow numbers from `low` to `high`; NaN is none."""
    return Rule(lambda value: bool(low <= value <= high), f"{{kind}} from {_short(low)} to {_short(high)}")


def above(low: float, high: float) -> Rule:
    """Allow numbers above `low` and at most `high`."""
    wanted = f"{{kind}} above {_short(low)} and at most {_short(high)}"
    return Rule(lambda value: bool(low < value <= high), wanted)


def one_of(*words: str) -> Rule:
    """Allow some words."""
    wanted = " or ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)
    return Rule(lambda value: value in words, wanted)


def matching(form: str, wanted: str) -> Rule:
    """Allow text that a regular expression matches from end to end; `wanted` says what that is."""
    return Rule(lambda value: re.fullmatch(form, value) is not None, wanted)


def _leads_nowhere(name: str) -> bool:
    elsewhere = name in ("", ".", "..") or set(name) & {"/", "\0"}
    return not elsewhere and len(os.fsencode(name)) <= 255


PLAIN_NAME = Rule(_leads_nowhere, "the plain name of a folder")
"""Names of files or folders: nothing that leads elsewhere."""


def _short(number: float) -> str:
    return f"{int(number):,}" if number == int(number) else f"{number:g}"


class Unfit(ValueError):
    """A value or an array that is not what it should be; the message is one line."""


def unfit(where: str, wanted: str, value: Any) -> Unfit:
    """Return the fault of a value that is not what its place asks for."""
    return Unfit(f"{where} must be {wanted}, not {shown(value)}")


def shown(value: Any) -> str:
    """Show a value in a few characters on one line."""
    try:
        text = " ".join(repr(value).split())
    except (RecursionError, ValueError):  # nested too deeply; a number of too many digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def fit(value: Any, hint: Any, where: str) -> Any:
    """Return a value as a type asks for it: whole numbers as floats, lists as tuples, objects as dataclasses.

    Args:
        value: what was given, or read from JSON.
        hint: the type, with its bounds.
        where: its name, for the message.

    Raises:
        Unfit: it is of another type, not finite, or out of bounds.
    """
    kind, rules, nothing = _unwrapped(hint)
    if nothing and value is None:
        return None
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return value if isinstance(value, kind) else parse(kind, value, where)
    if get_origin(kind) in _CONTAINERS:
        return _CONTAINERS[get_origin(kind)](value, kind, where)
    _, kinds, convert = _SIMPLE[kind]
    try:
        if isinstance(value, kinds) and isinstance(value, bool) == (kind is bool):
            found = convert(value)
            if all(rule.allows(found) for rule in rules):
                return found
    except (ValueError, OverflowError, ZeroDivisionError):
        pass
    raise unfit(where, wanted(hint), value)


def wanted(hint: Any) -> str:
    """Say what a type asks for."""
    kind, rules, nothing = _unwrapped(hint)
    text = _SIMPLE[kind][0] if kind in _SIMPLE else "an object"
    for rule in rules:
        text = rule.wanted.format(kind=text)
    return f"{text}, or nothing" if nothing else text


def parse(kind: type[D], plain: Any, where: str = "") -> D:
    """Read a dataclass from JSON values; missing names take their default, unknown ones are passed over.

    Args:
        kind: the dataclass.
        plain: the JSON object.
        where: its name, for messages; empty for the whole file.

    Raises:
        Unfit: a value is not what its field asks for, or one without default is missing.
    """
    if not isinstance(plain, Mapping):
        raise unfit(where or "it", "an object", plain)
    prefix, values = f"{where}." if where else "", {}
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if field.name in plain:
            values[field.name] = fit(plain[field.name], hints(kind)[field.name], prefix + field.name)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise unfit(prefix + field.name, wanted(hints(kind)[field.name]), None)
    return kind(**values)


def to_plain(made: Any) -> dict[str, Any]:
    """Return the JSON values that `parse` makes a dataclass of."""

    def plain(values: list[tuple[str, Any]]) -> dict[str, Any]:
        return {name: str(one) if isinstance(one, Fraction | Path) else one for name, one in values}

    return dataclasses.asdict(made, dict_factory=plain)


hints: Callable[[Any], dict[str, Any]] = functools.cache(partial(get_type_hints, include_extras=True))
"""The types of a dataclass's fields with their rules."""


def _unwrapped(hint: Any) -> tuple[Any, tuple[Rule, ...], bool]:
    """Return a type without its rules, the rules, and whether None stands for nothing."""
    rules: tuple[Rule, ...] = ()
    nothing = False
    while True:
        if get_origin(hint) is Annotated:
            hint, *more = get_args(hint)
            rules += tuple(rule for rule in more if isinstance(rule, Rule))
        elif get_origin(hint) in (Union, types.UnionType):
            others = [one for one in get_args(hint) if one is not type(None)]
            assert len(others) == 1, "of unions only `X | None` can be checked"
            hint, nothing = others[0], True
        elif get_origin(hint) is Literal:
            rules, hint = (*rules, one_of(*get_args(hint))), str
        else:
            return hint, rules, nothing


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def _text(value: str) -> str:
    os.fsencode(value)  # half a character is no text; the bytes of a file's name may be
    if len(value) > _LONGEST_TEXT:
        raise ValueError
    return value


def _path(value: str | os.PathLike[str]) -> Path:
    if "\0" in str(value):
        raise ValueError
    return Path(value)


def _rate(value: str | Fraction) -> Fraction:
    if isinstance(value, str) and not _RATE.fullmatch(value):
        raise ValueError
    return Fraction(value)


_SIMPLE: dict[Any, tuple[str, Any, Callable[[Any], Any]]] = {
    int: ("a whole number", Integral, int),
    float: ("a number", Real, _finite),
    str: ("text", str, _text),
    bool: ("true or false", bool, bool),
    Path: ("a path", (str, os.PathLike), _path),
    Fraction: ("a rate such as 25 or 30000/1001", (str, Fraction), _rate),
}
"""What a message calls a type, what may be given for it, and how that becomes it; ValueError: it does not."""


def _fit_tuple(value: Any, kind: Any, where: str) -> tuple[Any, ...]:
    parts = get_args(kind)
    endless = parts[-1] is Ellipsis
    if not isinstance(value, list | tuple) or not (endless or len(value) == len(parts)):
        raise unfit(where, "a list" if endless else f"a list of {len(parts)}", value)
    of = [parts[0]] * len(value) if endless else parts
    return tuple(fit(one, of[index], f"{where}[{index}]") for index, one in enumerate(value))


def _fit_mapping(value: Any, kind: Any, where: str) -> dict[str, Any]:
    name, of = get_args(kind)
    if not isinstance(value, Mapping):
        raise unfit(where, "an object", value)
    return {
        fit(key, name, f"a name in {where}"): fit(one, of, f"{where}.{key}") for key, one in value.items()
    }


_CONTAINERS: dict[Any, Any] = {tuple: _fit_tuple, dict: _fit_mapping}
