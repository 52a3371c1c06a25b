"""Decode a stream packet by packet, past what is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import av

if TYPE_CHECKING:
    from av.container import InputContainer

BROKEN = (av.error.FFmpegError, MemoryError)
"""What PyAV raises over data that make no sense; sizes that make none ask for memory that no machine has."""


def decode_packets(container: InputContainer, stream: Any, broken: Callable[[], None]) -> Iterator[Any]:
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
