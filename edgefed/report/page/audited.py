"""What models give away of who was in the training rows: a section of a run's page and of a comparison's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgefed.names import ATTACKS
from edgefed.report.folder import AuditFolder, number
from edgefed.report.page import words
from edgefed.report.page.blocks import Cell, Column, Line, Links, Section, Table, Terms, Text, figure_cell, number_cell
from edgefed.runs import AUDIT, AUDIT_HOME

if TYPE_CHECKING:
    from pathlib import Path

TITLE = "What the models give away"
IN_COMPARISON = ("global", "update")
"""Attacks that a comparison has a table of; the others are in the file."""


def audited(folder: Path | None) -> Section:
    """Return the audit's section; empty, and so left out, where the folder has no audit."""
    if folder is None or not (folder / AUDIT_HOME / AUDIT).is_file():
        return Section("audit", TITLE, [])
    found = AuditFolder.read(folder)
    shown = [kind for kind in IN_COMPARISON if kind in found.kinds]
    several = len(found.entries) > 1
    tables = [_of_remedies(found, kind) for kind in shown] if several else [_of_run(found)]
    explained = shown if several else found.kinds
    files = [
        (f"{AUDIT_HOME}/plots/{path.name}", f"{path.stem}, PNG; SVG beside it")
        for path in sorted((folder / AUDIT_HOME / "plots").glob("*.png"))
    ]
    blocks: list[Any] = [
        Text(
            "Whoever holds a model can call rows members that it is surer of than of others. AUC is how often that is "
            "right for a training row and a row of the same class that was not trained on: 0.5 is chance, 1 is "
            "certainty. What is found at 1 % false positives is what an accusation would rest on. It is a lower bound: "
            "stronger attacks exist."
        ),
        *tables,
        Terms([(_named(kind).capitalize(), f"{ATTACKS[kind]}.") for kind in explained], "compact"),
        Terms(record_level(found), "warnings"),
        Links([*files, (f"{AUDIT_HOME}/{AUDIT}", "All figures of the audit, JSON")]),
    ]
    return Section("audit", TITLE, blocks)


def record_level(found: AuditFolder) -> list[tuple[str, str]]:
    """Return what the audit cannot say, and what making samples does to claims about a single row."""
    said = []
    repeated = [entry for entry in found.entries if number(entry["influence"]["samples"]) > 1]
    weighted = [
        entry for entry in found.entries if entry not in repeated and number(entry["influence"]["share"]) > 1.0001
    ]
    if repeated:
        most = max(number(entry["influence"]["samples"]) for entry in repeated)
        names = words.listed([entry["name"] for entry in repeated])
        said.append(
            (
                "One row, many samples",
                f"Under {names} a row stands in up to {most:.3g} of its client's samples, as itself or in rows made "
                "from it. A guarantee or an epsilon that is stated for one sample does not hold for that row: it "
                "weakens with the number of samples. One that is stated for a whole client holds as it is.",
            )
        )
    if weighted:
        most = max(number(entry["influence"]["share"]) for entry in weighted)
        names = words.listed([entry["name"] for entry in weighted])
        said.append(
            (
                "One row, more say",
                f"Under {names} a row has up to {most:.3g} times its plain part in its client's training: a bound on "
                "what one row can do has to be multiplied by that.",
            )
        )
    cautions = found.result.get("cautions") or []
    return [*said, ("To be read with care", " ".join(cautions))] if cautions else said


def _named(kind: str) -> str:
    return {"global": "global model", "update": "update", "first-update": "first update", "whose": "whose row"}[kind]


def _auc(value: Any) -> str:
    return words.plain(value, 3)


def _of_run(found: AuditFolder) -> Table:
    lines = []
    for kind in found.kinds:
        attack = found.entries[0]["attacks"][kind]
        lines.append(
            Line(
                [
                    Cell(_named(kind), tone="name"),
                    figure_cell(attack["auc"], _auc),
                    number_cell(attack["pooled_auc"]["mean"], _auc),
                    figure_cell(attack["tpr"], words.percent),
                    number_cell(attack["chance"], words.percent),
                    number_cell(attack["members"], words.count),
                    number_cell(attack["outsiders"], words.count),
                ]
            )
        )
    columns = [
        Column("Attack on"),
        Column("AUC", True, "within a class"),
        Column("AUC", True, "one threshold"),
        Column("Found, %", True, "at 1 % false positives"),
        Column("By chance, %", True),
        Column("Members", True),
        Column("Outsiders", True),
    ]
    whose = "whose" in found.kinds
    caption = (
        "Membership inference by a threshold on the loss, with 95 % intervals over rows: DeLong's of AUC"
        + (", but of whose row it is Obuchowski's, since there a row stands on both sides" if whose else "")
        + "; Clopper and Pearson's of what is found above the given threshold."
    )
    return Table("audit", caption, columns, lines)


def _of_remedies(found: AuditFolder, kind: str) -> Table:
    lines = []
    for entry in found.entries:
        attack = entry["attacks"][kind]
        difference = attack["auc"].get("difference") or {}
        lines.append(
            Line(
                [
                    Cell(entry["name"], tone="name"),
                    figure_cell(attack["auc"], _auc),
                    Cell(
                        "as none" if _same(difference) else str(difference.get("tier", words.NOTHING)),
                        _difference(difference),
                    ),
                    figure_cell(attack["tpr"], words.percent),
                    number_cell(attack["chance"], words.percent),
                    number_cell(entry["influence"]["samples"], lambda value: words.plain(value, 1)),
                ]
            )
        )
    columns = [
        Column("Remedy"),
        Column("AUC", True, "within a class"),
        Column("Against none", False, "difference in AUC"),
        Column("Found, %", True, "at 1 % false positives"),
        Column("By chance, %", True),
        Column("Samples", True, "of one row, at most"),
    ]
    caption = (
        f"{_named(kind).capitalize()}: mean and 95 % t interval over seeds; differences in AUC are of rows that are "
        "members under both, paired by seed and adjusted together (Holm)."
    )
    return Table("audit" if kind == "global" else f"audit-{kind}", caption, columns, lines)


def _same(found: dict[str, Any]) -> bool:
    """Return whether a remedy gives away exactly what none does under every seed: seeds cannot be too few for that."""
    return bool(found) and not any(number(found[key] or 0.0) for key in ("mean", "low", "high"))


def _difference(found: dict[str, Any]) -> str:
    if not found:
        return ""
    said = words.interval(found, lambda value: f"{number(value):+.3f}".replace("-", "−"))
    return f"{number(found['mean']):+.3f}".replace("-", "−") + (f" ({said})" if said else "")
