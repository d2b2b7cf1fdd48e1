"""Local training as one step, cut as ``init / step / final``, over a leading client dimension.

Nothing else in the project trains: a device runs these lines with one client, the batched engine with a padded
cohort.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from edgefed.learning.losses import LOSSES, focused

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from edgefed.config import FederationConfig
    from edgefed.learning.model import MLP, Layers

ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-8


class Hyper(NamedTuple):
    """Per-client settings of the local update: tensors [clients, 1, 1], the last four [clients, 1, classes].

    Values, not branches: clients of different remedies, seeds and rates train in one batch.
    """

    learning_rate: Tensor
    momentum: Tensor
    weight_decay: Tensor
    proximal_mu: Tensor
    focal_gamma: Tensor
    """Exponent of the focal loss, where the update is focused; 0 is neutral."""
    class_weights: Tensor
    """Weight of a row by its class; 1 is neutral."""
    logit_scale: Tensor
    """The loss sees ``logit_scale * f + logit_shift``; 1 is neutral."""
    logit_shift: Tensor
    """0 is neutral."""
    margin: Tensor
    """Taken from the true class's logit, by class; 0 is neutral."""

    def head(self, clients: int) -> Hyper:
        """Return the settings of the first clients."""
        return Hyper(*(value[:clients] for value in self))


class Batch(NamedTuple):
    """One step's rows of each client.

    ``x`` [clients, rows, features], ``targets`` [clients, rows, classes], ``weight`` [clients, rows]: class weight /
    (rows in the client's batch) for a row, 0 for padding. ``active`` [clients, 1, 1] is 0 for a client whose batch is
    all padding; None where every client has rows.
    """

    x: Tensor
    targets: Tensor
    weight: Tensor
    active: Tensor | None = None


class State(NamedTuple):
    """What each client carries from step to step.

    ``layers``, the global weights ``start``, the optimiser's moments ``first`` and ``second`` and the ``correction`` of
    every gradient are layers with a leading client dimension (None where the update has no use for them); ``steps`` is
    [clients, 1, 1]; ``loss`` [clients] sums the batches' mean losses, each as it was before its step.
    """

    layers: Layers
    start: Layers | None
    first: Layers | None
    second: Layers | None
    steps: Tensor
    loss: Tensor
    correction: Layers | None = None

    def head(self, clients: int) -> State:
        """Return the first clients' state, sharing memory: a step on it is a step of theirs."""

        def part(layers: Layers | None) -> Layers | None:
            return None if layers is None else [(weight[:clients], bias[:clients]) for weight, bias in layers]

        return State(
            [(weight[:clients], bias[:clients]) for weight, bias in self.layers],
            part(self.start),
            part(self.first),
            part(self.second),
            self.steps[:clients],
            self.loss[:clients],
            part(self.correction),
        )


@dataclass(frozen=True)
class ClientUpdate:
    """The local update: all that clients must share to train in one batch.

    Gradient of one step, for a client with weights theta, global weights theta_0 and a batch of B rows:

        g = (1 / B) sum_i w_{y_i} grad l(s f(x_i) + b - m_{y_i} e_{y_i}, y_i) + lambda theta + mu (theta - theta_0) + d

    where w are class weights, s and b the remedy's scale and shift of the logits, m its margins, lambda the weight
    decay, mu FedProx's pull (Li et al. 2020), d SCAFFOLD's correction c - c_k (Karimireddy et al. 2020). ``sgd`` then
    does v <- m v + g, theta <- theta - eta v; ``adam`` is Adam as in Kingma & Ba (2015), its moments fresh in each
    round.

    Parameters
    ----------
    model : MLP
    loss : str
        A key of :data:`edgefed.learning.losses.LOSSES`.
    optimizer : str
        ``sgd`` or ``adam``.
    momentum, decay, pull, focal, corrects : bool
        Whether momentum, lambda, mu, the focal loss and d are used at all. They follow from a federation's own
        settings, never from its company, so its bits do not either.
    """

    model: MLP
    loss: str = "cross-entropy"
    optimizer: str = "sgd"
    momentum: bool = False
    decay: bool = False
    pull: bool = False
    focal: bool = False
    corrects: bool = False

    def init(self, params: Tensor, correction: Tensor | None = None) -> State:
        """Return the state before the first step, from the global weights [clients, size].

        ``correction`` [clients, size] is added to every gradient, where the update corrects.
        """
        layers = self.model.unpack(params)
        adam = self.optimizer == "adam"
        return State(
            layers=layers,
            start=_copies(layers) if self.pull else None,
            first=_zeros(layers) if adam or self.momentum else None,
            second=_zeros(layers) if adam else None,
            steps=params.new_zeros((len(params), 1, 1)),
            loss=params.new_zeros(len(params)),
            correction=self.model.unpack(correction) if self.corrects and correction is not None else None,
        )

    def step(self, state: State, batch: Batch, hyper: Hyper, *, neutral_logits: bool = False) -> State:
        """Take over a state and return it after one step; a batch that is all padding changes nothing of a client's.

        ``neutral_logits`` leaves out a scale of ones, a shift and margins of zeros, which change no bit.
        """
        model = self.model
        logits, inputs = model.forward(state.layers, batch.x)
        if not neutral_logits:
            logits = hyper.logit_scale * logits + hyper.logit_shift - batch.targets * hyper.margin
        values, error = LOSSES[self.loss](logits, batch.targets)
        if self.focal:
            values, error = focused(values, error, hyper.focal_gamma)
        if not neutral_logits:
            error = error * hyper.logit_scale
        state.loss.add_((values * batch.weight).sum(-1))
        if batch.active is None:
            state.steps.add_(1)
        else:
            state.steps.add_(batch.active)
        error.mul_(batch.weight.unsqueeze(-1))
        if self.optimizer == "sgd" and not (self.momentum or self.decay or self.pull or self.corrects):
            error.mul_(hyper.learning_rate)
            model.descend(state.layers, inputs, model.deltas(state.layers, inputs, error))
            return state
        gradient = model.gradient(inputs, model.deltas(state.layers, inputs, error))
        for place, parts in enumerate(zip(state.layers, gradient, strict=True)):
            for kind, (value, slope) in enumerate(zip(*parts, strict=True)):
                if self.decay:
                    slope.add_(hyper.weight_decay * value)
                if state.start is not None:
                    slope.add_(hyper.proximal_mu * (value - state.start[place][kind]))
                if state.correction is not None:
                    slope.add_(state.correction[place][kind])
                direction = self._direction(state, place, kind, slope, batch.active, hyper)
                rate = hyper.learning_rate if batch.active is None else hyper.learning_rate * batch.active
                value.sub_(rate * direction)
        return state

    def _direction(
        self, state: State, place: int, kind: int, slope: Tensor, active: Tensor | None, hyper: Hyper
    ) -> Tensor:
        """Return what is subtracted, times the learning rate, and move the moments."""
        if state.first is None:
            return slope
        first = state.first[place][kind]
        if state.second is None:
            first.copy_(_where(active, hyper.momentum * first + slope, first))
            return first
        second = state.second[place][kind]
        first.copy_(_where(active, first + (1 - ADAM_BETAS[0]) * (slope - first), first))
        second.copy_(_where(active, second + (1 - ADAM_BETAS[1]) * (slope * slope - second), second))
        # Powers in float64: 1 - beta^t loses half its digits in float32 at the first steps.
        count = state.steps.clamp(min=1).double()
        correction_1 = (1 - ADAM_BETAS[0] ** count).to(slope.dtype)
        correction_2 = (1 - ADAM_BETAS[1] ** count).sqrt().to(slope.dtype)
        return (first / correction_1) / (second.sqrt() / correction_2 + ADAM_EPSILON)

    def final(self, state: State) -> tuple[Tensor, Tensor]:
        """Return the trained weights [clients, size] and the mean loss over the steps [clients]."""
        return self.model.pack(state.layers), state.loss / state.steps.flatten().clamp(min=1)


def gradient_weight(steps: NDArray[np.generic], config: FederationConfig) -> NDArray[np.float64]:
    """Return ||a||_1 [...]: the weight that gradients of so many steps [...] have in theta_0 - theta, over eta.

    theta_0 - theta = eta sum_t a_t g_t, where g_t leaves out the pull. For plain SGD a_t = 1 and the sum is the number
    of steps; momentum m makes it sum_t (1 - m^t) / (1 - m), a pull mu less: sum_t (1 - eta mu)^(t - 1). With both it is
    what the recursion of :class:`ClientUpdate` gives for gradients of one.

    References
    ----------
    Wang, Liu, Liang, Joshi, Poor (2020), "Tackling the Objective Inconsistency Problem", NeurIPS, table 1 and its
    appendix.
    """
    counts = np.asarray(steps, np.int64)
    momentum, pull = config.momentum, config.learning_rate * config.pull
    if not (momentum or pull):
        return counts.astype(np.float64)
    near = np.minimum(counts, MOST_WALKED)
    moved, velocity = np.zeros(int(near.max(initial=0)) + 1), 0.0
    for step in range(1, len(moved)):
        velocity = momentum * velocity + 1 - pull * moved[step - 1]
        moved[step] = moved[step - 1] + velocity
    found = moved[near]
    one_step = np.array([[1 - pull, momentum, 1], [-pull, momentum, 1], [0, 0, 1]])  # of (moved, velocity, 1)
    for count in np.unique(counts[counts > MOST_WALKED]).tolist():
        found[counts == count] = np.linalg.matrix_power(one_step, count)[0, 2]
    return found


MOST_WALKED = 10_000
"""Steps whose weight :func:`gradient_weight` adds up one by one; that of more comes from powers of one step."""


def _where(active: Tensor | None, new: Tensor, old: Tensor) -> Tensor:
    return new if active is None else torch.where(active > 0, new, old)


def _copies(layers: Layers) -> Layers:
    return [(weight.clone(), bias.clone()) for weight, bias in layers]


def _zeros(layers: Layers) -> Layers:
    return [(torch.zeros_like(weight), torch.zeros_like(bias)) for weight, bias in layers]
