"""Live progress of a federation, in a terminal, a notebook or a log."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edgefed.federation.federation import Federation

LINES_IN_A_LOG = 10
"""Progress lines that a log file gets; a terminal gets a live bar instead."""


@contextmanager
def shown(wanted: bool | None, rounds: int, what: str) -> Iterator[Callable[[Federation], None]]:
    """Yield a callback that shows each round: the round, the metric so far, the time left; on stderr.

    Parameters
    ----------
    wanted : bool or None
        None shows it where a person looks on: in a terminal or a notebook.
    rounds : int
        How many times the callback will be called.
    what : str
        What is being trained, in a few words.
    """
    console = Console(stderr=True)
    looked_at = console.is_terminal or console.is_jupyter
    if not (looked_at if wanted is None else wanted):
        yield lambda _: None
    elif looked_at:
        with _bar(console) as bar:
            task = bar.add_task(what, total=rounds, metric="")

            def advance(federation: Federation) -> None:
                bar.update(task, advance=1, metric=_metric(federation))

            yield advance
    else:
        yield _lines(rounds, what)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rounds"),
        TextColumn("{task.fields[metric]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


def _lines(rounds: int, what: str) -> Callable[[Federation], None]:
    begun, done = time.monotonic(), 0
    every = max(1, rounds // LINES_IN_A_LOG)

    def advance(federation: Federation) -> None:
        nonlocal done
        done += 1
        if done % every and done < rounds:
            return
        left = (time.monotonic() - begun) / done * (rounds - done)
        print(
            f"{what}: round {done}/{rounds}  {_metric(federation)}  {left:.0f} s left",
            file=sys.stderr,
            flush=True,
        )

    return advance


def _metric(federation: Federation) -> str:
    """Return the newest balanced accuracy on rows that choose nothing for the reader to chase: validation first."""
    for row in reversed(federation.history):
        for rows in ("validation", "test"):
            if rows in row:
                return f"{rows} balanced accuracy {row[rows]['balanced_accuracy']:.3f}"
    return ""
