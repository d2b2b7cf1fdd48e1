"""One step of local training: its gradient against autograd, and what it must leave alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from plain_training import OPTIMISERS, Optimiser, as_module, cohort_of, hyper_of, update_of
from torch.nn import functional

from edgefed.learning.local_update import Batch, State
from edgefed.learning.losses import LOSSES
from edgefed.learning.model import MLP
from edgefed.learning.schedule import Schedule
from edgefed.learning.training import train

if TYPE_CHECKING:
    from edgefed.learning.cohort import Cohort

MODEL = MLP(4, (6,), 3)
FULL_BATCH = Optimiser("sgd", 0.1, batch_size=0)
ONE_STEP = Schedule(0, 1)
ROW_LOSSES = {
    "cross-entropy": lambda f, y: functional.cross_entropy(f, y, reduction="none"),
    "mse": lambda f, y: (torch.softmax(f, -1) - functional.one_hot(y, 3)).square().mean(-1),
    "hinge": lambda f, y: functional.multi_margin_loss(f, y, reduction="none"),
}


def remedied(cohort: Cohort) -> Cohort:
    """The same clients, each with class weights, a scale and a shift of its own."""
    rng = np.random.default_rng(3)

    def drawn(low: float, high: float) -> torch.Tensor:
        return torch.from_numpy(rng.uniform(low, high, (len(cohort), 1, 3)))

    settings = {"class_weights": drawn(0.2, 5), "logit_scale": drawn(0.5, 2), "logit_shift": drawn(-1, 1)}
    return replace(cohort, hyper=cohort.hyper._replace(**settings))


def plain_step(cohort: Cohort, client: int, loss: str, penalty: float = 0.0) -> tuple[torch.Tensor, float]:
    """theta - eta grad of (1 / B) sum_i w_{y_i} l(s f(x_i) + b, y_i) + (penalty / 2) |theta|^2, and the loss."""
    rows = slice(int(cohort.starts[client]), int(cohort.starts[client] + cohort.drawn_rows[client]))
    hyper, labels = cohort.hyper, cohort.targets[rows].argmax(-1)
    module = as_module(MODEL, cohort.params[client])
    logits = hyper.logit_scale[client] * module(cohort.features[rows]) + hyper.logit_shift[client]
    mean = (hyper.class_weights[client, 0][labels] * ROW_LOSSES[loss](logits, labels)).sum() / len(labels)
    flat = torch.cat([parameter.ravel() for parameter in module.parameters()])
    (mean + penalty / 2 * flat.square().sum()).backward()
    gradient = torch.cat([parameter.grad.ravel() for parameter in module.parameters()])
    return cohort.params[client] - hyper.learning_rate[client].item() * gradient, mean.item()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_step_with_a_remedys_weights_scale_and_shift(loss):
    cohort = remedied(cohort_of([9, 1, 4], MODEL, FULL_BATCH))

    trained = train(update_of(MODEL, FULL_BATCH, loss), ONE_STEP, cohort)

    assert trained.steps.tolist() == [1, 1, 1]
    for client in range(3):
        params, mean = plain_step(cohort, client, loss)
        torch.testing.assert_close(trained.params[client], params, rtol=0, atol=1e-12)
        assert trained.loss[client] == pytest.approx(mean, abs=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_step_with_weight_decay_is_one_on_the_penalised_loss(loss):
    optimiser = FULL_BATCH._replace(weight_decay=0.3)
    cohort = remedied(cohort_of([9, 4], MODEL, optimiser))

    trained = train(update_of(MODEL, optimiser, loss), ONE_STEP, cohort)

    for client in range(2):
        params, mean = plain_step(cohort, client, loss, penalty=0.3)
        torch.testing.assert_close(trained.params[client], params, rtol=0, atol=1e-12)
        # What is reported is the loss alone.
        assert trained.loss[client] == pytest.approx(mean, abs=1e-12)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_remedys_neutral_setting_changes_no_bit(name):
    """A client without a remedy, in the company of one that has one, trains as it does without company."""
    optimiser = OPTIMISERS[name]
    update, schedule = update_of(MODEL, optimiser), Schedule(optimiser.batch_size, 3)
    plain = cohort_of([15, 15], MODEL, optimiser, torch.float32)
    mixed = replace(plain, hyper=plain.hyper._replace(class_weights=plain.hyper.class_weights.clone()))
    mixed.hyper.class_weights[1] = 3
    mixed.hyper.logit_shift[1] = torch.tensor([0.0, 1.0, -1.0])

    first, second = train(update, schedule, plain), train(update, schedule, mixed)

    assert torch.equal(first.params[0], second.params[0])
    assert not torch.equal(first.params[1], second.params[1])


@pytest.mark.parametrize("rows", [5, 1])
def test_a_batch_of_one_class_is_still_weighted(rows):
    """Trap 1: dividing by the batch's own sum of weights would cancel them."""
    cohort = cohort_of([rows], MODEL, FULL_BATCH).take(np.zeros(2, np.int64))
    cohort.targets[:] = torch.tensor([0.0, 1.0, 0.0])
    cohort.hyper.class_weights[1, 0, 1] = 3

    trained = train(update_of(MODEL, FULL_BATCH), ONE_STEP, cohort)

    moved = trained.params - cohort.params
    assert moved[0].abs().max() > 1e-3
    torch.testing.assert_close(moved[1], 3 * moved[0], rtol=1e-12, atol=1e-15)
    assert trained.loss[1] == pytest.approx(3 * trained.loss[0], rel=1e-12)


def test_clients_with_different_settings_share_a_batch():
    """Rates, momenta, decays and pulls are values: each client's training is the one that it has alone."""
    settings = [(0.1, 0.0, 0.0, 0.3), (0.5, 0.9, 0.1, 0.0), (0.01, 0.5, 0.2, 1.0)]
    optimiser = Optimiser("sgd", 0.1, momentum=0.5, weight_decay=0.1)
    cohort = remedied(cohort_of([20, 13, 40], MODEL, optimiser, mu=0.1))
    columns = [torch.tensor(column, dtype=torch.float64)[:, None, None] for column in zip(*settings, strict=True)]
    names = ("learning_rate", "momentum", "weight_decay", "proximal_mu")
    cohort = replace(cohort, hyper=cohort.hyper._replace(**dict(zip(names, columns, strict=True))))
    update, schedule = update_of(MODEL, optimiser, mu=0.1), Schedule(8, 3)

    together = train(update, schedule, cohort)

    for client in range(3):
        alone = train(update, schedule, cohort.take(np.array([client])))
        torch.testing.assert_close(together.params[client], alone.params[0], rtol=0, atol=1e-12)
    assert len({tuple(params.tolist()) for params in together.params - cohort.params}) == 3


def batch_of(*rows: int, dtype: torch.dtype, width: int = 9) -> Batch:
    """One batch a client, of so many rows each; the rest of the width is padding with arbitrary rows."""
    rng = np.random.default_rng(2)
    count = np.array(rows)[:, None]
    labels = torch.from_numpy(rng.integers(0, 3, (len(rows), width)))
    return Batch(
        torch.from_numpy(rng.normal(size=(len(rows), width, 4))).to(dtype),
        functional.one_hot(labels, 3).to(dtype),
        torch.from_numpy((np.arange(width) < count) / np.maximum(count, 1)).to(dtype),
        torch.from_numpy(count > 0)[:, :, None].to(dtype),
    )


def start_of(clients: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.from_numpy(np.stack([MODEL.initial(seed) for seed in range(clients)])).to(dtype)


def tensors_of(state: State) -> dict[str, torch.Tensor]:
    """Every tensor of a state, copied, by name."""
    found = {"steps": state.steps.clone(), "loss": state.loss.clone()}
    for name in ("layers", "start", "first", "second"):
        for layer, pair in enumerate(getattr(state, name) or ()):
            for kind, tensor in zip(("weight", "bias"), pair, strict=True):
                found[f"{name}.{layer}.{kind}"] = tensor.clone()
    return found


@pytest.mark.parametrize("mu", [0.0, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_batch_of_padding_changes_nothing_of_the_state(name, dtype, mu):
    optimiser = OPTIMISERS[name]
    update, hyper = update_of(MODEL, optimiser, mu=mu), hyper_of(2, optimiser, dtype, mu=mu)
    state = update.init(start_of(2, dtype))
    for _ in range(3):  # moments and steps that padding could spoil
        state = update.step(state, batch_of(9, 4, dtype=dtype), hyper)
    before = tensors_of(state)

    after = tensors_of(update.step(state, batch_of(0, 4, dtype=dtype), hyper))

    assert set(after) == set(before)
    for part, value in after.items():
        assert torch.equal(value[0], before[part][0]), part
        if not part.startswith("start"):  # the client beside it goes on
            assert not torch.equal(value[1], before[part][1]), part


def test_what_padding_holds_does_not_matter():
    optimiser, dtype = OPTIMISERS["sgd"], torch.float64
    update, hyper = update_of(MODEL, optimiser), hyper_of(2, optimiser, dtype)
    batch = batch_of(3, 6, dtype=dtype)
    other = batch._replace(x=batch.x.clone(), targets=batch.targets.clone())
    padding = batch.weight == 0
    other.x[padding] = 1e3
    other.targets[padding] = torch.tensor([0.0, 0.0, 1.0], dtype=dtype)

    first = update.final(update.step(update.init(start_of(2, dtype)), batch, hyper))
    second = update.final(update.step(update.init(start_of(2, dtype)), other, hyper))

    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))


def test_a_part_of_a_state_steps_for_the_whole():
    """Finished clients stand still while the first ones go on, in the same memory."""
    optimiser, dtype = OPTIMISERS["momentum"], torch.float64
    update, hyper = update_of(MODEL, optimiser, mu=0.5), hyper_of(3, optimiser, dtype, mu=0.5)
    state = update.init(start_of(3, dtype))
    before = update.final(state)[0].clone()

    update.step(state.head(2), batch_of(9, 4, dtype=dtype), hyper.head(2))

    params, _ = update.final(state)
    assert torch.equal(params[2], before[2])
    assert not torch.equal(params[0], before[0])
    assert state.steps.flatten().tolist() == [1, 1, 0]
