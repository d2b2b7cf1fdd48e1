"""Whole local trainings, several rounds of them, against torch.nn and torch.optim on the same batches."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from plain_training import OPTIMISERS, batches_of, cohort_of, train_plainly, update_of

from edgefed.learning.losses import LOSSES
from edgefed.learning.model import ACTIVATIONS, MLP
from edgefed.learning.schedule import Schedule
from edgefed.learning.training import train

ROUNDS = 4
SIZES = [23, 1, 40]
FLOAT32_TOLERANCE = {"sgd": 1e-5, "momentum": 1e-5, "full-batch": 1e-5, "adam": 1e-5, "adam-decay": 5e-5}
"""Adam divides a gradient by its own size: one that is nought but for rounding still moves a weight by the rate, and
processors round their matrix products differently."""
HINGE_UNDER_ADAM = 1e-3
"""A margin that is nought but for rounding decides whether a row counts; float64 shows that nothing else differs."""


def tolerance(loss: str, name: str, dtype: torch.dtype) -> float:
    if dtype == torch.float64:
        return 1e-9
    return HINGE_UNDER_ADAM if loss == "hinge" and name.startswith("adam") else FLOAT32_TOLERANCE[name]


def both_ways(
    model: MLP, loss: str, name: str, dtype: torch.dtype, mu: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Train rounds of three local epochs; return weights [clients, size] by the project and by torch."""
    optimiser = OPTIMISERS[name]
    update = update_of(model, optimiser, loss, mu=mu)
    schedule = Schedule(optimiser.batch_size, 3)
    first = cohort = cohort_of(SIZES, model, optimiser, dtype, mu=mu)
    plain = list(cohort.params)
    for number in range(1, ROUNDS + 1):
        cohort = replace(cohort, rounds=np.full(len(SIZES), number))
        batches = batches_of(schedule, cohort)
        trained = train(update, schedule, cohort)
        losses = []
        for client in range(len(SIZES)):
            plain[client], seen = train_plainly(model, plain[client], cohort, batches[client], loss, optimiser, mu=mu)
            losses.append(seen)
        np.testing.assert_allclose(trained.loss, losses, rtol=0, atol=tolerance(loss, name, dtype))
        cohort = replace(cohort, params=trained.params)
    assert (cohort.params - first.params).abs().max() > 1e-3  # something was learned
    return cohort.params, torch.stack(plain)


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_in_float64(loss, activation, name):
    ours, plain = both_ways(MLP(4, (6,), 3, activation), loss, name, torch.float64)

    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", LOSSES)
def test_in_float32(loss, activation, name):
    ours, plain = both_ways(MLP(4, (6,), 3, activation), loss, name, torch.float32)

    torch.testing.assert_close(ours, plain, rtol=0, atol=tolerance(loss, name, torch.float32))


@pytest.mark.parametrize("hidden", [(), (8, 5)], ids=["softmax regression", "two hidden layers"])
@pytest.mark.parametrize("name", ["momentum", "adam-decay"])
def test_other_depths(name, hidden):
    ours, plain = both_ways(MLP(4, hidden, 3, "tanh"), "cross-entropy", name, torch.float64)

    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize("loss", LOSSES)
def test_the_proximal_term_is_a_penalty_on_the_distance_from_the_global_weights(loss, name):
    """FedProx (Li et al. 2020): the gradient of (mu / 2) |theta - theta_0|^2, which autograd takes here."""
    model = MLP(4, (6,), 3, "tanh")

    ours, plain = both_ways(model, loss, name, torch.float64, mu=0.8)

    torch.testing.assert_close(ours, plain, rtol=0, atol=1e-9)
    assert (ours - both_ways(model, loss, name, torch.float64)[0]).abs().max() > 1e-3
