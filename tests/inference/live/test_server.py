"""Which requests the live page answers."""

from __future__ import annotations

import socket

import pytest

from speech2lip.inference.live.server import Guard


@pytest.mark.parametrize(
    "host", ["localhost:8765", "127.0.0.1:8765", "127.0.0.1", "[::1]:8765", "LOCALHOST."]
)
@pytest.mark.parametrize("served", ["127.0.0.1", "0.0.0.0", "::"])
def test_this_machine_is_known(served: str, host: str) -> None:
    assert Guard(served).knows(host)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "", "localhost.evil"]
)
@pytest.mark.parametrize("served", ["127.0.0.1", "0.0.0.0", "::", "192.168.1.5"])
def test_another_name_that_points_here_is_refused_wherever_the_page_is_served(served: str, host: str) -> None:
    assert not Guard(served).knows(host)


def test_addresses_and_own_names_are_known_where_the_page_is_served_everywhere() -> None:
    everywhere, here = Guard("0.0.0.0"), Guard("127.0.0.1")
    for host in ("192.168.1.5:8765", "[fe80::1]:8765", socket.gethostname()):
        assert everywhere.knows(host)
    assert not here.knows("192.168.1.5:8765")
    assert Guard("192.168.1.5").knows("192.168.1.5:8765")
    assert Guard("studio.lan").knows("studio.lan:8765")


@pytest.mark.parametrize("served", ["127.0.0.1", "0.0.0.0"])
def test_only_our_own_page_and_programs_may_change_anything(served: str) -> None:
    guard, host = Guard(served), "127.0.0.1:8765"
    allowed = [{}, {"origin": f"http://{host}"}, {"origin": f"http://{host}", "site": "same-origin"}]
    refused = [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"site": "cross-site"},
        {"site": "same-site"},
    ]
    assert all(guard.allows_change(host, **headers) for headers in allowed)
    assert not any(guard.allows_change(host, **headers) for headers in refused)
    assert not guard.allows_change("evil.example", origin="http://evil.example")
    assert not guard.allows_change("")
