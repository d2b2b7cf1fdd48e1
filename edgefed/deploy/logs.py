"""Logs of servers and devices: a JSON object a line, rotated, and no line for what holds a secret."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from logging.handlers import RotatingFileHandler
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LARGEST, KEPT = 1_000_000, 5
"""Bytes of a log before it is rotated, and how many old ones are kept."""


class JsonLines(logging.Formatter):
    """A record as one JSON object: ``time`` (UTC), ``level``, ``source``, ``message``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        entry = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "source": record.name,
            "message": record.getMessage().strip(),
        }
        if record.exc_info and record.exc_info[1] is not None:
            entry["error"] = f"{type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
        return json.dumps(entry)


class LastError(logging.Handler):
    """Keeps the newest error, which says why Flower ended."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.message = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.message = record.getMessage()


class _WorthReading(logging.Filter):
    """Leaves out blank records, and those of each look at how a run is getting on."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage().strip()
        return bool(message) and not message.startswith("ControlServicer.List")


def keep_logs(folder: Path, name: str) -> tuple[Path, LastError]:
    """Send this process's records to ``logs/NAME.jsonl`` in a folder; return it, and where the newest error is."""
    home = folder / "logs"
    home.mkdir(exist_ok=True)
    path = home / f"{name}.jsonl"
    handler = RotatingFileHandler(path, maxBytes=LARGEST, backupCount=KEPT, encoding="utf-8")
    handler.setFormatter(JsonLines())
    handler.addFilter(_WorthReading())
    handler.setLevel(logging.INFO)
    last = LastError()
    for source in ("flwr", "edgefed"):
        logger = logging.getLogger(source)
        logger.handlers = [handler, last]
        logger.propagate = False
        logger.setLevel(logging.INFO)
    return path, last


def keep_output(folder: Path, name: str) -> IO[str]:
    """Send what this process and its children print to ``logs/NAME.out``; return the terminal's stderr.

    What Flower and its subprocesses print is for a person who looks for a fault; the lines of the log are for all.
    """
    terminal = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    sys.stdout.flush()
    sys.stderr.flush()
    output = os.open(folder / "logs" / f"{name}.out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    return terminal
