"""One writer a folder: a lock that the operating system takes back when its holder dies."""

from __future__ import annotations

import json
import os
import platform
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from edgefed.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK = ".lock"
"""The file that is locked, which says who holds it; left over from a process that was killed, it locks nothing."""


@contextmanager
def only_writer(
    folder: Path | None, wait: float = 0.0, mend: str = "wait for its end or stop it, then --resume goes on"
) -> Iterator[None]:
    """Keep other processes from writing into a folder meanwhile.

    Parameters
    ----------
    folder : Path or None
        Made if need be. None keeps nobody from anything.
    wait : float
        Seconds to wait for another process to let go. Neutral: none.
    mend : str
        What whoever is refused can do.

    Raises
    ------
    SettingsError
        One line: who is writing there and since when, or why the folder cannot be locked.
    """
    if folder is None:
        yield
        return
    from filelock import FileLock, Timeout  # here: whoever only reads has no use for it

    path = folder / LOCK
    lock = FileLock(path, thread_local=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=wait)
    except Timeout:
        raise SettingsError(f"{folder}: {_holder(path)}; {mend}") from None
    except FileExistsError:
        raise SettingsError(f"{folder}: exists already and is no folder; give another one") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = error.strerror if isinstance(error, OSError) else None
        raise SettingsError(f"{folder}: cannot be written to ({why or error})") from None
    try:
        with suppress(OSError):  # it is locked all the same
            since = datetime.now(UTC).isoformat(timespec="seconds")
            path.write_text(json.dumps({"pid": os.getpid(), "host": platform.node(), "since": since}), encoding="utf-8")
        yield
    finally:
        # While it is held, so that nobody else's is removed; Windows removes no open file, hence once more.
        with suppress(OSError):
            path.unlink()
        lock.release()
        if os.name == "nt":
            with suppress(OSError):
                path.unlink()


def _holder(path: Path) -> str:
    """Return who holds a lock, as far as its file says."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        pid, host, since = int(found["pid"]), str(found["host"])[:60], datetime.fromisoformat(found["since"])
    except (OSError, ValueError, KeyError, TypeError):
        return "another process is writing here"
    who = "this very process" if (pid, host) == (os.getpid(), platform.node()) else f"process {pid} of {host}"
    return f"{who} has been writing here since {since:%Y-%m-%d %H:%M:%S} UTC"
