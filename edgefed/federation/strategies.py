"""Server strategies by name: an average of a stack, Flower's optimisers over it, SCAFFOLD, FedNova, robust rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgefed.federation.averaging import WHOLE_COHORT, StackedFedAvg
from edgefed.federation.clipping import AdaptiveClipping, FixedClipping
from edgefed.federation.fednova import FedNova
from edgefed.federation.robust import Bulyan, FedMedian, FedTrimmedAvg, Krum, MultiKrum
from edgefed.federation.scaffold import Scaffold
from edgefed.federation.server_optimizers import (
    StackedFedAdagrad,
    StackedFedAdam,
    StackedFedAvgM,
    StackedFedProx,
    StackedFedYogi,
    StackedQFedAvg,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from flwr.serverapp.strategy import Strategy

    from edgefed.config import FederationConfig
    from edgefed.learning.model import MLP

__all__ = ["PRIVATE", "STRATEGIES", "WHOLE_COHORT", "StackedFedAvg", "strategy_of"]

#: name -> what makes the strategy of a model and the settings.
STRATEGIES: dict[str, Callable[..., Strategy]] = {
    "fedavg": StackedFedAvg,
    "fedprox": StackedFedProx,
    "fedavgm": StackedFedAvgM,
    "fedadagrad": StackedFedAdagrad,
    "fedadam": StackedFedAdam,
    "fedyogi": StackedFedYogi,
    "qfedavg": StackedQFedAvg,
    "scaffold": Scaffold,
    "fednova": FedNova,
    "fedmedian": FedMedian,
    "fedtrimmedavg": FedTrimmedAvg,
    "krum": Krum,
    "multikrum": MultiKrum,
    "bulyan": Bulyan,
}

#: privacy -> what makes the strategy in place of the one that ``strategy`` names.
PRIVATE: dict[str, Callable[..., Strategy]] = {"dp-fixed": FixedClipping, "dp-adaptive": AdaptiveClipping}


def strategy_of(config: FederationConfig, model: MLP) -> Strategy:
    """Return the server strategy that the settings name.

    Raises
    ------
    SettingsError
        When a package that it needs is not installed.
    """
    return (PRIVATE.get(config.privacy) or STRATEGIES[config.strategy])(model, config)
