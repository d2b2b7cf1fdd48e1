"""Flower's own strategies in the round loop, on stacks and on messages; the project's FedAvg against Flower's."""

import logging

import numpy as np
import pytest
from federations import ENGINES, queried, settings
from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import strategy as flower

from edgefed.engines import make_engine
from edgefed.federation.messages import ARRAYS, METRICS, CohortReplies
from edgefed.federation.rounds import run_rounds
from edgefed.federation.strategies import STRATEGIES, WHOLE_COHORT, StackedFedAvg
from edgefed.learning.model import MLP

STOCK = {
    "FedAvg": lambda: flower.FedAvg(**WHOLE_COHORT),
    "FedProx": lambda: flower.FedProx(proximal_mu=0.0, **WHOLE_COHORT),
    "FedAvgM": lambda: flower.FedAvgM(server_learning_rate=0.8, server_momentum=0.5, **WHOLE_COHORT),
    "FedAdagrad": lambda: flower.FedAdagrad(**WHOLE_COHORT),
    "FedAdam": lambda: flower.FedAdam(**WHOLE_COHORT),
    "FedYogi": lambda: flower.FedYogi(**WHOLE_COHORT),
    "FedMedian": lambda: flower.FedMedian(**WHOLE_COHORT),
    "FedTrimmedAvg": lambda: flower.FedTrimmedAvg(beta=0.2, **WHOLE_COHORT),
    "Krum": lambda: flower.Krum(num_malicious_nodes=1, **WHOLE_COHORT),
    "MultiKrum": lambda: flower.MultiKrum(num_malicious_nodes=1, num_nodes_to_select=3, **WHOLE_COHORT),
    "Bulyan": lambda: flower.Bulyan(num_malicious_nodes=1, **WHOLE_COHORT),
    "QFedAvg": lambda: flower.QFedAvg(client_learning_rate=0.1, train_loss_key="train-loss", **WHOLE_COHORT),
}


#: Strategies that empty the replies that they aggregate (Flower's ``keep_input=False``).


@pytest.fixture(autouse=True)
def _quiet():
    before = logging.getLogger("flwr").level
    logging.getLogger("flwr").setLevel(logging.ERROR)
    yield
    logging.getLogger("flwr").setLevel(before)


def after_training(strategy, engine, config):
    federation, trainer = queried(config, make_engine(engine))
    federation.strategy = strategy
    run_rounds([federation], trainer.exchange)
    return federation


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", STOCK)
def test_stock_strategies_see_the_same_replies_from_either_engine(name, dtype):
    """Bit for bit: the same replies in the same order, whatever a strategy does with them."""
    config = settings(dtype=dtype, client_test_fraction=0.2, long_tail=1.0, num_server_rounds=2)

    batched, sequential = (after_training(STOCK[name](), engine, config) for engine in ENGINES)

    assert batched.weights.dtype == np.dtype(dtype)
    assert np.isfinite(batched.weights).all()
    assert batched.weights.tobytes() == sequential.weights.tobytes()
    assert batched.weights.tobytes() != batched.model.initial(0).astype(dtype).tobytes()
    assert batched.bytes_down == sequential.bytes_down
    assert [row["clients"] for row in batched.history] == [row["clients"] for row in sequential.history]
    assert "clients_test" in batched.history[-1]


@pytest.mark.parametrize("name", STOCK)
def test_bytes_do_not_depend_on_what_a_strategy_does_with_the_replies(name):
    config = settings(num_server_rounds=1)

    ours = after_training(StackedFedAvg(MLP(4, (16,), 3)), "sequential", config)
    theirs = after_training(STOCK[name](), "sequential", config)

    assert theirs.bytes_up == ours.bytes_up


@pytest.mark.parametrize("name", ["FedAvg", "FedProx"])
def test_flowers_average_is_ours_to_float32_rounding(name):
    """Three rounds; Flower sums in float32, the project in float64."""
    ours = after_training(StackedFedAvg(MLP(4, (16,), 3)), "batched", settings())
    theirs = after_training(STOCK[name](), "batched", settings())

    np.testing.assert_allclose(theirs.weights, ours.weights, rtol=0, atol=1e-6)


def test_trimmed_mean_and_median_stay_within_what_the_clients_sent():
    """A stock strategy in the loop is given the clients' own weights: robust averages lie between the extremes."""
    for name in ("FedMedian", "FedTrimmedAvg"):
        federation, trainer = queried(settings(num_server_rounds=1))
        federation.strategy = STOCK[name]()
        seen = []

        def exchange(items, trainer=trainer, seen=seen):
            answers = trainer.exchange(items)
            seen.extend(answers[0])
            return answers

        run_rounds([federation], exchange)
        stack = np.stack([flat_of(federation.model, reply) for reply in seen])
        assert (federation.weights >= stack.min(0) - 1e-7).all()
        assert (federation.weights <= stack.max(0) + 1e-7).all()


def flat_of(model, reply):
    """Return a reply's weights."""
    return model.flat({name: array.numpy() for name, array in reply.content.array_records[ARRAYS].items()})


# ---------------------------------------------------------------------------------------------- our FedAvg
MODEL = MLP(1, (), 2)
"""Four parameters: two weights, two biases."""


def replies_of(stack, rows):
    """Return a cohort's replies with these weights and row counts, as a stack."""
    model = RecordDict()
    requests = [Message(model, node, MessageType.TRAIN) for node in range(len(stack))]
    metrics = {"partition-id": np.arange(len(stack)), "num-examples": np.asarray(rows)}
    return CohortReplies(requests, MODEL, np.asarray(stack), metrics)


def averaged(replies):
    arrays, _ = StackedFedAvg(MODEL).aggregate_train(1, replies)
    return MODEL.flat({name: array.numpy() for name, array in arrays.items()})


STACK = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, -2.0, 0.0, 8.0], [0.25, 0.5, -1.0, 0.0]])
ROWS = [1, 3, 4]
#: ([1, 2, 3, 4] + 3 [5, -2, 0, 8] + 4 [1/4, 1/2, -1, 0]) / 8
MEAN = [17 / 8, -2 / 8, -1 / 8, 28 / 8]


@pytest.mark.parametrize("form", [lambda replies: replies, list], ids=["stack", "messages"])
def test_a_weighted_mean_by_hand(form):
    assert averaged(form(replies_of(STACK, ROWS))).tolist() == MEAN


@pytest.mark.parametrize("form", [lambda replies: replies, list], ids=["stack", "messages"])
def test_float32_is_averaged_in_float64(form):
    """Beside the first client's 1 / 4096 each other one's 2^-26 / 4096 is lost in float32; 4,095 of them are not."""
    count = 4096
    stack = np.ones((count, 4), np.float32)
    stack[1:, 0] = 2.0**-26
    rows = np.ones(count, np.int64)

    mean = averaged(form(replies_of(stack, rows)))

    assert mean.dtype == np.float32
    assert mean[0] == np.float32((1 + (count - 1) * 2.0**-26) / count) > 1 / count
    assert mean[1] == 1


def test_a_client_without_rows_has_no_say_and_none_with_rows_changes_nothing():
    wild = np.array([[1.0, 1.0, 1.0, 1.0], [1e30, 1e30, 1e30, 1e30]])

    assert averaged(replies_of(wild, [2, 0])).tolist() == [1, 1, 1, 1]
    assert StackedFedAvg(MODEL).aggregate_train(1, replies_of(wild, [0, 0])) == (None, None)
    assert StackedFedAvg(MODEL).aggregate_train(1, []) == (None, None)


def test_a_stack_reads_as_ordinary_messages():
    replies = replies_of(STACK, ROWS)

    assert len(replies) == 3
    assert [reply.content.metric_records[METRICS]["num-examples"] for reply in replies] == ROWS
    assert [flat_of(MODEL, reply).tolist() for reply in replies] == STACK.tolist()
    assert [flat_of(MODEL, reply).tolist() for reply in replies[1:]] == STACK[1:].tolist()
    assert flat_of(MODEL, replies[-1]).tolist() == STACK[-1].tolist()
    with pytest.raises(IndexError):
        replies[3]
    backwards = replies.taken(np.array([2, 1, 0]))
    assert [flat_of(MODEL, reply).tolist() for reply in backwards] == STACK[::-1].tolist()
    assert [reply.metadata.src_node_id for reply in backwards] == [2, 1, 0]


def test_every_strategy_of_the_settings_can_be_made():
    for name, make in STRATEGIES.items():
        federation = after_training(
            make(MLP(4, (16,), 3), settings(strategy=name)), "batched", settings(strategy=name, num_server_rounds=1)
        )
        assert federation.round == 1
