"""`python -m benchmarks` and `make bench`: the benchmark of quality."""

from __future__ import annotations

import sys

from speech2lip.cli import main

sys.exit(main(["bench", "quality", *sys.argv[1:]]))
