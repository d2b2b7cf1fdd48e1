"""Flower's FedProx, FedAvgM, FedAdagrad, FedAdam, FedYogi and QFedAvg over the project's average of a stack.

Each is Flower's class with :class:`StackAverage` in the place of its FedAvg: the server's equations are Flower's, what
is averaged is summed in float64, and the cohort is addressed by one shared payload. QFedAvg, which averages by itself,
does so on the stack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord
from flwr.serverapp.strategy import FedAdagrad, FedAdam, FedAvgM, FedProx, FedYogi, QFedAvg
from flwr.serverapp.strategy.fedopt import FedOpt

from edgefed.federation.averaging import WHOLE_COHORT, StackAverage, refuse_names, summed
from edgefed.federation.clients import START_LOSS
from edgefed.federation.flat_record import to_flat, to_record
from edgefed.federation.messages import stacked_metrics, stacked_weights

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flwr.app import Message
    from flwr.serverapp import Grid
    from numpy.typing import NDArray

    from edgefed.config import FederationConfig
    from edgefed.learning.model import MLP

#: The server's learning rate where ``server-learning-rate`` is unset: Flower's own defaults.
SERVER_RATES = {"fedavgm": 1.0, "fedadagrad": 0.1, "fedadam": 0.1, "fedyogi": 0.01, "scaffold": 1.0}


def server_rate(config: FederationConfig) -> float:
    """Return the server's learning rate: the setting, or the strategy's own."""
    return config.server_learning_rate or SERVER_RATES[config.strategy]


class StackedFedProx(FedProx, StackAverage):
    """FedProx (Li et al. 2020): the average of clients that each minimise F_k(w) + mu/2 ||w - w_t||^2.

    The term is the clients' (:class:`~edgefed.learning.local_update.ClientUpdate`); the server sends mu along, as
    Flower's does.
    """

    def __init__(self, model: MLP, config: FederationConfig) -> None:
        super().__init__(proximal_mu=config.pull, **WHOLE_COHORT)
        self.model = model


class StackedFedAvgM(FedAvgM, StackAverage):
    """FedAvgM (Hsu et al. 2019): d = w_t - average, m <- beta m + d, w <- w_t - eta m."""

    def __init__(self, model: MLP, config: FederationConfig) -> None:
        super().__init__(
            server_learning_rate=server_rate(config), server_momentum=config.server_momentum, **WHOLE_COHORT
        )
        self.model = model

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send the weights, and step from them: Flower's goes on from its own, also where those were not taken."""
        self.current_arrays = arrays
        return super().configure_train(server_round, arrays, config, grid)

    def state(self) -> Mapping[str, NDArray[Any]]:
        """Return the momentum, an array a layer, once there is one."""
        names = self.model.shapes
        return {} if self.momentum_vector is None else dict(zip(names, map(np.copy, self.momentum_vector), strict=True))

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take back the momentum."""
        self.momentum_vector = list(_of_model(self.model, state).values()) or None


class _Adaptive(FedOpt, StackAverage):
    """What the three of Reddi et al. (2021) carry: the moments m_t and v_t.

    d = average - w_t, m <- beta_1 m + (1 - beta_1) d, w <- w_t + eta m / (sqrt(v) + tau).
    """

    def state(self) -> Mapping[str, NDArray[Any]]:
        """Return both moments, an array a layer, once there are any."""
        moments = {"m": self.m_t or {}, "v": self.v_t or {}}
        return {f"{kind}/{name}": value.copy() for kind, layers in moments.items() for name, value in layers.items()}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take back both moments."""
        refuse_names(state, [f"{kind}/{name}" for kind in "mv" for name in self.model.shapes])
        self.m_t, self.v_t = (
            _of_model(self.model, {name[2:]: value for name, value in state.items() if name[0] == kind}) or None
            for kind in "mv"
        )


class StackedFedAdagrad(FedAdagrad, _Adaptive):
    """FedAdagrad (Reddi et al. 2021): v <- v + d^2."""

    def __init__(self, model: MLP, config: FederationConfig) -> None:
        super().__init__(eta=server_rate(config), tau=config.server_tau, **WHOLE_COHORT)
        self.model = model


class StackedFedAdam(FedAdam, _Adaptive):
    """FedAdam (Reddi et al. 2021): v <- beta_2 v + (1 - beta_2) d^2; Flower corrects eta for the moments' start."""

    def __init__(self, model: MLP, config: FederationConfig) -> None:
        super().__init__(
            eta=server_rate(config),
            beta_1=config.server_beta_1,
            beta_2=config.server_beta_2,
            tau=config.server_tau,
            **WHOLE_COHORT,
        )
        self.model = model


class StackedFedYogi(FedYogi, _Adaptive):
    """FedYogi (Reddi et al. 2021): v <- v - (1 - beta_2) d^2 sign(v - d^2)."""

    def __init__(self, model: MLP, config: FederationConfig) -> None:
        super().__init__(
            eta=server_rate(config),
            beta_1=config.server_beta_1,
            beta_2=config.server_beta_2,
            tau=config.server_tau,
            **WHOLE_COHORT,
        )
        self.model = model


class StackedQFedAvg(QFedAvg, StackAverage):
    """q-FedAvg (Li et al. 2020): clients with a higher loss F_k(w_t) move the weights more, all with one vote.

    g_k = (w_t - w_k) / eta, delta_k = F_k^q g_k, h_k = q F_k^(q-1) ||g_k||^2 + F_k^q / eta,
    w <- w_t - sum_k delta_k / sum_k h_k.
    """

    def __init__(self, model: MLP, config: FederationConfig) -> None:
        super().__init__(
            client_learning_rate=config.learning_rate, q=config.qfedavg_q, train_loss_key=START_LOSS, **WHOLE_COHORT
        )
        self.model = model

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Return the new weights: Flower's equations on the stack, in float64."""
        metrics = stacked_metrics(replies)
        if not metrics or self.current_arrays is None:
            return None, None
        stack, start = stacked_weights(self.model, replies), to_flat(self.model, self.current_arrays)
        lipschitz = 1 / self.client_learning_rate
        loss = metrics[START_LOSS].astype(np.float64) + 1e-10  # as Flower does, for a loss of zero
        slopes = lipschitz * (start.astype(np.float64) - stack.astype(np.float64))
        norms = np.einsum("kp,kp->k", slopes, slopes)
        weight = loss**self.q
        bottom = (self.q * loss ** (self.q - 1) * norms + lipschitz * weight).sum()
        return to_record(self.model, (start - summed(weight, slopes) / bottom).astype(stack.dtype)), MetricRecord()


def _of_model(model: MLP, state: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return arrays under the model's names, in its order; empty where there are none at all.

    Raises
    ------
    ValueError
        When a name is missing or extra, or a shape is not the model's.
    """
    if not state:
        return {}
    if {name: array.shape for name, array in state.items()} != dict(model.shapes):
        raise ValueError("the server optimiser's arrays are not of this model")
    return {name: state[name].copy() for name in model.shapes}
