"""Real servers and devices for tests: started as commands, each with a log, and none of them left at the end."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WITHIN = 300
"""Seconds after which a test gives up; a busy machine takes many times what an idle one does."""


def has_ipv6() -> bool:
    """Return whether this machine has an IPv6 loopback."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


ipv6 = pytest.mark.skipif(not has_ipv6(), reason="IPv6 is off on this machine")


def address_of_this_machine(family: socket.AddressFamily) -> str | None:
    """Return an address of this machine that is not loopback; None where it has none of the kind."""
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
        # Nothing is sent to these: they are for documentation.
        probe.connect(("192.0.2.1" if family == socket.AF_INET else "2001:db8::1", 9))
        return str(probe.getsockname()[0])
    return None


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Started:
    """A command that runs, and what it has said."""

    def __init__(self, log: Path, *words: str | Path) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "edgefed", *map(str, words)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    @property
    def said(self) -> str:
        """Return what it has printed so far."""
        return self.log.read_text(errors="replace")

    def ended(self) -> int:
        """Wait for its end; return its exit code."""
        return self.process.wait(WITHIN)

    def until(self, true: Callable[[], bool]) -> None:
        """Wait until something is true; it must not end before."""
        deadline = time.monotonic() + WITHIN
        while not true():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)


class Stage:
    """Starts commands with logs in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[Started] = []

    def start(self, name: str, *words: str | Path) -> Started:
        """Start ``edgefed WORDS``."""
        begun = Started(self.folder / f"{name}.log", *words)
        self.started.append(begun)
        return begun


@contextlib.contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """Yield a stage, and stop whatever was started on it: by SIGTERM, which must do."""
    found = Stage(folder)
    try:
        yield found
    finally:
        for each in reversed(found.started):
            each.process.send_signal(signal.SIGCONT)
            each.process.terminate()
        left = []
        for each in found.started:
            try:
                each.process.wait(30)
            except subprocess.TimeoutExpired:
                left.append(each.log.name)
                each.process.kill()
                each.process.wait()
        assert left == []
