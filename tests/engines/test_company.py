"""A federation ends in the same bits whether it trains alone or beside others of any kind."""

import pytest
from federations import settings, together, trained, without_seconds

from edgefed.data.shards import federate
from edgefed.engines import make_engine
from edgefed.federation.record import client_rows
from edgefed.imbalance import REMEDIES

COMPANIES = {
    "remedies": [settings(imbalance=name) for name in REMEDIES],
    "seeds": [settings(seed=seed, fraction_train=0.5) for seed in range(4)],
    "rates": [settings(learning_rate=rate) for rate in (0.01, 0.1, 1.0)],
    "architectures": [
        settings(hidden=hidden, activation=activation)
        for hidden, activation in [("16", "relu"), ("", "relu"), ("32-16", "tanh"), ("16", "sigmoid")]
    ],
    "optimisers": [
        settings(),
        settings(momentum=0.9),
        settings(momentum=0.5),
        settings(weight_decay=0.1),
        settings(proximal_mu=1.0),
        settings(optimizer="adam", learning_rate=0.01),
        settings(loss="mse"),
        settings(loss="hinge"),
    ],
    "walks": [
        settings(batch_size=3),
        settings(batch_size=10, local_epochs=1),
        settings(match="epochs", imbalance="random-oversampling"),
        settings(imbalance="random-oversampling"),
    ],
    "precisions": [settings(), settings(dtype="float64")],
    "lengths": [settings(num_server_rounds=rounds) for rounds in (1, 4, 2)],
    "sizes": [settings(num_clients=clients) for clients in (1, 3, 40)],
    "datasets": [settings(), settings(dataset="wine", hidden="8"), settings(standardize="none")],
    "held out": [
        settings(client_test_fraction=0.2, long_tail=1.0),
        settings(evaluate_every=2),
        settings(imbalance="post-hoc", client_test_fraction=0.3, long_tail=1.0, evaluate_every=3),
    ],
}


#: Sums over rows: beside a model with more test rows they are padded, which changes the order of summation.
SUMMED = ("log_loss", "brier")


def counted(rounds):
    """Return a history without time and without what is a sum over rows."""
    return [
        {
            key: {name: number for name, number in value.items() if name not in SUMMED}
            if isinstance(value, dict)
            else value
            for key, value in row.items()
        }
        for row in without_seconds(rounds)
    ]


def summed(rounds):
    """Return what is a sum over rows."""
    return [row[rows][name] for row in rounds for rows in ("validation", "test") if rows in row for name in SUMMED]


@pytest.mark.parametrize("company", COMPANIES)
def test_alone_and_in_company(company):
    configs = COMPANIES[company]

    federations = together(configs, make_engine("batched"))

    for config, federation in zip(configs, federations, strict=True):
        alone, clients = trained(config)
        beside = federation.model.state_dict(federation.weights)
        assert {name: array.tobytes() for name, array in beside.items()} == {
            name: array.tobytes() for name, array in alone.weights.items()
        }
        assert counted(federation.history) == counted(alone.rounds)
        assert summed(federation.history) == pytest.approx(summed(alone.rounds), rel=0, abs=1e-12)
        assert client_rows(federation) == clients
        up, down = federation.query_bytes
        assert {"up": up + federation.bytes_up, "down": down + federation.bytes_down} == alone.summary["bytes"]


def test_an_engine_can_be_used_again_for_other_federations():
    """What an engine keeps between rounds must never reach the next federations."""
    engine = make_engine("batched")
    configs = [settings(seed=seed) for seed in (0, 1)]

    hashes = []
    for config in (*configs, configs[0]):
        federation = together([config], engine)[0]
        hashes.append(federation.weights.tobytes())

    assert hashes[0] == hashes[2]
    assert hashes[0] != hashes[1]


def test_the_same_federation_twice_in_one_company():
    first, again = together([settings(), settings()], make_engine("batched"))

    assert first.weights.tobytes() == again.weights.tobytes()


def test_a_client_that_is_alone_in_its_cohort():
    config = settings(num_clients=12, fraction_train=0.01)
    assert len(federate(config)[1].shards) == 12

    federations = together([config, settings()], make_engine("batched"))

    assert all(row["clients"] <= 1 for row in federations[0].history)
    assert federations[0].weights.tobytes() == together([config], make_engine("sequential"))[0].weights.tobytes()
