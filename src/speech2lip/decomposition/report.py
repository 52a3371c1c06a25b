"""The page about a footage: what it shows, what was left out and why, and what would make it better."""

from __future__ import annotations

from pathlib import Path

from speech2lip.decomposition.footage import Footage
from speech2lip.decomposition.report_advice import look_over
from speech2lip.decomposition.report_page import write_page
from speech2lip.decomposition.report_pictures import take_pictures
from speech2lip.storage import write_atomically


def write_report(footage: Footage, path: Path) -> None:
    """Write the page: one HTML file with all pictures in it.

    Raises:
        OutputError: it cannot be written.
    """
    page = write_page(footage, look_over(footage), take_pictures(footage))
    with write_atomically(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
