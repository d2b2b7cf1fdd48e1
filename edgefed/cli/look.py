"""What people look at: shards, pictures, pages, predictions, and the names that settings take."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from edgefed.cli.options import (
    Client,
    Format,
    Label,
    OutputFormat,
    Settings,
    Source,
    rows_of,
    settings_of,
)
from edgefed.config import SettingsError, catalogue, schema
from edgefed.terminal import note, print_json, show

if TYPE_CHECKING:
    from edgefed.data.shards import FederatedData


def partition(
    source: Source = None,
    settings: Settings = None,
    label: Label = "",
    client: Client = "",
    plot: Annotated[
        Path | None, typer.Option(help="Write the picture into this new file (.png, .svg or .pdf).")
    ] = None,
    output: OutputFormat = Format.text,
) -> None:
    """Show who holds what, before any training."""
    from edgefed.config import FederationConfig
    from edgefed.data.shards import federate

    given = settings_of(source, settings, label, client)
    if plot is not None:
        _check_new(plot)
    config = FederationConfig.from_mapping(given)
    config, data = federate(config, rows_of(config, given))
    counts, names = data.class_counts, data.dataset.class_names
    if plot is not None:
        from edgefed.report import plot_shards

        title = f"{config.data_name}, {config.partition}"
        plot_shards(counts, names, plot, title=title, client_names=data.dataset.client_names)
    if output is Format.json:
        shards = [dict(zip(names, row, strict=True)) for row in counts.tolist()]
        print_json({"partition": config.partition, "clients": len(counts), "classes": list(names), "shards": shards})
        return
    table = Table(title=f"{config.data_name}, {config.partition}: training rows by client and class")
    for title in ("client", *names, "rows"):
        table.add_column(title, justify="right")
    for position, row in enumerate(counts.tolist()):
        name = data.dataset.client_names[position] if data.dataset.client_names else str(position)
        table.add_row(name, *map(str, row), str(sum(row)))
    table.add_section()
    table.add_row("all", *map(str, counts.sum(0).tolist()), str(int(counts.sum())))
    show(table)
    note(_where_the_rows_are(data, config.long_tail))
    note(f"picture: {plot}" if plot is not None else "")


def _where_the_rows_are(data: FederatedData, long_tail: float) -> str:
    """Return in a line how many rows there are and where those are that no client trains on."""
    shards, parts = data.shards, data.split
    held = f", {len(shards.held_out.indices)} held out by clients" if len(shards.held_out.indices) else ""
    dropped = f", {len(parts.dropped)} of them dropped from training by long-tail={long_tail:g}"
    return (
        f"of {len(data.dataset.labels)} rows: {len(shards.train.indices)} train (above){held}, "
        f"{len(parts.validation)} validation, {len(parts.test)} test{dropped if len(parts.dropped) else ''}"
    )


def _check_new(picture: Path) -> None:
    """Refuse a picture that is there already, in either format where the name says none."""
    for path in [picture] if picture.suffix else [picture.with_name(picture.name + kind) for kind in (".png", ".svg")]:
        if path.exists():
            raise SettingsError(f"--plot {path}: exists already; give another name")


def plot(runs: Annotated[list[Path], typer.Argument(help="Folders of runs, comparisons or grids.")]) -> None:
    """Draw the pictures of runs, comparisons, grids and explanations again, from their folders alone."""
    from edgefed.report import plot_comparison, plot_run
    from edgefed.report.explanation import plot_explanation
    from edgefed.report.heatmap import plot_grid
    from edgefed.runs import EXPLANATION, EXPLANATION_HOME, Run, check_folder, is_folder_of

    for folder in runs:
        check_folder(folder, "run", "comparison", "grid")
        if is_folder_of(folder, "grid"):
            pictures = plot_grid(folder)
        elif is_folder_of(folder, "comparison"):
            pictures = plot_comparison(folder)
        else:
            pictures = plot_run(Run.read(folder), folder / "plots")
        if (folder / EXPLANATION_HOME / EXPLANATION).is_file():
            pictures += plot_explanation(folder)
        for picture in pictures:
            typer.echo(str(picture))


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs, comparisons or grids.")],
) -> None:
    """Write report.html, one page that needs no network, into each folder, from its files alone."""
    from edgefed.report.page import write_reports

    for folder in runs:
        for page in write_reports(folder):
            typer.echo(str(page))


def predict(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    rows: Annotated[Path, typer.Argument(metavar="FILE.csv", help="Rows with the run's feature columns.")],
) -> None:
    """Classify new rows with a run's model; prints CSV: the class, then each class's probability."""
    import csv

    from edgefed import api
    from edgefed.runs import Run

    done = Run.read(run)
    classes = done.manifest["classes"]
    predicted = api.predict(done, rows)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["predicted", *classes])
    for probabilities in predicted:
        writer.writerow([classes[int(probabilities.argmax())], *(f"{p:.6f}" for p in probabilities)])


LISTS = {
    "strategies": "imbalance",
    "remedies": "imbalance",
    "server-strategies": "strategy",
    "datasets": "dataset",
    "partitions": "partition",
    "activations": "activation",
    "losses": "loss",
    "optimizers": "optimizer",
    "standardizations": "standardize",
    "selections": "selection",
    "compressions": "compression",
    "privacy": "privacy",
}
SYMBOLS = {
    "imbalance": "n rows, n_c of class c, n_k of client k, n_kc of both; C classes, K clients; pi class shares; "
    "f logits; p probabilities. Names in brackets are settings: edgefed list settings",
}
"""What letters in a list stand for, told to who reads it in a terminal."""
UNWRAPPED = 1000
"""Characters that a line of a list may have where no terminal is: one entry a line, for grep and awk."""
OTHER_LISTS = {
    "engines": "what runs the clients of a simulation: --engine",
    "devices": "device profiles, for the modelled seconds and joules",
    "settings": "every setting: its default, what it is, its range",
}
"""Lists that are of no one setting, with a line on each."""


def list_names(
    what: Annotated[str, typer.Argument(metavar="|".join([*LISTS, *OTHER_LISTS]), show_default=False)] = "",
) -> None:
    """List every name that a setting takes, with a line on each; with nothing said, what can be listed."""
    table = Table(box=None, pad_edge=False)
    if not what:
        table.add_column("edgefed list …", no_wrap=True)
        table.add_column("", overflow="fold")
        about = {key: f"{text}: -s {key}" for key, _, _, _, text in schema()}
        for name, text in ({name: about[key] for name, key in LISTS.items()} | OTHER_LISTS).items():
            table.add_row(name, text)
    elif what == "settings":
        for title in ("setting", "default", "what it is", "range"):
            table.add_column(title, overflow="fold", no_wrap=title == "setting")
        for key, _, default, allowed, text in schema():
            table.add_row(key, json.dumps(default), text, allowed)
    elif what in LISTS or what in OTHER_LISTS:
        from edgefed.edge.profiles import PROFILES
        from edgefed.engines import ENGINES

        devices = {name: profile.source for name, profile in PROFILES.items()}
        entries = {"engines": ENGINES, "devices": devices}.get(what) or catalogue(LISTS[what])
        table.add_column(what, no_wrap=True)
        table.add_column("", overflow="fold")
        for name, text in entries.items():
            table.add_row(name, text)
        if sys.stdout.isatty():
            table.caption = SYMBOLS.get(LISTS.get(what, ""))
    else:
        from edgefed.config import unknown

        raise SettingsError(unknown("list", what, [*LISTS, *OTHER_LISTS]))
    show(table, width=None if sys.stdout.isatty() else UNWRAPPED)
