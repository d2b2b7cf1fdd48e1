"""Sections on features: which matter, whether methods agree, where clients disagree, each class."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.report.folder import client_names, number, numbers
from edgefed.report.page import words
from edgefed.report.page.blocks import Cell, Column, Figure, Line, Section, Table, Text, empty, number_cell
from edgefed.report.page.strips import Panel, Row, Strip, reach, strip_chart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgefed.report.folder import ExplanationFolder

FEW_ROWS = 10
"""Rows below which a client's own figures are marked."""
DRAWN, WIDE, OPEN, VALUES = 15, 12, 24, 8
"""Features in the chart, columns of features in a table, lines up to which a table needs no filter, values named."""
TOO_FEW = {
    1: "a single feature has no order",
    2: "two features have two orders, so that it would be 1 or −1 whatever the methods say",
    3: "three features have six orders, so that chance alone makes it 1 one time in six",
}
"""Features -> why no rank correlation of their orders is given: fewer than ``FEWEST_ORDERED``."""
METHODS = {
    "loss": "Permutation, log-loss",
    "accuracy": "Permutation, balanced accuracy",
    "shap": "SHAP values",
    "integrated-gradients": "Integrated gradients",
    "anova-f": "ANOVA F, rows alone",
    "mutual-information": "Mutual information, rows alone",
}


# ---------------------------------------------------------------------------------------------- ranking
def ranked(found: ExplanationFolder) -> Section:
    """Return every feature's importance by every method, the strongest first."""
    result = found.result
    rows = result["importance"]
    over = result["interval_over"]
    dots = [found.dots(place) for place in range(len(rows[:DRAWN]))]
    seeds = over == "seeds"
    chart = _chart("importance", rows[:DRAWN], "feature", dots, seeds=seeds)
    inside = "" if seeds else ", where they lie within the axis"
    caption = (
        f"How much the log-loss rises, and how much balanced accuracy falls, when a feature is shuffled within each "
        f"client. Marks are means over rows, bars 95 % intervals over {over}; dots are "
        f"{found.dots_in_words}{inside}. A filled mark: the interval lies above 0."
    )
    if len(rows) > DRAWN:
        caption += f" The {DRAWN} strongest of {len(rows)} features."
    lines = [_line(row) for row in rows]
    columns = [
        Column("Feature"),
        Column("Log-loss", True, "when permuted"),
        Column("Balanced accuracy", True, "points lost"),
        Column("SHAP", True, "points, mean |value|"),
        Column("Int. gradients", True, "points, mean |value|"),
        Column("ANOVA F", True, "rows alone"),
        Column("Mutual inf.", True, "nats, rows alone"),
    ]
    table = Table(
        "features",
        f"Every feature, the strongest first; below a figure its 95 % interval over {over}. SHAP values and integrated "
        "gradients are of the probability that the model gives a row’s own class.",
        columns,
        lines,
        filtered=len(lines) > OPEN,
        look="tall" if len(lines) > OPEN else "",
    )
    return Section("features", "Which features matter", [Figure([("", "", chart)], caption), table])


def columns(found: ExplanationFolder) -> Section:
    """Return the importance of the file's columns, categories whole; nothing where every column is a number."""
    rows, over = found.columns, found.result["interval_over"]
    seeds = over == "seeds"
    if not rows:
        return Section("columns", "Which columns matter", [])
    dots = [numbers(row["values"]) if seeds else np.empty(0) for row in rows[:DRAWN]]
    caption = (
        "Columns are shuffled within each client, categories as a whole: a row takes another row’s category. Marks are "
        f"means over rows, bars 95 % intervals over {over}"
        + ("; dots are seeds" if seeds else "")
        + ". A filled mark: the interval lies above 0."
        + (f" The {DRAWN} strongest of {len(rows)} columns." if len(rows) > DRAWN else "")
    )
    lines = [
        Line(
            [
                Cell(str(row["column"]), tone="name better" if number(row["low"]) > 0 else "name same"),
                Cell(_became(row["features"], str(row["column"])), tone="words"),
                *_permuted(row),
            ]
        )
        for row in rows
    ]
    heads = [
        Column("Column"),
        Column("Values"),
        Column("Log-loss", True, "when permuted"),
        Column("Balanced accuracy", True, "points lost"),
    ]
    table = Table(
        "columns",
        f"Every column, the strongest first; below a figure its 95 % interval over {over}. In the list of features "
        "each value of a category is shuffled alone: rows of two categories or none come of that, and the column’s "
        "other features stand in, so that those figures do not add up to these.",
        heads,
        lines,
        filtered=len(lines) > OPEN,
        look="tall" if len(lines) > OPEN else "",
    )
    chart = _chart("columns", rows[:DRAWN], "column", dots, seeds=seeds)
    return Section("columns", "Which columns matter", [Figure([("", "", chart)], caption), table])


def _became(features: Sequence[str], column: str) -> str:
    """Return the values of a category, the first of many; a number has none."""
    if list(features) == [column]:
        return "a number"
    values = [name.removeprefix(f"{column}=") for name in features]
    return ", ".join(values[:VALUES]) + (f" and {len(values) - VALUES} more" if len(values) > VALUES else "")


def _chart(
    name: str, rows: Sequence[dict[str, Any]], key: str, shown: Sequence[NDArray[np.float64]], *, seeds: bool
) -> Any:
    lines = []
    for row, dots in zip(rows, shown, strict=True):
        accuracy = row["accuracy"]
        lines.append(
            Row(
                str(row[key]),
                "better" if number(row["low"]) > 0 else "same",
                (
                    Strip(number(row["mean"]), number(row["low"]), number(row["high"]), dots, _plain(row["mean"], 2)),
                    Strip(
                        100 * number(accuracy["mean"]),
                        100 * number(accuracy["low"]),
                        100 * number(accuracy["high"]),
                        100 * numbers(accuracy["values"]) if seeds else np.empty(0),
                    ),
                ),
            )
        )
    panels = []
    for place, (title, least) in enumerate((("increase in log-loss", 0.1), ("balanced accuracy lost (points)", 2.0))):
        # Every seed is in sight. A single client far out would leave the marks no room: it has a dot where there is.
        drawn = [strip for strip in (line.strips[place] for line in lines) if strip is not None]
        strips = drawn if seeds else [Strip(strip.mean, strip.low, strip.high) for strip in drawn]
        low, high = reach([*strips, Strip(0.0)], least=least)
        panels.append(Panel(title, low, high, 0.0, "no use", share=1.2 - 0.2 * place, notes=46.0 * (not place)))
    said = ", ".join(f"{row[key]} {_plain(row['mean'], 2)}" for row in rows)
    return strip_chart(name, f"Importance of each {key}", said, [("", lines)], panels)


def _line(row: dict[str, Any]) -> Line:
    return Line(
        [
            Cell(str(row["feature"]), tone="name better" if number(row["low"]) > 0 else "name same"),
            *_permuted(row),
            number_cell(row["shap"], _points),
            number_cell(row["integrated-gradients"], _points),
            number_cell(row["anova-f"], lambda value: words.plain(value, 1), _p(row["anova_p"])),
            number_cell(row["mutual-information"], _plain),
        ]
    )


def _permuted(row: dict[str, Any]) -> list[Cell]:
    accuracy = row["accuracy"]
    return [
        Cell(_plain(row["mean"]), words.interval(row, _plain), number(row["mean"])),
        Cell(_points(accuracy["mean"]), words.interval(accuracy, _points), number(accuracy["mean"])),
    ]


def _p(value: Any) -> str:
    said = words.p_value(value)
    return "" if said == words.NOTHING else f"p {said}" if said.startswith("<") else f"p = {said}"


def _plain(value: Any, digits: int = 3) -> str:
    return words.plain(value, digits)


def _points(value: Any) -> str:
    return words.percent(value).replace("-", "−")


# ---------------------------------------------------------------------------------------------- methods
def methods(found: ExplanationFolder) -> Section:
    """Return how alike two methods rank the features, and how alike one does from seed to seed or client to client."""
    title = "Do the methods agree?"
    if len(found.features) in TOO_FEW:
        why = f"No rank correlation is given here: {TOO_FEW[len(found.features)]}."
        return Section("methods", title, [Text(f"{why} The table above has each method’s own figures.")])
    said = found.result["agreement"]
    over = found.result["interval_over"]
    between, again = found.correlations()
    lines = []
    for place, name in enumerate(said["methods"]):
        cells = [
            Cell(METHODS.get(name, name), tone="name"),
            *(_correlation(value) for value in between[place].tolist()),
        ]
        lines.append(Line([*cells, _correlation(float(again[place]))]))
    columns = [Column("Method"), *(Column(METHODS.get(name, name), True) for name in said["methods"])]
    columns.append(Column("Itself", True, f"from one of the {over} to the next"))
    caption = (
        "Rank correlation of the order that two methods give the features. Last: of one method’s orders under two "
        + ("seeds" if over == "seeds" else "clients with at least ten rows")
        + ", mean over all pairs; a dash: not measured there."
    )
    table = Table("methods", caption, columns, lines, look="heat")
    return Section("methods", title, [Text(_agreement_in_words(found)), table])


def _agreement_in_words(found: ExplanationFolder) -> str:
    places = {name: place for place, name in enumerate(found.result["agreement"]["methods"])}
    between, stability = found.correlations()
    values = {name: between[places["loss"], places[name]] for name in ("shap", "integrated-gradients", "anova-f")}
    over = found.result["interval_over"]
    again = float(stability[places["loss"]])
    parts = [
        f"Permutation and SHAP rank the features with a correlation of {words.plain(values['shap'], 2)}, permutation "
        f"and integrated gradients with {words.plain(values['integrated-gradients'], 2)}, permutation and ANOVA F, "
        f"which does not know the model, with {words.plain(values['anova-f'], 2)}."
    ]
    if math.isfinite(again):
        parts.append(
            f"From one of the {over} to the next, permutation’s order correlates with {words.plain(again, 2)}: "
            + (
                "it is stable."
                if again >= 0.8
                else "it shifts."
                if again >= 0.4
                else "it is not the same order at all."
            )
        )
    return " ".join(parts)


def _correlation(value: float) -> Cell:
    if not math.isfinite(value):
        return empty()
    return Cell(
        words.plain(value, 2),
        value=value,
        tone="heat plus" if value > 0 else "heat minus",
        strength=round(abs(value), 3),
    )


# ---------------------------------------------------------------------------------------------- clients
def by_client(found: ExplanationFolder) -> Section:
    """Return the increase in log-loss at each client, those with the most rows first."""
    table = found.result["by_client"]
    if not table["client"]:
        return Section("clients", "Where clients disagree", [])
    names = found.features[:WIDE]
    values = np.array([numbers(row) for row in table["loss"]])[:, : len(names)]
    largest = float(np.nanpercentile(np.abs(values), 97)) or 1.0
    named = client_names(found.run)
    lines = [
        Line(
            [
                Cell(named.get(client, f"client {client}"), value=float(client)),
                Cell(words.count(rows), "few" if rows < FEW_ROWS else "", float(rows)),
                *(_heat(value, largest) for value in row),
            ]
        )
        for client, rows, row in zip(table["client"], table["rows"], values, strict=True)
    ]
    result = found.result
    for head, note, key, say in (
        ("SD between clients", "of the increase", "clients_std", lambda value: _plain(value, 2)),
        ("Variance of the rows", "% between clients", "between_clients", lambda value: words.percent(value, 0)),
    ):
        cells = [number_cell(row[key], say, tone="total") for row in result["importance"][: len(names)]]
        lines.append(Line([Cell(head, note, tone="total"), empty(""), *cells], look="foot"))
    which = f" under seed {result['seeds'][0]}" if result["runs"] > 1 else ""
    more = (
        f" Listed are the {len(values)} with the most rows of {words.count(table['clients'])}."
        if table["clients"] > len(values)
        else ""
    )
    cut = f" The {WIDE} strongest features." if len(found.features) > WIDE else ""
    few = " Few: fewer than ten rows, which say little." if min(table["rows"]) < FEW_ROWS else ""
    caption = f"Increase in log-loss when a feature is shuffled among a client’s own rows{which}.{more}{cut}{few}"
    block = Table(
        "clients",
        caption,
        [Column("Client"), Column("Rows", True), *(Column(name, True) for name in names)],
        lines,
        filtered=len(values) > OPEN,
        look="heat tall" if len(values) > OPEN else "heat",
    )
    return Section("clients", "Where clients disagree", [Text(_spread_in_words(found)), block])


def _spread_in_words(found: ExplanationFolder) -> str:
    rows = found.result["importance"]
    widest = max(rows, key=lambda row: number(row["clients_std"]))
    return (
        f"Clients differ most in {widest['feature']}: from one to the next the increase in log-loss varies with a "
        f"standard deviation of {_plain(widest['clients_std'], 2)} around {_plain(widest['mean'], 2)}. A client that "
        "holds one class, or few rows, has little to shuffle."
    )


def _heat(value: float, largest: float) -> Cell:
    if not math.isfinite(value):
        return empty()
    strength = round(min(1.0, abs(value) / largest), 3)
    return Cell(words.plain(value, 2), value=value, tone="heat plus" if value > 0 else "heat minus", strength=strength)


# ---------------------------------------------------------------------------------------------- classes
def by_class(found: ExplanationFolder) -> Section:
    """Return SHAP values and the increase in log-loss by true class."""
    rows = found.result["classes"]
    names = found.features[:WIDE]
    shap = np.array([numbers(row["shap"]) for row in rows])[:, : len(names)]
    loss = np.array([numbers(row["loss"]) for row in rows])[:, : len(names)]
    if not np.isfinite(loss).any():
        return Section("classes", "Class by class", [])
    largest = float(np.nanmax(np.abs(loss), initial=0.0)) or 1.0
    lines = []
    for place, row in enumerate(rows):
        cells = [Cell(str(row["class"]), f"{words.many(row['rows'], 'row')}", tone="name")]
        for of_loss, of_shap in zip(loss[place], shap[place], strict=True):
            cell = _heat(of_loss, largest)
            note = f"SHAP {_points(of_shap)}" if math.isfinite(of_shap) else ""
            cells.append(Cell(cell.text, note, cell.value, cell.tone, cell.strength))
        lines.append(Line(cells))
    cut = f" The {WIDE} strongest features." if len(found.features) > WIDE else ""
    caption = (
        "Rows of each true class: the increase in log-loss when a feature is shuffled; below it the mean absolute SHAP "
        f"value in points of probability.{cut}"
    )
    strongest = [
        f"{row['class']} by {names[int(np.nanargmax(own))]}"
        for row, own in zip(rows, loss, strict=True)
        if np.isfinite(own).any() and np.nanmax(own) > 0
    ]
    said = f"What each class is told by most: {words.listed(strongest)}." if strongest else ""
    table = Table("classes", caption, [Column("Class"), *(Column(name, True) for name in names)], lines, look="heat")
    return Section("classes", "Class by class", [*([Text(said)] if said else []), table])
