"""Sections on training: gain against learning rate, and learning curves."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.report.band import band
from edgefed.report.folder import CONTROL, RANKED, number, numbers
from edgefed.report.page import words
from edgefed.report.page.answer import arms_of, kind_of
from edgefed.report.page.blocks import (
    Cell,
    Choice,
    Column,
    Curves,
    Figure,
    Fold,
    Section,
    Table,
    Text,
    figure_cell,
    number_cell,
)
from edgefed.report.page.findings import line_of
from edgefed.report.page.lines import Frame, Line, limits, line_chart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgefed.report.folder import ComparisonFolder
    from edgefed.runs import Run

    Floats = NDArray[np.float64]

SHOWN = 3
"""Remedies that are drawn beside none before anybody chooses."""
CHARTS = 9
"""Remedies whose gain by rate is shown unfolded: those with the highest means."""
LOOKS = 6
"""Colours of the style sheet; lines beyond have the next dash pattern."""


def of_each_round(run: Run, name: str) -> Floats:
    """Return a number of each round; nan where there is none."""
    return run.history[name] if name in run.history.names() else np.full(len(run.rounds), np.nan)


# ---------------------------------------------------------------------------------------------- learning rates
def rates(found: ComparisonFolder) -> Section:
    """Return each remedy's gain over none at the same rate, and what validation said of each rate."""
    blocks: list[Any] = []
    arms = [arm for arm in found.remedies if len(arm.get("rates") or []) > 1]
    if arms:
        blocks.append(
            Text(
                "A remedy can look good because it trains faster at one rate. Here each is compared with none at the "
                "same rate: a gain that lives at one end of the grid is a gain in speed, not in the answer."
            )
        )
        blocks += _rate_charts(arms, len(found.seeds))
    tuned = found.result.get("tuned") or {}
    if tuned:
        blocks.append(_tuned(found, tuned))
    own = [arm for arm in found.arms if isinstance(arm.get("tuned_per_seed"), dict)]
    if own:
        blocks.append(_per_seed(own))
    return Section("rates", "Gain against learning rate", blocks)


def _rate_charts(arms: Sequence[dict[str, Any]], seeds: int) -> list[Any]:
    places = sorted({float(row["learning_rate"]) for arm in arms for row in arm["rates"]})
    x = np.log10(places)
    lines = {arm["name"]: _rate_line(arm, places) for arm in arms}
    low, high = limits(list(lines.values()), zero=True)
    low, high = min(low, -0.5), max(high, 0.5)
    charts = []
    for place, arm in enumerate(arms):
        picked = number(arm.get("learning_rate"))
        marks = tuple((float(at), f"{rate:g}") for at, rate in zip(x, places, strict=True))
        frame = Frame(272, 190, "learning rate", "points over none", low, high, marks, zero=True, margin=10, marks=True)
        gone = [
            f"{row['diverged']} of {seeds} diverged at {row['learning_rate']:g}"
            for row in arm["rates"]
            if row.get("diverged")
        ]
        title = f"{arm['name']}, gain over none by learning rate"
        said = "; ".join(
            f"rate {row['learning_rate']:g}: {words.points(row['difference']['mean'])} points"
            for row in arm["rates"]
            if row.get("difference")
        )
        picture = line_chart(f"rate-{place}", title, f"{said}. Picked: {picked:g}.", x, [lines[arm["name"]]], frame)
        charts.append((str(arm["name"]), ", ".join([f"picked {picked:g}", *gone]), picture))
    caption = (
        f"Test balanced accuracy minus none at the same rate, mean and 95 % t interval over {seeds} seeds. "
        "Rates run on a logarithmic axis; all charts share theirs."
    )
    figures: list[Any] = [Figure(charts[:CHARTS], caption, "small")]
    if len(charts) > CHARTS:
        figures.append(Fold(f"The other {len(charts) - CHARTS} remedies", [Figure(charts[CHARTS:], caption, "small")]))
    return figures


def _rate_line(arm: dict[str, Any], places: Sequence[float]) -> Line:
    by_rate = {float(row["learning_rate"]): row.get("difference") or {} for row in arm["rates"]}
    mean, low, high = (
        numbers([by_rate.get(rate, {}).get(key) for rate in places]) * 100 for key in ("mean", "low", "high")
    )
    return Line(kind_of(arm), mean, low, high)


def _tuned(found: ComparisonFolder, tuned: dict[str, Any]) -> Table:
    grid = list(next(iter(tuned.values())).get("validation_balanced_accuracy") or {})
    lines = []
    for arm in found.arms:
        row = tuned.get(arm["name"]) or {}
        scores = row.get("validation_balanced_accuracy") or {}
        picked = row.get("learning-rate")
        cells = []
        for rate in grid:
            chosen = picked is not None and rate == f"{picked:g}"
            edge = "picked, on the edge" if chosen and row.get("on_the_edge") else "picked" if chosen else ""
            cells.append(number_cell(scores.get(rate), words.percent, edge, "picked" if chosen else ""))
        lines.append(line_of(arm, cells))
    return Table(
        "tuned",
        "What each learning rate scored on validation rows: mean balanced accuracy in percent. The highest is picked; "
        "test rows choose nothing.",
        [Column("Remedy"), *(Column(f"Rate {rate}", True) for rate in grid)],
        lines,
    )


def _per_seed(arms: Sequence[dict[str, Any]]) -> Table:
    lines = []
    for arm in arms:
        own = arm["tuned_per_seed"]
        chosen = Counter(f"{rate:g}" for rate in own.get("learning_rates") or [])
        gaps = [figure_cell(gap, words.points) for gap in (arm.get("difference"), own.get("difference"))]
        said = ", ".join(f"{rate} ({seeds})" for rate, seeds in sorted(chosen.items(), key=lambda item: float(item[0])))
        lines.append(line_of(arm, [*gaps, figure_cell(own), Cell(said, tone="words")]))
    return Table(
        "per-seed",
        "Were each seed to choose its rate on its own validation rows alone. A rate chosen over all seeds has seen a "
        "little of every seed's test rows; one chosen by a seed has not, but its rows are few. Mean and 95 % interval.",
        [
            Column("Remedy"),
            Column("Minus none", True, "points, one rate for all"),
            Column("Minus none", True, "points, a rate a seed"),
            Column("Balanced accuracy", True, "%, a rate a seed"),
            Column("Rates", note="and seeds that chose them"),
        ],
        lines,
    )


# ---------------------------------------------------------------------------------------------- learning curves
def curves(found: ComparisonFolder) -> Section:
    """Return test and validation balanced accuracy by round, mean and band; each remedy can be shown."""
    arms = found.arms
    looks = arm_looks([arm["name"] for arm in arms])
    shown = {CONTROL, *(arm["name"] for arm in (arms_of(found, "better") or found.remedies)[:SHOWN])}
    pictures = []
    x = next(iter(found.runs.values()))[0].history["round"]
    for rows, title in (("test", "Test rows"), ("validation", "Validation rows")):
        lines = {
            arm["name"]: _curve(
                found.runs[arm["name"]],
                f"{rows}.{RANKED}",
                f"arm-{place} {looks[arm['name']]}",
                str(place + 1),
                arm["name"] in shown,
            )
            for place, arm in enumerate(arms)
        }
        lines = {name: line for name, line in lines.items() if np.isfinite(line.mean).any()}
        if not lines:
            continue
        low, high = _zoomed(list(lines.values()))
        frame = Frame(380, 290, "round", "balanced accuracy (%)", low, high)
        said = " ".join(
            f"{name}: {line.mean[np.isfinite(line.mean)][-1]:.1f} % at the end." for name, line in lines.items()
        )
        # The control last, on top of the others.
        drawn = [line for name, line in lines.items() if name != CONTROL]
        drawn += [lines[CONTROL]] if CONTROL in lines else []
        pictures.append(
            (
                title,
                "",
                line_chart(f"curve-{rows}", f"Balanced accuracy on {rows} rows by round", said, x, drawn, frame),
            )
        )
    if not pictures:
        return Section("curves", "Learning curves", [])
    choices = [
        Choice(f"arm-{place}", str(arm["name"]), looks[arm["name"]], str(place + 1), arm["name"] in shown)
        for place, arm in enumerate(arms)
    ]
    caption = (
        f"Mean over {len(found.seeds)} seeds with its 95 % t interval, each round for itself; the number at a line's "
        "end is the remedy's in the list. Curves that start low begin below the frame. The last round was fixed "
        "beforehand as what is ranked; early rounds can reverse the order."
    )
    return Section("curves", "Learning curves", [Curves("curves", pictures, choices, caption)])


def arm_looks(names: Sequence[str]) -> dict[str, str]:
    """Return classes of the style sheet, a colour and a dash pattern an arm; the control has its own."""
    looks, place = {}, 0
    for name in names:
        if name == CONTROL:
            looks[name] = "of-none"
            continue
        looks[name] = f"hue-{place % LOOKS} dash-{place // LOOKS % 4}"
        place += 1
    return looks


def _curve(runs: Sequence[Run], name: str, look: str, label: str, shown: bool) -> Line:
    around = band(100 * np.array([of_each_round(run, name) for run in runs])).within(0, 100)
    return Line(look, around.mean, around.low, around.high, label, shown)


def _zoomed(lines: Sequence[Line]) -> tuple[float, float]:
    """Return the range from the first tenth of the rounds on: the climb from chance would flatten all that follows."""
    start = max(1, len(lines[0].mean) // 10)
    later = [Line("", line.mean[start:], line.mean[start:], line.mean[start:]) for line in lines]
    half = len(lines[0].mean) // 2
    bands = [Line("", line.mean[half:], line.low[half:], line.high[half:]) for line in lines]
    low, high = limits([*later, *bands])
    return max(low, -1.0), min(high, 101.0)
