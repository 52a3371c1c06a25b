"""Who may use the page: whoever asks for this machine by its own name, and no other website on his behalf."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_EVERYWHERE = frozenset({"", "0.0.0.0", "::"})
_OURS = frozenset({"same-origin", "none"})
"""What browsers say in Sec-Fetch-Site of requests that our own page or the user himself made."""


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
