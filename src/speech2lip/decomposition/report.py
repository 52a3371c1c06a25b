"""The page about a footage: what it shows, what was left out and why, and what would make it better."""

from __future__ import annotations

from pathlib import Path

from speech2lip.decomposition.footage import Footage
from speech2lip.decomposition.report_advice import look_over
from speech2lip.decomposition.report_page import GENERATOR, write_page
from speech2lip.decomposition.report_pictures import take_pictures
from speech2lip.errors import OutputError
from speech2lip.storage import check_output, write_atomically

_HEAD_BYTES = 4096


def check_report(path: Path) -> None:
    """Raise OutputError where the page could not be written, or would replace anything but such a page."""
    check_output(path, overwrite=True)
    if path.is_dir():
        raise OutputError(f"Cannot write {path}: it is a folder. Choose another name.")
    if path.exists():
        with path.open("rb") as file:
            ours = GENERATOR.encode() in file.read(_HEAD_BYTES)
        if not ours:
            raise OutputError(f"{path} exists already and is no report of ours; choose another name")


def write_report(footage: Footage, path: Path) -> None:
    """Write the page: one HTML file with all pictures in it.

    Raises:
        OutputError: it cannot be written.
    """
    page = write_page(footage, look_over(footage), take_pictures(footage))
    with write_atomically(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
