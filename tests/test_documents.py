"""What the documents show works: Python blocks run, command lines parse, the command reference is current."""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import tyro

from speech2lip.cli import COMMANDS
from speech2lip.cli import commands as kinds
from tests.documents import PAGES, ROOT, Block, blocks, commands, spans
from tools import cli_reference as reference

BLOCKS = [block for page in PAGES for block in blocks(page)]
PYTHON = [block for block in BLOCKS if block.language == "python"]
SLOW = ("benchmarks.robustness.bench",)
"""What a block that takes seconds has in it."""
SHELL = [
    (block.name, words)
    for block in BLOCKS
    if block.language in ("bash", "indented") and not block.text.startswith("time,")  # a table of poses
    for words in commands(block.text)
]
SPANS = sorted({span for page in PAGES for span in spans(page) if span.startswith("speech2lip ")})
STRANGERS = ("arecord", "espeak-ng", "ffmpeg", "git", "mkfifo", "pip", "sudo")
"""Commands that are not ours."""


def test_every_block_says_what_it_is() -> None:
    known = ("python", "bash", "indented")
    assert [block.name for block in BLOCKS if block.language not in known] == [
        block.name for block in BLOCKS if block.page == "docs/commands.md"
    ]
    assert len(PYTHON) >= 4
    assert len(SHELL) >= 20
    assert len(SPANS) >= 8


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Somebody's working folder, with an avatar, footage and weights under the names of the documents."""
    made = ROOT / "tests" / "data" / "version_1"
    for kind in ("avatar", "footage"):
        shutil.copytree(made / f"presenter.{kind}", tmp_path / f"ana.{kind}")
    for name in ("alexnet-owt-7be5be79.pth", "alex.pth", "syncnet_v2.model"):
        torch.save({f"{name}.weight": torch.ones(2, 2).T}, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(block, marks=[pytest.mark.slow] if any(word in block.text for word in SLOW) else [])
        for block in PYTHON
    ],
    ids=lambda block: block.name,
)
def test_python_runs(block: Block, folder: Path) -> None:
    shown: list[Any] = []
    given = {"samples": np.zeros(16_000, np.float32), "show": lambda *what: shown.append(what)}
    exec(compile(block.text, block.name, "exec"), given)
    assert bool(shown) == ("show(" in block.text)


@pytest.mark.parametrize(("name", "words"), SHELL, ids=lambda value: value if isinstance(value, str) else "")
def test_command_lines_parse(name: str, words: list[str]) -> None:
    if words[0] == "speech2lip":
        command, *rest = words[1:]
        if command not in ("--help", "--version"):
            tyro.cli(getattr(kinds, command.capitalize()), args=rest)
    elif words[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {word for word in words[1:] if "=" not in word} <= set(targets)
    elif words[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(words[2]) is not None
    else:
        assert words[0] in STRANGERS


@pytest.fixture(scope="module")
def helps() -> Iterator[dict[str, str]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "100")
        patch.setenv("NO_COLOR", "1")
        yield {command: reference.help_text(command) for command in COMMANDS}


@pytest.mark.parametrize("span", SPANS)
def test_commands_in_the_text_are_there(span: str, helps: dict[str, str]) -> None:
    command = span.split()[1]
    if command in ("COMMAND", "--help", "--version"):
        return
    flags = re.findall(r"--[a-z][\w.-]*", span)
    assert [flag for flag in flags if flag not in helps[command]] == []


def test_the_command_reference_is_current(monkeypatch: pytest.MonkeyPatch) -> None:
    if f"tyro=={version('tyro')}" not in (ROOT / "constraints.txt").read_text().split():
        pytest.skip("another version of tyro lays help out in another way")
    monkeypatch.setenv("COLUMNS", "100")  # what it sets itself is undone
    monkeypatch.setenv("NO_COLOR", "1")
    now = reference.reference()
    assert (ROOT / "docs" / "commands.md").read_text(encoding="utf-8") == now, "renew it with `make docs`"


LOG = [ROOT / "docs" / "log.md", *sorted((ROOT / "docs" / "log").glob("*.md"))]


@pytest.mark.parametrize("page", LOG, ids=lambda page: page.name)
def test_the_log_fits_a_terminal(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    assert [number for number, line in enumerate(lines, 1) if len(line) > 110] == []


@pytest.mark.parametrize("page", LOG[1:], ids=lambda page: page.name)
def test_the_log_lists_every_entry_newest_first(page: Path) -> None:
    entries = re.findall(r"^## (.*)", page.read_text(encoding="utf-8"), re.MULTILINE)
    listed = LOG[0].read_text(encoding="utf-8").split(f"(log/{page.name})")[1].split("\n## ")[0]
    assert re.findall(r"^- (.*)", listed, re.MULTILINE) == entries
    dates = [re.match(r"\d{4}-\d\d-\d\d(?=: )", entry)[0] for entry in entries]
    assert dates == sorted(dates, reverse=True)


@pytest.mark.parametrize("page", [*PAGES, *LOG[1:]], ids=lambda page: page.name)
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_step_of_the_tour_is_where_its_link_leads() -> None:
    """`Class.function` or `function`, defined in the file."""
    page = ROOT / "docs/tour.md"
    steps = re.findall(r"\[`([\w.]+)`\]\(([^)]+\.py)\)", page.read_text(encoding="utf-8"))
    assert len(steps) > 30
    lost = [f"{name} is not in {path}" for name, path in steps if not _defines(page.parent / path, name)]
    assert lost == []


def _defines(path: Path, name: str) -> bool:
    body = ast.parse(path.read_text(encoding="utf-8")).body
    for part in name.split("."):
        kinds = ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef
        found = [node for node in body if isinstance(node, kinds) and node.name == part]
        if not found:
            return False
        body = found[0].body
    return True
