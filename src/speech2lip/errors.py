"""Everything a user can get wrong; each message says what, with which value, and what to do.

Speech2LipError
├── FootageError      a video or a footage folder that cannot be used
├── SoundError        a sound file that cannot be used
├── AvatarError       an avatar folder that cannot be used
├── OutputError       a place that cannot be written to, or that would be overwritten
├── SettingsError     a setting or combination of settings that makes no sense
├── TrainingError     training that cannot go on
└── MissingExtra      an optional part that is not installed
"""

from __future__ import annotations


class Speech2LipError(Exception):
    """A fault that the user can mend; the command line prints it as one line and exits with 1."""


class FootageError(Speech2LipError):
    """A video or a footage folder that cannot be used."""


class SoundError(Speech2LipError):
    """A sound file that cannot be used."""


class AvatarError(Speech2LipError):
    """An avatar folder that cannot be used."""


class OutputError(Speech2LipError):
    """A place that cannot be written to, or that would be overwritten."""


class SettingsError(Speech2LipError):
    """A setting, or a combination of settings, that makes no sense."""


class TrainingError(Speech2LipError):
    """Training that cannot go on; the message says from where it can."""


class MissingExtra(Speech2LipError):
    """An optional part that is not installed; the message names the command that installs it."""
