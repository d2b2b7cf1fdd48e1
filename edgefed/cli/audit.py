"""``edgefed audit``: what models tell of who was in the training rows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from edgefed.cli.options import EngineName, Format, OutputFormat
from edgefed.names import ATTACKS
from edgefed.terminal import note, print_json, show

if TYPE_CHECKING:
    from edgefed.api.membership import Audit


def audit(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, or of a comparison.")],
    engine: EngineName = "batched",
    output: OutputFormat = Format.text,
) -> None:
    """Attack a run's models by membership inference; in a comparison every remedy's, paired by seed.

    Who holds a model calls rows members that it is surer of than others: AUC is how often that is right for two rows of
    one class (0.5: chance). Clients' updates are made again from the run's settings; rows on devices cannot be audited.
    """
    from edgefed import api
    from edgefed.report.audit import plot_audit
    from edgefed.report.page import write_report

    found = api.audit(run, engine=engine, progress=True)
    assert found.folder is not None
    if output is Format.json:
        print_json(found.result)
    else:
        _show(found)
    sys.stdout.flush()  # the result is out before a picture can fail
    pictures = plot_audit(found.folder)
    note(f"pictures: {pictures[0].parent}")
    note(f"page: {write_report(found.folder)}")


def _show(found: Audit) -> None:
    result = found.result
    table = Table(title=f"Membership inference: {result['audited']}")
    over = f"95 % over {result['interval_over']}"
    several = len(result["strategies"]) > 1
    for title in (
        "attack on",
        *(["remedy"] if several else []),
        "AUC",
        over,
        "found at 1 % false positives",
        "by chance",
        "rows",
    ):
        table.add_column(title, justify="left" if title in ("attack on", "remedy") else "right")
    if several:
        table.add_column("against none")
    kinds = result["strategies"][0]["attacks"]
    for kind in kinds:
        for entry in result["strategies"]:
            attack = entry["attacks"][kind]
            table.add_row(*_row(kind, entry["name"] if several else "", attack))
        table.add_section()
    show(table, width=None if sys.stdout.isatty() else 150)
    for kind in kinds:
        note(f"{kind}: {ATTACKS[kind]}")
    most = max(result["strategies"], key=lambda entry: entry["influence"]["samples"])["influence"]
    if most["samples"] > 1:
        note(
            f"note: under a remedy that makes samples a row stands in up to {most['samples']:.3g} of its client's: "
            "guarantees stated for one sample do not hold for that row"
        )
    for said in result["cautions"]:
        note(f"note: {said}")


def _row(kind: str, name: str, attack: dict[str, Any]) -> list[str]:
    auc, difference = attack["auc"], attack["auc"].get("difference")
    cells = [kind, *([name] if name else []), _number(auc["mean"])]
    cells.append(f"{_number(auc['low'])} to {_number(auc['high'])}" if auc["low"] is not None else "")
    cells += [
        _share(attack["tpr"]["mean"]),
        _share(attack["chance"]),
        f"{attack['members']} / {attack['outsiders']}",
    ]
    if name:
        cells.append(f"{difference['mean']:+.3f}, {difference['tier']}" if difference else "")
    return cells


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
