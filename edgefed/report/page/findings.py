"""Sections on how the remedies did: tiers and differences, other measures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefed.notes import BEYOND, tier_in_words, told_here_only
from edgefed.report.folder import CUT, RANKED, number, numbers, passes_its_ends, share_interval
from edgefed.report.page import words
from edgefed.report.page.answer import arms_of, kind_of, need_of
from edgefed.report.page.blocks import (
    Cell,
    Column,
    Figure,
    Fold,
    Line,
    Section,
    Table,
    empty,
    figure_cell,
)
from edgefed.report.page.pairs import all_pairs
from edgefed.report.page.strips import Panel, Row, Strip, reach, strip_chart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgefed.report.folder import ComparisonFolder

TIERS = {
    "better": "Better than none",
    "control": "The control",
    "same": "Indistinguishable from none",
    "undecided": "Too few seeds to tell",
    "worse": "Worse than none",
}
MEASURES = {
    "accuracy": ("Accuracy", words.percent, "%"),
    "macro_f1": ("Macro-F1", words.percent, "%"),
    "worst_recall": ("Worst recall", words.percent, "%, the lowest class"),
    "g_mean": ("G-mean", words.percent, "%"),
    "log_loss": ("Log-loss", words.plain, "nats, lower is better"),
    "brier": ("Brier score", words.plain, "lower is better"),
}


def line_of(arm: dict[str, Any], cells: Sequence[Cell]) -> Line:
    """Return a row of a table of remedies: its name, and the cells that follow."""
    kind = kind_of(arm)
    name = Cell(str(arm["name"]), tone=f"name {kind}")
    return Line([name, *cells], str(arm.get("family") or ""), "control" if kind == "control" else "")


# ---------------------------------------------------------------------------------------------- tiers
def tiers(found: ComparisonFolder) -> Section:
    """Return every remedy with its interval and every seed, and its paired difference to none."""
    seeds = len(found.seeds)
    base = numbers(found.control[RANKED]["values"]) if found.control else None
    groups = []
    for kind, title in TIERS.items():
        for here in (False, True):
            rows = [_row(arm, base) for arm in arms_of(found, kind) if told_here_only(arm) is here]
            if rows:
                groups.append((f"{title}{' on these rows' if here else ''}", rows))
    arms = [row for _, rows in groups for row in rows]
    left = reach([row.strips[0] for row in arms if row.strips[0]])
    references = [_reference_row(name, figure) for name, figure in found.references.items()]
    # A reference widens the axis only a little; one that is far away is named at the edge.
    span = left[1] - left[0]
    near = [row.strips[0] for row in references if row.strips[0] and abs(row.strips[0].mean - sum(left) / 2) < span]
    if near:
        around = reach(near)
        left = min(left[0], around[0]), max(left[1], around[1])
    if references:
        groups.append(("References, not federations", references))
    mean = 100 * number(found.control[RANKED]["mean"]) if found.control and found.remedies else math.nan
    panels = [
        Panel(
            "test balanced accuracy, last round (%)",
            max(left[0], -1.0),
            min(left[1], 101.0),
            mean,
            f"none {mean:.1f}" if math.isfinite(mean) else "",
            1.15,
            within=(0, 100),
        )
    ]
    gaps = [row.strips[1] for row in arms if row.strips[1]]
    if gaps:
        right = reach(gaps)
        panels.append(
            Panel(
                "paired difference to none (points)",
                min(right[0], -0.5),
                max(right[1], 0.5),
                0.0,
                "none",
                1.0,
                62,
                within=(-100, 100),
            )
        )
    picture = strip_chart("tiers", "Remedies in tiers", _tiers_in_words(found), groups, panels)
    caption = (
        f"Marker and bar: mean and 95 % t interval over {seeds} seeds; each dot is a seed. "
        + (
            "Right: remedy minus none under the same seed. ▲ better, ▼ worse, ○ neither, ◆ the control. "
            if gaps
            else ""
        )
        + "The order within a tier is not a finding."
    )
    if any(map(told_here_only, found.arms)):
        caption += f" On these rows: {BEYOND} (Nadeau and Bengio’s)."
    if passes_its_ends(arm[RANKED] for arm in found.arms) or passes_its_ends(found.references.values()):
        caption += f" {CUT}"
    blocks: list[Any] = [Figure([("", "", picture)], caption)]
    if gaps:
        blocks.append(_differences(found))
    if any(arm.get("about") or need_of(arm) for arm in found.arms):
        blocks.append(Fold("What each remedy does, and needs", [_remedies(found)]))
    blocks += all_pairs(found)
    return Section("tiers", "Tiers, and the difference to none", blocks)


def _row(arm: dict[str, Any], base: Any) -> Row:
    score, gap = arm[RANKED], arm.get("difference")
    values = 100 * numbers(score["values"])
    strips: list[Strip | None] = [_share_strip(score, values)]
    if gap:
        apart = values - 100 * base if base is not None and len(base) == len(values) else np.empty(0)
        p = words.p_value(gap.get("p_holm"))
        strips.append(_strip(gap, apart, f"p {p}" if p.startswith("<") else f"p = {p}"))
    else:
        strips.append(None)
    return Row(str(arm["name"]), kind_of(arm), tuple(strips))


def _share_strip(figure: dict[str, Any], dots: Any) -> Strip:
    low, high = share_interval(figure)
    return _strip(figure | {"low": low, "high": high}, dots)


def _strip(figure: dict[str, Any], dots: Any, note: str = "") -> Strip:
    mean, low, high = (100 * number(figure.get(key)) for key in ("mean", "low", "high"))
    return Strip(mean, low, high, dots, note)


def _reference_row(name: str, figure: dict[str, Any]) -> Row:
    return Row(name, "reference", (_share_strip(figure, 100 * numbers(figure.get("values") or [])), None))


def _tiers_in_words(found: ComparisonFolder) -> str:
    return " ".join(
        f"{arm['name']}: {words.percent(arm[RANKED]['mean'])} %, {tier_in_words(arm) or 'no tier'}."
        for arm in found.arms
    )


def _differences(found: ComparisonFolder) -> Table:
    seeds = len(found.seeds)
    wider = any(arm.get("nadeau_bengio") for arm in found.arms)
    lines = []
    for arm in found.arms:
        gap = arm.get("difference")
        tier = tier_in_words(arm).replace(" than none", "").replace(" from none", "")
        cells = [Cell(tier, tone="tier"), figure_cell(arm[RANKED])]
        if gap:
            cells += [
                figure_cell(gap, words.points),
                Cell(words.p_value(gap.get("p_holm")), f"raw {words.p_value(gap.get('p'))}", number(gap.get("p_holm"))),
                Cell(
                    words.percent(gap.get("detectable")),
                    words.many(int(gap.get("ties") or 0), "tie"),
                    number(gap.get("detectable")),
                ),
            ]
        else:
            cells += [empty()] * 3
        if wider:  # beside the narrower one, and so never cut off by the edge of a narrow page
            wide = arm.get("nadeau_bengio") or {}
            around = words.interval(wide, words.points)
            cells.insert(3, Cell(around, value=number(wide.get("low"))) if around else empty())
        cells.append(Cell(f"{arm['learning_rate']:g}", value=number(arm["learning_rate"])))
        lines.append(line_of(arm, cells))
    columns = [
        Column("Remedy"),
        Column("Finding"),
        Column("Balanced accuracy", True, "%, 95 % interval"),
        Column("Minus none", True, "points, 95 % interval"),
        *([Column("Wider interval", True, "points, Nadeau–Bengio")] if wider else []),
        Column("p", True, "Holm"),
        Column("Detectable", True, f"points; ties of {seeds} seeds"),
        Column("Rate", True, "picked" if found.result.get("tuned") else "the same for all"),
    ]
    family = sum(bool(arm.get("difference")) for arm in found.arms)
    contrasts = "the one contrast" if family == 1 else f"the {family} contrasts"
    caption = (
        f"Paired differences to none over {seeds} seeds. p: sign-flip permutation test, adjusted by Holm's method for "
        f"{contrasts}; the intervals are not adjusted. Detectable: the smallest true difference that so many seeds "
        "find four times in five." + (" The wider interval is for other rows of the kind." if wider else "")
    )
    return Table("differences", caption, columns, lines, filtered=True)


def _remedies(found: ComparisonFolder) -> Table:
    lines = [
        line_of(
            arm,
            [
                Cell(str(arm.get("family") or "")),
                Cell(str(arm.get("about") or ""), tone="words"),
                Cell(need_of(arm), tone="words"),
            ],
        )
        for arm in found.arms
    ]
    columns = [Column("Remedy"), Column("Family"), Column("What it does"), Column("Needs from clients")]
    return Table("remedies", "The remedies that were compared.", columns, lines)


# ---------------------------------------------------------------------------------------------- measures
def measures(found: ComparisonFolder) -> Section:
    """Return the other measures of the last round, and those over clients."""
    shown = {key: said for key, said in MEASURES.items() if any(isinstance(arm.get(key), dict) for arm in found.arms)}
    columns = [Column("Remedy"), Column("Balanced accuracy", True, "%, ranked by")]
    columns += [Column(title, True, note) for title, _, note in shown.values()]
    lines = [
        line_of(
            arm, [figure_cell(arm[RANKED]), *(figure_cell(arm.get(key), say) for key, (_, say, _) in shown.items())]
        )
        for arm in found.arms
    ]
    mix = str((found.result.get("measures_at") or {}).get("mix") or "").strip()
    said = f" Accuracy, macro-F1, log-loss and Brier score depend on the class mix: {mix}." if mix else ""
    blocks: list[Any] = [
        Table(
            "measures",
            f"Measures on test rows after the last round, mean and 95 % interval over seeds.{said}",
            columns,
            lines,
            filtered=True,
        )
    ]
    clients = [arm for arm in found.arms if isinstance(arm.get("clients"), dict)]
    if clients:
        basis = str(clients[0]["clients"].get("basis") or "").strip()
        heads = {"mean": "Mean", "worst": "Worst client", "bottom10": "Worst tenth", "std": "Spread (SD)"}
        blocks.append(
            Table(
                "clients-measures",
                f"Balanced accuracy over clients, in percent; mean and 95 % interval over seeds. Basis: {basis}.",
                [Column("Remedy"), *(Column(title, True) for title in heads.values())],
                [line_of(arm, [figure_cell(arm["clients"].get(key)) for key in heads]) for arm in clients],
            )
        )
    return Section("measures", "Other measures", blocks)
