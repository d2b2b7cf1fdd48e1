"""Kill runs, fill their disk, tear their writes: whatever happens, nothing that was committed is lost.

    python experiments/faults/crashes.py [--kills 200] [--seed 0]

Kills a run at so many random moments (SIGKILL, from outside), then at each of its writes from within, half of each
write done; then makes each write fail (disk full, input/output error). After each it is resumed to its end. README.md
says what was seen. Not on Windows, which cannot fork.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import edgefed
from edgefed import FederationConfig
from edgefed.errors import FederationError, SettingsError
from edgefed.federation import checkpoint
from edgefed.runs import RunWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CONFIG = FederationConfig(num_server_rounds=30, num_clients=6, local_epochs=1, long_tail=5.0, imbalance="climb")


# ---------------------------------------------------------------------------------------------- one run
def run(config: FederationConfig, folder: Path, on_round: Callable[[Any], None] | None = None) -> Any:
    """Start a run, or go on with it."""
    return edgefed.run(config, out=folder, resume=True, progress=False, on_round=on_round)


def committed(folder: Path) -> int:
    """Return the last round that counts."""
    found = RunWriter(folder).last_checkpoint()
    return 0 if found is None else found[0]


def resumed(config: FederationConfig, folder: Path, whole: Any) -> tuple[int, bool]:
    """Resume a run to its end; return the rounds that were committed and lost, and whether it ended the same."""
    finished = is_finished(folder)
    before, rounds = (config.num_server_rounds if finished else committed(folder)), []
    done = run(config, folder, lambda federation: rounds.append(federation.round))
    lost = max(0, before + 1 - min(rounds, default=before + 1))
    told = [json.loads(line)["round"] for line in (folder / "history.jsonl").read_text().splitlines()]
    same = (
        done.summary["model_sha256"] == whole.summary["model_sha256"]
        and told == list(range(1, config.num_server_rounds + 1))
        and (folder / "clients.csv").read_bytes() == (whole.folder / "clients.csv").read_bytes()
        and not [path for path in folder.rglob(".*") if path.is_file()]
    )
    return lost, same


def is_finished(folder: Path) -> bool:
    """Return whether a folder holds a finished run."""
    manifest = folder / "manifest.json"
    return manifest.is_file() and "summary" in json.loads(manifest.read_text())


def forked(action: Callable[[], object]) -> int:
    """Do something in a process of its own; return its number."""
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            action()
        os._exit(0)
    return child


# ---------------------------------------------------------------------------------------------- killed from outside
def killed_at_random(config: FederationConfig, folder: Path, seconds: float, draw: random.Random) -> int:
    """Start a run and kill it at a random moment of the time that it takes; return its exit status."""
    child = forked(lambda: run(config, folder))
    time.sleep(draw.uniform(0, seconds))
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


# ---------------------------------------------------------------------------------------------- at each write
class Disk:
    """The file layer, with something that happens at its n-th operation.

    Operations are each write of bytes, fsync, rename, removal and new folder.
    """

    def __init__(self, fault: Callable[[], None], at: int) -> None:
        self.fault, self.at, self.count = fault, at, 0

    def due(self) -> bool:
        """Count an operation; return whether the fault is due at it."""
        self.count += 1
        return self.count == self.at

    @contextlib.contextmanager
    def installed(self) -> Iterator[Disk]:
        """Put it under everything that writes."""
        opened, synced, disk = Path.open, os.fsync, self

        class Torn:
            def __init__(self, file: Any) -> None:
                self.file = file

            def __enter__(self) -> Any:
                return self

            def __exit__(self, *_: object) -> None:
                self.file.close()

            def __getattr__(self, name: str) -> Any:
                return getattr(self.file, name)

            def write(self, content: Any) -> Any:
                if disk.due():
                    self.file.write(content[: len(content) // 2])
                    self.file.flush()
                    disk.fault()
                return self.file.write(content)

        def open_torn(path: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
            file = opened(path, mode, *rest, **named)
            return Torn(file) if set(mode) & set("wax") else file

        def fsync(descriptor: int) -> None:
            if disk.due():
                disk.fault()
            synced(descriptor)

        def counted(real: Callable[..., Any]) -> Callable[..., Any]:
            def operation(path: Path, *rest: Any, **named: Any) -> Any:
                if disk.due():
                    disk.fault()
                return real(path, *rest, **named)

            return operation

        with contextlib.ExitStack() as changed:
            changed.enter_context(mock.patch.object(Path, "open", open_torn))
            changed.enter_context(mock.patch.object(os, "fsync", fsync))
            for name in ("replace", "unlink", "mkdir"):
                changed.enter_context(mock.patch.object(Path, name, counted(getattr(Path, name))))
            yield self


def die() -> None:
    """Kill this very process."""
    os.kill(os.getpid(), signal.SIGKILL)


def operations_of(config: FederationConfig, folder: Path) -> int:
    """Return how many operations on files a whole run takes."""
    with Disk(lambda: None, at=-1).installed() as disk:
        run(config, folder)
    return disk.count


def killed_at_write(config: FederationConfig, folder: Path, number: int) -> int:
    """Kill a run at its n-th operation on files; return its exit status."""

    def action() -> None:
        with Disk(die, number).installed():
            run(config, folder)

    return os.waitpid(forked(action), 0)[1]


def failed_at_write(config: FederationConfig, folder: Path, number: int, code: int) -> str:
    """Make a run's n-th operation on files fail; return the line that a person reads, empty if none was due."""

    def fault() -> None:
        raise OSError(code, os.strerror(code))

    try:
        with Disk(fault, number).installed():
            run(config, folder)
    except (FederationError, SettingsError, OSError) as error:
        return str(error)
    return ""


def main() -> int:
    """Do all of it, and say what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    checkpoint.PACE = 0.0  # as many commits as there can be
    home = Path(tempfile.mkdtemp(prefix="crashes-"))
    whole = run(CONFIG, home / "whole")
    begun = time.perf_counter()
    operations = operations_of(CONFIG, home / "counted")
    seconds = 1.2 * (time.perf_counter() - begun)
    draw, tallies, lost_rounds = random.Random(asked.seed), Counter[str](), 0
    work = [("kills at random", lambda path: killed_at_random(CONFIG, path, seconds, draw))] * asked.kills
    for number in range(1, operations + 1):
        work.append(("kills at a write", lambda path, at=number: killed_at_write(CONFIG, path, at)))
        for name, code in (("disk full", errno.ENOSPC), ("input/output error", errno.EIO)):
            work.append((name, lambda path, at=number, code=code: failed_at_write(CONFIG, path, at, code)))
    for place, (name, action) in enumerate(work):
        folder = home / f"case-{place}"
        hit = action(folder)
        lost, same = resumed(CONFIG, folder, whole)
        lost_rounds += lost
        tallies[f"{name}: tried"] += 1
        tallies[f"{name}: took effect"] += bool(hit)
        tallies[f"{name}: ended as the uninterrupted run"] += same
        if sys.stderr.isatty():
            print(f"\r{place + 1} of {len(work)}", end="", file=sys.stderr, flush=True)
    for name, count in tallies.items():
        print(f"{name}: {count}")
    print(f"committed rounds lost: {lost_rounds}")
    wanted = sum(count for name, count in tallies.items() if name.endswith("tried"))
    ended = sum(count for name, count in tallies.items() if name.endswith("run"))
    return int(lost_rounds > 0 or ended < wanted)


if __name__ == "__main__":
    sys.exit(main())
