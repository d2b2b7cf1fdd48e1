"""Where each remedy wins: its gain over none by the settings of a grid, a panel a remedy, on one colour scale."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.patches import Rectangle

from edgefed.config import SettingsError
from edgefed.report.critical_difference import plot_critical_difference
from edgefed.report.folder import CONTROL, RANKED, number, verb_of
from edgefed.report.glyphs import glyphs_told
from edgefed.report.style import (
    BLUE,
    GREY,
    INK,
    SMALL,
    TINY,
    VERMILLION,
    caption,
    house_style,
    label,
    new_figure,
    save,
    settle,
)
from edgefed.runs import is_folder_of, read_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Worse than none, no difference, better than none: as in the other pictures, and the ends differ in every kind of
#: colour vision. In grey both ends are dark: there the sign and the mark of a cell say which.
COLOURS = LinearSegmentedColormap.from_list("gain", [VERMILLION, "#F3C6A5", "#FFFFFF", "#A9CBE3", BLUE], 257)
MARKS = {"better": ("▲", "△"), "worse": ("▼", "▽")}
"""By the first word of a tier: told apart over the whole grid, and within its block alone."""
CELL, LINE = 0.6, 0.36
"""Width and height of a cell in inches."""
WIDEST = 10.0
"""Inches that a picture may be wide before panels go on below."""
FAR = 3.0
"""Times the ninth decile of all gains: a gain beyond is out of the colour scale, so that the rest keep theirs."""
DARK = 0.18
"""Relative luminance below which white on a colour has more contrast than black."""
LEAST = 1.0
"""Points that the colour scale spans at least: smaller gains stay pale."""

Place = tuple[Any, ...]
"""A block's values of the grid's keys, in the order of the keys."""


@dataclass(frozen=True)
class _Cell:
    """A gain in points, half its interval (nan: none), and its mark."""

    mean: float
    half: float
    mark: str
    grid_wide: bool


@dataclass(frozen=True)
class _Grid:
    """A finished grid as the picture needs it."""

    keys: list[str]
    values: list[list[Any]]
    remedies: list[str]
    cells: dict[tuple[str, Place], _Cell]
    levels: dict[Place, float]
    result: dict[str, Any]


@glyphs_told()
def plot_grid(folder: Path, out: Path | None = None) -> list[Path]:
    """Draw a grid and return the files: the gains and, with blocks and remedies enough, the critical difference.

    Nothing is drawn of a grid without remedies: a control alone gains nothing.

    Parameters
    ----------
    folder : path
        Of a finished grid.
    out : path, optional
        Where the picture goes. Neutral: ``plots`` in the folder.

    Raises
    ------
    SettingsError
        When the folder is not a finished grid, or ``out`` cannot be written.
    """
    folder = Path(folder)
    if not is_folder_of(folder, "grid"):
        raise SettingsError(f"{folder}: not a finished grid (it has no grid.json)")
    try:
        result = read_json(folder / "grid.json")
        figure = gain_figure(result)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SettingsError(f"{folder / 'grid.json'}: not a grid's figures ({type(error).__name__}: {error})") from None
    home = Path(out) if out is not None else folder / "plots"
    if figure is None:
        return []
    across = result.get("across_blocks")
    return save(figure, home / "gain") + (
        plot_critical_difference(across, home / "critical-difference") if across else []
    )


@house_style()
def gain_figure(result: dict[str, Any]) -> Figure | None:
    """Return the gains of every remedy in every block; None where there is no remedy.

    One key: a line a remedy, a column a value. Two keys: a panel a remedy, the first key across and the second up.
    More: the same for each combination of the keys before the last two.

    Parameters
    ----------
    result : dict
        What ``grid.json`` holds.
    """
    grid = _read(result)
    if not grid.remedies:
        return None
    return _lines(grid) if len(grid.keys) == 1 else _panels(grid)


def _read(result: dict[str, Any]) -> _Grid:
    keys = list(result["grid"])
    places = {block["block"]: tuple(block["settings"][key] for key in keys) for block in result["blocks"]}
    cells = {}
    for row in result["gains"]:
        mean, high = 100 * number(row["mean"]), 100 * number(row["high"])
        whole, within = (MARKS.get(row[tier].split(" ")[0]) for tier in ("tier_grid", "tier"))
        mark = whole[0] if whole else within[1] if within else ""
        cells[row["strategy"], places[row["block"]]] = _Cell(mean, high - mean, mark, whole is not None)
    levels = {
        places[block["block"]]: 100 * number(entry[RANKED]["mean"])
        for block in result["blocks"]
        for entry in block["strategies"]
        if entry["name"] == CONTROL
    }
    remedies = [win["strategy"] for win in result["wins"]]
    return _Grid(keys, [list(result["grid"][key]) for key in keys], remedies, cells, levels, result)


def _scale(grid: _Grid) -> tuple[Normalize, bool]:
    """Return the colour scale, symmetric about 0, and whether a gain lies beyond it."""
    sizes = np.array([abs(cell.mean) for cell in grid.cells.values() if math.isfinite(cell.mean)] or [0.0])
    reach, most = float(np.quantile(sizes, 0.9)), float(sizes.max())
    beyond = most > FAR * max(reach, LEAST)
    reach = max(LEAST, reach if beyond else most)
    return Normalize(-reach, reach), beyond


# ---------------------------------------------------------------------------------------------- layouts
def _lines(grid: _Grid) -> Figure:
    """Draw one key: the control's level on top, then a line a remedy."""
    values = grid.values[0]
    names = [CONTROL, *grid.remedies]
    left = 0.075 * max(len(label(name, 40, 1)) for name in names) + 0.3
    cell = max(CELL, min(1.1, 4.0 / len(values)))
    width = max(5.6, left + cell * len(values) + 1.1)
    figure = new_figure(width, LINE * len(names) + 1.9, _title(grid))
    norm, beyond = _scale(grid)
    axes = figure.subplots()
    for column, value in enumerate(values):
        _level(axes, column, 0, grid.levels.get((value,)))
        for row, name in enumerate(grid.remedies, start=1):
            _cell(axes, column, row, grid.cells.get((name, (value,))), norm)
    _frame(axes, len(values), len(names), downwards=True)
    axes.set_xticks(range(len(values)), [_text(value) for value in values])
    axes.set_xlabel(grid.keys[0])
    axes.set_yticks(range(len(names)), ["none itself (%)", *(label(name, 40, 1) for name in grid.remedies)])
    axes.axhline(0.5, color=INK, linewidth=0.9)
    _finish(figure, [axes], grid, norm, beyond)
    return figure


def _panels(grid: _Grid) -> Figure:
    """Draw two keys or more: panels of the last two keys, one a remedy and combination of the keys before."""
    across, up = grid.values[-2], grid.values[-1]
    facets = list(itertools.product(*grid.values[:-2]))
    names = [CONTROL, *grid.remedies]
    cell = float(np.clip(3.0 / len(across), 0.44, CELL))
    panel = max(cell * len(across), 1.35)
    ticks = 0.4 + 0.06 * max(len(_text(value)) for value in up)
    most = max(1, int((WIDEST - ticks - 0.9) / (panel + 0.12)))
    wanted = [(name, facet) for name in names for facet in facets]
    # With facets a line of panels a remedy, as far as it goes.
    columns = min(most, len(facets)) if len(facets) > 1 else _even(len(wanted), most)
    rows = -(-len(wanted) // columns)
    width = max(5.6, columns * (panel + 0.12) + ticks + 0.9)
    height = rows * (LINE * len(up) + 0.42) + 1.9
    figure = new_figure(width, height, _title(grid))
    norm, beyond = _scale(grid)
    every = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for place, axes in enumerate(every.flat):
        if place >= len(wanted):
            axes.set_axis_off()
            continue
        name, facet = wanted[place]
        for (column, x), (row, y) in itertools.product(enumerate(across), enumerate(up)):
            if name == CONTROL:
                _level(axes, column, row, grid.levels.get((*facet, x, y)))
            else:
                _cell(axes, column, row, grid.cells.get((name, (*facet, x, y))), norm)
        _frame(axes, len(across), len(up))
        axes.set_title(_heading(grid, name, facet, panel), fontsize=SMALL + 0.5, loc="left", pad=3)
        axes.set_xticks(range(len(across)), [_text(value) for value in across])
        axes.set_yticks(range(len(up)), [_text(value) for value in up])
        axes.tick_params(labelbottom=place // columns == rows - 1, labelleft=place % columns == 0)
        axes.set_xlabel(grid.keys[-2] if place // columns == rows - 1 else "")
        axes.set_ylabel(grid.keys[-1] if place % columns == 0 else "")
    _finish(figure, list(every.flat), grid, norm, beyond)
    # A panel above a gap gets its labels now: the layout makes no room for them, the gap has it.
    for axes in list(every.flat)[len(wanted) - columns : columns * (rows - 1)]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel(grid.keys[-2])
    return figure


def _even(panels: int, most: int) -> int:
    """Return the columns that leave the fewest gaps in no more lines than needed."""
    lines = -(-panels // most)
    return -(-panels // lines)


def _heading(grid: _Grid, name: str, facet: Place, room: float) -> str:
    head = "none itself (%)" if name == CONTROL else name
    said = ", ".join(f"{key}={_text(value)}" for key, value in zip(grid.keys, facet, strict=False))
    letters = max(10, int(room * 72 / (0.56 * (SMALL + 0.5))))
    return label(head, letters) + (f"\n{label(said, letters)}" if said else "")


# ---------------------------------------------------------------------------------------------- drawing
def _cell(axes: Axes, column: int, row: int, cell: _Cell | None, norm: Normalize) -> None:
    """Draw one gain: colour, mark and number, half its interval below."""
    if cell is None or not math.isfinite(cell.mean):
        _write(axes, column, row, "no value", "", "#EDEDED", GREY)
        return
    face = COLOURS(norm(cell.mean))
    half = f"±{cell.half:.1f}" if math.isfinite(cell.half) else ""
    _write(
        axes,
        column,
        row,
        f"{cell.mark} {_points(cell.mean)}".strip(),
        half,
        face,
        "white" if _luminance(face) < DARK else INK,
        bold=cell.grid_wide,
    )


def _luminance(colour: tuple[float, ...]) -> float:
    """Return the relative luminance of an sRGB colour (WCAG 2.2)."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _level(axes: Axes, column: int, row: int, level: float | None) -> None:
    known = level is not None and math.isfinite(level)
    _write(axes, column, row, f"{level:.1f}" if known else "no value", "", "white", INK if known else GREY)


def _write(
    axes: Axes, column: int, row: int, text: str, below: str, face: Any, ink: str, *, bold: bool = False
) -> None:
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=face, edgecolor="white", linewidth=0.8))
    for words, lift, size in ((text, 3.6 if below else 0, TINY + 1), (below, -4.6, TINY - 0.5)):
        axes.annotate(
            words,
            (column, row),
            (0, lift),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=size,
            color=ink,
            fontweight="bold" if bold and words == text else "normal",
        ).set_in_layout(False)


def _frame(axes: Axes, columns: int, rows: int, *, downwards: bool = False) -> None:
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(*((rows - 0.5, -0.5) if downwards else (-0.5, rows - 0.5)))
    axes.tick_params(length=0)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(True)
        axes.spines[side].set_color("#BFBFBF")


def _finish(figure: Figure, every: Sequence[Axes], grid: _Grid, norm: Normalize, beyond: bool) -> None:
    bar = figure.colorbar(
        ScalarMappable(norm, COLOURS),
        ax=list(every),
        fraction=0.05,
        shrink=min(1.0, 2.2 / float(figure.get_figheight() - 1.6)),
        aspect=14,
        anchor=(0.0, 1.0),
        extend="both" if beyond else "neither",
    )
    bar.set_label("gain over none (points)", fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    caption(figure, _words(grid, beyond))
    settle(figure)


# ---------------------------------------------------------------------------------------------- words
def _text(value: Any) -> str:
    return label(f"{value:.10g}" if isinstance(value, float) else str(value) or "none", 12)


def _points(gain: float) -> str:
    """Return a gain with its sign; 0.0 has none."""
    return "0.0" if round(gain, 1) == 0 else f"{gain:+.1f}".replace("-", "−")


def _title(grid: _Grid) -> str:
    return f"Gain of each remedy over none by {' and '.join(filter(None, [', '.join(grid.keys[:-1]), grid.keys[-1]]))}"


def _words(grid: _Grid, beyond: bool) -> str:
    result = grid.result
    contrasts, seeds = len(result["gains"]), len(result["seeds"])
    parts = [
        f"Each cell: remedy minus none in points of test balanced accuracy in the last round, the mean over {seeds} "
        "seeds paired by seed, and ± half of its 95 % t interval (not adjusted).",
        f"▲ better, ▼ worse than none: sign-flip permutation tests, p adjusted by Holm's method over all {contrasts} "
        "contrasts of the grid; △ ▽ where it is so over the remedies of that block alone. No mark: not told apart, "
        "which is not the same as no difference.",
    ]
    if any(row["tier_grid"].startswith("too few") for row in result["gains"]):
        parts.append("With so few seeds nothing could be told apart over the whole grid.")
    if beyond:
        parts.append("The colour scale ends where few gains lie beyond; the numbers say how far.")
    return " ".join([*parts, f"{verb_of(result)} {result['generalises_over']}."])
