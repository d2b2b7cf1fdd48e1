"""A person's mistake, and a federation that cannot go on: the one line that they read about it."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MOST_SHOWN = 60
"""Characters of a found value that a message quotes."""

MOST_NAMES = 40
"""Names that a message lists."""


class SettingsError(ValueError):
    """A person's mistake in settings or input: the message is the one line that they read.

    What a message quotes from a file may hold line breaks or terminal codes: they are written as escapes.

    Parameters
    ----------
    line : str
    told : str
        What another machine may be told of it: no cell and no path. Neutral: nothing but that there is a mistake.
    """

    def __init__(self, line: str, told: str = "") -> None:
        super().__init__(one_line(line))
        self.told = one_line(told)


class FederationError(RuntimeError):
    """A federation that cannot go on; the message is the one line that a person reads."""


def one_line(text: str) -> str:
    """Return a text with line breaks and terminal codes as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(value: object) -> str:
    """Return a value as a message quotes it, short enough for one line."""
    try:
        text = str(value).lower() if isinstance(value, bool) else str(value)
    except ValueError:  # a whole number of thousands of digits
        return "a huge number"
    return text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 3] + "..."


def unknown(what: str, found: str, known: Iterable[str]) -> str:
    """Return the line for a name that is not known, with the nearest known one."""
    names = sorted(known)
    folded = {name.casefold(): name for name in names}
    near = difflib.get_close_matches(found.casefold()[:MOST_SHOWN], folded, n=1, cutoff=0.5)
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    known_are = f"known: {', '.join(names[:MOST_NAMES])}{more}"
    if what == "setting" and more:
        known_are = f"edgefed list settings has all {len(names)}"
    hint = f"did you mean {folded[near[0]]}?" if near else known_are
    return f"unknown {what} '{shown(found)}': {hint}"


def is_gone(path: Path) -> bool:
    """Return whether there is no such file; what is there and cannot be read is for :func:`read_utf8` to say."""
    try:
        path.stat()
    except FileNotFoundError:
        return True
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return False
    return False


def read_utf8(path: Path, expected: str) -> str:
    """Return a file's text, without a byte-order mark.

    Parameters
    ----------
    path : Path
    expected : str
        What the file should hold, in words.

    Raises
    ------
    SettingsError
        One line, when there is no such file, it is no text, or its text is not UTF-8.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        if isinstance(error, OSError) and path.is_dir():
            raise SettingsError(f"{path}: is a folder, expected {expected}") from None
        reason = error.strerror if isinstance(error, OSError) else None
        raise SettingsError(f"{path}: cannot be read ({reason or error})") from None
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SettingsError(f"{path}: UTF-16 text, expected {expected} in UTF-8; save it as UTF-8")
    if b"\0" in content:
        raise SettingsError(f"{path}: holds NUL bytes, so it is no text; expected {expected} in UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = len(content[: error.start + 1].splitlines())
        found = f"byte 0x{content[error.start]:02x}"
        raise SettingsError(f"{path}: row {row}: not UTF-8 text ({found}); save the file as UTF-8") from None
