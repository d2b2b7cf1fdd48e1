"""The text files of a run's folder: JSON, JSON lines and CSV, in and out."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.durable import write_atomically
from edgefed.errors import SettingsError, read_utf8

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

_AS_THEY_ARE = {int, str, bool, type(None)}
"""Types whose every value strict JSON can hold."""
_STRICT = json.JSONEncoder(allow_nan=False)


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """Write JSON atomically; nan and infinity become null.

    A key a line, and a list of numbers on one: of a million clients a line each would be hundreds of megabytes.
    """
    write_atomically(path, (_indented(plain(value)) + "\n").encode(), durable=durable)


def _indented(value: Any, margin: str = "\n") -> str:
    """Return JSON with a line for each key and for each object in a list; lists without objects on one line."""
    inner = f"{margin}  "
    if isinstance(value, dict) and value:
        items = [f"{json.dumps(str(key))}: {_indented(item, inner)}" for key, item in value.items()]
        return f"{{{inner}{f',{inner}'.join(items)}{margin}}}"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return f"[{inner}{f',{inner}'.join(_indented(item, inner) for item in value)}{margin}]"
    return json.dumps(value)


def plain(value: Any) -> Any:
    """Return a value that strict JSON can hold: numbers that are not finite become None."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        kinds = set(map(type, value))  # a look at each of millions of values would take longer than training did
        return list(value) if kinds <= _AS_THEY_ARE else [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    SettingsError
        One line, when there is none.
    """
    return parsed(path, text_of(path))


def parsed(path: Path, text: str) -> dict[str, Any]:
    """Return the JSON object that a file's text, or a line of it, holds.

    Raises
    ------
    SettingsError
        One line that names the file, when it holds none.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise SettingsError(f"{path}: expected a JSON object")
    return value


def text_of(path: Path) -> str:
    """Return a file's text.

    Raises
    ------
    SettingsError
        One line, when it is not there or is not UTF-8.
    """
    if not path.exists():
        raise SettingsError(f"{path}: no such file; is {path.parent} a run folder?")
    return read_utf8(path, "text that edgefed wrote")


def whole_lines(path: Path) -> list[str]:
    """Return a file's lines; a last one without its end was being written when the run was stopped."""
    return text_of(path).split("\n")[:-1]


def history_lines(rounds: Iterable[Mapping[str, Any]]) -> str:
    """Return rounds as JSON lines."""
    return "".join(f"{_json_line(row)}\n" for row in rounds)


def _json_line(row: Mapping[str, Any]) -> str:
    try:
        return _STRICT.encode(row)  # most rows as they are: a look at each value takes three times as long
    except (TypeError, ValueError):
        return json.dumps(plain(row))


def csv_lines(rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as CSV, a line each: empty for nan, no line breaks within a cell."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(map(_cell, row) for row in rows)
    return text.getvalue()


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.6g}"
    return " ".join(str(value).splitlines())
