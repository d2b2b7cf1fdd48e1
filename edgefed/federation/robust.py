"""Server strategies that some malicious clients cannot steer, on a stack of replies in float64.

They stand against f = floor(malicious-share x replies) clients that send whatever they like; each lowers f to what its
own proof allows for so many replies. All look at weights alone: a client cannot gain by what it says of its rows,
but in ``multikrum``, which weighs those that it selects by their rows, as Flower's does.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord
from scipy.spatial.distance import cdist
from scipy.stats import trim_mean

from edgefed.federation.averaging import WHOLE_COHORT, StackAverage, shares_of, summed
from edgefed.federation.flat_record import to_record
from edgefed.federation.messages import stacked_weights

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from edgefed.config import FederationConfig
    from edgefed.learning.model import MLP

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


class Robust(StackAverage):
    """A rule that makes one model of a stack of replies; subclasses say which.

    Parameters
    ----------
    model : MLP
    config : FederationConfig
        ``malicious-share``.
    """

    def __init__(self, model: MLP, config: FederationConfig) -> None:
        super().__init__(**WHOLE_COHORT)
        self.model = model
        self.share = config.malicious_share

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Return what the rule makes of the replies; nothing where no reply has any say."""
        stack, shares = stacked_weights(self.model, replies), shares_of(replies)
        if shares is None:
            return None, None
        made = self.rule(stack.astype(np.float64), shares)
        return to_record(self.model, made.astype(stack.dtype)), MetricRecord()

    @abstractmethod
    def rule(self, stack: Floats, shares: Floats) -> Floats:
        """Return the weights [size] that stand for those of the replies [replies, size].

        Parameters
        ----------
        stack : float64 ndarray [replies, size]
        shares : float64 ndarray [replies]
            Each one's share in a weighted average.
        """

    def malicious(self, replies: int, most: int) -> int:
        """Return how many of so many replies the rule stands against, at most ``most``."""
        return max(0, min(int(self.share * replies), most))


class FedMedian(Robust):
    """The median of each weight (Yin, Chen, Ramchandran, Bartlett 2018, ICML)."""

    def rule(self, stack: Floats, shares: Floats) -> Floats:
        """Return the median over replies of each weight."""
        return np.asarray(np.median(stack, axis=0))


class FedTrimmedAvg(Robust):
    """The mean of each weight without ``malicious-share`` of its values at either end (Yin et al. 2018)."""

    def rule(self, stack: Floats, shares: Floats) -> Floats:
        """Return the trimmed mean over replies of each weight."""
        return np.asarray(trim_mean(stack, self.share, axis=0))


class Krum(Robust):
    """The reply that is nearest to its n - f - 2 nearest others.

    score_k = sum of squared distances to them; the lowest is taken. Stands against f < (n - 2) / 2.

    References
    ----------
    Blanchard, El Mhamdi, Guerraoui, Stainer (2017), "Machine learning with adversaries: Byzantine tolerant gradient
    descent", NeurIPS.
    """

    def rule(self, stack: Floats, shares: Floats) -> Floats:
        """Return the weights of the reply with the lowest score."""
        return np.asarray(stack[self.nearest(stack)[0]])

    def nearest(self, stack: Floats) -> Ints:
        """Return the replies' places from the lowest score to the highest."""
        return by_krum(stack, self.malicious(len(stack), (len(stack) - 3) // 2))


class MultiKrum(Krum):
    """The average, by rows, of the n - f replies with the lowest scores (Blanchard et al. 2017)."""

    def rule(self, stack: Floats, shares: Floats) -> Floats:
        """Return the average of the replies that are selected."""
        chosen = np.sort(self.nearest(stack)[: len(stack) - self.malicious(len(stack), (len(stack) - 3) // 2)])
        weight = shares[chosen]
        return summed(weight / weight.sum() if weight.sum() else np.full(len(chosen), 1 / len(chosen)), stack[chosen])


class Bulyan(Robust):
    """The mean of each weight's values nearest to their median, among replies that Krum selects.

    theta = n - 2f replies are selected, theta - 2f values of each weight averaged. Stands against f <= (n - 3) / 4.
    The theta lowest scores are taken at once, as Flower's does; the paper takes one, leaves it out and scores the rest
    anew, theta times.

    References
    ----------
    El Mhamdi, Guerraoui, Rouault (2018), "The hidden vulnerability of distributed learning in Byzantium", ICML.
    """

    def rule(self, stack: Floats, shares: Floats) -> Floats:
        """Return the mean of the values nearest to the median of the selected."""
        f = self.malicious(len(stack), (len(stack) - 3) // 4)
        selected = stack[np.sort(by_krum(stack, f)[: len(stack) - 2 * f])]
        nearest = np.argsort(np.abs(selected - np.median(selected, axis=0)), axis=0, kind="stable")
        kept = nearest[: len(selected) - 2 * f]
        return np.asarray(np.take_along_axis(selected, kept, axis=0).mean(axis=0))


def by_krum(stack: Floats, f: int) -> Ints:
    """Return the places of replies [replies, size] by rising Krum score, ties in their order.

    Distances are summed from differences: by ||x||^2 + ||y||^2 - 2 x y, as Flower's are in float32, neighbours that
    are near lose theirs to rounding, the order of which depends on the number of cores.
    """
    closest = max(1, len(stack) - f - 2)
    apart = cdist(stack, stack, "sqeuclidean")
    nearest = np.sort(np.partition(apart, min(closest, len(stack) - 1), axis=1)[:, : closest + 1], axis=1)
    return np.argsort(nearest[:, 1:].sum(axis=1), kind="stable")
