"""Local training as one pure step, cut as ``init / step / final``, over any leading client dimensions.

Nothing else in the project trains: a device runs these lines with one client, the batched engine with a padded,
masked cohort.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from edgefed.learning.losses import LOSSES

if TYPE_CHECKING:
    from torch import Tensor

    from edgefed.learning.model import MLP

ADAM_BETAS = (0.9, 0.999)
ADAM_EPSILON = 1e-8


class Hyper(NamedTuple):
    """Per-client settings of the local update: tensors [..., 1], or [..., 1, classes] for the last three.

    Values, not branches: clients of different remedies, seeds and rates train in one batch.
    """

    learning_rate: Tensor
    momentum: Tensor
    weight_decay: Tensor
    proximal_mu: Tensor
    class_weights: Tensor
    """Weight of a row by its class; 1 is neutral."""
    logit_scale: Tensor
    """The loss sees ``logit_scale * f + logit_shift``; 1 is neutral."""
    logit_shift: Tensor
    """0 is neutral."""

    def head(self, clients: int) -> Hyper:
        """Return the settings of the first clients of the leading dimension."""
        return Hyper(*(value[:clients] for value in self))


class Batch(NamedTuple):
    """One step's rows.

    ``x`` [..., rows, features], ``targets`` [..., rows, classes], ``share`` [..., rows]: 1 / (rows in the client's
    batch) for a row, 0 for padding.
    """

    x: Tensor
    targets: Tensor
    share: Tensor

    def head(self, clients: int) -> Batch:
        """Return the batches of the first clients of the leading dimension."""
        return Batch(*(value[:clients] for value in self))


class State(NamedTuple):
    """What a client carries from step to step: tensors [..., size] ([..., 1] for ``steps``).

    ``first`` and ``second`` are the optimiser's moments, None where it has none; ``loss`` [...] sums the batches'
    mean losses, as they were when each batch was drawn.
    """

    params: Tensor
    start: Tensor
    first: Tensor | None
    second: Tensor | None
    steps: Tensor
    loss: Tensor


@dataclass(frozen=True)
class ClientUpdate:
    """The local update: all that clients must share to train in one batch.

    Gradient of one step, for a client with weights theta, global weights theta_0 and a batch of B rows:

        g = (1 / B) sum_i w_{y_i} grad l(s f(x_i) + b, y_i) + lambda theta + mu (theta - theta_0)

    where w are class weights, s and b the remedy's scale and shift of the logits, lambda the weight decay, mu
    FedProx's pull (Li et al. 2020). ``sgd`` then does v <- m v + g, theta <- theta - eta v; ``adam`` is Adam as in
    Kingma & Ba (2015), its moments fresh in each round.

    Parameters
    ----------
    model : MLP
    loss : str
        A key of :data:`edgefed.learning.losses.LOSSES`.
    optimizer : str
        ``sgd`` or ``adam``.
    with_momentum : bool
        Whether any client's momentum is not zero (it costs a buffer).
    """

    model: MLP
    loss: str = "cross-entropy"
    optimizer: str = "sgd"
    with_momentum: bool = False

    def init(self, params: Tensor) -> State:
        """Return the state before the first step, from the global weights [..., size]."""
        adam = self.optimizer == "adam"
        lead = params.shape[:-1]
        return State(
            params=params.clone(),
            start=params,
            first=torch.zeros_like(params) if adam or self.with_momentum else None,
            second=torch.zeros_like(params) if adam else None,
            steps=params.new_zeros((*lead, 1)),
            loss=params.new_zeros(lead),
        )

    def gradient(self, params: Tensor, batch: Batch, hyper: Hyper) -> tuple[Tensor, Tensor]:
        """Return the batch's mean loss [...] and its gradient [..., size], without decay and pull."""
        logits, activations = self.model.forward(params, batch.x)
        values, error = LOSSES[self.loss](hyper.logit_scale * logits + hyper.logit_shift, batch.targets)
        weight = (batch.targets * hyper.class_weights).sum(-1) * batch.share
        error = error * hyper.logit_scale * weight.unsqueeze(-1)
        return (values * weight).sum(-1), self.model.backward(params, activations, error)

    def step(self, state: State, batch: Batch, hyper: Hyper) -> State:
        """Return the state after one step; a batch that is all padding changes nothing of a client's state."""
        loss, gradient = self.gradient(state.params, batch, hyper)
        active = (batch.share.sum(-1, keepdim=True) > 0).to(gradient.dtype)
        gradient = gradient + hyper.weight_decay * state.params
        gradient = gradient + hyper.proximal_mu * (state.params - state.start)
        steps = state.steps + active
        first, second = state.first, state.second
        if second is not None and first is not None:
            first = torch.where(active > 0, first + (1 - ADAM_BETAS[0]) * (gradient - first), first)
            second = torch.where(active > 0, second + (1 - ADAM_BETAS[1]) * (gradient**2 - second), second)
            # Powers in float64: 1 - beta^t loses half its digits in float32 at the first steps.
            count = steps.clamp(min=1).double()
            correction_1 = (1 - ADAM_BETAS[0] ** count).to(gradient.dtype)
            correction_2 = (1 - ADAM_BETAS[1] ** count).sqrt().to(gradient.dtype)
            direction = (first / correction_1) / (second.sqrt() / correction_2 + ADAM_EPSILON)
        elif first is not None:
            first = torch.where(active > 0, hyper.momentum * first + gradient, first)
            direction = first
        else:
            direction = gradient
        params = state.params - (active * hyper.learning_rate) * direction
        return State(params, state.start, first, second, steps, state.loss + loss)

    def final(self, state: State) -> tuple[Tensor, Tensor]:
        """Return the trained weights [..., size] and the mean loss over the steps [...]."""
        return state.params, state.loss / state.steps.squeeze(-1).clamp(min=1)
