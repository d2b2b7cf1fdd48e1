"""No strategy sees a reply that is not what was asked for; the round is the average of the others."""

import re

import numpy as np
import pytest
from federations import Recorder, queried, settings
from hostile import BAD, MESSAGE_FAULTS, STACK_FAULTS, Hostile, metric, weights

from edgefed.config import FederationConfig, SettingsError
from edgefed.engines import make_engine
from edgefed.errors import FederationError
from edgefed.federation.flat_record import to_record
from edgefed.federation.rounds import run_rounds
from edgefed.federation.strategies import StackedFedAvg

CONFIG = settings(partition="iid", num_server_rounds=2)


def without_it(engine, rounds, config=CONFIG):
    """Run with the client's replies taken out of some rounds: what the others make of it."""

    class Silent(Hostile):
        def exchange(self, items):
            (messages,) = [messages for _, messages in items]
            self.round += messages[0].metadata.message_type == "train"
            answers = self.engine.exchange(items)
            if messages[0].metadata.message_type != "train" or self.round not in self.rounds:
                return answers
            return [[reply for reply in answers[0] if reply.metadata.src_node_id != BAD]]

    federation, trainer = queried(config, make_engine(engine))
    run_rounds([federation], Silent(trainer, None, rounds).exchange)
    return federation


def ran(engine, fault, rounds=(1,), config=CONFIG):
    federation, trainer = queried(config, make_engine(engine))
    run_rounds([federation], Hostile(trainer, fault, rounds).exchange)
    return federation


CASES = [("sequential", name, *case) for name, case in MESSAGE_FAULTS.items()] + [
    ("batched", name, *case) for name, case in STACK_FAULTS.items()
]


@pytest.mark.parametrize(("engine", "name", "fault", "says"), CASES, ids=[f"{case[0]}, {case[1]}" for case in CASES])
def test_a_client_is_left_out_named_and_may_come_back(engine, name, fault, says):
    federation = ran(engine, fault)

    assert federation.history[0]["clients"] == 9
    (why,) = federation.history[0]["refused"].values()
    assert list(federation.history[0]["refused"]) == [str(BAD)]
    assert re.search(says, why), why
    assert len(why.splitlines()) == 1
    assert len(why) <= 200
    verdicts = dict(zip(federation.clients[0].ids.tolist(), federation.clients[0].verdicts, strict=True))
    assert verdicts.pop(BAD) == f"refused: {why}"
    assert set(verdicts.values()) == {"ok"}
    assert federation.history[1]["clients"] == 10
    assert federation.weights.tobytes() == without_it("sequential", (1,)).weights.tobytes()


@pytest.mark.parametrize("name", STACK_FAULTS)
def test_a_stack_and_messages_get_the_same_verdicts(name):
    stacked, listed = ran("batched", STACK_FAULTS[name][0]), ran("sequential", MESSAGE_FAULTS[name][0])

    assert stacked.history[0]["refused"] == listed.history[0]["refused"]
    assert [entry.verdicts for entry in stacked.clients] == [entry.verdicts for entry in listed.clients]
    assert stacked.weights.tobytes() == listed.weights.tobytes()


@pytest.mark.parametrize("name", ["steps", "train-loss"])
def test_a_missing_metric_is_missing_and_the_client_counts(name):
    clean, _ = queried(CONFIG)
    federation = ran("sequential", metric(name, None), (1, 2))
    whole, trainer = queried(CONFIG)
    run_rounds([whole], trainer.exchange)

    assert federation.history[0]["clients"] == 10
    assert federation.weights.tobytes() == whole.weights.tobytes()
    entry = federation.clients[0]
    place = entry.ids.tolist().index(BAD)
    assert entry.verdicts[place] == "ok"
    if name == "steps":
        assert entry.steps[place] == 0
        assert federation.history[0]["steps"] == whole.history[0]["steps"] - whole.clients[0].steps[place]
    else:
        assert np.isnan(entry.loss[place])
        others = np.arange(10) != place
        expected = np.average(whole.clients[0].loss[others], weights=whole.clients[0].rows[others])
        assert federation.history[0]["train_loss"] == pytest.approx(expected)
    assert clean.round == 0


def test_an_extra_metric_is_let_pass():
    assert ran("sequential", metric("temperature", [1.5, 2.5])).history[0]["clients"] == 10


def test_a_second_answer_of_a_client_is_counted_once():
    whole, trainer = queried(CONFIG)
    run_rounds([whole], trainer.exchange)

    class Twice(Recorder):
        def exchange(self, items):
            (replies,) = self.engine.exchange(items)
            return [[*replies, *list(replies)[2:5]]]

    federation, trainer = queried(CONFIG, make_engine("sequential"))
    run_rounds([federation], Twice(trainer).exchange)

    assert [row["clients"] for row in federation.history] == [10, 10]
    assert federation.weights.tobytes() == whole.weights.tobytes()


def test_a_client_that_was_not_asked_is_not_counted():
    config = CONFIG.replace(fraction_train=0.5)
    whole, trainer = queried(config)
    run_rounds([whole], trainer.exchange)
    federation, trainer = queried(config, make_engine("sequential"))
    asked = federation.cohort(1).tolist()
    stranger = next(client for client in range(10) if client not in asked)

    def exchange(items):
        (replies,) = trainer.exchange(items)
        if federation.round == 0:
            replies[0].metadata.__dict__["_src_node_id"] = stranger
        return [replies]

    run_rounds([federation], exchange)

    assert federation.history[0]["clients"] == 4
    assert federation.history[0]["failed"] == ["a reply of a node that was not asked"]
    assert federation.clients[0].verdicts[-1] == "refused: a reply of a node that was not asked"


@pytest.mark.parametrize("engine", ["batched", "sequential"])
def test_a_round_in_which_everyone_is_refused_changes_nothing_and_says_so(engine):
    federation, trainer = queried(CONFIG, make_engine(engine))
    before = federation.weights.copy()
    federation.rows = federation.rows + 1  # nobody says what it said in the query

    run_rounds([federation], trainer.exchange)

    assert federation.weights.tobytes() == before.tobytes()
    assert federation.history[0]["note"] == "every reply was refused: the round changed nothing"
    assert len(federation.history[0]["refused"]) == 10
    assert federation.client_updates == 0


def test_an_average_that_is_not_finite_changes_nothing_and_says_so():
    """A server optimiser can overflow where no client has."""

    class Overflowing(StackedFedAvg):
        def aggregate_train(self, server_round, replies):
            return to_record(self.model, np.full(self.model.size, 1e39)), None

    federation, trainer = queried(CONFIG)
    federation.strategy = Overflowing(federation.model)
    before = federation.weights.copy()

    run_rounds([federation], trainer.exchange)

    assert federation.weights.tobytes() == before.tobytes()
    assert federation.history[0]["note"] == "the average is not finite: the round changed nothing"


@pytest.mark.parametrize("engine", ["batched", "sequential"])
def test_a_norm_bound_refuses_a_scaled_update(engine):
    """The others' updates are a few units long, the scaled one a million times that."""

    def scaled_message(reply):
        weights(lambda arrays: {name: array * np.float32(1e6) for name, array in arrays.items()})(reply)

    def scaled_stack(replies, at):
        replies.stack[at] *= np.float32(1e6)

    fault = scaled_stack if engine == "batched" else scaled_message
    unbounded, bounded = ran(engine, fault), ran(engine, fault, config=CONFIG.replace(max_update_norm=50.0))

    assert "refused" not in unbounded.history[0]
    assert np.abs(unbounded.weights).max() > 1e4
    assert bounded.history[0]["refused"] == {str(BAD): "an update longer than 50"}
    assert bounded.weights.tobytes() == without_it("sequential", (1,)).weights.tobytes()
    assert not np.isnan(bounded.history[-1]["train_loss"])


def test_the_bound_is_on_the_update_and_not_on_the_weights():
    federation, trainer = queried(CONFIG.replace(num_server_rounds=1))
    before = federation.weights.astype(np.float64)
    recorder = Recorder(trainer)
    run_rounds([federation], recorder.exchange)
    stack = recorder.exchanges[0][1].stack.astype(np.float64)
    norms = np.sqrt(((stack - before) ** 2).sum(1))
    middle = float(np.sort(norms)[4:6].mean())

    again, trainer = queried(CONFIG.replace(num_server_rounds=1, max_update_norm=middle))
    run_rounds([again], trainer.exchange)

    assert set(again.history[0]["refused"]) == {str(client) for client in np.flatnonzero(norms > middle)}


# ---- other stages
def test_an_evaluation_that_is_none_is_left_out(monkeypatch):
    config = CONFIG.replace(client_test_fraction=0.3, long_tail=1.0, num_server_rounds=1)
    federation, trainer = queried(config, make_engine("sequential"))

    def exchange(items):
        (replies,) = trainer.exchange(items)
        if items[0][1][0].metadata.message_type == "evaluate":
            replies[3].content.metric_records["metrics"]["confusion"] = [10**12] * 9
            replies[5].content.metric_records["metrics"]["confusion"] = [1] * 4
        return [replies]

    run_rounds([federation], exchange)

    assert federation.history[0]["clients_test"]["clients"] == 8
    assert federation.history[0]["evaluation_refused"] == {
        "3": "confusion out of range",
        "5": "confusion: 4 numbers, expected 9",
    }
    assert federation.history[0]["clients"] == 10


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("num-examples", -1, "num-examples out of range"),
        ("num-examples", 10**12, "num-examples out of range"),
        ("feature-mean", [float("nan")] * 4, "feature-mean is not finite"),
        ("feature-m2", [-1.0] * 4, "feature-m2 out of range"),
        ("feature-mean", [0.0] * 3, "feature-mean: 3 numbers, expected 4"),
    ],
)
def test_a_query_reply_that_is_none_is_named(name, value, says):
    class Poisoned(Recorder):
        def exchange(self, items):
            (replies,) = self.engine.exchange(items)
            replies[BAD].content.metric_records["metrics"][name] = value
            return [replies]

    with pytest.raises(FederationError, match=rf"9 of 10 clients answered the query \(.*{says}\).*: {BAD}$"):
        queried(CONFIG, Poisoned(make_engine("sequential")))


# ---- quorum
def refusing(count):
    def exchange_of(trainer):
        def exchange(items):
            (replies,) = trainer.exchange(items)
            if items[0][1][0].metadata.message_type == "train":
                for reply in replies[:count]:
                    metric("num-examples", 0)(reply)
            return [replies]

        return exchange

    return exchange_of


def test_too_few_good_replies_stop_the_run_in_one_line_and_nothing_has_changed():
    config = CONFIG.replace(min_replies=7)
    federation, trainer = queried(config, make_engine("sequential"))
    before = federation.weights.copy()

    with pytest.raises(FederationError) as caught:
        run_rounds([federation], refusing(4)(trainer))

    assert str(caught.value) == (
        "round 1: 6 of 10 clients gave a good reply (4 refused), min-replies=7; the rounds before it stand"
    )
    assert federation.round == 0
    assert federation.weights.tobytes() == before.tobytes()
    assert federation.history == []


def test_just_enough_good_replies_are_enough():
    federation, trainer = queried(CONFIG.replace(min_replies=6), make_engine("sequential"))
    run_rounds([federation], refusing(4)(trainer))
    assert [row["clients"] for row in federation.history] == [6, 6]


def test_a_quorum_that_no_round_can_reach_is_refused_at_once():
    with pytest.raises(SettingsError, match="min-replies=4: a round asks 3 of num-clients=10, expected at most 3"):
        FederationConfig(fraction_train=0.3, min_replies=4)


# ---- numbers that a client could take a round over by
@pytest.mark.parametrize(
    ("changes", "name", "value", "says"),
    [
        ({"strategy": "fednova"}, "steps", 10**12, "more steps than its rows make"),
        ({"strategy": "scaffold", "momentum": 0.9}, "steps", 10**12, "more steps than its rows make"),
        ({"strategy": "fednova", "match": "epochs"}, "steps", 10**12, "more steps than its rows make"),
        ({"strategy": "qfedavg"}, "start-loss", float("nan"), "start-loss is not finite"),
        ({"strategy": "qfedavg"}, "start-loss", float("inf"), "start-loss is not finite"),
        ({"strategy": "qfedavg"}, "start-loss", -1.0, "start-loss out of range"),
        ({"imbalance": "climb"}, "start-loss", -1.0, "start-loss out of range"),
        ({"imbalance": "uniform"}, "aggregation-weight", 1.5, "aggregation-weight out of range"),
        ({"imbalance": "climb"}, "aggregation-weight", 0.5, "aggregation-weight out of range"),
        ({"imbalance": "class-balanced"}, "aggregation-weight", 3.5, "aggregation-weight out of range"),
    ],
)
def test_no_client_takes_a_round_over(changes, name, value, says):
    config = CONFIG.replace(**changes)
    federation = ran("sequential", metric(name, value), config=config)

    assert federation.history[0]["refused"] == {str(BAD): says}
    assert "note" not in federation.history[0]
    assert federation.weights.tobytes() == without_it("sequential", (1,), config).weights.tobytes()


@pytest.mark.parametrize("imbalance", ["none", "random-oversampling", "smote"])
@pytest.mark.parametrize("match", ["steps", "epochs"])
def test_as_many_steps_as_there_are_pass(imbalance, match):
    config = settings(strategy="fednova", imbalance=imbalance, match=match, min_rows=1, batch_size=4)
    federation, trainer = queried(config)
    run_rounds([federation], trainer.exchange)
    assert not [row["refused"] for row in federation.history if "refused" in row]
