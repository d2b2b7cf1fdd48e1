"""How far work in other processes is: each appends to a file of its own, and this process looks at the files.

Files, since they need no thread, no semaphore and no server, and behave alike on every system.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from edgefed.api.progress import newest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from edgefed.api.progress import Show

EVERY, FIRST = 1.0, 3.0
"""Seconds between two lines that a process writes, and between two looks; and until the first line: what is over by
then says so at its end alone."""


class Teller:
    """Tells, from a process of its own, how many rounds its work has advanced; called as :data:`Show` is."""

    def __init__(self, path: Path) -> None:
        self._path, self._done, self._due = path, 0, time.monotonic() + FIRST

    def __call__(self, rounds: Sequence[Mapping[str, Any]], advanced: int = 1) -> None:
        """Count rounds, and write the count with the newest score where the last line is a while ago."""
        self._done += advanced
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + EVERY
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([self._done, newest(rounds)]) + "\n")


class Listener:
    """Shows what tasks in other processes tell, as it comes.

    Parameters
    ----------
    show : callable
    rounds : int
        By how many each task advances in all.
    """

    def __init__(self, show: Show, rounds: int) -> None:
        self._show, self._rounds = show, rounds
        self._folder = TemporaryDirectory(prefix="edgefed-")
        self._told: dict[int, int] = {}

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def path(self, task: int) -> Path:
        """Return the file that a task writes to."""
        return Path(self._folder.name) / str(task)

    def look(self) -> None:
        """Show by how many rounds tasks have advanced since the last look."""
        for path in sorted(Path(self._folder.name).iterdir()):
            lines = path.read_text(encoding="utf-8").split("\n")[:-1]  # the last may be on its way
            if lines:
                done, score = json.loads(lines[-1])
                self._advance(int(path.name), done, [score] if score else [])

    def finished(self, task: int, rounds: Sequence[Mapping[str, Any]]) -> None:
        """Show what of a task's rounds has not been shown yet."""
        self.path(task).unlink(missing_ok=True)
        self._advance(task, self._rounds, rounds)

    def _advance(self, task: int, done: int, rounds: Sequence[Mapping[str, Any]]) -> None:
        before = self._told.get(task, 0)
        if done > before:
            self._told[task] = done
            self._show(rounds, done - before)
