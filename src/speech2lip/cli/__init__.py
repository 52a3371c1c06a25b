"""The command line: parse, call one public function, print."""

from __future__ import annotations

import difflib
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

COMMANDS = {
    "prepare": "learn the head of one person from videos: footage",
    "train": "make an avatar from footage, or straight from videos",
    "speak": "let an avatar speak a sound file",
    "live": "let an avatar speak what it hears, on a local page",
    "evaluate": "measure an avatar on footage that it has not seen",
    "export": "write an avatar as ONNX graphs, for players without Python",
    "demo": "all of it on a made presenter",
    "present": "write videos of the made presenter, with the truth about them",
    "doctor": "show what this machine has and what is missing",
}
"""Name -> what it does."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code.

    0 is well, 1 a fault that the user can mend, 2 wrong usage, 130 stopped by the user, 143 by SIGTERM.
    """
    # Before anything imports torch: waiting OpenMP threads that spin make training ten times slower as soon
    # as another process wants one of the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from speech2lip.errors import Speech2LipError

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a path may hold what is no text
    _end_as_by_the_user()
    shown = _show_messages()
    try:
        return run(list(sys.argv[1:] if arguments is None else arguments))
    except Speech2LipError as error:
        print(f"speech2lip: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        print("speech2lip: stopped; the same command again goes on from what was finished", file=sys.stderr)
        return 128 + (stop.args[0] if stop.args else signal.SIGINT)
    except BrokenPipeError:
        # The reader of our output (`| head`) has gone; keep Python from complaining once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    finally:
        logging.getLogger("speech2lip").removeHandler(shown)


def _show_messages() -> logging.Handler:
    """Print what the package tells; a program that imports it decides for itself."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("speech2lip")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    return handler


def _end_as_by_the_user() -> None:
    """Let what systems and terminals end programs by do as Ctrl-C: what is half written is removed."""

    def stop(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # once is enough
        raise KeyboardInterrupt(number)

    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) == signal.SIG_DFL:
                signal.signal(getattr(signal, name), stop)


def run(arguments: list[str]) -> int:
    """Find the command, parse its arguments and run it."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    name, *rest = arguments
    if name in ("-v", "--version"):
        from speech2lip._version import __version__

        print(f"speech2lip {__version__}")
        return 0
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"Did you mean `{close[0]}`?" if close else "`speech2lip --help` lists them."
        print(f"speech2lip: there is no command {name!r}. {hint}", file=sys.stderr)
        return 2
    import tyro

    from speech2lip.cli import commands

    kind: type[commands.Command] = getattr(commands, name.capitalize())
    config = (tyro.conf.FlagCreatePairsOff,)
    try:
        command = tyro.cli(kind, prog=f"speech2lip {name}", args=rest, config=config)
    except SystemExit as done:
        return done.code if isinstance(done.code, int) else 2
    return command.run()


def usage() -> str:
    """The text of `speech2lip --help`."""
    lines = "\n".join(f"  {name:<10}{what}" for name, what in COMMANDS.items())
    return f"""usage: speech2lip COMMAND ...

Train a talking-head avatar of one person from a short video, then let it speak any sound file.

{lines}

`speech2lip COMMAND --help` shows its options, `speech2lip --version` the version."""
