"""Code in README.md and docs/*.md, taken apart."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])

_FENCE = re.compile(r"^```(\w*)$")
_SPAN = re.compile(r"`([^`\n]+)`")
_ENDS = {"|", "&&", ";", "&"}
"""What ends a command in a line of a shell."""
_REDIRECTION = re.compile(r"\s[<>]\s*\S+")


@dataclass(frozen=True)
class Block:
    """A piece of code, and where it stands."""

    page: str
    line: int
    language: str
    """As the fence names it; `indented` where there is none."""
    text: str

    @property
    def name(self) -> str:
        """Page and line."""
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced and the indented blocks of a page."""
    name, lines = page.relative_to(ROOT).as_posix(), page.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        start = number
        if opened := _FENCE.match(lines[number]):
            number = lines.index("```", start + 1)
            yield Block(name, start + 1, opened[1], "\n".join(lines[start + 1 : number]) + "\n")
        elif lines[number].startswith("    ") and not lines[number - 1].strip():
            while number < len(lines) and lines[number].startswith("    "):
                number += 1
            yield Block(
                name, start + 1, "indented", "\n".join(line[4:] for line in lines[start:number]) + "\n"
            )
            number -= 1
        number += 1


def commands(text: str) -> Iterator[list[str]]:
    """Yield the commands of shell lines as lists of words, without comments and redirections."""
    for line in text.splitlines():
        words: list[str] = []
        for word in [*shlex.split(_REDIRECTION.sub("", line), comments=True), ";"]:
            if word in _ENDS:
                if words:
                    yield words
                words = []
            else:
                words.append(word)


def spans(page: Path) -> Iterator[str]:
    """Yield what stands between backticks in a page's text."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    yield from _SPAN.findall(text)
