"""What the settings name of local training: model, update, device, precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from edgefed.config import SettingsError
from edgefed.imbalance import REMEDIES
from edgefed.learning.local_update import ClientUpdate
from edgefed.learning.model import MLP

if TYPE_CHECKING:
    from edgefed.config import FederationConfig

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def model_of(config: FederationConfig, num_features: int, num_classes: int) -> MLP:
    """Return the model that the settings name."""
    return MLP(num_features, config.hidden_layers, num_classes, config.activation)


def update_of(config: FederationConfig, model: MLP) -> ClientUpdate:
    """Return the local update that the settings name."""
    return ClientUpdate(
        model,
        config.loss,
        config.optimizer,
        momentum=config.momentum > 0,
        decay=config.weight_decay > 0,
        pull=config.pull > 0,
        focal=REMEDIES[config.imbalance].focuses,
        corrects=config.strategy == "scaffold",
    )


def device_of(config: FederationConfig) -> torch.device:
    """Return the torch device that the settings name.

    Raises
    ------
    SettingsError
        For ``cuda`` where there is none.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise SettingsError("device=cuda: torch finds no CUDA device here; device=auto takes one where there is one")
    use_cuda = config.device != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if use_cuda else "cpu")
