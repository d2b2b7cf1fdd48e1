"""FedNova against the paper's equations, with clients of unequal steps."""

import numpy as np
import pytest
from federations import ENGINES, apart, settings, trained
from papers_by_hand import descended, plain, rows_of, trained_weights

from edgefed.config import SettingsError
from edgefed.learning.local_update import gradient_weight

UNEVEN = {"partition": "quantity", "alpha": 1.0, "batch_size": 8, "match": "steps", "min_rows": 1}


def coefficients(steps, momentum, pull):
    """Return each gradient's weight in (x - y) / eta, from the recursion run on unit gradients one at a time."""
    found = np.zeros(steps)
    for one in range(steps):
        moved, velocity = 0.0, 0.0
        for step in range(steps):
            velocity = momentum * velocity + (step == one) - pull * moved
            moved += velocity
        found[one] = moved
    return found


@pytest.mark.parametrize(("momentum", "mu"), [(0.0, 0.0), (0.9, 0.0), (0.0, 1.0), (0.5, 1.0)])
def test_the_weight_of_gradients(momentum, mu):
    config = plain(momentum=momentum, proximal_mu=mu)
    steps = np.array([1, 2, 7, 20])

    found = gradient_weight(steps, config)

    expected = [coefficients(count, momentum, 0.3 * mu).sum() for count in steps]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_papers_closed_forms():
    """Table 1: tau; (tau - m (1 - m^tau) / (1 - m)) / (1 - m); (1 - (1 - eta mu)^tau) / (eta mu)."""
    tau = np.array([1, 3, 11])

    assert gradient_weight(tau, plain()).tolist() == [1, 3, 11]
    momentum = (tau - 0.9 * (1 - 0.9**tau) / 0.1) / 0.1
    np.testing.assert_allclose(gradient_weight(tau, plain(momentum=0.9)), momentum, rtol=1e-12)
    proximal = (1 - 0.7**tau) / 0.3
    np.testing.assert_allclose(gradient_weight(tau, plain(proximal_mu=1.0)), proximal, rtol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_rounds_by_hand(engine):
    """Full batches, and every client repeats its shard a different number of times: work-epochs of the server's."""
    config = plain(strategy="fednova", stragglers=0.6, partial_work="accept", local_epochs=6, seed=2)

    course, federation = trained_weights(config, engine)

    rows = rows_of(config)
    sizes = np.array([len(labels) for _, labels in rows], float)
    x = course[0]
    for number, entry in enumerate(federation.clients):
        steps = entry.steps[np.argsort(entry.ids)]
        assert len(set(steps.tolist())) > 1
        shares = sizes / sizes.sum()
        ends = [descended(x, own, int(count), 0.3) for own, count in zip(rows, steps, strict=True)]
        directions = [(x - y) / count for y, count in zip(ends, steps, strict=True)]
        x = x - (shares @ steps) * (shares @ np.array(directions))
        np.testing.assert_allclose(course[number + 1], x, rtol=0, atol=1e-12)


def test_it_is_fedavg_where_everyone_takes_as_many_steps():
    fedavg, fednova = (trained_weights(plain(strategy=name))[0] for name in ("fedavg", "fednova"))

    np.testing.assert_allclose(fednova, fedavg, rtol=0, atol=1e-13)


def test_it_differs_where_they_do_not_and_engines_agree():
    config = settings(**UNEVEN, strategy="fednova")

    (batched, rows), (sequential, others) = (trained(config, engine) for engine in ENGINES)
    fedavg, _ = trained(config.replace(strategy="fedavg"))

    assert apart(batched, sequential) == 0
    assert rows == others
    assert apart(batched, fedavg) > 1e-3


def test_adam_is_refused():
    with pytest.raises(SettingsError, match="strategy=fednova contradicts optimizer=adam"):
        settings(strategy="fednova", optimizer="adam")


@pytest.mark.parametrize(("momentum", "mu"), [(0.9, 0.0), (0.0, 0.001), (0.5, 0.001)])
def test_the_weight_of_very_many_steps_is_the_recursions(momentum, mu):
    config = plain(momentum=momentum, proximal_mu=mu)
    moved = velocity = 0.0
    for _ in range(12_345):
        velocity = momentum * velocity + 1 - config.learning_rate * config.pull * moved
        moved += velocity

    assert gradient_weight(np.array([7, 12_345]), config)[1] == pytest.approx(moved, rel=1e-9)
    assert np.isfinite(gradient_weight(np.array([10**12]), config)).all()
