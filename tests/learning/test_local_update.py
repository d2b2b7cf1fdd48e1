"""One step of local training: its gradient against autograd, and what it must leave alone."""

import numpy as np
import pytest
import torch
from plain_training import OPTIMISERS, Optimiser, cohort_of, hyper_of
from torch.nn import functional

from edgefed.learning.local_update import Batch, ClientUpdate, Hyper
from edgefed.learning.losses import LOSSES
from edgefed.learning.model import MLP

MODEL = MLP(4, (6,), 3)


def batch_of(*rows: int, width: int = 9, dtype: torch.dtype = torch.float64) -> Batch:
    """One batch a client, of so many rows each; the rest of the width is padding with arbitrary rows."""
    rng = np.random.default_rng(2)
    real = np.arange(width) < np.array(rows)[:, None]
    share = real / np.maximum(np.array(rows), 1)[:, None]
    return Batch(
        torch.from_numpy(rng.normal(size=(len(rows), width, 4))).to(dtype),
        functional.one_hot(torch.from_numpy(rng.integers(0, 3, (len(rows), width))), 3).to(dtype),
        torch.from_numpy(share).to(dtype),
    )


def start_of(clients: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.from_numpy(np.stack([MODEL.initial(seed) for seed in range(clients)])).to(dtype)


def remedied(clients: int) -> Hyper:
    """Neutral settings but for weights, scale and shift, each client with its own."""
    rng = np.random.default_rng(3)

    def drawn(low: float, high: float) -> torch.Tensor:
        return torch.from_numpy(rng.uniform(low, high, (clients, 1, 3)))

    return hyper_of(clients, Optimiser("sgd", 0.1), torch.float64)._replace(
        class_weights=drawn(0.2, 5), logit_scale=drawn(0.5, 2), logit_shift=drawn(-1, 1)
    )


def plain_loss(params: torch.Tensor, batch: Batch, hyper: Hyper, client: int, loss: str, rows: int) -> torch.Tensor:
    """(1 / B) sum_i w_{y_i} l(s f(x_i) + b, y_i) over a client's real rows."""
    first, second = MODEL.layers(params[client])
    x, targets = batch.x[client, :rows], batch.targets[client, :rows]
    labels = targets.argmax(-1)
    hidden = torch.relu(x @ first[0].T + first[1])
    logits = hidden @ second[0].T + second[1]
    logits = hyper.logit_scale[client] * logits + hyper.logit_shift[client]
    values = {
        "cross-entropy": lambda: functional.cross_entropy(logits, labels, reduction="none"),
        "mse": lambda: (torch.softmax(logits, -1) - targets).square().mean(-1),
        "hinge": lambda: functional.multi_margin_loss(logits, labels, reduction="none"),
    }[loss]()
    return (hyper.class_weights[client, 0][labels] * values).sum() / rows


@pytest.mark.parametrize("loss", LOSSES)
def test_gradient_with_a_remedys_weights_scale_and_shift(loss):
    rows = (9, 1, 4)
    batch, hyper, params = batch_of(*rows), remedied(3), start_of(3)

    values, gradient = ClientUpdate(MODEL, loss).gradient(params, batch, hyper)

    for client, count in enumerate(rows):
        tracked = params.clone().requires_grad_()
        expected = plain_loss(tracked, batch, hyper, client, loss, count)
        expected.backward()
        assert values[client] == pytest.approx(expected.item(), abs=1e-12)
        torch.testing.assert_close(gradient[client], tracked.grad[client], rtol=0, atol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_one_step_with_decay_and_pull(loss):
    """theta - eta (grad + lambda theta + mu (theta - theta_0)), the penalties written out in autograd."""
    batch, params = batch_of(9), start_of(1)
    hyper = remedied(1)._replace(
        weight_decay=torch.tensor([[0.3]], dtype=torch.float64),
        proximal_mu=torch.tensor([[0.7]], dtype=torch.float64),
    )
    moved = params + 0.1 * torch.from_numpy(np.random.default_rng(5).normal(size=params.shape))
    update = ClientUpdate(MODEL, loss)
    state = update.init(params)._replace(params=moved)

    after = update.step(state, batch, hyper)

    tracked = moved.clone().requires_grad_()
    penalty = 0.3 / 2 * tracked.square().sum() + 0.7 / 2 * (tracked - params).square().sum()
    (plain_loss(tracked, batch, hyper, 0, loss, 9) + penalty).backward()
    torch.testing.assert_close(after.params, moved - 0.1 * tracked.grad, rtol=0, atol=1e-12)


def test_a_batch_of_one_class_is_still_weighted():
    """Trap 1: dividing by the batch's own sum of weights would cancel them."""
    batch = batch_of(5, 5)
    one_class = torch.zeros_like(batch.targets)
    one_class[..., 1] = 1
    batch = Batch(batch.x[:1].expand(2, -1, -1), one_class, batch.share)
    hyper = hyper_of(2, Optimiser("sgd", 0.1), torch.float64)
    hyper = hyper._replace(class_weights=torch.tensor([[[1.0, 1.0, 1.0]], [[1.0, 3.0, 1.0]]], dtype=torch.float64))
    params = start_of(1).expand(2, -1)

    values, gradient = ClientUpdate(MODEL).gradient(params, batch, hyper)

    assert gradient[0].abs().max() > 0.01
    torch.testing.assert_close(gradient[1], 3 * gradient[0], rtol=1e-12, atol=0)
    assert values[1] == pytest.approx(3 * values[0].item(), rel=1e-12)


def test_a_single_row_is_still_weighted():
    batch = batch_of(1, 1, width=1)
    batch = Batch(*(value[:1].expand(2, *value.shape[1:]) for value in batch))
    hyper = hyper_of(2, Optimiser("sgd", 0.1), torch.float64)
    weights = torch.ones_like(hyper.class_weights)
    weights[1] = 0.25
    params = start_of(1).expand(2, -1)

    _, gradient = ClientUpdate(MODEL).gradient(params, batch, hyper._replace(class_weights=weights))

    torch.testing.assert_close(gradient[1], 0.25 * gradient[0], rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_batch_of_padding_changes_nothing_of_the_state(name, dtype):
    optimiser = OPTIMISERS[name]
    update = ClientUpdate(MODEL, "cross-entropy", optimiser.name, with_momentum=optimiser.momentum > 0)
    hyper = hyper_of(2, optimiser, dtype, mu=0.5)
    state = update.init(start_of(2, dtype))
    for _ in range(3):  # moments and steps that padding could spoil
        state = update.step(state, batch_of(9, 4, dtype=dtype), hyper)

    after = update.step(state, batch_of(0, 4, dtype=dtype), hyper)

    for name_of_field, before_value, value in zip(state._fields, state, after, strict=True):
        if before_value is None:
            assert value is None
            continue
        assert torch.equal(value[0], before_value[0]), name_of_field
        # The client beside it goes on.
        assert name_of_field == "start" or not torch.equal(value[1], before_value[1]), name_of_field


def test_what_padding_holds_does_not_matter():
    update, hyper, params = ClientUpdate(MODEL), remedied(2), start_of(2)
    batch = batch_of(3, 6)
    other = Batch(batch.x.clone(), batch.targets.clone(), batch.share)
    padding = batch.share == 0
    other.x[padding] = 1e3
    other.targets[padding] = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)

    first = update.step(update.init(params), batch, hyper)
    second = update.step(update.init(params), other, hyper)

    assert torch.equal(first.params, second.params)
    assert torch.equal(first.loss, second.loss)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_init_leaves_the_global_weights_alone(name):
    optimiser = OPTIMISERS[name]
    update = ClientUpdate(MODEL, "cross-entropy", optimiser.name, with_momentum=optimiser.momentum > 0)
    params = start_of(1)
    kept = params.clone()

    state = update.init(params.expand(3, -1))
    update.step(state, batch_of(9, 9, 9), hyper_of(3, optimiser, torch.float64))

    assert torch.equal(params, kept)


def test_final_is_the_mean_loss_over_steps():
    optimiser = OPTIMISERS["sgd"]
    update, hyper = ClientUpdate(MODEL), hyper_of(2, optimiser, torch.float64)
    state = update.init(start_of(2))
    seen = []
    for batch in (batch_of(9, 4), batch_of(5, 0), batch_of(2, 0)):
        seen.append(update.gradient(state.params, batch, hyper)[0])
        state = update.step(state, batch, hyper)

    params, loss = update.final(state)

    assert torch.equal(params, state.params)
    assert loss[0] == pytest.approx(torch.stack(seen)[:, 0].mean().item(), abs=1e-12)
    assert loss[1] == pytest.approx(seen[0][1].item(), abs=1e-12)


def test_final_of_a_client_without_steps_is_its_start():
    update = ClientUpdate(MODEL, "cross-entropy", "adam")
    params, loss = update.final(update.init(start_of(2)))

    assert torch.equal(params, start_of(2))
    assert loss.tolist() == [0.0, 0.0]


def test_clients_with_different_settings_share_a_step():
    """Rates, momenta, decays and pulls are values: each client's step is the one that it takes alone."""
    update = ClientUpdate(MODEL, "cross-entropy", "sgd", with_momentum=True)
    batch, neutral = batch_of(9, 5, 7), remedied(3)

    def column(*values: float) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float64)[:, None]

    hyper = neutral._replace(
        learning_rate=column(0.1, 0.5, 0.01),
        momentum=column(0.0, 0.9, 0.5),
        weight_decay=column(0.0, 0.1, 0.2),
        proximal_mu=column(0.3, 0.0, 1.0),
    )
    together = update.init(start_of(3))
    alone = [update.init(start_of(3)[place : place + 1]) for place in range(3)]
    for _ in range(4):
        together = update.step(together, batch, hyper)
        for place in range(3):
            one = slice(place, place + 1)
            alone[place] = update.step(
                alone[place], Batch(*(value[one] for value in batch)), Hyper(*(value[one] for value in hyper))
            )

    for place in range(3):
        torch.testing.assert_close(together.params[place], alone[place].params[0], rtol=0, atol=1e-12)


def test_heads_are_the_first_clients():
    cohort = cohort_of([3, 4, 5], MODEL, OPTIMISERS["sgd"])
    batch = batch_of(9, 4, 2)

    assert all(len(value) == 2 for value in cohort.hyper.head(2))
    assert torch.equal(batch.head(2).share, batch.share[:2])
