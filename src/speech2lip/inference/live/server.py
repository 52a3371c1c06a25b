"""The local page of live speech: pictures and sound in one stream, pictures alone as MJPEG, and the state."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
from collections.abc import Callable
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from urllib.parse import urlsplit

from speech2lip.errors import OutputError
from speech2lip.inference.live.player import Audience, Played
from speech2lip.inference.live.sources import Source

_BOUNDARY = "picture"
_MOST_TOLD = 200
"""Bytes that a page may send."""
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_EVERYWHERE = frozenset({"", "0.0.0.0", "::"})
_OURS = frozenset({"same-origin", "none"})
"""What browsers say in Sec-Fetch-Site of requests that our own page or the user himself made."""


class LiveServer(ThreadingHTTPServer):
    """Serves `/` (the page), `/live`, `/picture` (MJPEG), `/state` (JSON) and takes `POST /interrupt`."""

    daemon_threads = True

    def __init__(
        self,
        host: str,
        port: int,
        *,
        audience: Audience,
        played: Played,
        interrupt: Callable[[], None],
        source: Source,
    ) -> None:
        """Bind to an address; the page is told the format of the sound of `source`."""
        self.audience, self.played, self.interrupt = audience, played, interrupt
        self.watched: dict[str, int] = {}
        """What a page told last of what it has shown."""
        page = files("speech2lip.inference.live").joinpath("page.html").read_text(encoding="utf-8")
        self.page = page.replace("__RATE__", str(source.sample_rate)).replace(
            "__CHANNELS__", str(source.channels)
        )
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = " ".join(str(error).split())
            raise OutputError(
                f"The page cannot be served at {host}:{port} ({reason}). Choose another --port; 0 finds one."
            ) from error
        self.guard = Guard(host)

    @property
    def url(self) -> str:
        """Where the page is."""
        host, port = self.server_address[:2]
        return f"http://{host if isinstance(host, str) else host.decode()}:{port}/"


class _Handler(BaseHTTPRequestHandler):
    server: LiveServer

    def do_GET(self) -> None:
        """Answer the page, its stream, pictures alone, or the state."""
        if not self.server.guard.knows(self.headers.get("Host", "")):
            self.send_error(403)
            return
        answers = {"/": self._page, "/live": self._live, "/picture": self._pictures, "/state": self._state}
        answer = answers.get(self.path.split("?")[0])
        if answer is None:
            self.send_error(404)
            return
        try:
            answer()
        except (BrokenPipeError, ConnectionError):
            self.close_connection = True  # the viewer has gone

    def do_POST(self) -> None:
        """Interrupt the speech, or learn what a page has shown."""
        host, origin, site = (self.headers.get(name) for name in ("Host", "Origin", "Sec-Fetch-Site"))
        if not self.server.guard.allows_change(host or "", origin=origin, site=site):
            self.send_error(403)
            return
        if self.path == "/interrupt":
            self.server.interrupt()
        elif self.path == "/watched":
            self._watched()
        else:
            self.send_error(404)
            return
        self._send("text/plain", b"")

    def _watched(self) -> None:
        """Take down how many pictures a page has shown and how many samples it was given."""
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > _MOST_TOLD:
            return
        with contextlib.suppress(ValueError, TypeError):
            shown, heard = (int(number) for number in json.loads(self.rfile.read(int(length))))
            self.server.watched = {"pictures_shown": shown, "samples_heard": heard}

    def log_message(self, format: str, *args: object) -> None:
        """Keep the terminal for what matters."""

    def _page(self) -> None:
        self._send("text/html; charset=utf-8", self.server.page.encode())

    def _state(self) -> None:
        audience = self.server.audience
        state = asdict(self.server.played) | {"viewers": audience.viewers, "spared": audience.spared}
        state |= self.server.watched
        self._send("application/json", json.dumps(state).encode())

    def _live(self) -> None:
        self._head("application/octet-stream")
        for packet in self.server.audience.packets():
            self.wfile.write(packet.coded())

    def _pictures(self) -> None:
        self._head(f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        for packet in self.server.audience.packets():
            if packet.jpeg:
                head = (
                    f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(packet.jpeg)}\r\n\r\n"
                )
                self.wfile.write(head.encode() + packet.jpeg + b"\r\n")

    def _head(self, kind: str, length: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _send(self, kind: str, body: bytes) -> None:
        self._head(kind, len(body))
        self.wfile.write(body)


class Guard:
    """Tells requests of our own page and of programs from those that another website caused."""

    def __init__(self, host: str) -> None:
        """Take the address that the page is served at."""
        self._everywhere = host in _EVERYWHERE
        self.names = _LOCAL | ({*_own_names()} if self._everywhere else {_plain(host)})

    def knows(self, host: str) -> bool:
        """Tell whether a request's Host header names this machine.

        Another website can point a name of its own at this machine (DNS rebinding) and read what it answers;
        then that name stands here. It cannot do so with a number: where the page is served at all addresses,
        any address is taken.
        """
        name = _plain(host)
        return name in self.names or (self._everywhere and _is_address(name))

    def allows_change(self, host: str, *, origin: str | None = None, site: str | None = None) -> bool:
        """Tell whether a request may change anything: browsers say in it which website caused it.

        Args:
            host, origin, site: its headers Host, Origin and Sec-Fetch-Site; programs send no more than Host.
        """
        if not self.knows(host) or (site or "none") not in _OURS:
            return False
        return origin is None or urlsplit(origin).netloc.lower() == host.lower()


def _own_names() -> list[str]:
    name = socket.gethostname().lower()
    return [name, f"{name.partition('.')[0]}.local"]


def _plain(host: str) -> str:
    """Return the name in a Host header, without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return (host if host.count(":") > 1 else host.partition(":")[0]).lower().rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
