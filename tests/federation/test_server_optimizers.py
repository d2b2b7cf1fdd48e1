"""Flower's server optimisers over the stack, against their papers' equations on hand-averaged clients."""

import logging

import numpy as np
import pytest
from federations import ENGINES, apart, figures, queried, settings, trained
from hostile import Hostile
from papers_by_hand import descended, loss, plain, rows_of, trained_weights

import edgefed
from edgefed.federation.rounds import run_rounds
from edgefed.federation.strategies import STRATEGIES

SERVER = ("fedprox", "fedavgm", "fedadagrad", "fedadam", "fedyogi", "qfedavg")


@pytest.fixture(autouse=True)
def _quiet():
    before = logging.getLogger("flwr").level
    logging.getLogger("flwr").setLevel(logging.ERROR)
    yield
    logging.getLogger("flwr").setLevel(before)


def followed(config, step):
    """Return a course by hand: ``step(number, x, average)`` returns the next weights; and the federation's own."""
    course, _ = trained_weights(config)
    rows = rows_of(config)
    sizes = np.array([len(labels) for _, labels in rows], float)
    x, expected = course[0], [course[0]]
    for number in range(1, config.num_server_rounds + 1):
        ends = [descended(x, own, config.local_epochs, config.learning_rate) for own in rows]
        x = step(number, x, sizes / sizes.sum() @ np.array(ends))
        expected.append(x)
    return course, np.array(expected)


def test_fedavgm():
    """Hsu et al. 2019, algorithm 2: v <- beta v + delta, w <- w - eta v."""
    velocity = 0

    def step(number, x, average):
        nonlocal velocity
        velocity = 0.6 * velocity + (x - average)
        return x - 0.5 * velocity

    found, expected = followed(plain(strategy="fedavgm", server_momentum=0.6, server_learning_rate=0.5), step)

    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["fedadagrad", "fedadam", "fedyogi"])
def test_adaptive(name):
    """Reddi et al. 2021, algorithm 2; Flower's FedAdam corrects eta by sqrt(1 - b2^(t+1)) / (1 - b1^(t+1))."""
    config = plain(strategy=name, server_learning_rate=0.05, server_beta_1=0.8, server_beta_2=0.9, server_tau=0.01)
    first = 0.0 if name == "fedadagrad" else 0.8
    m = v = 0

    def step(number, x, average):
        nonlocal m, v
        delta = average - x
        m = first * m + (1 - first) * delta
        if name == "fedadagrad":
            v = v + delta**2
        elif name == "fedadam":
            v = 0.9 * v + 0.1 * delta**2
        else:
            v = v - 0.1 * delta**2 * np.sign(v - delta**2)
        rate = 0.05 * np.sqrt(1 - 0.9 ** (number + 1)) / (1 - 0.8 ** (number + 1)) if name == "fedadam" else 0.05
        return x + rate * m / (np.sqrt(v) + 0.01)

    found, expected = followed(config, step)

    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("mu", "used"), [(0.0, 0.1), (0.7, 0.7)])
def test_fedprox_pulls_its_clients(mu, used):
    """Li et al. 2020: each client descends F_k(w) + mu/2 ||w - w_t||^2; the server averages."""
    config = plain(strategy="fedprox", proximal_mu=mu)

    course, _ = trained_weights(config)

    rows = rows_of(config)
    sizes = np.array([len(labels) for _, labels in rows], float)
    x = course[0]
    for found in course[1:]:
        ends = [descended(x, own, 3, 0.3, extra=lambda w, x=x: used * (w - x)) for own in rows]
        x = sizes / sizes.sum() @ np.array(ends)
        np.testing.assert_allclose(found, x, rtol=0, atol=1e-12)


def test_qfedavg():
    """Li et al. 2020, algorithm 1: F_k is the loss of the weights that the round began with, L = 1 / eta."""
    config = plain(strategy="qfedavg", qfedavg_q=2.0, dtype="float64")

    course, _ = trained_weights(config)

    rows = rows_of(config)
    x = course[0]
    for found in course[1:]:
        top, bottom = 0, 0
        for own in rows:
            # Losses travel as float32: engines must agree on them.
            f = float(np.float32(loss(x, *own))) + 1e-10
            g = (x - descended(x, own, 3, 0.3)) / 0.3
            top = top + f**2 * g
            bottom += 2 * f * (g @ g) + f**2 / 0.3
        x = x - top / bottom
        np.testing.assert_allclose(found, x, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SERVER)
def test_engines_agree_to_the_bit(name, dtype):
    config = settings(strategy=name, dtype=dtype, fraction_train=0.6)

    (batched, rows), (sequential, others) = (trained(config, engine) for engine in ENGINES)

    assert apart(batched, sequential) == 0
    assert figures(batched) == figures(sequential)
    assert rows == others


@pytest.mark.parametrize("name", ["fedavgm", "fedadam", "fedyogi", "fedadagrad"])
def test_a_resumed_run_is_the_uninterrupted_one(name, tmp_path):
    config = settings(strategy=name, num_server_rounds=5)
    whole = edgefed.run(config, progress=False)

    def stop(federation):
        if federation.round == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        edgefed.run(config, progress=False, out=tmp_path / "run", on_round=stop)
    resumed = edgefed.run(config, progress=False, out=tmp_path / "run", resume=True)

    assert resumed.summary["model_sha256"] == whole.summary["model_sha256"]


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_state_of_another_model_is_refused(name):
    _, federation = trained_weights(plain(strategy=name, num_server_rounds=1))

    with pytest.raises(ValueError, match=r"nothing that this strategy carries|not of this model|control variate"):
        federation.strategy.restore({"what": np.zeros(3)})
    kept = dict(federation.strategy.state())
    federation.strategy.restore(kept)
    assert {key: value.tobytes() for key, value in federation.strategy.state().items()} == {
        key: value.tobytes() for key, value in kept.items()
    }


def test_qfedavg_on_the_stack_is_flowers_own():
    from flwr.serverapp.strategy import QFedAvg

    from edgefed.federation.strategies import WHOLE_COHORT

    config = settings(strategy="qfedavg", qfedavg_q=1.5, dtype="float64", num_server_rounds=2)
    ours, trainer = queried(config)
    run_rounds([ours], trainer.exchange)
    theirs, trainer = queried(config)
    theirs.strategy = QFedAvg(client_learning_rate=0.1, q=1.5, train_loss_key="start-loss", **WHOLE_COHORT)
    run_rounds([theirs], trainer.exchange)

    np.testing.assert_allclose(ours.weights, theirs.weights, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"strategy": "fedavgm", "server_momentum": 0.9, "server_learning_rate": 20.0}, "the average is not finite"),
        ({"strategy": "fedadam"}, "what the strategy carries is not finite"),
        ({"strategy": "fedyogi"}, "what the strategy carries is not finite"),
        ({"strategy": "fedadagrad"}, "what the strategy carries is not finite"),
        ({"strategy": "scaffold", "learning_rate": 0.001}, "what the strategy carries is not finite"),
        ({"imbalance": "climb", "strategy": "fedavgm", "server_learning_rate": 20.0}, "the average is not finite"),
    ],
    ids=lambda value: value.get("imbalance", value["strategy"]) if isinstance(value, dict) else "",
)
def test_a_round_that_changed_nothing_changed_nothing(changes, note):
    """A client's weights of 3e38 are finite; what they make of the server's own arrays in float32 is not."""

    def huge(replies, place):
        replies.stack[place] = 3e38

    federation, trainer = queried(settings(partition="iid", num_server_rounds=3, local_epochs=1, **changes))
    states = []

    def look(federation):
        owned = {
            name: array for name, array in federation.state().items() if name.startswith(("server/", "model/", "dual"))
        }
        states.append({name: array.tobytes() for name, array in owned.items()})

    federation.on_round = look
    run_rounds([federation], Hostile(trainer, huge, (2,)).exchange)

    assert federation.history[1]["note"] == f"{note}: the round changed nothing"
    assert states[1] == states[0]
    assert "note" not in federation.history[2]
    assert states[2] != states[1]
    assert np.isfinite(federation.weights).all()
