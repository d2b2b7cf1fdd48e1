"""A name that has an address which does not answer beside one that does."""

import errno
import socket

import httpx
import pytest
from httpcore._backends import sync

from edgefed.deploy import dialling
from edgefed.deploy.dialling import PATIENCE, Dialling, addresses_of, why_not

SIX, FOUR = "2001:db8::20", "192.168.1.20"


class Connection:
    def __init__(self, timeout):
        self.timeout = timeout

    def settimeout(self, seconds):
        self.timeout = seconds


@pytest.fixture
def dialled(monkeypatch):
    """Return the addresses that are dialled, each with the seconds it is given; SIX is dropped on the way."""
    found = []

    def create_connection(address, timeout, source_address):
        found.append((address[0], timeout))
        if address[0] == SIX:
            raise TimeoutError
        return Connection(timeout)

    monkeypatch.setattr(dialling, "addresses_of", lambda host, port: (SIX, FOUR))
    monkeypatch.setattr(socket, "create_connection", create_connection)
    return found


def test_an_address_that_does_not_answer_costs_seconds_once_and_not_half_a_minute_each_time(dialled):
    dial = Dialling()
    for _ in range(3):
        assert dial.create_connection(("fl.lab.example", 8000), 30.0, source_address=None).timeout == 30.0
    assert dialled == [(SIX, PATIENCE), (FOUR, 30.0), (FOUR, PATIENCE), (FOUR, PATIENCE)]
    dialled.clear()
    dial.create_connection(("fl.lab.example", 8001), 1.0)
    assert dialled == [(SIX, 1.0), (FOUR, 1.0)]


def test_where_none_answers_the_last_ones_error_is_told(dialled, monkeypatch):
    monkeypatch.setattr(dialling, "addresses_of", lambda host, port: (SIX,))
    with pytest.raises(TimeoutError):
        Dialling().create_connection(("fl.lab.example", 8000), 30.0)
    assert dialled == [(SIX, 30.0)]


def test_flowers_client_connects_through_it(monkeypatch):
    """Were httpcore to connect in another way, nothing would stand in for it."""
    seen = []

    class Seen(Dialling):
        def create_connection(self, *arguments, **named):
            seen.append(arguments[0])
            raise ConnectionRefusedError

    monkeypatch.setitem(vars(sync), "socket", Seen())
    with httpx.Client() as client, pytest.raises(httpx.ConnectError):
        client.get("http://[::1]:1/")
    assert seen == [("::1", 1)]


def test_why_an_address_does_not_answer_is_said_in_words():
    assert why_not(SIX, ConnectionRefusedError()) == "nobody listens"
    assert why_not(SIX, TimeoutError()) == "no answer"
    away = OSError(errno.ENETUNREACH, "Network is unreachable")
    assert why_not(SIX, away) == "this machine has no way to IPv6 addresses"
    assert why_not(FOUR, away) == "this machine has no way to IPv4 addresses"
    assert why_not(FOUR, OSError(errno.EHOSTUNREACH, "No route to host")) == "No route to host"


def test_a_link_local_address_of_a_name_keeps_the_link_on_which_it_is_good(monkeypatch):
    """As names of mDNS have: without it, it cannot be dialled."""
    number, link = socket.if_nameindex()[0]
    stream = (socket.SOCK_STREAM, 6, "")
    found = [
        (socket.AF_INET6, *stream, ("fe80::1", 8000, 0, number)),
        (socket.AF_INET6, *stream, (SIX, 8000, 0, 0)),
        (socket.AF_INET, *stream, (FOUR, 8000)),
        (socket.AF_INET, *stream, (FOUR, 8000)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **named: found)
    assert addresses_of("server.local", 8000) == (f"fe80::1%{link}", SIX, FOUR)


def test_an_address_is_its_own_only_address():
    assert addresses_of("::1", 8000) == ("::1",)
    assert addresses_of("127.0.0.1", 8000) == ("127.0.0.1",)
