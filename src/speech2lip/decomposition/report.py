"""The page about a footage: what it shows, what was left out and why, and what would make it better."""

from __future__ import annotations

from pathlib import Path

from speech2lip.decomposition.footage import Footage


def write_report(footage: Footage, path: Path) -> None:
    """Write the page."""
