"""The batched engine gives what Flower's ClientApp gives, message by message: weights, figures, bytes, clients."""

import math

import numpy as np
import pytest
from federations import ENGINES, apart, figures, settings, trained

from edgefed.imbalance import REMEDIES

CASES = {
    **{f"imbalance={name}": {"imbalance": name} for name in REMEDIES},
    "loss=mse": {"loss": "mse"},
    "loss=hinge": {"loss": "hinge"},
    "activation=tanh": {"activation": "tanh"},
    "activation=sigmoid": {"activation": "sigmoid"},
    "optimizer=adam": {"optimizer": "adam", "learning_rate": 0.01},
    "momentum": {"momentum": 0.9},
    "weight-decay": {"weight_decay": 0.01},
    "proximal-mu": {"proximal_mu": 0.1},
    "batch-size=0": {"batch_size": 0},
    "batch-size=1": {"batch_size": 1, "local_epochs": 1},
    "batch wider than any shard": {"batch_size": 64},
    "no hidden layer": {"hidden": ""},
    "hidden=32-16": {"hidden": "32-16"},
    "fraction-train": {"fraction_train": 0.3},
    "empty shards": {"num_clients": 40, "num_server_rounds": 4},
    "standardize=local": {"standardize": "local"},
    "standardize=none": {"standardize": "none"},
    "client-test-fraction": {"client_test_fraction": 0.2, "long_tail": 1.0},
    "match=epochs": {"match": "epochs", "imbalance": "random-oversampling"},
    "adam, momentumless, decayed and pulled": {
        "optimizer": "adam",
        "learning_rate": 0.01,
        "weight_decay": 0.01,
        "proximal_mu": 0.1,
    },
    "all of sgd": {"momentum": 0.5, "weight_decay": 0.01, "proximal_mu": 0.1, "imbalance": "balanced-softmax"},
    "evaluate-every": {"evaluate_every": 4},
    "one class each": {"partition": "classes", "classes_per_client": 1},
}
#: Full batches of ragged shards are padded to the longest, which sums a shorter one in another order.
UP_TO_ROUNDING = {"batch-size=0"}
BOUND = {"float32": 1e-5, "float64": 1e-9}


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("case", CASES)
def test_weights_figures_bytes_and_clients(case, dtype):
    rounds = {"float32": 10, "float64": 3}[dtype]
    config = settings(**({"num_server_rounds": rounds, "dtype": dtype} | CASES[case]))

    (batched, batched_clients), (sequential, sequential_clients) = (trained(config, engine) for engine in ENGINES)

    assert apart(batched, sequential) <= BOUND[dtype]
    assert batched.summary["bytes"] == sequential.summary["bytes"]
    assert batched.summary["client_updates"] == sequential.summary["client_updates"]
    if case in UP_TO_ROUNDING:
        assert without_figures(batched_clients) == without_figures(sequential_clients)
        for ours, theirs in zip(batched.rounds, sequential.rounds, strict=True):
            assert ours.keys() == theirs.keys()
            assert math.isclose(ours["train_loss"], theirs["train_loss"], abs_tol=BOUND[dtype])
    else:
        assert batched.summary["model_sha256"] == sequential.summary["model_sha256"]
        assert figures(batched) == figures(sequential)
        assert batched_clients == sequential_clients


def without_figures(rows):
    """Return clients' rows without the loss."""
    return [(*row[:4], row[5]) for row in rows]


@pytest.mark.parametrize("dataset", ["wine", "breast-cancer"])
def test_other_datasets_up_to_rounding(dataset):
    """Matrix products of other widths may sum in another order for one client than for a stack."""
    config = settings(dataset=dataset, dtype="float64", num_server_rounds=4)

    batched, sequential = (trained(config, engine)[0] for engine in ENGINES)

    assert apart(batched, sequential) <= 1e-9
    assert batched.summary["bytes"] == sequential.summary["bytes"]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(engine):
    config = settings(fraction_train=0.5)

    first, again, other = (trained(config.replace(seed=seed), engine)[0] for seed in (3, 3, 4))

    assert figures(first) == figures(again)
    assert first.summary["model_sha256"] != other.summary["model_sha256"]


@pytest.mark.parametrize("key", ["split_seed", "partition_seed", "init_seed", "seed"])
def test_each_seed_has_its_own_say(key):
    config = settings(seed=1, split_seed=1, partition_seed=1, init_seed=1)

    hashes = {trained(config.replace(**{key: seed}))[0].summary["model_sha256"] for seed in (1, 2)}

    assert len(hashes) == 2


def test_the_model_did_learn():
    """Agreement of engines that do nothing would be worth nothing."""
    run, _ = trained(settings(num_server_rounds=10, long_tail=1.0, partition="iid"))

    assert run.summary["test"]["balanced_accuracy"] > 0.7
    assert np.isfinite(np.concatenate([array.ravel() for array in run.weights.values()])).all()
