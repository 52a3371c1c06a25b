"""Open a sound or video file, which may say anything, and decode a stream of it past what is broken."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av

from speech2lip.errors import FootageError, SoundError

if TYPE_CHECKING:
    from av.container import InputContainer

BROKEN = (av.error.FFmpegError, MemoryError)
"""What PyAV raises over data that make no sense; sizes that make none ask for memory that no machine has."""

MOST_PIXELS = 36_000_000
"""Of a picture: 8192 x 4320 and a little more. The decoder refuses larger ones before it asks for memory."""

_FORMATS = (
    "mov,matroska,avi,mpeg,mpegts,flv,asf,ogg,mxf,gxf,nut,dv,rm,wtv,"
    "mpegvideo,m4v,h263,h264,hevc,vvc,av1,obu,ivf,mjpeg,yuv4mpegpipe,gif,"
    "wav,w64,aiff,au,caf,flac,mp3,aac,loas,ac3,eac3,dts,truehd,"
    "amr,amrnb,amrwb,ape,wv,tta,tak,mpc,mpc8,voc,sox,nistsphere"
)
"""Demuxers that read nothing but the file they are given: no playlists, no numbered pictures, no networks."""

_PLAYLISTS = (
    b"ffconcat version",
    b"#EXTM3U",
    b"[playlist]",
    b"v=0",
    b"<MPD",
    b"<?xml",
    b"<asx",
    b"[Reference]",
)


@dataclass(frozen=True)
class Kind:
    """What a file is opened for, in the words of the messages."""

    error: type[FootageError] | type[SoundError]
    noun: str
    """What the file should be."""
    why_not: str
    """What may be the matter with one that cannot be read."""
    stream: str
    """What it should hold."""
    convert_to: str
    """The format for a stream that cannot be decoded."""
    give: str
    """What to give instead."""


VIDEO = Kind(
    FootageError,
    noun="video",
    why_not=": damaged, or no moving picture",
    stream="moving picture",
    convert_to="H.264",
    give="Give a video file: mp4, mov, mkv or mpg.",
)
SOUND = Kind(
    SoundError,
    noun="sound file",
    why_not="",
    stream="sound",
    convert_to="WAV",
    give="Give wav, flac, mp3, m4a, ogg or a video with somebody speaking.",
)


@contextmanager
def open_stream(path: Path, kind: Kind) -> Iterator[tuple[InputContainer, Any]]:
    """Open a sound or video file and find its stream; nothing but this one file is read.

    Raises:
        FootageError, SoundError: no such file, no regular file, an empty one, a playlist, none of ours, or
            one without such a stream.
    """
    _check_file(path, kind)
    try:
        container = av.open(
            file_address(path),
            options={"max_pixels": str(MOST_PIXELS)},
            container_options={"protocol_whitelist": "file", "format_whitelist": _FORMATS},
            metadata_errors="replace",
        )
    except av.error.PermissionError as error:
        raise kind.error(f"{path} cannot be read: permission denied.") from error
    except (av.error.FFmpegError, OSError, MemoryError) as error:
        raise kind.error(_why_not(path, kind)) from error
    with container:
        yield container, _stream(container, path, kind)


def moving_pictures(container: InputContainer) -> list[Any]:
    """The pictures of an open file that move; covers of music files do not."""
    return [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]


def decode_packets(
    container: InputContainer, stream: Any, broken: Callable[[], None] = lambda: None
) -> Iterator[Any]:
    """Yield all frames of a stream that can be decoded; `broken` is called for each packet that cannot."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except BROKEN:  # the file ends in the middle of something
            broken()
            packet = None
        try:
            yield from stream.decode(packet)
        except av.error.EOFError:
            return
        except BROKEN:
            broken()
        if packet is None:
            return


def file_address(path: Path) -> str:
    """The address of a file for ffmpeg, which would take `http:x.mp4` for a place in the network."""
    return f"file:{path.absolute()}"


def _stream(container: InputContainer, path: Path, kind: Kind) -> Any:
    streams: list[Any] = moving_pictures(container) if kind is VIDEO else list(container.streams.audio)
    if not streams:
        raise kind.error(f"{path} has no {kind.stream} in it. {kind.give}")
    for stream in streams:
        if stream.codec_context is not None:
            if kind is VIDEO:
                stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
                stream.thread_type = "AUTO"
            return stream
    raise kind.error(
        f"{path} has {kind.stream} of a kind that cannot be decoded. Convert it to {kind.convert_to}."
    )


def _check_file(path: Path, kind: Kind) -> None:
    try:
        about = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise kind.error(f"There is no file {path}.") from error
    except (OSError, ValueError) as error:  # a name that no file can have, or a folder that is closed to us
        raise kind.error(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if stat.S_ISDIR(about.st_mode):
        raise kind.error(f"{path} is a folder. {kind.give}")
    if not stat.S_ISREG(about.st_mode):
        raise kind.error(f"{path} is a pipe or a device, not a file. {kind.give}")
    if about.st_size == 0:
        raise kind.error(f"{path} is empty: it is not a {kind.noun}. {kind.give}")


def _why_not(path: Path, kind: Kind) -> str:
    with path.open("rb") as file:
        begin = file.read(256).lstrip(b"\xef\xbb\xbf \t\r\n")
    if begin.startswith(_PLAYLISTS):
        return f"{path} is a playlist, not a {kind.noun}: it only names other files. Give these themselves."
    return f"{path} is not a {kind.noun} that can be read{kind.why_not}. {kind.give}"
