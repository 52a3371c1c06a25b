"""`python -m speech2lip`: the command line."""

from __future__ import annotations

import sys

from speech2lip.cli import main

if __name__ == "__main__":
    sys.exit(main())
