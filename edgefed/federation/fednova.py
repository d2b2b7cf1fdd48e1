"""FedNova: an average that is not drawn to the clients that took more steps.

Wang, Liu, Liang, Joshi, Poor (2020), "Tackling the Objective Inconsistency Problem in Heterogeneous Federated
Optimization", NeurIPS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from flwr.app import ArrayRecord, MetricRecord

from edgefed.federation.averaging import StackedUpdates, shares_of, summed
from edgefed.federation.flat_record import to_record
from edgefed.federation.messages import STEPS, stacked_metrics, stacked_weights
from edgefed.learning.local_update import gradient_weight

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flwr.app import Message


class FedNova(StackedUpdates):
    """Normalised averaging: clients' mean directions are averaged, and walked as far as they went on average.

        d_k = (x - y_k) / ||a_k||_1,    tau = sum_k p_k ||a_k||_1,    x <- x - tau sum_k p_k d_k

    where a_k are the weights of the client's gradients in x - y_k, over eta: ||a_k||_1 is the number of steps for
    plain SGD, more with momentum, less with FedProx's pull. Where all take as many steps it is FedAvg.

    References
    ----------
    Wang, Liu, Liang, Joshi, Poor (2020), NeurIPS.
    """

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Return the new weights; nothing where no reply has any say."""
        shares = shares_of(replies)
        if shares is None:
            return None, None
        start = self._start.astype(np.float64)
        stack = stacked_weights(self.model, replies)
        lengths = gradient_weight(stacked_metrics(replies)[STEPS], self.config)
        direction = summed(shares / lengths, start - stack.astype(np.float64))
        # Not a BLAS product: see summed.
        effective = float((shares * lengths).sum())
        return to_record(self.model, (start - effective * direction).astype(stack.dtype)), MetricRecord()
