"""What a server starts, Flower's SuperExec and ServerApps, as processes that do not outlive who has started them.

    python -m edgefed.deploy.started flower-superexec …    as flower-superexec …, which starts ServerApps likewise
    python -m edgefed.deploy.started flwr-serverapp …      as flwr-serverapp …

Flower's own watch takes a parent that has ended and that nobody has waited for to be there still, and its signal may be
lost (:mod:`edgefed.deploy.ending` says how). What this one looks at is whose child it is, from the first moment on, and
how it ends needs nobody.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

SERVERAPP = "flwr-serverapp"
PARENT = "--parent-pid"
"""How Flower tells a process that it starts who started it."""
LOOK_EVERY, GRACE = 0.5, 10.0
"""Seconds between two looks, and until a process that Flower should have ended is ended; Flower takes five."""


def watched(command: Sequence[str]) -> list[str]:
    """Return one of Flower's two commands as one that watches over its process."""
    return [sys.executable, "-P", "-m", "edgefed.deploy.started", *command]


def end_with_parent() -> None:
    """Watch over this process from now on, where its command line says who has started it.

    What was not committed by then is lost, as when the process is killed.
    """
    if PARENT not in sys.argv or os.name == "nt":  # a child of Windows keeps its parent's id
        return
    parent = int(sys.argv[sys.argv.index(PARENT) + 1])
    threading.Thread(target=_watch, args=(parent,), name="edgefed-parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY)
    time.sleep(GRACE)
    os._exit(1)


class Starting:
    """Stands in for ``subprocess`` where the SuperExec starts a process for a run."""

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)

    def Popen(self, command: Sequence[str], **how: Any) -> subprocess.Popen[bytes]:  # noqa: N802
        """Start it; a ServerApp watched."""
        return subprocess.Popen(watched(command) if command[0] == SERVERAPP else command, **how)


def main() -> None:
    """Be the command that the first argument names."""
    sys.argv = sys.argv[1:]
    end_with_parent()
    if sys.argv[0] == SERVERAPP:
        from flwr.superlink.cli import flwr_serverapp

        flwr_serverapp()
        return
    from flwr.supercore.cli import flower_superexec
    from flwr.supercore.superexec.executor import subprocess_executor

    vars(subprocess_executor)["subprocess"] = Starting()
    flower_superexec()


if __name__ == "__main__":
    main()
