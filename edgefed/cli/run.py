"""``edgefed run``: one federation."""

from __future__ import annotations

from pathlib import Path

from edgefed.cli.options import (
    Client,
    EngineName,
    Format,
    Label,
    Out,
    OutputFormat,
    Resume,
    Settings,
    Source,
    rows_of,
    settings_of,
)
from edgefed.config import SettingsError, read_settings
from edgefed.effects import without_effect
from edgefed.terminal import note, print_json, show_run


def run(
    source: Source = None,
    settings: Settings = None,
    label: Label = "",
    client: Client = "",
    engine: EngineName = "batched",
    out: Out = None,
    resume: Resume = False,
    output: OutputFormat = Format.text,
) -> None:
    """Train one federation on simulated clients."""
    from edgefed import api
    from edgefed.config import FederationConfig
    from edgefed.notes import notes_of_run

    given = settings_of(source, settings, label, client)
    if resume and out is not None and source is None and (out / "config.toml").is_file():
        given = read_settings(out / "config.toml") | given  # the folder says what it was
    config = FederationConfig.from_mapping(given)
    name = f"{Path(config.data_name).stem or config.dataset}-{config.imbalance}-seed-{config.seed}"
    if config.run_folder:
        if out is not None and out != Path(config.run_folder):
            raise SettingsError(f"--out {out} contradicts run-folder={config.run_folder}: give one of them")
        out = Path(config.run_folder)
    dataset = rows_of(config, given)
    done = api.run(config, engine=engine, out=out, name=name, resume=resume, progress=True, dataset=dataset)
    if output is Format.json:
        print_json(done.summary)
    else:
        show_run(done)
    for line in [*notes_of_run(done), *map(" ".join, without_effect(done.config))]:
        note(f"note: {line}")
