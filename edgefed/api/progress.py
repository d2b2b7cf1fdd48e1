"""Live progress of a federation, in a terminal, a notebook or a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

if TYPE_CHECKING:
    from collections.abc import Iterator

Show = Callable[..., None]
"""``show(rounds, advanced=1)``: a federation's rows of history so far, and by how many rounds it advanced."""

Rounds = Sequence[Mapping[str, Any]]

LINES_IN_A_LOG = 10
"""Progress lines that a log file gets of short work; a terminal gets a live bar instead."""
SECONDS_BETWEEN_LINES = 10.0
"""Of long work a log file gets further lines so far apart, and further apart the longer it takes."""


def say(wanted: bool | None, line: str) -> None:
    """Print a line to stderr where progress is shown: ``wanted`` as for :func:`shown`."""
    console = Console(stderr=True)
    if console.is_terminal or console.is_jupyter if wanted is None else wanted:
        print(line, file=sys.stderr, flush=True)


@contextmanager
def shown(wanted: bool | None, rounds: int, what: str, *, tenths: bool = True, unit: str = "round") -> Iterator[Show]:
    """Yield a callback that shows each round: the round, the metric so far, the time left; on stderr.

    Parameters
    ----------
    wanted : bool or None
        None shows it where a person looks on: in a terminal or a notebook.
    rounds : int
        How many rounds it will have been called for in the end.
    what : str
        What is being trained, in a few words.
    tenths : bool
        In a log each tenth of the work gets a line, however short it is. False: only time brings one, and the end.
    unit : str
        What is counted, where it is more than one federation's rounds.
    """
    console = Console(stderr=True)
    looked_at = console.is_terminal or console.is_jupyter
    if not (looked_at if wanted is None else wanted):
        yield lambda rounds, advanced=1: None
    elif looked_at:
        with _bar(console, f"{unit}s") as bar:
            task = bar.add_task(what, total=rounds, metric="")

            def advance(rounds: Rounds, advanced: int = 1) -> None:
                bar.update(task, advance=advanced, metric=_metric(rounds))

            yield advance
    else:
        yield _lines(rounds, f"{what}: {unit}", tenths)


@contextmanager
def asking(
    wanted: bool | None, what: str, runs: int, *, answered: bool = False
) -> Iterator[Callable[[int, int, int], None]]:
    """Yield a callback that shows how many clients of a run were asked: the run's place, clients asked, clients.

    Parameters
    ----------
    wanted : bool or None
        As for :func:`shown`. In a log a line comes first, and further ones where it takes long.
    what : str
    runs : int
        How many runs' clients will be asked.
    answered : bool
        They have been, and what they said is read.
    """
    console = Console(stderr=True)
    looked_at = console.is_terminal or console.is_jupyter
    if not (looked_at if wanted is None else wanted):
        yield lambda place, done, of: None
    elif looked_at:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[asked]}"))
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(what, total=runs, asked="")

            def advance(place: int, done: int, of: int) -> None:
                share = done / max(of, 1)
                bar.update(task, completed=place + share, asked=f"{done} of {of} clients, run {place + 1} of {runs}")

            yield advance
    else:
        yield _asked(what, runs, answered)


def _bar(console: Console, units: str) -> Progress:
    return Progress(
        # Where a terminal is narrow it takes a second line, so that no number is cut.
        TextColumn("{task.description}", table_column=Column()),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(units),
        TextColumn("{task.fields[metric]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


def _lines(total: int, what: str, tenths: bool) -> Show:
    begun, already = 0.0, 0  # of the first rounds: whatever was loaded before them says nothing of the others' time
    done, said = 0, 0
    every, due = max(1, total // LINES_IN_A_LOG), _paced()
    if total:
        print(f"{what} 0/{total}  begins", file=sys.stderr, flush=True)

    def advance(rounds: Rounds, advanced: int = 1) -> None:
        nonlocal begun, already, done, said
        done += advanced
        if not already:
            begun, already = time.monotonic(), done
        if not due() and done < total and not (tenths and done // every > said):
            return
        said = done // every
        left = (time.monotonic() - begun) / (done - already) * (total - done) if done > already else None
        told = (f"{what} {done}/{total}", _metric(rounds), f"{left:.0f} s left" if left is not None else "")
        print("  ".join(filter(None, told)), file=sys.stderr, flush=True)

    return advance


def _asked(what: str, runs: int, answered: bool) -> Callable[[int, int, int], None]:
    due = _paced()
    clients = f"the clients of {runs} {'run' if runs == 1 else 'runs'}"
    begun = f"reading what {clients} answered" if answered else f"asking {clients}"
    print(f"{what}: {begun}", file=sys.stderr, flush=True)

    def advance(place: int, done: int, of: int) -> None:
        if due():
            clients = f", {done} of {of} clients" if of > 1 else ""
            print(f"{what}: run {place + 1} of {runs}{clients}", file=sys.stderr, flush=True)

    return advance


def _paced() -> Callable[[], bool]:
    """Return what tells whether a line is due in a log: the last was long ago, and a tenth of all time so far."""
    begun = last = time.monotonic()

    def due() -> bool:
        nonlocal last
        now = time.monotonic()
        if now - last < max(SECONDS_BETWEEN_LINES, (now - begun) / 10):
            return False
        last = now
        return True

    return due


def newest(history: Rounds) -> dict[str, dict[str, float]]:
    """Return the newest balanced accuracy as a row of history has it; empty where nothing was evaluated yet.

    On rows that choose nothing for the reader to chase: validation first.
    """
    for row in reversed(history):
        for rows in ("validation", "test"):
            if rows in row:
                return {rows: {"balanced_accuracy": row[rows]["balanced_accuracy"]}}
    return {}


def _metric(history: Rounds) -> str:
    return "".join(f"{rows} balanced accuracy {row['balanced_accuracy']:.3f}" for rows, row in newest(history).items())
