"""Decode a stream packet by packet, past what is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import av

if TYPE_CHECKING:
    from av.container import InputContainer


def decode_packets(container: InputContainer, stream: Any, broken: Callable[[], None]) -> Iterator[Any]:
    """Yield all frames of a stream that can be decoded; `broken` is called for each packet that cannot."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:  # the file ends in the middle of something
            broken()
            packet = None
        try:
            yield from stream.decode(packet)
        except av.error.EOFError:
            return
        except av.error.FFmpegError:
            broken()
        if packet is None:
            return
