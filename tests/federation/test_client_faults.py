"""Clients that fail: the round goes on with the rest, and who failed, when and why is written down."""

import csv
import math

import numpy as np
import pytest
from federations import Recorder, queried, settings, trained

import edgefed
from edgefed.engines import make_engine
from edgefed.errors import FederationError
from edgefed.federation.clients import Clients
from edgefed.federation.messages import METRICS
from edgefed.federation.rounds import run_rounds


@pytest.fixture
def fail(monkeypatch):
    """Return a function that makes chosen clients raise where they train (or evaluate) in chosen rounds."""
    train, evaluate, statistics = Clients.cohort, Clients.evaluate, Clients.statistics

    def install(reasons, rounds=range(1, 1000), stage="train"):
        def check(clients, round_number):
            identity = int(clients.shards.ids[0])
            if identity in reasons and round_number in rounds:
                raise OSError(reasons[identity])

        if stage == "train":

            def cohort(self, guidance, which, params, round_number):
                check(self, round_number)
                return train(self, guidance, which, params, round_number)

            monkeypatch.setattr(Clients, "cohort", cohort)
        elif stage == "evaluate":

            def measured(self, *args):
                check(self, 1)
                return evaluate(self, *args)

            monkeypatch.setattr(Clients, "evaluate", measured)
        else:

            def counted(self, **asked):
                check(self, 1)
                return statistics(self, **asked)

            monkeypatch.setattr(Clients, "statistics", counted)

    return install


EVERYONE = dict.fromkeys(range(10), "no power")
CONFIG = settings(partition="iid")


def test_the_round_goes_on_without_a_client_that_raises(fail):
    fail({4: "battery empty"})
    recorder = Recorder(make_engine("sequential"))
    federation, _ = queried(CONFIG.replace(num_server_rounds=1), recorder.engine)

    run_rounds([federation], recorder.exchange)

    kept = [reply for reply in recorder.exchanges[0][1] if not reply.has_error()]
    assert [reply.content.metric_records[METRICS]["partition-id"] for reply in kept] == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    flats = np.stack(
        [
            federation.model.flat({name: a.numpy() for name, a in reply.content.array_records["arrays"].items()})
            for reply in kept
        ]
    ).astype(np.float64)
    rows = np.array([reply.content.metric_records[METRICS]["num-examples"] for reply in kept], float)
    np.testing.assert_allclose(federation.weights, rows @ flats / rows.sum(), rtol=0, atol=1e-7)
    assert federation.history[0]["clients"] == 9
    assert federation.history[0]["failed"] == ["OSError: battery empty"]
    assert federation.client_updates == 9


def test_who_failed_when_and_why_is_in_the_run_folder(fail, tmp_path):
    fail({4: "battery empty, at night"}, rounds=[2])

    run, _ = trained(CONFIG, "sequential", out=tmp_path / "run")

    with (tmp_path / "run" / "clients.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    failures = [row for row in rows if row["verdict"] != "ok"]
    assert [(row["round"], row["client"]) for row in failures] == [("2", "4")]
    assert failures[0]["verdict"] == "failed: OSError: battery empty, at night"
    assert (failures[0]["rows"], failures[0]["steps"], failures[0]["train_loss"]) == ("0", "0", "")
    assert len(rows) == 30
    assert [row["clients"] for row in run.rounds] == [10, 9, 10]
    assert run.summary["client_updates"] == 29
    assert [row.get("failed") for row in edgefed.Run.read(tmp_path / "run").rounds] == [
        None,
        ["OSError: battery empty, at night"],
        None,
    ]


def test_each_client_has_its_own_reason(fail):
    fail({2: "disk full", 7: "battery empty"})

    _, clients = trained(CONFIG.replace(num_server_rounds=1), "sequential")

    verdicts = {row[1]: row[5] for row in clients if row[5] != "ok"}
    assert verdicts == {2: "failed: OSError: disk full", 7: "failed: OSError: battery empty"}


def test_a_round_in_which_all_fail_changes_nothing_and_says_so(fail):
    weights = []
    fail(EVERYONE, rounds=[2])
    federation, engine = queried(CONFIG, make_engine("sequential"))
    federation.on_round = lambda federation: weights.append(federation.weights.copy())

    run_rounds([federation], engine.exchange)

    assert weights[0].tobytes() == weights[1].tobytes() != weights[2].tobytes()
    assert "changed nothing" in federation.history[1]["note"]
    assert federation.history[1]["clients"] == 0
    assert federation.history[1]["bytes_up"] == 10 * len("OSError: no power")  # what they say is all that they send
    assert "train_loss" not in federation.history[1]
    assert len(federation.history[1]["failed"]) == 10
    assert [entry.verdicts for entry in federation.clients][1] == ["failed: OSError: no power"] * 10
    assert all(math.isnan(loss) for loss in federation.clients[1].loss)
    assert federation.history[1]["test"] == federation.history[0]["test"]
    assert federation.client_updates == 20


def test_all_fail_in_every_round(fail):
    fail(EVERYONE)

    run, _ = trained(CONFIG, "sequential")

    assert run.summary["client_updates"] == 0
    assert all(array.tobytes() == kept.tobytes() for array, kept in zip(run.weights.values(), initial(), strict=True))


def initial():
    federation, _ = queried(CONFIG)
    return federation.model.state_dict(federation.weights).values()


def test_a_client_that_cannot_be_evaluated_is_left_out_of_the_clients_figures(fail):
    config = CONFIG.replace(client_test_fraction=0.3, long_tail=1.0, num_server_rounds=1)
    fail({4: "battery empty"}, stage="evaluate")

    run, clients = trained(config, "sequential")

    assert run.summary["clients_test"]["clients"] == 9
    assert [row[5] for row in clients] == ["ok"] * 10


def test_a_client_that_does_not_answer_the_query_is_named_with_its_reason(fail):
    fail({4: "battery empty"}, stage="query")

    with pytest.raises(FederationError, match=r"9 of 10 clients answered .*OSError: battery empty.*: 4$"):
        trained(CONFIG, "sequential")


def test_a_failure_of_many_lines_is_one_line(fail):
    fail({4: "first\nsecond, with a comma\n\n"})

    _, clients = trained(CONFIG.replace(num_server_rounds=1), "sequential")

    (verdict,) = {row[5] for row in clients} - {"ok"}
    assert "\n" not in verdict
    assert verdict.startswith("failed: ")
