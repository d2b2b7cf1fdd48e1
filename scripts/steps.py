"""Doing one thing after another for a person: said in a line each, quiet inside, and ended tidily."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path


class SetupError(Exception):
    """What stopped the set-up and what to try, in one line for a person."""


@contextlib.contextmanager
def step(says: str) -> Iterator[None]:
    """Tell on stderr what is being done, and then how long it took."""
    print(f"{says} ... ", end="", file=sys.stderr, flush=True)
    started = time.monotonic()
    ending = "stopped"
    try:
        yield
        ending = "done"
    except SetupError:
        ending = "no"
        raise
    finally:
        print(f"{ending}, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def call(
    command: Sequence[str | Path],
    folder: Path,
    log: Path,
    variables: Mapping[str, str],
    limit: float | None = None,
) -> None:
    """Run a command in `folder` with its output added to `log`.

    Raises
    ------
    SetupError
        It failed, in its own last words, or took more than `limit` seconds.
    """
    start = log.stat().st_size if log.exists() else 0
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            process.terminate()
            raise SetupError(f"no end within {limit:g} s") from None
        finally:
            end(process)
    if code:
        written = log.read_bytes()[start:].decode("utf-8", errors="replace")
        raise SetupError(last_words(written) or f"exit code {code}")


def end(process: subprocess.Popen[bytes], patience: float = 3) -> None:
    """See a process to its end; it is given seconds, as on Ctrl-C it had the signal too and tidies up."""
    for stop in (process.terminate, process.kill):
        try:
            process.wait(patience)
            return
        except subprocess.TimeoutExpired:
            stop()
    process.wait()


def last_words(output: str) -> str:
    """Return the line of pip's or uv's output that says why it failed: the last error, else the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error:")]
    words = (errors or lines or [""])[-1]
    if "Retrying (" in output and re.search("No matching distribution|ResolutionImpossible", words):
        # Nothing fits because nobody answered.
        return "no answer from the package index"
    return words


def finish(main: Callable[[list[str]], int]) -> NoReturn:
    """Run a script's main function on its arguments and exit with its code, without a traceback."""
    try:
        code = main(sys.argv[1:])
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        code = 130
    except (SetupError, OSError) as error:
        print(error, file=sys.stderr)
        code = 1
    sys.exit(code)
