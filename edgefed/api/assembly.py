"""From settings to a federation whose clients live in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgefed.categories import columns_by_feature, parsed_categories
from edgefed.config import SettingsError
from edgefed.data.datasets import fingerprint
from edgefed.data.shards import federate
from edgefed.engines.grid import InProcessGrid
from edgefed.federation.clients import Clients
from edgefed.federation.components import device_of, model_of
from edgefed.federation.evaluation import HeldOut
from edgefed.federation.federation import Federation
from edgefed.federation.participation import check_edge
from edgefed.federation.strategies import strategy_of

if TYPE_CHECKING:
    from edgefed.config import FederationConfig
    from edgefed.data.shards import FederatedData
    from edgefed.engines.grid import Engine
    from edgefed.runs import Run


def in_process(config: FederationConfig, data: FederatedData, engine: Engine) -> Federation:
    """Return a federation whose clients live in this process and are answered by ``engine``."""
    device_of(config)  # refused here, before anything is trained or written
    check_edge(config)
    clients = Clients(config, data.shards)
    model = model_of(config, data.dataset.features.shape[1], data.dataset.num_classes)
    return Federation(
        config=config,
        grid=InProcessGrid(clients, engine),
        strategy=strategy_of(config, model),
        model=model,
        validation=HeldOut.of(data, "validation"),
        test=HeldOut.of(data, "test"),
        label_counts=data.class_counts,
        applied=clients.applied,
        carried={"clients": clients.state},
        categorical=columns_by_feature(data.dataset.feature_names, parsed_categories(config.categories)),
    )


def data_of(run: Run, otherwise: str) -> tuple[FederationConfig, FederatedData]:
    """Return a run's settings as they turned out, and the rows it was trained on, made again from them.

    Raises
    ------
    SettingsError
        One line, where the settings lead to other rows; ``otherwise`` is what would do.
    """
    config, data = federate(run.config)
    if fingerprint(data.dataset) != run.manifest.get("data_sha256"):
        raise SettingsError(
            f"{run.folder or 'the run'}: the rows that its settings lead to are not those it was trained on; "
            f"{otherwise}"
        )
    return config, data
