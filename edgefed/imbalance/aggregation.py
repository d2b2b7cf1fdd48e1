"""Aggregation: how much say a client has in the average."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgefed.imbalance.remedy import Remedy

if TYPE_CHECKING:
    from edgefed.imbalance.remedy import Floats, Ints


class Uniform(Remedy):
    """Every client has the same say, p_k = 1 / K, whatever its rows: FedAvg has p_k ~ n_k."""

    family: ClassVar[str] = "aggregation"
    reweighs: ClassVar[bool] = True
    acts_on_level_classes: ClassVar[bool] = True

    def say(self, local: Ints, total: Floats | None) -> Floats:
        """Return ones, zero for a client without rows."""
        return np.asarray(local.sum(1) > 0, np.float64)

    def say_range(self, num_classes: int) -> tuple[float, float]:
        """Return one and one."""
        return 1.0, 1.0


class ClassBalanced(Remedy):
    """A client's say is its share of each class, summed: p_k ~ sum_c n_kc / n_c."""

    family: ClassVar[str] = "aggregation"
    needs_global_counts: ClassVar[bool] = True
    reweighs: ClassVar[bool] = True

    def say(self, local: Ints, total: Floats | None) -> Floats:
        """Return sum over classes of n_kc / n_c; a class that nobody holds adds nothing.

        A device that came after the classes were counted may hold more of one than all that were there: all of it.
        """
        assert total is not None
        share = np.divide(local, total, out=np.zeros(local.shape), where=total > 0)
        return np.asarray(np.minimum(share, 1).sum(1))

    def say_range(self, num_classes: int) -> tuple[float, float]:
        """Return nothing and the whole of every class."""
        return 0.0, float(num_classes)


class Climb(Uniform):
    """Clients that the global model serves worse get more say, by their loss (Shen et al. 2022; climb-rate).

    min over theta of the mean loss subject to loss_k <= mean loss + epsilon for every client k. The server keeps a
    dual variable a client:

        p_k ~ max(0, 1 + l_k - mean(l)),   l_k <- clip(l_k + eta (loss_k - mean loss - epsilon) / K, 0, 100)

    with loss_k the loss of the global weights on client k's rows: one scalar a client, no histogram; K and the means
    are over clients with rows. A say below zero, which the paper's rates do not reach, is cut to zero. Uniform at
    ``climb-rate=0``.

    References
    ----------
    Shen, Cervino, Hassani, Ribeiro (2022), "An agnostic approach to federated learning with class imbalance", ICLR.
    """

    needs_loss: ClassVar[bool] = True

    def dual_step(self, dual: Floats, asked: Ints, losses: Floats, clients: int) -> Floats:
        """Move the dual variables of the clients that answered; a loss that is not finite moves nothing."""
        moved = dual.copy()
        known = np.isfinite(losses)
        if known.any():
            excess = losses[known] - losses[known].mean() - self.config.climb_tolerance
            moved[asked[known]] += self.config.climb_rate * excess / clients
        return np.clip(moved, 0, 100)
