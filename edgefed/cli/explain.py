"""Which features a federated model uses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from edgefed.cli.options import EngineName, Format, OutputFormat
from edgefed.terminal import note, print_json, show

if TYPE_CHECKING:
    from edgefed.api.explanation import Explanation


def explain(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, or of a comparison.")],
    strategy: Annotated[
        str, typer.Option(help="Of a comparison: whose models (default: the remedy with the highest mean).")
    ] = "",
    select: Annotated[
        int, typer.Option(metavar="SEEDS", min=0, help="Also select features, by federations under so many seeds.")
    ] = 0,
    engine: EngineName = "batched",
    output: OutputFormat = Format.text,
) -> None:
    """Say which features a model uses, for whom, and how sure that is; write the explanation's page and pictures.

    Simulated clients are made again from the run's settings. Devices are asked while they are connected: a run with
    -s explain=yes keeps what they say, and this command reads it.
    """
    from edgefed import api
    from edgefed.report.explanation import plot_explanation
    from edgefed.report.page import write_explanation
    from edgefed.runs import EXPLANATION_HOME, SELECTION, Run, write_json

    found = api.explain(run, strategy=strategy, engine=engine, progress=True)
    assert found.folder is not None
    if select:
        first = run if (run / "config.toml").is_file() else found.folder / str(found.result["folders"][0])
        chosen = api.select_features(Run.read(first).config, seeds=select, engine=engine, progress=True)
        write_json(found.folder / EXPLANATION_HOME / SELECTION, chosen)
    if output is Format.json:
        print_json(found.result)
    else:
        _show(found)
    sys.stdout.flush()  # the result is out before a picture can fail
    pictures = plot_explanation(found.folder)
    note(f"pictures: {pictures[0].parent}" if pictures else "")
    note(f"page: {write_explanation(found.folder)}")


MOST_ROWS = 20
"""Rows of a table in the terminal: the strongest. The page and the JSON have all."""


def _more(count: int) -> str | None:
    return f"and {count - MOST_ROWS} more: the page has all" if count > MOST_ROWS else None


def _show(found: Explanation) -> None:
    result = found.result
    over = f"95 % over {result['interval_over']}"
    if columns := result.get("columns"):
        whole = Table(title="Columns, categories as a whole")
        for title in ("column", "loss when permuted", over, "balanced accuracy, points lost"):
            whole.add_column(title, justify="left" if title == "column" else "right", no_wrap=title == "column")
        for row in columns[:MOST_ROWS]:
            whole.add_row(row["column"], f"{row['mean']:+.3f}", _interval(row), _lost(row["accuracy"]["mean"]))
        whole.caption = _more(len(columns))
        show(whole, width=None if sys.stdout.isatty() else 140)
    table = Table(title=f"What the model uses: {result['explained']}")
    for title in ("feature", "loss when permuted", over, "balanced accuracy, points lost", "SHAP", "ANOVA F"):
        table.add_column(title, justify="left" if title == "feature" else "right", no_wrap=title == "feature")
    for row in result["importance"][:MOST_ROWS]:
        f = row["anova-f"]
        table.add_row(
            row["feature"],
            f"{row['mean']:+.3f}",
            _interval(row),
            _lost(row["accuracy"]["mean"]),
            f"{row['shap']:.3f}",
            "-" if f is None else f"{f:.1f}",
        )
    table.caption = _more(len(result["importance"]))
    show(table, width=None if sys.stdout.isatty() else 140)
    clients = result["clients"]
    note(
        f"{result['rows_explained']} {result['rows']} rows of {clients['explained']} clients; "
        f"{result['repeats']} permutations a feature, each within a client's own rows"
    )
    if clients["under_ten_rows"]:
        note(
            f"note: {clients['under_ten_rows']} clients hold fewer than ten of those rows "
            f"({clients['share_of_rows_there']:.0%} of them): their own figures say little"
        )
    if result["masked"]:
        note("note: privacy=secagg masks updates: what clients are asked for here is exact, one by one")
    if result["rows"] == "training":
        note("note: clients hold no rows out (client-test-fraction=0): these are rows that the model was trained on")


def _lost(accuracy: float) -> str:
    """Return a drop of a share in points, as the page has it: a gain is negative."""
    return f"{round(100 * accuracy, 1) + 0.0:.1f}"


def _interval(row: dict[str, Any]) -> str:
    return "" if row["low"] is None else f"{row['low']:+.3f} to {row['high']:+.3f}"
