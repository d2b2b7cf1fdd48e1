"""FedAvg as an average of a stack: what the project's own strategies and Flower's server optimisers stand on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, MessageType, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg

from edgefed.federation.clients import ROWS, SAY
from edgefed.federation.flat_record import to_flat, to_record
from edgefed.federation.messages import ARRAYS, CONFIG, Broadcast, stacked_metrics, stacked_weights

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from flwr.app import Message
    from flwr.serverapp import Grid
    from numpy.typing import NDArray

    from edgefed.config import FederationConfig
    from edgefed.learning.model import MLP


def no_metrics(records: list[RecordDict], weighted_by_key: str) -> MetricRecord:
    """Average no metrics: the round loop keeps every client's own."""
    return MetricRecord()


WHOLE_COHORT: dict[str, Any] = {
    "fraction_train": 1.0,
    "fraction_evaluate": 1.0,
    "min_train_nodes": 1,
    "min_evaluate_nodes": 1,
    "min_available_nodes": 1,
    "train_metrics_aggr_fn": no_metrics,
    "evaluate_metrics_aggr_fn": no_metrics,
}
"""Arguments that make a Flower strategy address exactly the cohort that it is shown."""


class StackAverage(FedAvg):
    """What FedAvg's descendants find in its place: one shared payload a cohort, and an average of the stack.

    theta = sum_k p_k theta_k / sum_k p_k, as one product summed in float64. A client's say p_k is its row count n_k,
    or the reply's own ``aggregation-weight`` where a remedy has put one.

    Flower's own FedAvg accumulates in float32: after two rounds of 10,000 clients it is off by 3e-4.

    References
    ----------
    McMahan, Moore, Ramage, Hampson, Agüera y Arcas (2017), "Communication-efficient learning of deep networks from
    decentralized data", AISTATS.
    """

    model: MLP

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Address the whole cohort that the grid shows with one shared payload."""
        return self._to_cohort(server_round, arrays, config, grid, MessageType.TRAIN)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Address the whole cohort that the grid shows with one shared payload."""
        return self._to_cohort(server_round, arrays, config, grid, MessageType.EVALUATE)

    def _to_cohort(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid, message_type: str
    ) -> Broadcast:
        config["server-round"] = server_round
        content = RecordDict({ARRAYS: arrays, CONFIG: config})
        return Broadcast(content, np.asarray(grid.get_node_ids(), np.uint64), message_type)

    def aggregate_train(
        self,
        server_round: int,
        replies: Iterable[Message],
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Return the average weighted by each reply's say; nothing where no reply has any."""
        shares = shares_of(replies)
        if shares is None:
            return None, None
        stack = stacked_weights(self.model, replies)
        return to_record(self.model, summed(shares, stack).astype(stack.dtype)), MetricRecord()

    def state(self) -> Mapping[str, NDArray[Any]]:
        """Return what the server carries from a round to the next beside the weights; nothing in FedAvg."""
        return {}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take back what :meth:`state` returned.

        Raises
        ------
        ValueError
            When a name or shape is not its own.
        """
        refuse_names(state, ())


class StackedFedAvg(StackAverage):
    """Federated averaging (McMahan et al. 2017) on a stack: see :class:`StackAverage`."""

    def __init__(self, model: MLP, config: FederationConfig | None = None) -> None:
        super().__init__(**WHOLE_COHORT)
        self.model = model


class StackedUpdates(StackedFedAvg):
    """A :class:`StackedFedAvg` for descendants that form updates: it keeps the weights that a round began with."""

    def __init__(self, model: MLP, config: FederationConfig) -> None:
        super().__init__(model)
        self.config = config
        self._start: NDArray[np.floating] = np.zeros(model.size, config.dtype)

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Broadcast:
        """Address the cohort, and keep the weights that it is sent."""
        self._start = to_flat(self.model, arrays)
        return self._to_cohort(server_round, arrays, config, grid, MessageType.TRAIN)


def shares_of(replies: Iterable[Message]) -> NDArray[np.float64] | None:
    """Return each reply's share in the average [replies], summing to 1; None where no reply has any say."""
    metrics = stacked_metrics(replies)
    say = np.asarray(metrics.get(SAY, metrics.get(ROWS, np.zeros(0))), np.float64)
    total = say.sum()
    return say / total if total else None


def summed(shares: NDArray[np.float64], stack: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return sum_k shares_k stack_k [size] in float64.

    Not a BLAS product: its order of summation depends on the number of cores.
    """
    return np.asarray(np.einsum("k,kp->p", shares, stack.astype(np.float64)))


def refuse_names(state: Mapping[str, NDArray[Any]], known: Iterable[str]) -> None:
    """Refuse arrays of a kept state that a strategy does not carry.

    Raises
    ------
    ValueError
    """
    if unknown := sorted(set(state) - set(known)):
        raise ValueError(f"{unknown[0]} is nothing that this strategy carries")
