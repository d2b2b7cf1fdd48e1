"""SCAFFOLD: control variates that take the drift of a client's own data out of its steps.

Karimireddy, Kale, Mohri, Reddi, Stich, Suresh (2020), "SCAFFOLD: Stochastic Controlled Averaging for Federated
Learning", ICML, option II.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, MetricRecord

from edgefed.federation.averaging import StackedUpdates, refuse_names, shares_of, summed
from edgefed.federation.clients import CONTROL
from edgefed.federation.federation import CohortView
from edgefed.federation.flat_record import to_record
from edgefed.federation.messages import STEPS, Broadcast, stacked_metrics, stacked_weights
from edgefed.federation.server_optimizers import server_rate
from edgefed.learning.local_update import gradient_weight

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flwr.app import Message
    from flwr.serverapp import Grid
    from numpy.typing import NDArray

    from edgefed.config import FederationConfig
    from edgefed.learning.model import MLP


class Scaffold(StackedUpdates):
    """Stochastic controlled averaging.

    A client takes K steps y <- y - eta (g(y) - c_k + c) from y = x, then its control variate becomes
    c_k + Delta_k with Delta_k = -c + (x - y_k) / (eta K). The server does, over the cohort S of N clients with rows,

        x <- x + eta_g sum_S p_k (y_k - x),    c <- c + |S| / N sum_S p_k Delta_k

    where p_k are the shares of FedAvg's average (1 / |S| in the paper, which weighs clients alike). Delta_k follows
    from what a reply carries anyhow, the weights y_k and the number of steps, so the server forms it by itself: an
    update costs the upload of FedAvg's, half of the paper's. With momentum or a pull, K is the sum of the weights that
    the gradients have in y_k (FedNova's ||a||_1).

    References
    ----------
    Karimireddy, Kale, Mohri, Reddi, Stich, Suresh (2020), ICML.
    """

    def __init__(self, model: MLP, config: FederationConfig) -> None:
        super().__init__(model, config)
        self.control: NDArray[np.floating] = np.zeros(model.size, config.dtype)
        self._clients = config.num_clients

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Broadcast:
        """Send the weights and the server's control variate."""
        self._clients = grid.holders if isinstance(grid, CohortView) else self.config.num_clients
        messages = super().configure_train(server_round, arrays, config, grid)
        messages.content[CONTROL] = to_record(self.model, self.control)
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Return the new weights, and move the control variate."""
        shares = shares_of(replies)
        if shares is None:
            return None, None
        stack = stacked_weights(self.model, replies).astype(np.float64)
        start, dtype = self._start.astype(np.float64), self._start.dtype
        steps = gradient_weight(stacked_metrics(replies)[STEPS], self.config)
        moved = summed(shares, stack - start)
        delta = summed(shares / (self.config.learning_rate * steps), start - stack) - self.control
        self.control = (self.control + len(shares) / self._clients * delta).astype(dtype)
        return to_record(self.model, (start + server_rate(self.config) * moved).astype(dtype)), MetricRecord()

    def state(self) -> Mapping[str, NDArray[Any]]:
        """Return the server's control variate [size]."""
        return {CONTROL: self.control}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take back the control variate."""
        refuse_names(state, (CONTROL,))
        if CONTROL not in state or state[CONTROL].shape != self.control.shape:
            raise ValueError(f"SCAFFOLD's control variate is not one of {self.control.size} numbers")
        self.control = state[CONTROL].astype(self.control.dtype)
