"""`speech2lip doctor`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Arguments:
    """Tell what this machine has: versions, devices, what is missing and how to install it."""


def run(arguments: Arguments) -> int:
    """Print the findings; the exit code is 1 when a required part is missing."""
    from speech2lip._doctor import doctor, report

    checks = doctor()
    print(report(checks))
    return int(any(check.required and not check.good for check in checks))
