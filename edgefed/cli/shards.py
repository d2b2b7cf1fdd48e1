"""``edgefed shards``: a simulation's rows as files, to be carried to devices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgefed.cli.options import Client, Label, Settings, Source, rows_of, settings_of
from edgefed.terminal import note


def shards(
    out: Annotated[Path, typer.Option(help="The folder of the files, made new.")],
    source: Source = None,
    settings: Settings = None,
    label: Label = "",
    client: Client = "",
) -> None:
    """Write each simulated client's rows as a CSV file, the server's test and validation rows, and settings.toml."""
    from edgefed.config import FederationConfig
    from edgefed.data.device_file import write_shards
    from edgefed.data.shards import federate
    from edgefed.runs import new_folder

    given = settings_of(source, settings, label, client)
    config = FederationConfig.from_mapping(given)
    config, data = federate(config, rows_of(config, given))
    files = write_shards(config, data, new_folder(out, "", instead="give another folder"))
    for path in (*files.clients, files.test, files.validation, files.settings):
        if path is not None:
            typer.echo(str(path))
    if len(data.split.dropped):
        note(
            "note: accuracy, macro F1, log loss and brier of a simulation with a long tail stand at the data's own "
            "class mix; on devices they stand at that of test.csv"
        )
    for path, name in zip(files.clients, data.dataset.client_names or (), strict=False):
        note(f"{path.name}: the rows of {name}")
    note(f"a device takes its file: edgefed launch-device FOLDER --data {files.clients[0].name}")
    note(f"the server takes the settings: edgefed launch FOLDER {files.settings}")
