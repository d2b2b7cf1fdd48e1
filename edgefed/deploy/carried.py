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
    from collections.abc import Mapping
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
SIMULATED_EDGE = (
    "devices",
    "device_profiles",
    "device_spread",
    "availability",
    "round_deadline",
    "drop_out",
    "stragglers",
    "selection",
)
"""Settings of devices that are modelled: by them a round would leave out devices that are there."""
NOT_OF_A_SIMULATION = ("dataset", "test-path", "min-replies")


def of_simulation(given: Mapping[str, Any]) -> bool:
    """Return whether a file's settings name rows of their own; one that names no dataset is meant for devices."""
    return bool(given.get("dataset", "devices") != "devices")


def settings_carried(
    source: Path, given: Mapping[str, Any], overrides: Mapping[str, Any], clients: int | None = None
) -> tuple[dict[str, Any], str]:
    """Return a simulation's settings as devices take them, and in a line what that changed.

    Devices learn from the columns that the simulation learnt from, wherever they stand in their files, with its label
    column, classes and categories. How rows were shared out says nothing there; ``num-clients`` is the deployment's.
    Devices that were modelled are not carried over: real ones are late, and drop out, by themselves.

    Parameters
    ----------
    source : Path
        The settings' file.
    given, overrides : mapping of str to scalar
        What it holds, and what was said beside it, which holds on devices as it stands: ``label-column`` is theirs.
    clients : int, optional
        How many the deployment has; a ``min-replies`` that they cannot give is left out. Neutral: as many as it takes.

    Raises
    ------
    SettingsError
        One line: settings or data that cannot be used, or a name that a comma-separated setting cannot hold.
    """
    beside = {key: value for key, value in overrides.items() if key != "label-column"}
    merged = {key: value for key, value in {**given, **beside}.items() if key not in NOT_OF_A_SIMULATION}
    config = FederationConfig.from_mapping({**merged, "dataset": given["dataset"]})
    try:
        dataset = load(config)
    except SettingsError as error:
        raise SettingsError(f"{source} names the rows whose columns devices learn from: {error}") from None
    usual: dict[str, Any] = {spec.name: spec.default for spec in fields(config)}
    modelled = {name: getattr(config, name) for name in SIMULATED_EDGE if key_of(name) not in overrides}
    if modelled.get("selection") == "power-of-choice":  # by clients' losses, whatever they run on
        del modelled["selection"]
    found = carried(config, dataset)
    found = found.replace(
        feature_columns=",".join(dataset.columns),
        client_test_fraction=config.client_test_fraction,
        test_path="",
        label_column=overrides.get("label-column", found.label_column),
        **{name: usual[name] for name in modelled},
    )
    settings = found.to_mapping() | {key: overrides[key] for key in ("test-path",) if key in overrides}
    idle = {name: getattr(config, name) for name in ("num_clients", *SHARING_OUT)} | modelled
    if "num-clients" in overrides:
        clients = config.num_clients
        del idle["num_clients"]
    else:
        del settings["num-clients"], usual["num_clients"]
    replies = overrides.get("min-replies", given.get("min-replies", 0))
    if "min-replies" not in overrides and clients and isinstance(replies, int):
        most = found.replace(num_clients=clients).cohort_size
        if replies > most:
            idle["min_replies"], replies = replies, 0
    settings["min-replies"] = replies
    return settings, _said(
        source, config, found, {name: value for name, value in idle.items() if value != usual.get(name)}
    )


def _said(source: Path, config: FederationConfig, found: FederationConfig, without: Mapping[str, Any]) -> str:
    idle = [
        f"{key_of(name)}={value:g}" if isinstance(value, float) else f"{key_of(name)}={shown(value)}"
        for name, value in without.items()
    ]
    columns = len(listed(found.feature_columns))
    return (
        f"{source} is of a simulation on {config.data_name}: each device trains on its own file, with the same "
        f"{columns} column{'' if columns == 1 else 's'}, label column '{shown(found.label_column)}' and classes "
        f"{shown(found.classes)}{'; without effect there: ' if idle else ''}{', '.join(idle)}"
    )
