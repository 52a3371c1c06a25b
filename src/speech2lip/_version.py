"""The version, in a module that imports nothing: whatever names it need not import the public functions."""

from __future__ import annotations

__version__ = "0.1.0"
