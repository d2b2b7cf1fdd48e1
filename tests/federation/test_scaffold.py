"""SCAFFOLD against the paper's algorithm 1 (option II), written out with each client's own Delta c."""

import numpy as np
import pytest
from federations import ENGINES, Recorder, apart, figures, queried, settings, trained
from flwr.app import RecordDict
from papers_by_hand import descended, plain, rows_of, trained_weights

import edgefed
from edgefed.config import SettingsError
from edgefed.engines import make_engine
from edgefed.federation.client_state import ClientState
from edgefed.federation.rounds import run_rounds


def papers(config, cohorts, start):
    """Return the weights after each round; clients weigh by rows, c moves by |S| / N times their mean Delta c."""
    rows = rows_of(config)
    sizes = np.array([len(labels) for _, labels in rows], float)
    rate, steps = config.learning_rate, config.local_epochs
    x, c, own = start.copy(), np.zeros_like(start), np.zeros((len(rows), len(start)))
    course = [x.copy()]
    for cohort in cohorts:
        shares = sizes[cohort] / sizes[cohort].sum()
        delta_y, delta_c = np.zeros_like(x), np.zeros_like(x)
        for share, client in zip(shares, cohort, strict=True):
            y = descended(x, rows[client], steps, rate, extra=lambda _, k=client, c=c: c - own[k])
            new = own[client] - c + (x - y) / (steps * rate)
            delta_y += share * (y - x)
            delta_c += share * (new - own[client])
            own[client] = new
        x = x + (config.server_learning_rate or 1.0) * delta_y
        c = c + len(cohort) / len(rows) * delta_c
        course.append(x.copy())
    return np.array(course), c, own


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("changes", [{}, {"fraction_train": 0.4}, {"server_learning_rate": 0.7}], ids=str)
def test_rounds_by_hand(engine, changes):
    config = plain(strategy="scaffold", **changes)

    course, federation = trained_weights(config, engine)

    cohorts = [federation.cohort(number) for number in range(1, 5)]
    expected, c, own = papers(config, cohorts, course[0])
    np.testing.assert_allclose(course, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(federation.strategy.control, c, rtol=0, atol=1e-12)
    np.testing.assert_allclose(federation.grid.clients.state.arrays["control"], own, rtol=0, atol=1e-12)
    assert np.abs(c).max() > 1e-3


def test_the_first_round_of_everyone_is_fedavgs_and_the_next_is_not():
    fedavg, scaffold = (trained_weights(plain(strategy=name))[0] for name in ("fedavg", "scaffold"))

    np.testing.assert_allclose(scaffold[1], fedavg[1], rtol=0, atol=1e-14)
    assert np.abs(scaffold[2] - fedavg[2]).max() > 1e-4


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("compression", ["none", "float16", "int8"])
def test_the_servers_control_variate_is_the_mean_of_the_clients(compression, engine):
    """With everyone in every round, c = sum_k p_k c_k, which is what the paper keeps, whatever is lost on the way."""
    config = plain(strategy="scaffold", partition="dirichlet", compression=compression)

    _, federation = trained_weights(config, engine)

    shares = federation.rows / federation.rows.sum()
    mean = shares @ federation.grid.clients.state.arrays["control"]
    np.testing.assert_allclose(federation.strategy.control, mean, rtol=0, atol=1e-12)


LOST = [(2, 0), (3, 0), (3, 4), (5, 1)]
"""Rounds and clients: once, twice in a row, and together with another's."""


@pytest.mark.parametrize("engine", ENGINES)
def test_a_client_whose_reply_did_not_count_keeps_the_variate_that_the_server_knows(engine):
    """It moved its own as it replied; asked again, it takes that back: the paper's rounds without it."""
    config = plain(strategy="scaffold", num_server_rounds=7)

    course, federation = trained_weights(config, engine, LOST)

    cohorts = [
        np.array([client for client in federation.cohort(number) if (number, client) not in LOST])
        for number in range(1, 8)
    ]
    expected, c, own = papers(config, cohorts, course[0])
    np.testing.assert_allclose(course, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(federation.strategy.control, c, rtol=0, atol=1e-12)
    np.testing.assert_allclose(federation.grid.clients.state.arrays["control"], own, rtol=0, atol=1e-12)
    verdicts = {verdict for entry in federation.clients for verdict in entry.verdicts}
    assert verdicts == {"ok", "no reply"}


def test_a_node_that_kept_nothing_of_this_run_begins_at_zero():
    """A device's process outlives a run: what it holds of an earlier one is none of the next one's."""
    state = ClientState(1)
    state.put("control", np.array([0]), np.ones((1, 3)))
    state.seen[:] = 4

    state.load(RecordDict())

    assert (state.arrays, state.seen.tolist()) == ({}, [0])


def test_whoever_was_never_lost_is_told_nothing():
    """The messages of an ordinary run are those of before."""
    trainer = Recorder(make_engine("batched"))
    federation, _ = queried(plain(strategy="scaffold", fraction_train=0.6), trainer)
    run_rounds([federation], trainer.exchange)
    sent = [messages[0].content.config_records["config"] for messages, _ in trainer.exchanges[1:] if len(messages)]
    assert len(sent) >= 4
    assert not [config for config in sent if "counted-ids" in config]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_round_that_diverged_leaves_a_clients_variate_as_it_was(engine):
    """Beyond half precision an update is infinite, and refused; later rounds of that client are not spoilt."""
    config = plain(
        strategy="scaffold", compression="float16", learning_rate=1e3, dataset="wine", standardize="none",
        num_server_rounds=1,
    )  # fmt: skip

    _, federation = trained_weights(config, engine)

    assert any(verdict.startswith("refused") for entry in federation.clients for verdict in entry.verdicts)
    assert np.isfinite(federation.grid.clients.state.arrays["control"]).all()


def test_momentum_divides_by_the_weight_of_the_gradients():
    """With momentum m, (x - y) / (eta ||a||_1) is a mean of gradients; with c = c_k = 0 that mean is the new c_k."""
    config = plain(strategy="scaffold", momentum=0.5, num_server_rounds=1)

    course, federation = trained_weights(config)

    y, slopes, velocity = course[0].copy(), [], 0
    rows = rows_of(config)[0]
    from papers_by_hand import gradient

    for _ in range(3):
        slopes.append(gradient(y, *rows))
        velocity = 0.5 * velocity + slopes[-1]
        y = y - 0.3 * velocity
    weights = np.array([1.75, 1.5, 1.0])  # (1 - m^3) / (1 - m), ...
    expected = weights @ np.array(slopes) / weights.sum()
    np.testing.assert_allclose(federation.grid.clients.state.arrays["control"][0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_engines_agree_to_the_bit(dtype):
    config = settings(strategy="scaffold", dtype=dtype, fraction_train=0.6, momentum=0.5, num_server_rounds=4)

    (batched, rows), (sequential, others) = (trained(config, engine) for engine in ENGINES)

    assert apart(batched, sequential) == 0
    assert figures(batched) == figures(sequential)
    assert rows == others


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path):
    """Both the server's control variate and the clients' own come back."""
    config = settings(strategy="scaffold", fraction_train=0.5, num_server_rounds=6)
    whole = edgefed.run(config, progress=False)

    def stop(federation):
        if federation.round == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        edgefed.run(config, progress=False, out=tmp_path / "run", on_round=stop)
    resumed = edgefed.run(config, progress=False, out=tmp_path / "run", resume=True)

    assert resumed.summary["model_sha256"] == whole.summary["model_sha256"]


def test_adam_is_refused():
    with pytest.raises(SettingsError, match="strategy=scaffold contradicts optimizer=adam"):
        settings(strategy="scaffold", optimizer="adam")
