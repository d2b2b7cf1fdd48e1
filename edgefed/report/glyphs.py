"""Names in a script that the pictures' font lacks: a font that is installed and has it, or one line that says so."""

from __future__ import annotations

import logging
import sys
import warnings
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from matplotlib.font_manager import FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from matplotlib.figure import Figure

HOUSE_FONT = "DejaVu Sans"
MOST_TOLD = 10
_NO_LETTERS = ("Last Resort", "cm", "STIX")
"""How fonts of boxes for everything, and of mathematics, begin."""

_MISSING: ContextVar[set[str] | None] = ContextVar("missing", default=None)
"""The characters that no font has, while pictures are drawn together."""


@contextmanager
def glyphs_told() -> Iterator[None]:
    """Say once for all pictures drawn meanwhile which characters no font has."""
    if _MISSING.get() is not None:
        yield
        return
    token = _MISSING.set(set())
    try:
        yield
        _tell(_MISSING.get() or set())
    finally:
        _MISSING.reset(token)


@contextmanager
def boxes_for_the_rest() -> Iterator[None]:
    """Draw a box for a character that no font has, without a warning a glyph: one line says so.

    Nor is anybody told that a font which helps out has no bold face.
    """
    log = logging.getLogger("matplotlib.font_manager")
    log.addFilter(_not_of_weights)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Glyph \d+", UserWarning)
            yield
    finally:
        log.removeFilter(_not_of_weights)


def _not_of_weights(record: logging.LogRecord) -> bool:
    return "Failed to find font weight" not in str(record.msg)


def give_fonts(figure: Figure) -> bool:
    """Let each text that the house's font cannot show fall back to installed fonts that can; return whether any does.

    Labels of ticks are there only after a first drawing.
    """
    texts = [text for text in figure.findobj(Text) if not text.get_text().isascii()]  # most are: no look at the font
    house = findfont(FontProperties(family=[HOUSE_FONT])) if texts else ""
    lacking = {text: missing for text in texts if (missing := _beyond(house, text.get_text()))}
    if not lacking:
        return False
    gathered = _MISSING.get()
    known = gathered or set()  # looked for already
    fonts, without = fonts_for(set[str]().union(*lacking.values()) - known)
    for text in lacking:
        text.set_fontfamily([HOUSE_FONT, *fonts])
    if gathered is None:
        _tell(without)
    else:
        gathered |= without
    return bool(fonts)


def fonts_for(characters: set[str]) -> tuple[list[str], set[str]]:
    """Return installed fonts that have these characters, a sans-serif one first, and the characters that none has."""
    files = {
        entry.name: entry.fname
        for entry in fontManager.ttflist
        if entry.weight in (400, "normal", "regular") and not entry.name.startswith(_NO_LETTERS)
    }
    found, left = [], set(characters)
    for name in sorted(files, key=lambda name: ("sans" not in name.lower(), name)):
        if not left:
            break
        if len(still := _beyond(files[name], left)) < len(left):
            found.append(name)
            left = still
    return found, left


def _beyond(file: str, characters: Iterable[str]) -> set[str]:
    """Return the characters that a font file lacks, spaces apart."""
    known = FT2Font(file).get_charmap()
    return {character for character in characters if not character.isspace() and ord(character) not in known}


def _tell(missing: set[str]) -> None:
    if missing:
        shown = [one if one.isprintable() else f"U+{ord(one):04X}" for one in sorted(missing)]
        more = f" and {len(shown) - MOST_TOLD} more characters" if len(shown) > MOST_TOLD else ""
        print(f"note: no font here has {', '.join(shown[:MOST_TOLD])}{more}: pictures show boxes", file=sys.stderr)
