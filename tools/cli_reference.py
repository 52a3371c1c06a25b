"""The command reference of the documents, from the help texts: `python -m tools.cli_reference`."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator

from speech2lip.cli import COMMANDS, run, usage


def reference() -> str:
    """All help texts as Markdown."""
    parts = ["# Commands", "", "Renew with `make docs`.", "", "```", usage(), "```"]
    for name in COMMANDS:
        parts += ["", f"## {name}", "", "```", help_text(name), "```"]
    return "\n".join(parts) + "\n"


def help_text(command: str) -> str:
    """What `speech2lip COMMAND --help` prints, 100 columns wide and without colours."""
    printed = io.StringIO()
    with _plain_terminal(), contextlib.redirect_stdout(printed):
        run([command, "--help"])
    return "\n".join(line.rstrip() for line in printed.getvalue().strip().splitlines())


@contextlib.contextmanager
def _plain_terminal() -> Iterator[None]:
    """Let help texts be laid out for 100 columns without colours, whatever terminal this is."""
    wanted = {"COLUMNS": "100", "NO_COLOR": "1"}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


if __name__ == "__main__":
    sys.stdout.write(reference())
