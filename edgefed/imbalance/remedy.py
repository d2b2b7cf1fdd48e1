"""The hooks through which an imbalance remedy changes local training, each with a neutral default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgefed.config import FederationConfig

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Draw:
    """The rows that a client trains on: positions in its shard (repeats allowed), and rows made anew.

    ``made_features`` [made, features] and ``made_labels`` [made] are None where nothing is made. ``notes`` says what
    could not be done as asked: (class, reason) pairs, class -1 for the whole shard.
    """

    rows: Ints
    made_features: Floats | None = None
    made_labels: Ints | None = None
    notes: tuple[tuple[int, str], ...] = ()


class Remedy:
    """A remedy for class imbalance. Subclasses override what they change.

    Counts are arrays with a client a row, ``local`` int [clients, classes]; ``total`` float [classes] sums all
    clients' counts and is given where :attr:`needs_global_counts` says that the remedy asks for it.
    """

    #: What kind of remedy it is: a heading in lists, tables and pages.
    family: ClassVar[str] = "control"
    #: Whether the server must learn class counts: one more thing that leaves each client.
    needs_global_counts: ClassVar[bool] = False
    #: Whether each client adds Laplace noise to the counts before they leave it.
    noisy_counts: ClassVar[bool] = False
    #: Whether each client sends the loss of the weights that it was given, every round.
    needs_loss: ClassVar[bool] = False
    #: Whether :meth:`draw` changes the rows.
    resamples: ClassVar[bool] = False
    #: Whether a step's rows are drawn anew, a class as likely as another (:meth:`draw` gives rows sorted by class).
    balances_batches: ClassVar[bool] = False
    #: Whether the local loss is focused by :meth:`focusing` (a kernel of its own: it splits a batch).
    focuses: ClassVar[bool] = False
    #: Whether a client's say in the average is :meth:`say` and not its row count.
    reweighs: ClassVar[bool] = False
    #: Whether it changes training on level classes too; a remedy that does not is plain FedAvg there.
    acts_on_level_classes: ClassVar[bool] = False
    #: Losses that the remedy is defined for.
    losses: ClassVar[tuple[str, ...]] = ("cross-entropy", "mse", "hinge")
    #: Settings under which it is plain FedAvg; empty where there are none.
    neutral: ClassVar[Mapping[str, float]] = {}
    #: Options of ``imbalance-options``: name -> (lowest, highest).
    option_ranges: ClassVar[Mapping[str, tuple[float, float]]] = {}

    def __init__(self, config: FederationConfig) -> None:
        self.config = config

    @property
    def tells_noisy_counts(self) -> bool:
        """Whether class counts leave each client under noise: the remedy has it so, or differential privacy."""
        return self.needs_global_counts and (self.noisy_counts or self.config.differentially_private)

    @property
    def needs(self) -> str:
        """What leaves the clients beyond plain FedAvg, in words."""
        needed = []
        if self.tells_noisy_counts:
            needed.append(
                f"noisy class counts (Laplace noise of scale {1 / self.config.histogram_epsilon:g} a count): one more "
                "message"
            )
        elif self.needs_global_counts:
            needed.append("global class counts: one more message")
        if self.needs_loss:
            needed.append("a loss from each client each round")
        return "; ".join(needed) or "nothing"

    # ---- rows
    def draw(self, features: Floats, labels: Ints, rng: np.random.Generator) -> Draw:
        """Return the rows to train on, drawn once per (seed, client). Neutral: the shard as it is."""
        return Draw(np.arange(len(labels)))

    def jitter(self) -> float:
        """Return the SD of the noise that is added to a step's rows, in a feature's SDs. Neutral: 0."""
        return 0.0

    def mixup(self) -> float:
        """Return alpha of the Beta(alpha, alpha) share with which a step's rows are mixed in pairs. Neutral: 0."""
        return 0.0

    # ---- loss
    def class_weights(self, local: Ints, total: Floats | None) -> Floats:
        """Return the weight of a row by its class [clients, classes]. Neutral: ones."""
        return np.ones(local.shape)

    def logit_scale(self, local: Ints, total: Floats | None) -> Floats:
        """Return the factor on the logits that the loss sees [clients, classes]. Neutral: ones."""
        return np.ones(local.shape)

    def logit_shift(self, local: Ints, total: Floats | None) -> Floats:
        """Return what is added to the logits that the loss sees [clients, classes]. Neutral: zeros."""
        return np.zeros(local.shape)

    def margin(self, local: Ints, total: Floats | None) -> Floats:
        """Return what is taken from the true class's logit, by class [clients, classes]. Neutral: zeros."""
        return np.zeros(local.shape)

    def focusing(self) -> float:
        """Return the exponent of the focal loss, where :attr:`focuses`. Neutral: 0."""
        return 0.0

    # ---- the average, and predictions
    def say(self, local: Ints, total: Floats | None) -> Floats:
        """Return each client's weight in the average [clients], where :attr:`reweighs`. Neutral: its row count."""
        return np.asarray(local.sum(1), np.float64)

    def say_range(self, num_classes: int) -> tuple[float, float]:
        """Return the least and the largest :meth:`say` that a client with rows may claim. Neutral: 0 to a billion."""
        return 0.0, 1e9

    def prediction_shift(self, total: Floats | None, num_classes: int) -> Floats:
        """Return what is added to the logits when predicting [classes]. Neutral: zeros."""
        return np.zeros(num_classes)

    # ---- on the server, for remedies that reweigh by what clients send
    def dual_step(self, dual: Floats, asked: Ints, losses: Floats, clients: int) -> Floats:
        """Return the server's number of each client [clients] after a round. Neutral: as it was.

        Parameters
        ----------
        dual : float ndarray [clients]
            Zeros before the first round; kept in checkpoints.
        asked : int64 ndarray [cohort]
            Partition ids of the clients that answered.
        losses : float ndarray [cohort]
            Loss of the weights that the round began with, on each one's rows.
        clients : int
            Those that have rows.
        """
        return dual

    def idle_because(self, local: Ints) -> list[str]:
        """Return for each client why the remedy does nothing on its shard; empty text where it acts."""
        return [""] * len(local)


class NoRemedy(Remedy):
    """Plain FedAvg: the control that every remedy is compared with."""


def smoothed_prior(total: Floats) -> Floats:
    """Return the class prior [classes]; a class without rows counts as half a row, so its log is finite."""
    counts = np.maximum(total, 0.5)
    return np.asarray(counts / counts.sum())


def nothing_to_balance(local: Ints) -> list[str]:
    """Return for each client why its shard leaves a local remedy nothing to balance; empty text where it does."""
    held = (local > 0).sum(1)
    fewest = np.where(local > 0, local, local.max(initial=1)).min(1)
    level = fewest == local.max(1)
    reasons = np.select(
        [held == 0, held == 1, level], ["empty shard", "one class only", "classes already level"], default=""
    )
    return [str(reason) for reason in reasons]
