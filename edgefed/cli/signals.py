"""Ctrl-C, SIGTERM and SIGHUP: the first ends a command in order, the second at once."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

INTERRUPTED = 130
"""The exit code of a command that was interrupted, however often."""


@contextmanager
def ending_in_order() -> Iterator[None]:
    """Turn the first SIGINT, SIGTERM or SIGHUP into KeyboardInterrupt; a second one ends at once.

    What was finished is kept.
    """
    # SIGHUP, where there is one: the terminal is gone, or the connection to it.
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # Whoever starts a command with SIGINT ignored, as a shell does in the background, wants it ignored.
    before = {number: signal.getsignal(number) for number in numbers}
    heard = [number for number in numbers if before[number] is not signal.SIG_IGN]

    def first(number: int, frame: Any) -> None:
        for each in heard:
            signal.signal(each, second)
        raise KeyboardInterrupt

    def second(number: int, frame: Any) -> None:
        # What is half written is a temporary file; what was committed is whole.
        os._exit(INTERRUPTED)

    def lost(found: Any) -> None:
        # Raised while Python was finalising an object, it would be told of and forgotten: it is raised once more.
        if found.exc_type is not KeyboardInterrupt:
            told(found)
            return
        for number in heard:
            signal.signal(number, first)
        threading.Timer(0.05, _thread.interrupt_main).start()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told, sys.unraisablehook = sys.unraisablehook, lost
    for number in heard:
        signal.signal(number, first)
    try:
        yield
    finally:
        sys.unraisablehook = told
        for number in heard:
            signal.signal(number, before[number])
