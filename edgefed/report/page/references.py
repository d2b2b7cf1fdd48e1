"""The section on references: training without a federation, and pooled training with each remedy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from edgefed.report.folder import RANKED, number
from edgefed.report.page import words
from edgefed.report.page.blocks import Cell, Column, Line, Section, Table, Text, figure_cell, number_cell
from edgefed.report.page.findings import line_of

if TYPE_CHECKING:
    from edgefed.report.folder import ComparisonFolder

REFERENCES = {
    "pooled": "All training rows in one place, no remedy.",
    "pooled-before-tail": "The same before the tail thinned them: what more rows of the rare classes are worth.",
    "local-only": "Each client trains alone; the mean over clients, on the server's test rows.",
}


def _own_mix(found: ComparisonFolder) -> list[Any]:
    """Return a sentence on what clients reach alone on rows of their own mix: another measure, beside its like."""
    alone = (found.result.get("references") or {}).get("local-only-own-mix")
    if not alone:
        return []
    said = f"Of rows of its own class mix, a client that trains alone gets {words.percent(alone['mean'])} % right"
    together = (found.control or {}).get("clients") or {}
    if str(together.get("basis", "")).startswith("label shares"):
        said += f"; with the model of none it gets {words.percent(together['mean']['mean'])} %"
    return [Text(f"{said} (means over clients; an accuracy, so not on the scale above).")]


def references(found: ComparisonFolder) -> Section:
    """Return what training without a federation reaches."""
    base = number(found.control[RANKED]["mean"]) if found.control else math.nan
    lines = []
    for name, figure in found.references.items():
        gap = number(figure.get("mean")) - base
        lines.append(
            Line(
                [
                    Cell(name, tone="name reference"),
                    figure_cell(figure),
                    number_cell(gap, words.points),
                    Cell(REFERENCES.get(name, ""), tone="words"),
                ]
            )
        )
    blocks: list[Any] = []
    if lines:
        blocks.append(
            Table(
                "references",
                "References: the same model without a federation, mean and 95 % interval over seeds.",
                [
                    Column("Reference"),
                    Column("Balanced accuracy, %", True),
                    Column("Minus none, points", True, "of means"),
                    Column("What it is"),
                ],
                lines,
            )
        )
    blocks += _own_mix(found)
    pooled = [arm for arm in found.arms if isinstance(arm.get("pooled"), dict)]
    if pooled:
        lines = [
            line_of(
                arm,
                [
                    figure_cell(arm[RANKED]),
                    figure_cell(arm["pooled"]),
                    number_cell(number(arm["pooled"]["mean"]) - number(arm[RANKED]["mean"]), words.points),
                ],
            )
            for arm in pooled
        ]
        blocks += [
            Text(
                "What federating costs, remedy by remedy: the same remedy with all training rows in one place, its "
                "rate found as the federated one's is."
            ),
            Table(
                "pooled",
                "Federated and pooled training with the same remedy: balanced accuracy in percent.",
                [
                    Column("Remedy"),
                    Column("Federated, %", True),
                    Column("Pooled, %", True),
                    Column("Pooled minus federated, points", True, "of means"),
                ],
                lines,
            ),
        ]
    return Section("references", "References", blocks)
