"""`speech2lip doctor`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Arguments:
    """Tell what this machine has: versions, devices, optional parts that are missing and how to install them."""


def run(arguments: Arguments) -> int:
    """Print the findings; the exit code is 1 when a required part is missing."""
    from speech2lip.machine import doctor, report

    checks = doctor()
    print(report(checks))
    return int(any(check.required and not check.good for check in checks))
