"""`python -m tests.golden`: measure the golden figures anew and tell what has changed."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.golden import figures, journey

with tempfile.TemporaryDirectory() as folder:
    measured = journey.figures(Path(folder))
before = figures.read() if figures.FILE.exists() else {}
figures.write(measured)
for line in figures.departures(measured, before):
    print(line)
print(f"{figures.FILE}: {len(measured)} figures")
