"""What several commands take: the settings' source, the result's folder and format."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgefed.config import SettingsError, read_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgefed.config import FederationConfig


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


def checked_settings(config: FederationConfig, given: Mapping[str, Any]) -> FederationConfig:
    """Return settings whose number of clients, where it was given, is the one that ``partition=natural`` finds.

    Raises
    ------
    SettingsError
        Where it is another, be it the default.
    """
    if config.partition == "natural" and given.get("num-clients", "") != "":
        from edgefed.data.datasets import load
        from edgefed.data.shards import check_clients

        check_clients(config, load(config))
    return config
