"""The ServerApp: the same round loop over whatever grid Flower hands it.

Its clients are simulated (each finds its partition by itself) or devices (each has a file of its own, which its node
config names): they say which when they introduce themselves.
"""

from __future__ import annotations

import logging
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.serverapp import ServerApp

from edgefed.categories import columns_by_feature, feature_names, parsed_categories
from edgefed.config import FederationConfig
from edgefed.data.datasets import Dataset
from edgefed.data.device_file import server_test_rows
from edgefed.data.partition import Partition
from edgefed.data.shards import FederatedData, Shards, federate
from edgefed.data.split import Split
from edgefed.errors import FederationError
from edgefed.federation.checkpoint import RunLog
from edgefed.federation.clients import Clients
from edgefed.federation.clipping import ClippedAverage
from edgefed.federation.components import model_of
from edgefed.federation.evaluation import HeldOut
from edgefed.federation.exchange import through_grids
from edgefed.federation.explanation import collect, keep
from edgefed.federation.federation import Federation
from edgefed.federation.fleet import Fleet
from edgefed.federation.places import Places
from edgefed.federation.query import query
from edgefed.federation.record import environment, finished_run, opening_manifest
from edgefed.federation.rounds import run_rounds
from edgefed.federation.strategies import strategy_of
from edgefed.lock import only_writer
from edgefed.runs import RunWriter, clear_start, is_begun, new_folder, read_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flwr.app import Context
    from flwr.serverapp import Grid

    from edgefed.federation.federation import Exchange

HANDED_OVER_WITHIN = 60.0
"""Seconds that a run waits for another one to let go of its folder."""
app = ServerApp()
log = logging.getLogger("flwr")


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run one federation by the run config; ``run-folder`` says where it is kept."""
    config = settings_of(context.run_config)
    exchange = through_grids(config.round_timeout)
    fleet = Fleet(grid, exchange, config, Places.of_server())
    fleet.gather()
    config, data, told = _of_devices(config, fleet) if fleet.of_devices else (*federate(config), {})
    model = model_of(config, data.dataset.features.shape[1], data.dataset.num_classes)
    strategy = strategy_of(config, model)
    if told and isinstance(strategy, ClippedAverage):
        strategy.hide_noise()
    federation = Federation(
        config=config,
        grid=grid,
        strategy=strategy,
        model=model,
        validation=HeldOut.of(data, "validation"),
        test=HeldOut.of(data, "test"),
        label_counts=None if told else data.class_counts,
        applied=None if told else Clients(config, data.shards).applied,
        before_round=fleet.before_round if told else None,
        told=told,
        categorical=columns_by_feature(data.dataset.feature_names, parsed_categories(config.categories)),
    )
    query([federation], exchange, [fleet.asked(fleet.members)])
    opening = opening_manifest(config, data, "flower", environment())
    if told:
        opening |= _devices(federation, fleet, opening)
    folder = Path(config.run_folder) if config.run_folder else None
    # An interrupted run's process may be at it for some seconds more.
    with only_writer(folder, HANDED_OVER_WITHIN):
        _rounds(federation, exchange, fleet, opening, folder)


def _rounds(
    federation: Federation, exchange: Exchange, fleet: Fleet, opening: dict[str, Any], folder: Path | None
) -> None:
    """Go through the rounds that are left, and keep what they came to."""
    config = federation.config
    writer = _begun(federation, folder, opening)

    def after_round(federation: Federation) -> None:
        if writer is not None:
            writer.write()
        scores = federation.history[-1].get("validation") or federation.history[-1].get("test") or {}
        log.info(
            "round %d of %d: balanced accuracy %s",
            federation.round,
            config.num_server_rounds,
            scores.get("balanced_accuracy", "not evaluated"),
        )

    federation.on_round = after_round
    begun = time.perf_counter()
    with writer or nullcontext():
        run_rounds([federation], exchange)
    seconds = time.perf_counter() - begun + (writer.earlier_seconds if writer is not None else 0.0)
    if fleet.of_devices:
        opening.pop("left-out", None)
        opening |= _devices(federation, fleet, opening)  # those that came late as well
    if writer is not None and config.explain == "yes":  # before the run counts as finished: nothing would ask again
        keep(writer.writer.folder, collect(federation, exchange))
    done = finished_run(federation, opening, folder.name if folder else "flower", seconds, folder)
    if writer is not None:
        writer.writer.end(done.weights, done.manifest)
    log.info("finished: %s", done.summary)


def settings_of(run_config: Mapping[str, Any]) -> FederationConfig:
    """Return a run's settings; a ``test-path`` says that it is one of devices."""
    devices = {"dataset": "devices"} if run_config.get("test-path") else {}
    return FederationConfig.from_mapping({**run_config, **devices})


def _begun(federation: Federation, folder: Path | None, opening: dict[str, Any]) -> RunLog | None:
    """Return the log of a run that has a folder: made new, or one that was stopped and goes on."""
    if folder is None:
        return None
    # The manifest is written last: a model without a summary is a run that was killed between the two.
    if is_begun(folder) and not ((folder / "model.npz").exists() and "summary" in read_json(folder / "manifest.json")):
        _check_same_settings(folder, federation.config)
        writer = RunLog(federation, RunWriter(folder))
        writer.restore()
        return writer
    clear_start(folder, federation.config)
    writer = RunLog(federation, RunWriter(new_folder(folder, "")))
    writer.writer.begin(federation.config, opening)
    return writer


def _check_same_settings(folder: Path, config: FederationConfig) -> None:
    kept = (folder / "config.toml").read_text(encoding="utf-8")
    if kept != config.to_toml():
        key = next(
            (new for old, new in zip(kept.splitlines(), config.to_toml().splitlines(), strict=False) if old != new),
            "other settings",
        )
        raise FederationError(f"run-folder={folder} began with other settings ({key}): give another folder")


# ------------------------------------------------------------------------------------------------ devices
def _of_devices(config: FederationConfig, fleet: Fleet) -> tuple[FederationConfig, FederatedData, dict[str, str]]:
    """Return the settings as they turn out on devices, what the server holds, and what every device is told.

    The server holds the rows of ``test-path``, or none: then the devices' held-out rows stand in for them.
    """
    config = config.replace(dataset="devices", data_path="")
    table = server_test_rows(config)
    told = fleet.agree(table.class_names if table is not None else ())
    config = FederationConfig.from_mapping({**config.to_mapping(), **told})
    features = feature_names(told["feature-columns"].split(","), parsed_categories(config.categories))
    classes = tuple(told["classes"].split(","))
    table = server_test_rows(config)  # in the devices' order of columns and classes
    x = np.empty((0, len(features)), np.float32) if table is None else table.features
    y = _none() if table is None else table.labels
    nowhere = Partition(np.zeros(1, np.int64), _none())
    split = Split(pool=_none(), validation=_none(), test=np.arange(len(y)), dropped=_none())
    shards = Shards(x, y, nowhere, nowhere, _none(), len(classes))
    return config, FederatedData(Dataset(x, y, features, classes), split, shards), told


def _none() -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.empty(0, np.int64)


def _devices(federation: Federation, fleet: Fleet, opening: dict[str, Any]) -> dict[str, Any]:
    """Return what the manifest says of devices: who they are and how many rows each holds."""
    return {
        "rows": opening["rows"] | {"train": int(federation.rows.sum()), "held_out": int(federation.held_out.sum())},
        "devices": [
            {
                "partition-id": member.partition_id,
                "name": member.name,
                "rows": int(federation.rows[member.partition_id]),
                "held-out": int(federation.held_out[member.partition_id]),
            }
            for _, member in sorted(fleet.members.items())
        ],
    } | ({"left-out": absent} if (absent := fleet.absent()) else {})
