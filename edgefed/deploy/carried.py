"""A simulation's settings as devices take them: the file of a comparison's best remedy is launched as it is."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from edgefed.config import FederationConfig, key_of
from edgefed.data.datasets import load
from edgefed.data.device_file import carried
from edgefed.errors import SettingsError, shown
from edgefed.schema import listed

if TYPE_CHECKING:
    from collections.abc import Container, Mapping
    from pathlib import Path

SHARING_OUT = (
    "client_column",
    "partition",
    "alpha",
    "classes_per_client",
    "shards_per_client",
    "min_rows",
    "partition_seed",
    "long_tail",
    "long_tail_order",
    "test_fraction",
    "validation_fraction",
    "synthetic",
)
"""Settings of who holds which rows: each device holds its own file's."""
NOT_OF_A_SIMULATION = ("dataset", "test-path")


def of_simulation(given: Mapping[str, Any]) -> bool:
    """Return whether a file's settings name rows of their own; one that names no dataset is meant for devices."""
    return bool(given.get("dataset", "devices") != "devices")


def settings_carried(
    source: Path, given: Mapping[str, Any], overrides: Mapping[str, Any]
) -> tuple[dict[str, Any], str]:
    """Return a simulation's settings as devices take them, and in a line what that changed.

    Devices learn from the columns that the simulation learnt from, wherever they stand in their files, with its label
    column, classes and categories. How rows were shared out says nothing there; ``num-clients`` is the deployment's.

    Parameters
    ----------
    source : Path
        The settings' file.
    given, overrides : mapping of str to scalar
        What it holds, and what was said beside it.

    Raises
    ------
    SettingsError
        One line: settings or data that cannot be used, or a name that a comma-separated setting cannot hold.
    """
    merged = {key: value for key, value in {**given, **overrides}.items() if key not in NOT_OF_A_SIMULATION}
    config = FederationConfig.from_mapping({**merged, "dataset": given["dataset"]})
    try:
        dataset = load(config)
    except SettingsError as error:
        raise SettingsError(f"{source} names the rows whose columns devices learn from: {error}") from None
    found = carried(config, dataset).replace(
        feature_columns=",".join(dataset.columns), client_test_fraction=config.client_test_fraction, test_path=""
    )
    settings = found.to_mapping() | {key: overrides[key] for key in ("test-path",) if key in overrides}
    if "num-clients" not in overrides:
        del settings["num-clients"]
    return settings, _said(source, config, found, ("num_clients",) if "num-clients" in settings else ())


def _said(source: Path, config: FederationConfig, found: FederationConfig, kept: Container[str]) -> str:
    usual = {spec.name: spec.default for spec in fields(config)} | {"num_clients": None}
    values = {name: getattr(config, name) for name in ("num_clients", *SHARING_OUT) if name not in kept}
    idle = [
        f"{key_of(name)}={value:g}" if isinstance(value, float) else f"{key_of(name)}={shown(value)}"
        for name, value in values.items()
        if value != usual[name]
    ]
    columns = len(listed(found.feature_columns))
    return (
        f"{source} is of a simulation on {config.data_name}: each device trains on its own file, with the same "
        f"{columns} column{'' if columns == 1 else 's'}, label column '{shown(found.label_column)}' and classes "
        f"{shown(found.classes)}{'; without effect there: ' if idle else ''}{', '.join(idle)}"
    )
