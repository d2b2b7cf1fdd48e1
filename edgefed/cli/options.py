"""What several commands take: the settings' source, the result's folder and format."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgefed.config import SettingsError, read_settings
from edgefed.errors import is_gone
from edgefed.terminal import note

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgefed.config import FederationConfig
    from edgefed.data.datasets import Dataset


class Format(StrEnum):
    """How a result is printed."""

    text = "text"
    json = "json"


Source = Annotated[
    str | None,
    typer.Argument(metavar="[CONFIG.toml or DATA.csv]", help="Settings, or your own data.", show_default=False),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("-s", "--set", metavar="KEY=VALUE", help="A setting; repeatable. `edgefed list settings`."),
]
Label = Annotated[str, typer.Option(help="The CSV's label column (default: its last).", show_default=False)]
Client = Annotated[
    str, typer.Option(help="The CSV column that names each row's client: partition=natural.", show_default=False)
]
EngineName = Annotated[str, typer.Option("--engine", help="batched, ray or sequential.")]
Out = Annotated[Path | None, typer.Option(help="The result's folder, made new (default: runs/NAME).")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what is in --out.")]
OutputFormat = Annotated[Format, typer.Option("--format", help="json prints exactly one object to stdout.")]


def settings_of(source: str | None, overrides: Sequence[str] | None, label: str, client: str) -> dict[str, Any]:
    """Return the settings that a command was given: a TOML or CSV file, then options, then ``-s``."""
    given: dict[str, Any] = {}
    path = None
    if source is not None:
        suffix = Path(source).suffix.lower()
        if suffix == ".csv":
            if is_gone(Path(source)):
                raise SettingsError(f"{source}: no such file")
            given |= {"dataset": "csv", "data-path": source}
        elif suffix == ".toml":
            path = Path(source)
        else:
            raise SettingsError(f"{source}: expected settings (.toml) or data (.csv)")
    given |= read_settings(path)
    if label:
        given["label-column"] = label
    if client:
        given |= {"client-column": client, "partition": "natural"}
    return given | read_settings(None, overrides or ())


def rows_of(config: FederationConfig, given: Mapping[str, Any]) -> Dataset:
    """Return the rows that settings name, read once for all that a command does with them.

    Names among them that a person would take for one are noted.

    Raises
    ------
    SettingsError
        For rows that cannot be used, and where the number of clients was given, be it the default, and is another than
        ``partition=natural`` finds.
    """
    from edgefed.data.datasets import load
    from edgefed.data.shards import check_clients
    from edgefed.notes import look_alikes, names_in

    dataset = load(config)
    if given.get("num-clients", "") != "":
        check_clients(config, dataset)
    for line in look_alikes(names_in(dataset, config.partition == "natural")):
        note(f"note: {line}")
    return dataset
