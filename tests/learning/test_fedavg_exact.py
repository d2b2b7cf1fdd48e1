"""FedAvg is exact where it must be: whole federations against one gradient written in plain torch.

Trap 1 of class weights is here too: dividing by a batch's own sum of weights would cancel them.
"""

import numpy as np
import pytest
import torch
from plain_training import PLAIN_LOSSES, as_module, batches_of
from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional

import edgefed
from edgefed.data.shards import federate
from edgefed.federation.clients import Clients
from edgefed.federation.guidance import Guidance
from edgefed.learning.losses import LOSSES
from edgefed.learning.model import ACTIVATIONS, MLP
from edgefed.learning.schedule import schedule_of

ONE_STEP = {
    "num_server_rounds": 1,
    "local_epochs": 1,
    "batch_size": 0,
    "dtype": "float64",
    "learning_rate": 0.5,
    "hidden": "6",
}
ROW_LOSSES = {
    "cross-entropy": lambda f, y: functional.cross_entropy(f, y, reduction="none"),
    "mse": lambda f, y: (torch.softmax(f, -1) - functional.one_hot(y, 3)).square().mean(-1),
    "hinge": lambda f, y: functional.multi_margin_loss(f, y, reduction="none"),
}


def pooled_rows(config: edgefed.FederationConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """All clients' training rows in one matrix, standardised by scikit-learn."""
    _, data = federate(config)
    iris = load_iris()
    features = iris.data[data.split.pool].astype(np.float32).astype(np.float64)
    return (
        torch.from_numpy(StandardScaler().fit_transform(features)),
        torch.from_numpy(iris.target[data.split.pool]),
    )


def start_of(config: edgefed.FederationConfig) -> torch.nn.Sequential:
    model = MLP(4, config.hidden_layers, 3, config.activation)
    return as_module(model, torch.from_numpy(model.initial(config.init_stream)))


def descend(module: torch.nn.Sequential, value: torch.Tensor, rate: float) -> None:
    """One step of gradient descent."""
    module.zero_grad()
    value.backward()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter -= rate * parameter.grad


def assert_same_weights(run: edgefed.Run, module: torch.nn.Sequential, tolerance: float) -> None:
    expected = module.state_dict()
    assert list(run.weights) == list(expected)
    for name, weights in run.weights.items():
        np.testing.assert_allclose(weights, expected[name].numpy(), rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("engine", ["batched", "sequential"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_one_full_batch_step_with_everyone_in_is_gradient_descent_on_the_pooled_loss(activation, loss, engine):
    config = edgefed.FederationConfig(**ONE_STEP, activation=activation, loss=loss)
    features, labels = pooled_rows(config)
    module = start_of(config)
    before = torch.cat([parameter.detach().ravel().clone() for parameter in module.parameters()])

    run = edgefed.run(config, engine=engine)

    descend(module, PLAIN_LOSSES[loss](module(features), labels), config.learning_rate)
    assert_same_weights(run, module, 1e-12)
    after = torch.cat([parameter.detach().ravel() for parameter in module.parameters()])
    assert (after - before).abs().max() > 1e-3


@pytest.mark.parametrize("partition", ["iid", "dirichlet", "classes", "quantity"])
def test_twenty_such_rounds_are_twenty_steps_however_the_rows_are_shared_out(partition):
    config = edgefed.FederationConfig(**{**ONE_STEP, "num_server_rounds": 20}, partition=partition, activation="tanh")
    features, labels = pooled_rows(config)
    module = start_of(config)

    run = edgefed.run(config)

    for _ in range(20):
        descend(module, functional.cross_entropy(module(features), labels), config.learning_rate)
    assert_same_weights(run, module, 1e-11)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("alpha", [0.1, 100.0])
def test_global_class_weights_give_one_step_on_the_pooled_weighted_loss(loss, alpha):
    """(1 / n) sum_i w_{y_i} l_i with scikit-learn's balanced weights n / (C n_c), mean 1 over all training rows."""
    config = edgefed.FederationConfig(
        **ONE_STEP, loss=loss, alpha=alpha, long_tail=8.0, imbalance="class-weights-balanced-global"
    )
    features, labels = pooled_rows(config)
    weights = compute_class_weight("balanced", classes=np.arange(3), y=labels.numpy())
    assert weights.max() > 3 * weights.min()
    module = start_of(config)

    run = edgefed.run(config)

    rows = torch.from_numpy(weights)[labels] * ROW_LOSSES[loss](module(features), labels)
    descend(module, rows.sum() / len(labels), config.learning_rate)
    assert_same_weights(run, module, 1e-12)


def test_global_class_weights_act_on_shards_of_one_class():
    """Every client holds one class, so every batch has one: here the wrong reduction does nothing at all."""
    shared = {**ONE_STEP, "partition": "classes", "classes_per_client": 1, "num_clients": 3, "long_tail": 8.0}
    config = edgefed.FederationConfig(**shared, imbalance="class-weights-balanced-global")
    _, data = federate(config)
    assert ((data.class_counts > 0).sum(1) == 1).all()
    features, labels = pooled_rows(config)
    weights = torch.from_numpy(compute_class_weight("balanced", classes=np.arange(3), y=labels.numpy()))
    module, unweighted = start_of(config), start_of(config)

    run = edgefed.run(config)

    # As the sum of weights cancels in each batch, the wrong reduction is the unweighted average of the clients.
    descend(unweighted, functional.cross_entropy(unweighted(features), labels), config.learning_rate)
    wrong = edgefed.run(edgefed.FederationConfig(**shared))
    assert_same_weights(wrong, unweighted, 1e-12)
    rows = weights[labels] * functional.cross_entropy(module(features), labels, reduction="none")
    descend(module, rows.sum() / len(labels), config.learning_rate)
    assert_same_weights(run, module, 1e-12)
    assert max(np.abs(run.weights[name] - wrong.weights[name]).max() for name in run.weights) > 1e-2


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("batch_size", [10, 0])
def test_one_client_is_plain_training(optimizer, batch_size):
    """Three rounds of two epochs on the client's own batches; the optimiser starts afresh in each round."""
    config = edgefed.FederationConfig(
        partition="iid",
        num_clients=1,
        num_server_rounds=3,
        local_epochs=2,
        optimizer=optimizer,
        learning_rate=0.01,
        batch_size=batch_size,
        hidden="6",
        activation="tanh",
        dtype="float64",
    )
    features, labels = pooled_rows(config)
    module = start_of(config)
    _, data = federate(config)
    clients = Clients(config, data.shards)
    guidance = Guidance(np.zeros(4), np.ones(4))  # the batches are row numbers: they do not depend on it
    model = MLP(4, (6,), 3, "tanh")
    start = torch.from_numpy(model.initial(config.init_stream))

    run = edgefed.run(config)

    for number in range(1, 4):
        cohort = clients.cohort(guidance, np.array([0]), start, number)
        batches = batches_of(schedule_of(config), cohort)[0]
        kind = torch.optim.Adam if optimizer == "adam" else torch.optim.SGD
        plain = kind(module.parameters(), lr=0.01)
        for rows in batches:
            plain.zero_grad()
            functional.cross_entropy(module(features[rows]), labels[rows]).backward()
            plain.step()
    assert_same_weights(run, module, 1e-9)


def test_iid_shards_and_single_precision_agree_to_float_precision():
    config = edgefed.FederationConfig(**{**ONE_STEP, "dtype": "float32"}, partition="iid")
    features, labels = pooled_rows(config)
    module = start_of(config)

    run = edgefed.run(config)

    descend(module, functional.cross_entropy(module(features), labels), config.learning_rate)
    assert_same_weights(run, module, 1e-6)
    assert all(weights.dtype == np.float32 for weights in run.weights.values())
