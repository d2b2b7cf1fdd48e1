"""Attributions of a model's output to the features of each row, by captum: integrated gradients and SHAP values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Model = Callable[[torch.Tensor], torch.Tensor]

STEPS = 32
"""Points of the Gauss-Legendre rule along each path."""
EXACT_UP_TO = 4
"""Features up to which every order is gone through; of more, :data:`ORDERS` are drawn."""
ORDERS = 12
AT_ONCE = 20_000
"""Rows that go through the model in one call."""


def probabilities(module: torch.nn.Module, shift: Floats) -> Model:
    """Return the function that attributions explain: class probabilities, softmax(logits + shift), in float64."""
    module = module.double().eval().requires_grad_(False)
    added = torch.from_numpy(np.asarray(shift, np.float64))

    def predict(x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(module(x) + added, dim=-1)

    return predict


def integrated_gradients(model: Model, rows: Floats, baselines: Floats, targets: Ints) -> Floats:
    """Return each feature's share in model(x)_t - model(b)_t [rows, features].

    IG_f = (x_f - b_f) * integral over a from 0 to 1 of d model(b + a (x - b))_t / d x_f.

    Parameters
    ----------
    model : callable
        float64 Tensor [rows, features] -> Tensor [rows, classes].
    rows, baselines : float64 ndarray [rows, features]
        x, and what each is compared to, b.
    targets : int64 ndarray [rows]
        The class t whose output is explained.

    References
    ----------
    Sundararajan, Taly, Yan (2017), "Axiomatic attribution for deep networks", ICML.
    """
    from captum.attr import IntegratedGradients

    explain: Any = IntegratedGradients(model)
    found = np.zeros(rows.shape)
    size = max(1, AT_ONCE // STEPS)
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        inputs, against, target = (torch.from_numpy(values[part]) for values in (rows, baselines, targets))
        found[part] = explain.attribute(inputs, against, target=target, n_steps=STEPS).numpy()
    return found


def shap_values(
    model: Model, rows: Floats, background: Floats, pairs: tuple[Ints, Ints], targets: Ints, seed: int
) -> Floats:
    """Return SHAP values of each row [rows, features] against a background set of its own.

    phi_f = E over background rows b and orders of features of model(..)_t with f taken from x minus with f still from
    b, features before f in the order being x's and those after it b's: Shapley values of the interventional
    expectation. They sum to model(x)_t - E_b model(b)_t, whatever orders were drawn.

    Parameters
    ----------
    model : callable
        As for :func:`integrated_gradients`.
    rows, background : float64 ndarray [rows, features], [background rows, features]
    pairs : (int64 ndarray [pairs], int64 ndarray [pairs])
        Row and background row of each pair, ascending by row; every row has at least one.
    targets : int64 ndarray [rows]
    seed : int
        Of the orders that are drawn, the same for all rows: with many features Shapley values are a mean over
        :data:`ORDERS` orders.

    References
    ----------
    Lundberg, Lee (2017), "A unified approach to interpreting model predictions", NeurIPS; Štrumbelj, Kononenko (2014),
    "Explaining prediction models and individual predictions with feature contributions", KAIS 41.
    """
    from captum.attr import ShapleyValues, ShapleyValueSampling

    exact = rows.shape[1] <= EXACT_UP_TO
    explain: Any = ShapleyValues(model) if exact else ShapleyValueSampling(model)
    drawn = {} if exact else {"n_samples": ORDERS}
    of_row, of_background = pairs
    total = np.zeros(rows.shape)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for start in range(0, len(of_row), AT_ONCE):
            which = of_row[start : start + AT_ONCE]
            against = of_background[start : start + AT_ONCE]
            torch.manual_seed(seed)  # captum draws orders from torch's own generator
            found = explain.attribute(
                torch.from_numpy(rows[which]),
                torch.from_numpy(background[against]),
                target=torch.from_numpy(targets[which]),
                **drawn,
            )
            np.add.at(total, which, found.double().numpy())
    return total / np.maximum(np.bincount(of_row, minlength=len(rows)), 1)[:, None]
