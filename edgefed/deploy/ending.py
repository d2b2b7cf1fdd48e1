"""The processes that a server has started end with it.

Flower's SuperLink starts a SuperExec in a session of its own, which starts a ServerApp for each run. Nobody ends a
ServerApp: it looks five times a second whether there is a process of the SuperExec's id, and where there is none it
raises SIGINT in itself, once. That is not enough:

- The SuperLink waits a second for the SuperExec to end, and then ends itself. Whoever inherits that child may not wait
  for it (a container's first process, often), and what has ended and was not waited for still has its id.
- A signal comes once and may be lost: before handlers are there, where SIGINT is ignored (a shell's background job);
  within a callback of the import system or a finaliser, where Python tells of the exception and forgets it; between
  fork and exec, where the parent's handler notes it in a process that is replaced; and a handler that logs while the
  main thread holds the lock of a queue of log lines waits for ever.
- A server that is interrupted twice ends without ending anything.

So the server ends the whole group by signals, of which SIGKILL cannot be lost, and sees to it that nobody is left; and
both watch over themselves, for the case that the server is killed (:mod:`edgefed.deploy.started`).
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from edgefed.deploy.started import watched

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

GRACE, AT_ONCE, LOOK_EVERY = 6.0, 1.0, 0.05
"""Seconds that processes are given to end in order (Flower's own end within five), that ending takes one that is
killed, and between two looks."""


@contextmanager
def ending_the_superexec() -> Iterator[None]:
    """Have what Flower's SuperLink starts meanwhile watch over itself, and ended at the end, however that comes."""
    from flwr.superlink.cli.flower_superlink import SuperLinkLifespan, flower_superlink

    started: list[subprocess.Popen[bytes]] = []

    class Lifespan(SuperLinkLifespan):
        def startup(self) -> None:
            super().startup()
            if self.superexec_process is not None:
                started.append(self.superexec_process)

        def shutdown(self) -> None:
            while started:  # before it is waited for: then its id may be another's
                end_group(started.pop())
            super().shutdown()

    names = flower_superlink.__globals__
    command = names["_get_superexec_command"]
    names |= {"SuperLinkLifespan": Lifespan, "_get_superexec_command": lambda **how: watched(command(**how))}
    try:
        yield
    finally:
        names |= {"SuperLinkLifespan": SuperLinkLifespan, "_get_superexec_command": command}
        while started:  # a server that was interrupted twice leaves out its shutdown
            end_group(started.pop())


def end_group(leader: subprocess.Popen[bytes], grace: float = GRACE) -> None:
    """End a child that leads a process group, and all who are in that group: by SIGTERM, and by SIGKILL after a while.

    On Windows, which has no such groups, it does nothing.
    """
    if not hasattr(os, "killpg"):
        return
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, AT_ONCE)):
        if not _sent(leader.pid, number):
            return
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            leader.poll()
            with suppress(ChildProcessError):  # as a container's first process it inherits the others
                while os.waitpid(-leader.pid, os.WNOHANG)[0]:
                    pass
            if not _sent(leader.pid, 0):
                return
            time.sleep(LOOK_EVERY)


def _sent(group: int, number: int) -> bool:
    """Send a signal to a process group; return whether anybody is in it."""
    with suppress(ProcessLookupError):
        os.killpg(group, number)
        return True
    return False
