"""Attributions: Shapley's formula over all coalitions, a closed form, and what each method must add up to."""

import itertools
import math

import numpy as np
import pytest
import torch

from edgefed.learning import attribution
from edgefed.learning.attribution import integrated_gradients, probabilities, shap_values

CLASSES = 3


def network(features, seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(features, 8), torch.nn.Tanh(), torch.nn.Linear(8, CLASSES)).double()


def made(features, rows=5, background=4):
    rng = np.random.default_rng(features)
    pairs = (np.repeat(np.arange(rows), background), np.tile(np.arange(background), rows))
    return (
        rng.normal(size=(rows, features)),
        rng.normal(size=(background, features)),
        pairs,
        rng.integers(0, CLASSES, rows),
    )


def output(model, x, targets):
    with torch.no_grad():
        return model(torch.from_numpy(x)).numpy()[np.arange(len(x)), targets]


def by_coalitions(model, row, background, target):
    """phi_f = sum over S without f of |S|! (F - |S| - 1)! / F! (v(S + f) - v(S)), v(S) = E_b model(x_S, b_rest)."""
    count = len(row)

    def value(coalition):
        mixed = background.copy()
        mixed[:, list(coalition)] = row[list(coalition)]
        return output(model, mixed, np.full(len(mixed), target)).mean()

    found = np.zeros(count)
    for feature in range(count):
        others = [place for place in range(count) if place != feature]
        for size in range(count):
            weight = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
            for coalition in itertools.combinations(others, size):
                found[feature] += weight * (value((*coalition, feature)) - value(coalition))
    return found


@pytest.mark.parametrize("features", [1, 2, 4])
def test_few_features_have_shapleys_exact_values(features):
    model = probabilities(network(features), np.array([0.3, 0.0, -0.2]))
    rows, background, pairs, targets = made(features)

    found = shap_values(model, rows, background, pairs, targets, seed=0)

    expected = [by_coalitions(model, row, background, target) for row, target in zip(rows, targets, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(found).max() > 0.01


def test_many_features_add_up_and_come_near_the_exact_values(monkeypatch):
    model = probabilities(network(6), np.zeros(CLASSES))
    rows, background, pairs, targets = made(6)
    monkeypatch.setattr(attribution, "ORDERS", 400)

    found = shap_values(model, rows, background, pairs, targets, seed=0)

    against = np.array([output(model, background, np.full(len(background), target)).mean() for target in targets])
    np.testing.assert_allclose(found.sum(1), output(model, rows, targets) - against, atol=1e-6)
    expected = [by_coalitions(model, row, background, target) for row, target in zip(rows, targets, strict=True)]
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_drawn_orders_follow_the_seed_and_leave_torchs_own_draws_alone():
    model = probabilities(network(6), np.zeros(CLASSES))
    case = made(6)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)

    first, again, other = (shap_values(model, *case, seed=seed) for seed in (1, 1, 2))

    assert torch.equal(torch.rand(3), expected)
    assert first.tobytes() == again.tobytes()
    assert np.abs(first - other).max() > 1e-6


def test_parts_of_the_work_are_the_whole(monkeypatch):
    model = probabilities(network(6), np.zeros(CLASSES))
    rows, background, pairs, targets = made(6)
    whole = shap_values(model, rows, background, pairs, targets, seed=1)
    gradients = integrated_gradients(model, rows, background[:1].repeat(len(rows), 0), targets)
    monkeypatch.setattr(attribution, "AT_ONCE", 7)

    np.testing.assert_allclose(shap_values(model, rows, background, pairs, targets, seed=1), whole, atol=1e-12)
    parts = integrated_gradients(model, rows, background[:1].repeat(len(rows), 0), targets)
    np.testing.assert_allclose(parts, gradients, atol=1e-12)


def test_integrated_gradients_of_a_linear_logit_have_a_closed_form():
    """Two classes: p = sigmoid(w (x - x')), so IG_f is proportional to w_f (x_f - b_f), and they add up to p - p_b."""
    module = torch.nn.Sequential(torch.nn.Linear(3, 2, bias=False)).double()
    weights = module[0].weight.detach().numpy()
    model = probabilities(module, np.zeros(2))
    rows, baselines = np.random.default_rng(0).normal(size=(2, 4, 3))
    targets = np.array([0, 1, 1, 0])

    found = integrated_gradients(model, rows, baselines, targets)

    gap = output(model, rows, targets) - output(model, baselines, targets)
    np.testing.assert_allclose(found.sum(1), gap, atol=1e-9)
    shares = (weights[0] - weights[1]) * (rows - baselines)
    np.testing.assert_allclose(found, shares / shares.sum(1, keepdims=True) * gap[:, None], atol=1e-9)


def test_the_logit_shift_is_part_of_what_is_explained():
    module = network(2)
    shift = np.array([5.0, 0.0, 0.0])

    plain, shifted = (probabilities(module, added)(torch.zeros(1, 2).double()) for added in (np.zeros(3), shift))

    assert shifted[0, 0] > plain[0, 0]
    torch.testing.assert_close(torch.log(shifted[0, 0] / shifted[0, 1]), torch.log(plain[0, 0] / plain[0, 1]) + 5)
