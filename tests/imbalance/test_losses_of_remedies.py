"""Focal loss, LDAM, FedLC and FedRS against autograd of the papers' equations, and the numbers that they are given."""

import numpy as np
import pytest
import torch
from shards_by_hand import everyone, holding

from edgefed.config import FederationConfig
from edgefed.federation.clients import Clients
from edgefed.federation.components import update_of
from edgefed.imbalance import REMEDIES
from edgefed.learning.local_update import Batch
from edgefed.learning.losses import cross_entropy, focused

COUNTS = [[16, 4, 1], [1, 0, 0], [0, 81, 2]]


def remedy_of(name, **changes):
    return REMEDIES[name](FederationConfig(imbalance=name, **changes))


# ---------------------------------------------------------------------------------------------- focal
def focal(logits, labels, gamma):
    """Lin et al. (2017), equation 4: FL(p_t) = -(1 - p_t)^gamma log p_t."""
    p = torch.softmax(logits, -1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)
    return -((1 - p) ** gamma) * torch.log(p)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_focal_value_and_gradient(gamma):
    rng = np.random.default_rng(0)
    logits = torch.tensor(rng.normal(scale=3, size=(2, 40, 4)), requires_grad=True)
    labels = torch.tensor(rng.integers(0, 4, (2, 40)))
    expected = focal(logits, labels, gamma)
    expected.sum().backward()
    one_hot = torch.nn.functional.one_hot(labels, 4).double()

    values, gradient = focused(*cross_entropy(logits.detach(), one_hot), torch.full((2, 1, 1), gamma).double())

    torch.testing.assert_close(values, expected.detach(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradient, logits.grad, rtol=1e-8, atol=1e-12)


def test_focal_by_hand():
    """p = 0.9 at gamma 2: (0.1)^2 x 0.10536 = 0.0010536, a hundredth of cross-entropy (the paper's own example)."""
    logits = torch.log(torch.tensor([[[0.9, 0.1]]], dtype=torch.float64))
    values, _ = focused(*cross_entropy(logits, torch.tensor([[[1.0, 0.0]]]).double()), torch.full((1, 1, 1), 2.0))

    assert values.item() == pytest.approx(0.0010536, rel=1e-4)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_focal_of_rows_that_are_surely_right_or_surely_wrong_is_finite(gamma, dtype):
    logits = torch.tensor([[[1e4, 0.0], [0.0, 1e4], [50.0, 0.0], [0.0, 0.0]]], dtype=dtype)
    targets = torch.tensor([[[1.0, 0.0]] * 4], dtype=dtype)
    values, gradient = focused(*cross_entropy(logits, targets), torch.full((1, 1, 1), gamma, dtype=dtype))

    assert torch.isfinite(values).all()
    assert torch.isfinite(gradient).all()
    assert values[0, 1] == pytest.approx(1e4)


# ---------------------------------------------------------------------------------------------- numbers
def test_ldam_margins_by_hand():
    """n = 81, 16, 1: n^(-1/4) = 1/3, 1/2, 1, scaled so that the rarest is 0.5; a class that nobody holds gets none."""
    margins = remedy_of("ldam").margin(np.zeros((2, 4), int), np.array([81.0, 16.0, 1.0, 0.0]))

    np.testing.assert_allclose(margins, [[1 / 6, 1 / 4, 1 / 2, 0]] * 2)


def test_fedlc_shifts_by_hand():
    """-tau n_kc^(-1/4) for n = 16, 1, 81; an absent class counts as half a row, 0.5^(-1/4) = 1.1892."""
    shift = remedy_of("fedlc", fedlc_tau=2.0).logit_shift(np.array([[16, 1, 81, 0]]), None)

    np.testing.assert_allclose(shift, [[-1, -2, -2 / 3, -2 * 1.189207]], rtol=1e-6)


def test_fedrs_scales_absent_classes_alone():
    scale = remedy_of("fedrs", fedrs_alpha=0.25).logit_scale(np.array(COUNTS), None)

    assert scale.tolist() == [[1, 1, 1], [1, 0.25, 0.25], [0.25, 1, 1]]
    assert remedy_of("fedrs").idle_because(np.array(COUNTS)) == ["holds every class", "", ""]


# ---------------------------------------------------------------------------------------------- a step
def loss_of(name, logits, labels, local, total):
    """Return each paper's loss written out, for one client."""
    n, everything = torch.tensor(local).double(), torch.tensor(total).double()
    if name == "focal":
        return focal(logits, labels, 2.0)
    if name == "ldam":
        margin = 0.5 * everything**-0.25 / (everything**-0.25).max()
        logits = logits - torch.nn.functional.one_hot(labels, 3) * margin
    if name == "fedlc":
        logits = logits - n.clamp(min=0.5) ** -0.25
    if name == "fedrs":
        logits = logits * torch.where(n > 0, 1.0, 0.5)
    if name == "balanced-softmax":
        logits = logits + torch.log(everything / everything.sum())
    return torch.nn.functional.cross_entropy(logits, labels, reduction="none")


@pytest.mark.parametrize("name", ["focal", "ldam", "fedlc", "fedrs", "balanced-softmax"])
def test_a_full_batch_step_descends_the_papers_loss(name):
    config, data = holding(
        COUNTS, imbalance=name, dtype="float64", batch_size=0, local_epochs=1, learning_rate=0.5, hidden="5"
    )
    clients = Clients(config, data.shards)
    cohort = everyone(clients)
    update = update_of(config, clients.model)
    total = np.sum(COUNTS, axis=0)
    for client, counts in enumerate(COUNTS):
        rows = slice(int(cohort.starts[client]), int(cohort.starts[client]) + sum(counts))
        x, targets = cohort.features[rows], cohort.targets[rows]
        module = clients.model.module().double()
        flat = cohort.params[client].numpy()
        module.load_state_dict({key: torch.tensor(array) for key, array in clients.model.state_dict(flat).items()})
        loss_of(name, module(x), targets.argmax(1), counts, total).mean().backward()
        expected = torch.cat([(p - 0.5 * p.grad).ravel() for p in module.parameters()]).detach()

        one = cohort.take(np.array([client]))
        weight = torch.full((1, len(x)), 1 / len(x), dtype=torch.float64)
        state = update.step(update.init(one.params), Batch(x[None], targets[None], weight), one.hyper)

        torch.testing.assert_close(update.final(state)[0][0], expected, rtol=0, atol=1e-12)
