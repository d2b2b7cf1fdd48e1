"""Each loss's value against torch.nn.functional, and its gradient against autograd."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from edgefed.learning.losses import LOSSES, cross_entropy, hinge, mse

CLASSES = [2, 3, 10]


def mse_of_softmax(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The mean over classes of (softmax - t)^2, one value a row."""
    return functional.mse_loss(torch.softmax(logits, -1), targets, reduction="none").mean(-1)


def multi_margin(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    flat = functional.multi_margin_loss(logits.flatten(0, -2), targets.argmax(-1).flatten(), reduction="none")
    return flat.view(logits.shape[:-1])


REFERENCES = {
    "cross-entropy": lambda f, t: -(t * functional.log_softmax(f, -1)).sum(-1),
    "mse": mse_of_softmax,
    "hinge": multi_margin,
}


def rows_of(classes: int, *lead: int, scale: float = 2.0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(classes)
    logits = torch.from_numpy(rng.normal(scale=scale, size=(*lead, 50, classes)))
    labels = torch.from_numpy(rng.integers(0, classes, (*lead, 50)))
    return logits, functional.one_hot(labels, classes).double()


def test_every_loss_has_a_reference():
    assert set(REFERENCES) == set(LOSSES)


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("lead", [(), (4,)], ids=["one client", "a stack"])
@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_with_hard_labels(name, lead, classes):
    logits, targets = rows_of(classes, *lead)
    tracked = logits.clone().requires_grad_()
    expected = REFERENCES[name](tracked, targets)
    expected.sum().backward()

    values, gradient = LOSSES[name](logits, targets)

    assert values.shape == (*lead, 50)
    torch.testing.assert_close(values, expected.detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(gradient, tracked.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["cross-entropy", "mse"])
def test_value_and_gradient_with_soft_targets(name):
    logits, _ = rows_of(5, 2)
    targets = torch.from_numpy(np.random.default_rng(0).dirichlet(np.ones(5), (2, 50)))
    tracked = logits.clone().requires_grad_()
    expected = REFERENCES[name](tracked, targets)
    expected.sum().backward()

    values, gradient = LOSSES[name](logits, targets)

    torch.testing.assert_close(values, expected.detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(gradient, tracked.grad, rtol=0, atol=1e-12)


def test_the_mean_of_each_loss_is_the_one_that_torch_names():
    logits, targets = rows_of(4)
    labels = targets.argmax(-1)

    assert cross_entropy(logits, targets)[0].mean() == pytest.approx(
        functional.cross_entropy(logits, labels).item(), abs=1e-12
    )
    assert mse(logits, targets)[0].mean() == pytest.approx(
        functional.mse_loss(torch.softmax(logits, -1), targets).item(), abs=1e-12
    )
    assert hinge(logits, targets)[0].mean() == pytest.approx(
        functional.multi_margin_loss(logits, labels).item(), abs=1e-12
    )


def test_soft_cross_entropy_is_the_one_that_torch_names():
    logits, _ = rows_of(4)
    targets = torch.from_numpy(np.random.default_rng(0).dirichlet(np.ones(4), 50))

    expected = functional.cross_entropy(logits, targets).item()

    assert cross_entropy(logits, targets)[0].mean() == pytest.approx(expected, abs=1e-12)


def test_values_by_hand():
    logits = torch.tensor([[0.0, 0.0], [2.0, 1.5]], dtype=torch.float64)
    targets = torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)

    # Row 1: p = (1/2, 1/2). Cross-entropy log 2; mse (1/4 + 1/4) / 2; hinge (1/2) max(0, 1 - 0 + 0).
    # Row 2: the margin is 1 - 2 + 1.5 = 1/2, halved.
    assert cross_entropy(logits, targets)[0][0] == pytest.approx(np.log(2), abs=1e-15)
    assert mse(logits, targets)[0][0] == pytest.approx(0.25, abs=1e-15)
    assert hinge(logits, targets)[0].tolist() == [0.5, 0.25]
    assert hinge(logits, targets)[1].tolist() == [[-0.5, 0.5], [-0.5, 0.5]]


@pytest.mark.parametrize("name", LOSSES)
def test_huge_logits_give_finite_values_and_gradients(name):
    logits = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]])
    targets = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])

    values, gradient = LOSSES[name](logits, targets)

    assert torch.isfinite(values).all()
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_sum_to_zero_over_classes(name):
    """A constant added to all logits changes no loss."""
    logits, targets = rows_of(5)

    torch.testing.assert_close(
        LOSSES[name](logits, targets)[1].sum(-1), torch.zeros(50, dtype=torch.float64), rtol=0, atol=1e-12
    )
