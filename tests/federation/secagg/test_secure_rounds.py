"""The sum under masks is the plain sum to its quantisation step, whoever drops out at whatever stage."""

import numpy as np
import pytest
from devices import DeviceGrid, carried, launch, node_configs
from drop_outs import TYPES, Dropping, bound, one_round, updates_in_the_clear
from federations import ENGINES, Recorder, apart, queried, settings, together, trained
from flwr.app import ConfigRecord, Message, RecordDict

from edgefed.config import FederationConfig
from edgefed.engines import make_engine
from edgefed.errors import FederationError
from edgefed.federation.rounds import run_rounds
from edgefed.private import without_privacy
from edgefed.runs import Run
from edgefed.terminal import secagg_lines, unmasked_line

SECURE = FederationConfig(privacy="secagg", partition="iid", dtype="float64", local_epochs=1, num_server_rounds=1)
IN_THE_SUM = {"keys": False, "shares": False, "masked": False, "unmask": True}
"""Whether the update of a client that drops out at a stage is in the sum: once its masked vector is there."""


@pytest.fixture(scope="module")
def plain():
    """The first round's updates, of the very same training in the clear."""
    return {config.num_clients: updates_in_the_clear(config) for config in (SECURE, SECURE.replace(num_clients=12))}


def check_average(federation, plain, counted):
    """Check that the new weights are the average of these clients' updates, to the quantisation step."""
    start, updates, rows = plain
    expected = rows[counted] @ updates[counted] / rows[counted].sum()
    largest = bound(federation.config, rows[counted], rows.max(), np.abs(updates).max())
    assert largest < 1e-4
    assert np.abs(federation.weights - start - expected).max() <= largest


@pytest.mark.parametrize("count", [0, 1, 2, 3])
@pytest.mark.parametrize("stage", TYPES)
def test_up_to_the_threshold_may_drop_out_at_any_stage(plain, stage, count):
    """Ten clients, nine neighbours each, six of whom bring a secret back: three may go."""
    gone = [7, 2, 9][:count]

    federation, _ = one_round(SECURE, lambda engine: Dropping(engine, {stage: gone}))

    counted = [client for client in range(10) if client not in gone or IN_THE_SUM[stage]]
    check_average(federation, plain[10], counted)
    row, entry = federation.history[0], federation.clients[0]
    assert row["clients"] == len(counted)
    neighbors = 9 - count * (stage == "keys")
    assert row["secagg"] == {"neighbors": neighbors, "threshold": {9: 6, 8: 6, 7: 5, 6: 4}[neighbors], "clipped": 0}
    assert {client for client, verdict in zip(entry.ids, entry.verdicts, strict=True) if verdict == "ok"} == {*counted}
    if not IN_THE_SUM[stage]:
        lost = dict(zip(entry.ids.tolist(), entry.verdicts, strict=True))
        assert [lost[client] for client in gone] == [f"failed: {stage}: the node is gone"] * count


def test_drop_outs_at_every_stage_of_one_round(plain):
    """Twelve clients on a circle: eight neighbours each, five of whom are needed."""
    config = SECURE.replace(num_clients=12, secagg_neighbors=8, secagg_threshold=0.6)
    gone = {"keys": [0], "shares": [3], "masked": [5], "unmask": [11]}

    federation, _ = one_round(config, lambda engine: Dropping(engine, gone))

    check_average(federation, plain[12], [1, 2, 4, 6, 7, 8, 9, 10, 11])


@pytest.mark.parametrize("stage", ["shares", "masked", "unmask"])
def test_below_the_threshold_a_round_changes_nothing_and_says_so(stage):
    federation, _ = queried(SECURE)
    before = federation.weights.copy()
    engine = Dropping(make_engine("batched"), {stage: [0, 2, 5, 8]})

    run_rounds([federation], engine.exchange)

    assert np.array_equal(federation.weights, before)
    note = federation.history[0]["note"]
    assert note.startswith("secure aggregation: ")
    assert note.endswith(": the round changed nothing")
    assert " 6 " in f" {note} "
    assert federation.history[0]["clients"] == 0
    assert federation.client_updates == 0
    verdicts = dict(zip(federation.clients[0].ids.tolist(), federation.clients[0].verdicts, strict=True))
    lost = {client: verdict for client, verdict in verdicts.items() if client in (0, 2, 5, 8)}
    assert set(lost.values()) == {f"failed: {stage}: the node is gone"}
    assert {verdict for client, verdict in verdicts.items() if client not in lost} == {
        "answered; the round could not be unmasked"
    }


def test_below_the_threshold_a_run_that_needs_replies_stops():
    federation, _ = queried(SECURE.replace(min_replies=6))
    engine = Dropping(make_engine("batched"), {"masked": [0, 2, 5, 8]})

    with pytest.raises(
        FederationError,
        match=r"0 of 10 clients gave a good reply \(4 failed, 6 answered in vain\), min-replies=6; "
        "secure aggregation: 6 clients sent a masked vector, and 5 neighbours",
    ):
        run_rounds([federation], engine.exchange)


@pytest.mark.parametrize("engine", ENGINES)
def test_with_fewer_than_min_replies_no_mask_is_taken_off_and_no_round_is_asked_twice(engine):
    """Nine of ten would do for a sum: but the run stops on it, and goes on with the tenth, whose update would show."""
    federation, engine = queried(SECURE.replace(min_replies=10), make_engine(engine))
    recorder = Recorder(Dropping(engine, {"masked": [7]}))

    with pytest.raises(FederationError, match=r"9 answered in vain\), min-replies=10; .* 9 clients sent a masked"):
        run_rounds([federation], recorder.exchange)

    kinds = [messages[0].metadata.message_type for messages, _ in recorder.exchanges]
    assert kinds == [TYPES[stage] for stage in ("keys", "shares", "masked")]
    with pytest.raises(FederationError, match="10 failed"):  # the same clients: they have shared in this round
        run_rounds([federation], engine.exchange)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_client_that_is_asked_out_of_the_blue_says_that_it_has_no_keys(engine):
    federation, engine = queried(SECURE.replace(num_clients=3), make_engine(engine))
    for kind in (TYPES["shares"], TYPES["unmask"]):
        content = RecordDict({"secagg": ConfigRecord({"round": 1})})
        (replies,) = engine.exchange([(federation.grid, [Message(content, 1, kind)])])
        assert next(iter(replies)).error.reason == (
            "ValueError: no keys of this round: none were given, or the device was started again since"
        )


def test_fewer_than_three_make_no_sum():
    federation, _ = queried(SECURE)
    engine = Dropping(make_engine("batched"), {"keys": range(8)})

    run_rounds([federation], engine.exchange)

    assert "2 clients gave keys, at least 3 make a sum" in federation.history[0]["note"]


def test_a_run_says_how_many_rounds_were_summed_and_what_was_clipped():
    config = SECURE.replace(num_clients=4, num_server_rounds=2, secagg_clipping_range=0.001)

    run, _ = trained(config)

    clipped = sum(row["secagg"]["clipped"] for row in run.rounds)
    assert run.summary["secagg"] == {"rounds": 2, "fewest_clients": 4, "clipped": clipped, "clipping_range": 0.001}
    assert secagg_lines(run.summary["secagg"], 2) == [
        "secure aggregation: each round a sum under masks, of 4 clients at least",
        f"warning: {clipped} numbers of updates lay beyond secagg-clipping-range=0.001 and were clipped to it",
    ]
    (line,) = secagg_lines({"rounds": 1, "fewest_clients": 4, "clipped": 0, "clipping_range": 8.0}, 2)
    assert line.startswith("secure aggregation: 1 of 2 rounds summed under masks, of 4 clients at least; the other")
    assert secagg_lines(None, 2) == []
    assert unmasked_line(run.manifest["ledger"]) == (
        "beside the sums the server saw, of each client: partition-id, num-examples, num-held-out, feature-count, "
        "feature-mean, feature-m2"
    )
    assert unmasked_line([{"field": "masked", "status": "masked", "bytes": 9}]) == ""


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"imbalance": "class-balanced", "partition": "dirichlet"},
        {"imbalance": "uniform", "strategy": "fedadam"},
        {"dtype": "float64", "strategy": "fedavgm", "num_clients": 14, "secagg_neighbors": 6, "fraction_train": 0.8},
        {"client_test_fraction": 0.2, "stragglers": 0.5, "partial_work": "accept", "strategy": "fedprox"},
    ],
    ids=lambda changes: changes.get("imbalance") or changes.get("strategy") or "plain",
)
def test_engines_agree_to_the_bit_and_with_the_run_in_the_clear(changes):
    config = settings(**({"privacy": "secagg", "partition": "iid", "num_server_rounds": 2} | changes))

    (batched, clients), (sequential, others) = (trained(config, engine) for engine in ENGINES)

    assert batched.summary["model_sha256"] == sequential.summary["model_sha256"]
    assert batched.summary["bytes"] == sequential.summary["bytes"]
    assert [row[:4] + row[5:] for row in clients] == [row[:4] + row[5:] for row in others]
    assert all(np.isnan(row[4]) and row[3] == 0 for row in clients)  # the server is told neither loss nor steps
    assert batched.summary["modelled"] == sequential.summary["modelled"]
    clear, _ = trained(without_privacy(config))
    assert apart(batched, clear) < 1e-3
    assert [row["steps"] for row in batched.rounds] == [row["steps"] for row in clear.rounds]
    for ours, theirs in zip(batched.rounds, clear.rounds, strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], abs=1e-4)


def test_federations_in_lockstep_end_as_each_alone():
    configs = [
        SECURE.replace(num_clients=4, imbalance=name, num_server_rounds=2) for name in ("none", "random-oversampling")
    ]

    both = together(configs, make_engine("batched"))

    for config, federation in zip(configs, both, strict=True):
        alone = together([config], make_engine("batched"))[0]
        assert np.array_equal(federation.weights, alone.weights)


def test_a_restored_run_ends_in_the_same_bits_and_no_secret_is_in_what_it_kept():
    config = SECURE.replace(num_clients=4, num_server_rounds=3)
    whole = together([config], make_engine("batched"))[0]
    federation, engine = queried(config)
    kept = []
    federation.on_round = lambda now: kept.append(now.state())
    run_rounds([federation], engine.exchange)

    again, engine = queried(config)
    again.restore(kept[0])
    run_rounds([again], engine.exchange)

    assert np.array_equal(again.weights, whole.weights)
    assert {name.split("/")[0] for name in kept[0]} == {"round", "guidance", "model", "ledger", "disclosed"}


def test_what_lies_beyond_the_range_is_clipped_counted_and_bounded(plain):
    start, updates, rows = plain[10]
    config = SECURE.replace(secagg_clipping_range=0.01)

    federation, _ = one_round(config)

    clipped = np.clip(updates, -0.01, 0.01)
    expected = rows @ clipped / rows.sum()
    assert federation.history[0]["secagg"]["clipped"] == int((np.abs(updates) > 0.01).sum()) > 0
    assert np.abs(federation.weights - start - expected).max() <= bound(config, rows, rows.max(), 0.01)


def test_the_loss_does_not_depend_on_the_clipping_range():
    """The first round's: what is clipped is the update, and a loss may be ten times as large as its numbers."""
    config = SECURE.replace(num_clients=4, secagg_clipping_range=0.05)

    (clipped, clear) = (trained(each)[0].rounds[0] for each in (config, without_privacy(config)))

    assert clipped["train_loss"] > 0.5
    assert clipped["train_loss"] == pytest.approx(clear["train_loss"], abs=1e-4)
    assert "rows_with_a_loss" not in clipped["secagg"]


def test_a_diverged_client_is_out_of_the_round_and_named():
    federation, engine = queried(SECURE.replace(num_clients=5))
    shards = federation.grid.clients.shards
    shards.features[shards.train.indices[shards.train.offsets[2]]] = np.inf

    run_rounds([federation], engine.exchange)

    verdicts = dict(zip(federation.clients[0].ids.tolist(), federation.clients[0].verdicts, strict=True))
    assert verdicts.pop(2) == "failed: masked: ValueError: weights that are not finite"
    assert set(verdicts.values()) == {"ok"}
    assert np.isfinite(federation.weights).all()


def test_the_modelled_bytes_of_a_round_are_those_that_it_moves():
    federation, _ = one_round(SECURE)
    row = federation.history[0]

    down, up = federation.participation.wire

    assert (row["bytes_down"], row["bytes_up"]) == (10 * down, 10 * up)


class Forgetful(DeviceGrid):
    """Devices one of which is started again after it has sent its masked vector: it has lost its secrets."""

    def _answer(self, message):
        if message.metadata.message_type == TYPES["unmask"] and message.metadata.dst_node_id == 102:
            self.states.pop(102)
        return super()._answer(message)


def test_devices_end_where_the_simulation_ends(tmp_path):
    """Through the ServerApp and each device's own ClientApp: secrets wait in the node's state between messages.

    One that lost them in the last stage counts all the same: its neighbours bring back what is needed.
    """
    config = FederationConfig(num_clients=4, alpha=5.0, num_server_rounds=2, privacy="secagg", client_test_fraction=0.2)
    files = carried(config, tmp_path / "shards")
    run_config = config.replace(run_folder=str(tmp_path / "run")).to_mapping() | {"test-path": str(files.test)}

    grid = Forgetful(run_config, node_configs(files.clients))
    launch(grid)

    deployed = Run.read(tmp_path / "run")
    simulated, _ = trained(config)
    assert apart(deployed, simulated) <= 1e-6
    assert [row["clients"] for row in deployed.rounds] == [4, 4]
    for row in deployed.rounds:
        assert [why for why in row["failed"] if why.startswith("unmask: ValueError: no keys of this round")]
    kinds = [kind for _, kind in grid.asked if "secagg" in kind or kind == "train"]
    assert kinds == [kind for kind in TYPES.values() for _ in range(4)] * 2
    lines = (tmp_path / "run" / "clients.csv").read_text().splitlines()[1:]
    assert {tuple(line.split(",")[3:]) for line in lines} == {("0", "", "ok")}
