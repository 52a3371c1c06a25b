"""The package is instant to import and names what it offers."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module

import pytest

import speech2lip
from speech2lip.cli import COMMANDS
from tests.shapes import modules_with_shapes


def test_every_command_is_a_public_function() -> None:
    for name in COMMANDS:
        function = getattr(speech2lip, name)
        assert inspect.isfunction(function), name
        assert function.__doc__, f"{name} has no docstring"
    # `stream` needs a program around it; its command is `live`.
    assert set(speech2lip.__all__) == {"__version__", "stream", *COMMANDS}


def test_functions_take_one_positional_argument_at_most() -> None:
    for name in COMMANDS:
        parameters = inspect.signature(getattr(speech2lip, name)).parameters.values()
        free = [one for one in parameters if one.kind is not inspect.Parameter.KEYWORD_ONLY]
        assert len(free) <= 1, name


@pytest.mark.parametrize("name", modules_with_shapes())
def test_shapes_are_checked_while_tests_run(name: str) -> None:
    module = import_module(name)
    functions = [one for one in vars(module).values() if inspect.isfunction(one)]
    kinds = [one for one in vars(module).values() if inspect.isclass(one) and one.__module__ == name]
    functions += [method for kind in kinds for method in vars(kind).values() if inspect.isfunction(method)]
    assert any(
        hasattr(one, "__wrapped__") and "jaxtyping" in str(one.__code__.co_filename) for one in functions
    )


def test_importing_loads_nothing_heavy() -> None:
    program = "import sys, speech2lip\nprint([n for n in ('torch', 'numpy', 'av') if n in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


def test_a_name_that_is_none() -> None:
    with pytest.raises(AttributeError, match="no attribute 'dance'"):
        _ = speech2lip.dance
