"""Robust strategies: by hand, beside Flower's own, and against clients that attack."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from federations import queried, settings, trained
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import strategy as flower

import edgefed
from edgefed.engines import make_engine
from edgefed.federation.flat_record import to_flat
from edgefed.federation.messages import ARRAYS, METRICS
from edgefed.federation.rounds import run_rounds
from edgefed.federation.strategies import STRATEGIES
from edgefed.learning.model import MLP

ROBUST = ("fedmedian", "fedtrimmedavg", "krum", "multikrum", "bulyan")
MODEL = MLP(2, (), 2)
RNG = np.random.default_rng(7)


def rule(name, stack, share, rows=None):
    strategy = STRATEGIES[name](MODEL, settings(malicious_share=share))
    count = len(stack)
    rows = np.ones(count) if rows is None else np.asarray(rows, float)
    return strategy.rule(np.asarray(stack, float), rows / rows.sum())


def test_rules_by_hand():
    """Values 0, 1, 2, 3, 4 of which 100 and -100 are attacks, the same in each of six weights."""
    column = np.array([-100.0, 0.0, 1.0, 2.0, 3.0, 4.0, 100.0])
    stack = np.tile(column[:, None], (1, 6))
    assert rule("fedmedian", stack, 0.2).tolist() == [2.0] * 6
    # floor(0.2 x 7) = 1 is cut at each end: (0 + 1 + 2 + 3 + 4) / 5
    assert rule("fedtrimmedavg", stack, 0.2).tolist() == [2.0] * 6
    # floor(0.3 x 7) = 2 attackers: three nearest others; scores 6 x (1 + 4 + 9, 1 + 1 + 4, 1 + 1 + 4, ...) -> 1
    assert rule("krum", stack, 0.3).tolist() == [1.0] * 6
    # The five with the lowest scores, rows 0, 10, 20, 30, 40: (0 + 10 + 40 + 90 + 160) / 100
    assert rule("multikrum", stack, 0.3, [1000, 0, 10, 20, 30, 40, 1000]).tolist() == [3.0] * 6
    # One attacker: of seven, five are selected (0 to 4), and of each weight the three nearest to the median 2
    assert rule("bulyan", stack, 0.2).tolist() == [2.0] * 6


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("fedmedian", lambda f, n: flower.FedMedian()),
        ("fedtrimmedavg", lambda f, n: flower.FedTrimmedAvg(beta=0.2)),
        ("krum", lambda f, n: flower.Krum(num_malicious_nodes=f)),
        ("multikrum", lambda f, n: flower.MultiKrum(num_malicious_nodes=f, num_nodes_to_select=n - f)),
        ("bulyan", lambda f, n: flower.Bulyan(num_malicious_nodes=f)),
    ],
)
@pytest.mark.parametrize("clients", [7, 11, 20])
def test_the_rules_are_flowers(name, theirs, clients):
    """In float64, where Flower's own way of taking distances loses nothing."""
    queried(settings())  # gives messages their identity
    stack = RNG.normal(size=(clients, MODEL.size))
    rows = RNG.integers(1, 50, clients)
    f = int(0.2 * clients)

    def messages():
        made = []
        for flat, count in zip(stack, rows.tolist(), strict=True):
            arrays = {key: Array(np.ascontiguousarray(value)) for key, value in MODEL.state_dict(flat).items()}
            content = RecordDict({ARRAYS: ArrayRecord(arrays), METRICS: MetricRecord({"num-examples": count})})
            made.append(Message(content, 1, "train"))
        return made

    expected, _ = theirs(f, clients).aggregate_train(1, messages())
    found, _ = STRATEGIES[name](MODEL, settings(malicious_share=0.2)).aggregate_train(1, messages())

    np.testing.assert_allclose(
        to_flat(MODEL, found), MODEL.flat({k: a.numpy() for k, a in expected.items()}), rtol=1e-12
    )


@pytest.mark.parametrize("name", ROBUST)
@pytest.mark.parametrize("engine", ["batched", "sequential"])
def test_engines_agree_and_few_replies_are_no_error(name, engine):
    config = settings(strategy=name, num_clients=5, fraction_train=0.2, partition="iid", malicious_share=0.4)
    found, _ = trained(config, engine)
    whole, _ = trained(config.replace(fraction_train=1.0), engine)
    batched, _ = trained(config.replace(fraction_train=1.0))
    assert found.summary["client_updates"] == 3
    assert whole.summary["model_sha256"] == batched.summary["model_sha256"]


@pytest.mark.parametrize("name", ROBUST)
def test_who_comes_first_does_not_matter(name):
    stack = RNG.normal(size=(11, MODEL.size))
    order = RNG.permutation(11)
    np.testing.assert_allclose(rule(name, stack, 0.2), rule(name, stack[order], 0.2), rtol=1e-12)


# ---- attacks
def attacks():
    path = Path(edgefed.__file__).parents[1] / "experiments" / "faults" / "attacks.py"
    spec = importlib.util.spec_from_file_location("attacks", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def accuracy(strategy, attack, share):
    config = settings(
        strategy=strategy,
        num_clients=20,
        partition="iid",
        long_tail=1.0,
        num_server_rounds=40,
        learning_rate=0.3,
        malicious_share=0.3,
    )
    federation, engine = queried(config, make_engine("batched"))
    found = attacks()
    attackers = found.attackers_among(np.arange(20), share, config.seed)
    assert len(attackers) == round(share * 20)
    run_rounds([federation], found.Attacked(engine, federation, attack, attackers).exchange)
    return federation.history[-1]["test"]["balanced_accuracy"]


@pytest.mark.parametrize("share", [0.1, 0.3])
@pytest.mark.parametrize("attack", ["sign-flip", "scaled", "constant"])
def test_attackers_do_not_steer_a_robust_strategy(attack, share):
    """Of 30 test rows five may be lost beside the average of nobody but honest clients, which errs in none.

    (Bulyan promises nothing beyond (20 - 3) / 4 = 4 attackers, and holds all the same.)
    """
    assert accuracy("fedavg", "none", 0.0) >= 0.95
    for name in ROBUST:
        assert accuracy(name, attack, share) >= 0.8, name


@pytest.mark.parametrize("attack", ["sign-flip", "scaled", "constant"])
def test_the_same_attackers_steer_the_average(attack):
    assert accuracy("fedavg", attack, 0.3) <= 0.7
