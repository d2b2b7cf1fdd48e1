"""Sections from the server's own rows: effects, rows explained, calibration, confusion, and features selected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.notes import tested_by_devices
from edgefed.report.folder import number, numbers
from edgefed.report.page import words
from edgefed.report.page.bars import bar_chart
from edgefed.report.page.blocks import Cell, Column, Figure, Line, Section, Table, Text, number_cell
from edgefed.report.page.lines import Frame, limits, line_chart
from edgefed.report.page.lines import Line as Curve
from edgefed.report.page.run import confusion_table
from edgefed.report.page.svg import shortened, tick_words, ticks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgefed.report.folder import ExplanationFolder

EFFECTS, HUES, BARS = 6, 6, 8
"""Features whose effect is shown, classes that have a colour, and bars of a single row, at most."""


# ---------------------------------------------------------------------------------------------- effects
def effects(found: ExplanationFolder) -> Section:
    """Return partial dependence of the strongest features, a line a class."""
    shown = found.result.get("effects", [])[:EFFECTS]
    classes = [str(name) for name in found.run.manifest["classes"]]
    names = classes[1:] if len(classes) == 2 else classes[:HUES]
    pictures = []
    for place, effect in enumerate(shown):
        grid = numbers(effect["grid"])
        blank = np.full(len(grid), np.nan)
        lines = [
            Curve(f"hue-{label} dash-{label % 4}", numbers(average), blank, blank, shortened(name, 12))
            for label, (name, average) in enumerate(zip(names, effect["average"], strict=False))
        ]
        frame = Frame(
            400,
            250,
            shortened(effect["feature"], 40),
            "probability",
            0.0,
            1.0,
            _ticks(float(grid.min()), float(grid.max())),
            margin=96,
        )
        said = "; ".join(
            f"{name}: {values[0]:.2f} at {grid[0]:.3g}, {values[-1]:.2f} at {grid[-1]:.3g}"
            for name, values in zip(names, effect["average"], strict=False)
        )
        pictures.append(
            ("", "", line_chart(f"effect-{place}", f"Effect of {effect['feature']}", said, grid, lines, frame))
        )
    if not pictures:
        return Section("effects", "How features act", [])
    left_out = f" The first {HUES} of {len(classes)} classes." if len(names) < len(classes) and len(classes) > 2 else ""
    caption = (
        f"Partial dependence: the mean probability over {words.count(found.result['effect_rows'])} test rows of the "
        f"server with the feature set to the value below.{left_out} Curves of single rows are in the picture "
        "`effects`, drawn by scikit-learn’s own display."
    )
    return Section("effects", "How features act", [Figure(pictures, caption, "pair")])


def _ticks(low: float, high: float) -> tuple[tuple[float, str], ...]:
    values = ticks(low, high, 5)
    return tuple(zip(values, tick_words(values), strict=True))


# ---------------------------------------------------------------------------------------------- examples
def examples(found: ExplanationFolder) -> Section:
    """Return a few test rows with what speaks for and against the class that the model gives them."""
    said = found.result.get("examples") or {}
    rows = said.get("rows") or []
    if not rows:
        return Section("examples", "Rows explained", [])
    most = max(float(np.abs(numbers(row["shap"])).max()) for row in rows)
    pictures = [_example(found.features, row, place, 108 * most or 1.0) for place, row in enumerate(rows)]
    caption = (
        f"SHAP values of the predicted class’s probability, in points, against {said['background']} "
        f"({words.count(said['background_rows'])}); filled bars raise it, framed ones lower it. The rows were chosen "
        "for what they show: wrong and sure, right and unsure, the surest of each class."
    )
    return Section("examples", "Rows explained", [Figure(pictures, caption, "pair")])


def _example(features: Sequence[str], row: dict[str, Any], place: int, reach: float) -> tuple[str, str, Any]:
    shap, values = numbers(row["shap"]), numbers(row["values"])
    largest = np.argsort(-np.abs(shap), kind="stable")[:BARS]
    labels = [f"{shortened(features[one], 20)} = {values[one]:.4g}" for one in largest]
    said = ", ".join(f"{label}: {100 * shap[one]:+.1f}" for label, one in zip(labels, largest, strict=True))
    picture = bar_chart(
        f"example-{place}",
        f"Row {row['row']} explained",
        said,
        labels,
        100 * shap[largest],
        reach,
        "points of probability",
    )
    verdict = "right" if row["true"] == row["predicted"] else f"wrong, it is {row['true']}"
    head = f"Row {row['row']}: {row['predicted']} at {words.percent(row['probability'], 0)} %"
    note = f"{verdict}; {words.percent(row['base'], 0)} % is the background’s mean"
    return head, note, picture


# ---------------------------------------------------------------------------------------------- calibration
def reliability(found: ExplanationFolder) -> Section:
    """Return how often the model is right by how sure it is."""
    said = found.result.get("calibration")
    if not said:
        return Section("calibration", "Can its probabilities be trusted?", [])
    bins = said["bins"]
    sure, right, low, high = (
        100 * numbers([row[key] for row in bins]) for key in ("confidence", "accuracy", "low", "high")
    )
    blank = np.full(len(bins), np.nan)
    picture: list[tuple[str, str, Any]] = []
    if len(bins) > 1:
        lines = [
            Curve("of-none", sure, blank, blank, "as sure as right", marked=False),
            Curve("hue-0", right, low, high, "model"),
        ]
        bottom, top = limits(lines, least=5.0)
        frame = Frame(
            520,
            330,
            "confidence: mean probability of the predicted class (%)",
            "accuracy (%)",
            bottom,
            min(top, 102.0),
            _ticks(float(sure.min()), float(sure.max())),
            margin=130,
            marks=True,
        )
        points = "; ".join(f"{a:.0f} % sure, {b:.0f} % right" for a, b in zip(sure, right, strict=True))
        picture = [("", "", line_chart("reliability", "Reliability", points, sure, lines, frame))]
    error, brier = said["ece"], said["brier"]
    leaning = float(numbers([row["rows"] for row in bins]) @ (sure - right)) / sum(row["rows"] for row in bins)
    word = "more" if leaning > 0 else "less"
    sentence = (
        f"Expected calibration error {words.percent(error['mean'])} points{_range(error, words.percent)}; Brier score "
        f"{words.plain(brier['mean'])}{_range(brier, words.plain)}. On average the model is {abs(leaning):.1f} points "
        f"{word} sure than it is right."
    )
    caption = "Test rows in bins of equally many, from the least to the most sure"
    if found.result["runs"] > 1:
        caption += (
            f". Predictions of {found.result['runs']} seeds together, without intervals: seeds share rows, so that "
            "these are not as many independent ones."
        )
    else:
        caption += "; 95 % Wilson intervals."
    columns = [Column("Bin"), Column("Rows", True), Column("Confidence, %", True), Column("Accuracy, %", True)]
    table = Table(
        "calibration",
        caption,
        columns,
        [
            Line(
                [
                    Cell(str(place + 1), value=float(place)),
                    number_cell(row["rows"], words.count),
                    number_cell(row["confidence"], words.percent),
                    Cell(words.percent(row["accuracy"]), words.interval(row), number(row["accuracy"])),
                ]
            )
            for place, row in enumerate(bins)
        ],
    )
    figure = (
        [Figure(picture, "The dashed line: as sure as right. Below it the model is too sure of itself.", "single")]
        if picture
        else []
    )
    return Section("calibration", "Can its probabilities be trusted?", [Text(sentence), *figure, table])


def _range(figure: dict[str, Any], say: Any) -> str:
    said = words.interval(figure, say)
    return f" ({said} over seeds)" if said else ""


def confusion(found: ExplanationFolder) -> Section:
    """Return which class is taken for which on test rows."""
    matrix = found.result.get("confusion")
    if matrix is None:
        return Section("confusion", "Which class is taken for which", [])
    names = [str(name) for name in found.run.manifest["classes"]]
    over = f", summed over {found.result['runs']} seeds" if found.result["runs"] > 1 else ""
    table = confusion_table(np.array(matrix, np.int64), names, over, devices_own=tested_by_devices(found.run) > 0)
    return Section("confusion", "Which class is taken for which", [table])


# ---------------------------------------------------------------------------------------------- selection
def selected(found: ExplanationFolder) -> Section:
    """Return balanced accuracy by number of features, where features were selected."""
    chosen = found.selection
    if chosen is None:
        return Section("selection", "How many features does it need?", [])
    steps, seeds = chosen["steps"], len(chosen["seeds"])
    counts = np.array([float(step["count"]) for step in steps])
    blank = np.full(len(steps), np.nan)
    looks = {"forward": ("hue-0", "forward"), "filter": ("hue-1 dash-2", "ANOVA F")}
    lines = []
    for key, (look, name) in looks.items():
        mean, low, high = (100 * numbers([step[key][part] for step in steps]) for part in ("mean", "low", "high"))
        lines.append(Curve(look, mean, low, high, name))
    every = 100 * number(chosen["all"]["mean"])
    lines.append(
        Curve("of-none", np.full(len(steps), every), blank, blank, f"all {len(chosen['features'])}", marked=False)
    )
    bottom, top = limits(lines)
    blocks: list[Any] = []
    best = max(steps, key=lambda step: number(step["forward"]["mean"]))
    enough = next(step for step in steps if number(step["forward"]["mean"]) >= number(best["forward"]["mean"]) - 0.01)
    blocks.append(
        Text(
            f"With {words.many(enough['count'], 'feature')} chosen by forward selection the federation comes within a "
            f"point of its best ({words.percent(enough['forward']['mean'])} % test balanced accuracy; with all "
            f"{len(chosen['features'])}: {every:.1f} %)."
        )
    )
    if len(steps) > 1:
        frame = Frame(
            560, 320, "number of features", "test balanced accuracy (%)", bottom, min(top, 102.0), margin=86, marks=True
        )
        said = "; ".join(f"{step['count']}: {words.percent(step['forward']['mean'])} %" for step in steps)
        picture = line_chart("selection", "Balanced accuracy by number of features", said, counts, lines, frame)
        caption = (
            f"{words.count(chosen['federations'])} federations under {words.many(seeds, 'seed')}. Each seed chooses on "
            "its own validation rows, test rows score what was chosen; 95 % intervals over seeds. Dotted: as many "
            "features by ANOVA F on the clients’ training rows."
        )
        blocks.append(Figure([("", "", picture)], caption, "single"))
    times = chosen["times"]
    order = sorted(times, key=lambda name: (-sum(times[name]), name))
    table = Table(
        "chosen",
        f"In how many of {seeds} seeds forward selection has a feature among its first so many.",
        [Column("Feature"), *(Column(str(step["count"]), True) for step in steps)],
        [
            Line(
                [
                    Cell(name, tone="name"),
                    *(
                        Cell(
                            str(count) if count else "·",
                            value=float(count),
                            tone="heat plus",
                            strength=round(count / seeds, 3),
                        )
                        for count in times[name]
                    ),
                ]
            )
            for name in order
            if times[name][-1]
        ],
        filtered=False,
        look="heat",
    )
    return Section("selection", "How many features does it need?", [*blocks, table])
