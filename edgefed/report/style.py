"""How every picture looks, and how it becomes files: the same bytes for the same figures."""

from __future__ import annotations

import io
import textwrap
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, cast

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from edgefed.config import SettingsError
from edgefed.report.glyphs import HOUSE_FONT, boxes_for_the_rest, give_fonts
from edgefed.runs import write_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matplotlib.axes import Axes

# Okabe & Ito (2008), "Color universal design"; INK and FAINT for what carries no meaning of its own.
BLUE, VERMILLION, GREEN, INK, GREY, FAINT = "#0072B2", "#D55E00", "#009E73", "#000000", "#6E6E6E", "#D9D9D9"

ORANGE, SKY, PURPLE = "#E69F00", "#56B4E9", "#CC79A7"
WINE = "#661100"
"""For a ninth line (Tol 2021, "Colour schemes", muted): their yellow is too pale for one."""

WIDTH = 7.2
"""Inches: the full text width of a two-column paper."""
DPI = 200
SMALL, TINY = 7.0, 6.0
"""Font sizes in points of captions and of numbers in cells."""

FORMATS: dict[str, dict[str, str | None]] = {
    ".png": {"Software": None},
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "ModDate": None, "Creator": None, "Producer": None},
}
"""File formats, each with the metadata that would differ from one drawing to the next."""

_SETTINGS: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": [HOUSE_FONT],
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "figure.titlesize": 9.5,
    "figure.titleweight": "bold",
    "figure.constrained_layout.h_pad": 0.05,
    "figure.constrained_layout.w_pad": 0.05,
    "text.parse_math": False,  # a class may be called "$5"
    "text.hinting": "none",  # text is as wide in one format as in another
    "svg.fonttype": "none",
    "svg.hashsalt": "edgefed",
    "pdf.fonttype": 42,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw with these settings alone, whatever a person's matplotlibrc says; theirs come back afterwards."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(cast("Any", _SETTINGS))
        yield


def new_figure(width: float, height: float, title: str) -> Figure:
    """Return an empty figure (inches) with its title at the top left, wrapped to its width."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(wrapped(title, width, 9.5 * 1.08), x=0.012, ha="left")
    return figure


def caption(figure: Figure, text: str) -> None:
    """Write small print under a figure: what is shown, and over what it generalises."""
    width = float(figure.get_figwidth())
    figure.supxlabel(wrapped(text, width, SMALL), x=0.012, ha="left", fontsize=SMALL, color="#404040", linespacing=1.3)


def wrapped(text: str, inches: float, points: float) -> str:
    """Return text broken into lines that fit a width at a font size, paragraph by paragraph."""
    # DejaVu Sans: 0.56 em is the mean advance of running English text, rounded up.
    room = max(12, int((inches - 0.15) * 72 / (0.56 * points)))
    return "\n".join(line for part in text.split("\n") for line in textwrap.wrap(part, room) or [""])


def label(name: str, room: int, lines: int = 2) -> str:
    """Return a name broken at spaces and hyphens into at most so many lines of ``room`` characters."""
    plain = " ".join(name.split()) or "(unnamed)"
    if lines == 1:
        return plain if len(plain) <= room else plain[: room - 1] + "…"
    parts = textwrap.wrap(plain, room)
    if len(parts) > lines:
        parts = [*parts[: lines - 1], parts[lines - 1][: room - 1] + "…"]
    return "\n".join(parts)


def settle(figure: Figure) -> None:
    """Lay the figure out once and for all, so that every format has the same positions."""
    with boxes_for_the_rest():
        figure.draw_without_rendering()
        if give_fonts(figure):
            figure.draw_without_rendering()
        figure.draw_without_rendering()  # labels that turned or moved in the first pass are measured in the second
    figure.set_layout_engine("none")


def light_grid(axes: Axes, axis: Literal["both", "x", "y"] = "both") -> None:
    """Draw thin lines behind the marks along one axis or both."""
    axes.grid(visible=True, axis=axis)


@house_style()
def save(figure: Figure, target: Path) -> list[Path]:
    """Write a figure and return the files: PNG and SVG where ``target`` has no suffix, else the format it names.

    Raises
    ------
    SettingsError
        For another suffix, or a folder that cannot be written.
    """
    suffix = target.suffix.lower()
    if suffix and suffix not in FORMATS:
        raise SettingsError(f"{target}: pictures are written as .png, .svg or .pdf")
    title = " ".join(figure.get_suptitle().split())  # what a screen reader reads out
    written = []
    for wanted in (suffix,) if suffix else (".png", ".svg"):
        path = target if suffix else target.with_name(target.name + wanted)
        buffer = io.BytesIO()
        with boxes_for_the_rest():
            figure.savefig(buffer, format=wanted[1:], dpi=DPI, metadata=FORMATS[wanted] | {"Title": title})
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, buffer.getvalue(), durable=False)
        except OSError as error:
            raise SettingsError(f"{path}: cannot be written ({error.strerror})") from None
        written.append(path)
    return written
