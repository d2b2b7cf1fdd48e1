"""Client-level differential privacy: what is released is Flower's mechanism, by hand, and the same on every engine."""

import os
import shutil
import sys

import numpy as np
import pytest
from federations import ENGINES, apart, private, queried, settings, together, trained, without_seconds
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp.strategy import (
    DifferentialPrivacyServerSideAdaptiveClipping,
    DifferentialPrivacyServerSideFixedClipping,
    FedAvg,
)
from scipy import stats

import edgefed
from edgefed.api import single
from edgefed.config import SettingsError
from edgefed.engines import make_engine
from edgefed.engines.grid import _claim_identity
from edgefed.federation.account import OFF, account
from edgefed.federation.clipping import AdaptiveClipping, FixedClipping, drawn_from
from edgefed.federation.disclosure import BY_SEED
from edgefed.federation.flat_record import to_flat, to_record
from edgefed.federation.messages import CohortReplies
from edgefed.federation.rounds import run_rounds
from edgefed.learning.model import MLP
from edgefed.runs import RunWriter

MODEL = MLP(4, (8,), 3)
START = np.random.default_rng(0).normal(size=MODEL.size)


@pytest.fixture(autouse=True)
def identity():
    """Flower makes no message without one."""
    _claim_identity()


class Nobody:
    """A grid without nodes."""

    def get_node_ids(self):
        return []


def aggregated(strategy, updates, start=START):
    """Return what a strategy makes of clients' updates [clients, size]."""
    strategy.configure_train(1, to_record(MODEL, start), ConfigRecord(), Nobody())
    requests = [Message(RecordDict(), node, MessageType.TRAIN) for node in range(1, len(updates) + 1)]
    metrics = {"num-examples": np.arange(1, len(updates) + 1)}  # rows give no say
    arrays, _ = strategy.aggregate_train(1, CohortReplies(requests, MODEL, start + updates, metrics))
    return to_flat(MODEL, arrays)


# ---------------------------------------------------------------------------------------------- the mechanism
UPDATES = np.random.default_rng(1).normal(size=(12, MODEL.size)) * np.linspace(0.02, 0.4, 12)[:, None]


def of_flower(make, updates, number=1):
    """Return what Flower's own strategy around its own FedAvg makes of the same updates, one message a client."""
    strategy = make(FedAvg())
    strategy.current_arrays = ArrayRecord({"weights": Array(START)})
    replies = []
    for update in updates:
        question = Message(RecordDict(), 1, MessageType.TRAIN)
        weights = ArrayRecord({"weights": Array(START + update)})
        content = RecordDict({"arrays": weights, "metrics": MetricRecord({"num-examples": 1})})
        replies.append(Message(content, reply_to=question))
    with drawn_from(0, number):
        arrays, _ = strategy.aggregate_train(number, replies)
    return arrays["weights"].numpy(), strategy.clipping_norm


def test_a_stack_is_clipped_averaged_and_noised_as_flower_does_it_message_by_message():
    config = private(num_clients=12, noise_multiplier=0.7, clipping_norm=0.5, dtype="float64")
    found = aggregated(FixedClipping(MODEL, config), UPDATES)
    expected, _ = of_flower(lambda inner: DifferentialPrivacyServerSideFixedClipping(inner, 0.7, 0.5, 12), UPDATES)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


def test_adaptive_clipping_is_flowers_but_for_the_sign_of_its_rate():
    config = private(privacy="dp-adaptive", num_clients=12, noise_multiplier=0.7, clipping_norm=0.5, dtype="float64")
    strategy = AdaptiveClipping(MODEL, config)

    def make(inner):
        stock = DifferentialPrivacyServerSideAdaptiveClipping(inner, 0.7, 12, 0.5)
        stock.clip_norm_lr *= -1
        return stock

    expected, norm = of_flower(make, UPDATES)
    np.testing.assert_allclose(aggregated(strategy, UPDATES), expected, rtol=0, atol=1e-14)
    assert strategy.flower.clipping_norm == norm != 0.5


@pytest.mark.parametrize("first", [0.05, 20.0])
def test_the_adaptive_norm_goes_to_the_median_update(first):
    """Half of 40 clients' updates are longer than 1, half shorter; by Flower's own sign the norm runs away from it."""
    lengths = np.repeat([0.5, 2.0], 20)
    updates = np.zeros((40, MODEL.size))
    updates[:, 0] = lengths
    config = private(privacy="dp-adaptive", num_clients=40, noise_multiplier=0.5, clipping_norm=first, dtype="float64")
    strategy = AdaptiveClipping(MODEL, config)
    for _ in range(60):
        aggregated(strategy, updates)
    assert 0.4 < strategy.flower.clipping_norm < 2.5


def test_whoever_does_not_answer_counts_as_an_update_of_zero():
    """The divisor is the four clients that a round draws: one more or less moves the sum by the norm at most."""
    config = private(num_clients=8, fraction_train=0.5, noise_multiplier=1e-3, clipping_norm=1.0, dtype="float64")
    updates = np.zeros((3, MODEL.size))
    updates[0, 0], updates[1, 1], updates[2, :2] = 3.0, 0.25, (0.6, 0.8)
    noise = aggregated(FixedClipping(MODEL, config), np.zeros((1, MODEL.size)))  # of the same seed and round
    found = aggregated(FixedClipping(MODEL, config), updates) - noise
    by_hand = np.zeros(MODEL.size)
    by_hand[:2] = (1 + 0.6) / 4, (0.25 + 0.8) / 4
    np.testing.assert_allclose(found, by_hand, atol=1e-11)
    without = aggregated(FixedClipping(MODEL, config), updates[1:]) - noise
    assert np.linalg.norm(found - without) * 4 == pytest.approx(1.0)


def test_the_noise_is_normal_with_sd_z_c_over_the_clients_drawn():
    config = private(num_clients=20, noise_multiplier=2.0, clipping_norm=0.5, dtype="float64")
    wide = MLP(100, (50,), 10)
    strategy = FixedClipping(wide, config)
    strategy.configure_train(1, to_record(wide, np.zeros(wide.size)), ConfigRecord(), Nobody())
    noise = to_flat(wide, strategy.aggregate_train(1, [])[0])  # nobody answered: the noise alone is released
    assert stats.kstest(noise, "norm", args=(0, 2.0 * 0.5 / 20)).pvalue > 0.01
    assert strategy.releases == 1


def test_numpys_global_generator_is_as_it_was():
    np.random.seed(5)  # noqa: NPY002
    first = np.random.random()  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    aggregated(FixedClipping(MODEL, private(num_clients=12)), UPDATES)
    assert np.random.random() == first  # noqa: NPY002


# ---------------------------------------------------------------------------------------------- same bits
MODES = [{}, {"privacy": "dp-adaptive", "noise_multiplier": 0.5}, {"imbalance": "balanced-softmax"}]
NAMES = ["fixed", "adaptive", "counts"]


@pytest.mark.parametrize("changes", MODES, ids=NAMES)
def test_engines_and_company_change_no_bit(changes):
    config = private(**changes)
    batched, sequential = (trained(config, engine)[0] for engine in ENGINES)
    assert apart(batched, sequential) == 0
    assert batched.summary["privacy"] == sequential.summary["privacy"]
    others = [config.replace(seed=3), config, private(privacy="none", noise_multiplier=1.0, **_plain(changes))]
    alone = together(others, make_engine("batched"))[1]
    np.testing.assert_array_equal(alone.weights, np.concatenate([w.ravel() for w in batched.weights.values()]))


def _plain(changes):
    return {key: value for key, value in changes.items() if key == "imbalance"}


@pytest.mark.parametrize("changes", MODES, ids=NAMES)
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, changes):
    config = private(num_server_rounds=6, **changes)
    whole, _ = trained(config)

    def stop(federation):
        if federation.round == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        edgefed.run(config, out=tmp_path / "run", progress=False, on_round=stop)
    resumed = edgefed.run(config, out=tmp_path / "run", resume=True, progress=False)
    assert apart(whole, resumed) == 0
    assert resumed.summary["privacy"] == whole.summary["privacy"]
    assert without_seconds(resumed.rounds) == without_seconds(whole.rounds)


def test_an_account_that_is_none_is_refused():
    strategy = FixedClipping(MODEL, private())
    whole = dict(strategy.state())
    for state in ({}, whole | {"releases": np.zeros(2)}):
        with pytest.raises(ValueError, match="no account of what was released"):
            strategy.restore(state)
    with pytest.raises(ValueError, match="is nothing that this strategy carries"):
        strategy.restore({"other": np.zeros(2)})


# ---------------------------------------------------------------------------------------------- what is kept in
def test_no_exact_count_or_mean_leaves_a_client():
    federation, _ = queried(private(imbalance="balanced-softmax"))
    exact = federation.label_counts.sum(0)
    told = federation.guidance.class_counts
    assert (told != exact).all()
    validation = federation.validation.features.astype(np.float64)
    np.testing.assert_allclose(federation.guidance.mean, validation.mean(0))
    np.testing.assert_allclose(federation.guidance.scale, validation.std(0))


def test_a_scale_of_the_server_is_what_clients_train_with():
    federation, engine = queried(settings(standardize="server", num_server_rounds=1))
    clients = federation.grid.clients
    everyone = clients.everyone(federation.guidance)
    rows = clients.shards.train.indices
    expected = (clients.shards.features[rows] - federation.guidance.mean) / federation.guidance.scale
    np.testing.assert_allclose(everyone.features.numpy(), expected, rtol=1e-5, atol=1e-6)
    run_rounds([federation], engine.exchange)
    assert federation.history[-1]["test"]["balanced_accuracy"] > 0.4


def test_a_device_whose_battery_runs_flat_is_refused():
    with pytest.raises(SettingsError, match="contradicts devices=phone: phone has a battery"):
        queried(private(devices="phone"))


def test_a_missing_accountant_is_one_clear_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(SettingsError, match=r"not installed; pip install 'edgefed\[privacy\]' has it"):
        queried(private())
    queried(private(privacy="dp-adaptive", noise_multiplier=0.5))


def test_a_missing_accountant_is_said_before_a_folder_is_made(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    out, few = tmp_path / "out", {"strategies": "none,post-hoc", "seeds": 2, "tune": None}
    calls = (
        lambda: edgefed.run(private(), out=out),
        lambda: edgefed.compare(private(), **few, out=out),
        lambda: edgefed.compare_grid(private(), {"alpha": [0.3, 1.0]}, **few, out=out),
    )
    for call in calls:
        with pytest.raises(SettingsError, match="dp-accounting"):
            call()
        assert not out.exists()


def test_clients_of_a_natural_partition_test_nothing_unless_asked(tmp_path):
    rows = "\n".join(f"{n},{n % 7},{'uv'[n % 2]},site-{n % 3}" for n in range(60))
    (tmp_path / "rows.csv").write_text(f"a,b,y,site\n{rows}\n")
    natural = {"dataset": "csv", "data_path": str(tmp_path / "rows.csv"), "client_column": "site", "label_column": "y"}
    for privacy, tested in (("none", True), ("dp-fixed", False)):
        config = private(privacy=privacy, partition="natural", long_tail=1.0, num_server_rounds=1, **natural)
        run, _ = trained(config)
        assert any(row["message"] == "evaluate" for row in run.manifest["ledger"]) is tested


# ---------------------------------------------------------------------------------------------- whose noise it is
def test_hidden_noise_is_another_each_time_and_kept_for_a_run_that_goes_on():
    first, second = (FixedClipping(MODEL, private(num_clients=12)) for _ in range(2))
    public = aggregated(first, UPDATES)
    first.hide_noise()
    second.hide_noise()
    hidden = aggregated(first, UPDATES)
    assert len({first.noise_seed, second.noise_seed, 0}) == 3
    # Two runs of one server: their difference is no noiseless sum, and the seed that devices know takes nothing off.
    for other in (public, aggregated(second, UPDATES)):
        assert np.abs(hidden - other).std() > 0.05  # sqrt(2) z C / 12 = 0.12
    again = FixedClipping(MODEL, private(num_clients=12))
    again.restore(first.state())
    assert (again.noise_seed, again.releases) == (first.noise_seed, 2)
    np.testing.assert_array_equal(aggregated(again, UPDATES), hidden)


def test_whose_noise_it_is_is_said_in_the_account_and_the_ledger():
    found, engine = queried(private(imbalance="post-hoc"))
    found.strategy.hide_noise()
    run_rounds([found], engine.exchange)
    told = account(found)
    assert "a number that the server drew for this run and keeps to itself" in " ".join(told["assumes"])
    assert OFF not in told["says"]
    for devices, caveat in ((True, ""), (False, BY_SEED)):
        rows = found.disclosed.rows(found.config, of_devices=devices)
        of = {(row["message"], row["field"]): (row["status"], row["caveat"]) for row in rows}
        assert of["train", "arrays"] == ("clipped and noised centrally", caveat)
        assert of["query", "class-counts"] == ("noised", BY_SEED)  # everywhere
        assert of["train", "train-loss"] == ("exact", "")


# ---------------------------------------------------------------------------------------------- killed and gone on with
class KilledError(BaseException):
    """What no run expects."""


class Sent:
    """An engine that keeps the model of each round that it sends, and what lies on the disk when it does.

    ``until``: the round at whose sending the process is killed. ``away``: a client that does not answer.
    """

    def __init__(self, engine, folder, until=0, away=None):
        self.engine, self.folder, self.until, self.away = engine, folder, until, away
        self.models = []

    def exchange(self, items):
        ((_, messages),) = items
        first = messages[0]
        if first.metadata.message_type == MessageType.TRAIN:
            self.models.append(to_flat(MLP(4, (16,), 3), first.content["arrays"]).copy())
            if self.folder and len(self.models) == self.until:
                shutil.copytree(self.folder, self.folder.parent / "killed")
                raise KilledError
        answers = [list(replies) for replies in self.engine.exchange(items)]
        if self.away is None or first.metadata.message_type != MessageType.TRAIN:
            return answers
        return [
            [reply for reply in replies if int(reply.content["metrics"]["partition-id"]) != self.away]
            for replies in answers
        ]

    def __getattr__(self, name):
        return getattr(self.engine, name)


def test_no_round_is_released_twice_by_a_run_that_was_killed(tmp_path, monkeypatch):
    """What a model's receivers saw is on the disk before: asked again, with a client missing, no round comes twice."""
    config = private(num_server_rounds=6)
    first = Sent(make_engine("sequential"), tmp_path / "run", until=4)
    monkeypatch.setattr(single, "make_engine", lambda *_, **__: first)
    with pytest.raises(KilledError):
        edgefed.run(config, out=tmp_path / "run", progress=False)
    second = Sent(make_engine("sequential"), None, away=0)
    monkeypatch.setattr(single, "make_engine", lambda *_, **__: second)
    resumed = edgefed.run(config, out=tmp_path / "killed", resume=True, progress=False)

    assert len(first.models) == 4  # the initial weights, and three rounds'
    assert len(second.models) == 3  # rounds 4, 5 and 6
    np.testing.assert_array_equal(second.models[0], first.models[3])  # what was sent is what is gone on with
    assert resumed.summary["privacy"]["releases"] == 6
    assert len(resumed.rounds) == 6
    assert apart(resumed, trained(config, "sequential")[0]) > 0  # the client that was missing had something to say


def test_the_last_round_is_on_the_disk_before_the_model_is(tmp_path, monkeypatch):
    def killed(*_):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(RunWriter, "end", killed)
        with pytest.raises(KilledError):
            edgefed.run(private(), out=tmp_path / "run", progress=False)
    number, state = RunWriter(tmp_path / "run").last_checkpoint()
    resumed = edgefed.run(private(), out=tmp_path / "run", resume=True, progress=False)
    assert (number, int(state["server/releases"])) == (3, 3)
    assert apart(resumed, trained(private())[0]) == 0


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_checkpoints_that_hold_what_names_the_noise_are_for_their_owner(tmp_path):
    trained(private(num_server_rounds=2), out=tmp_path / "run")
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "run" / "checkpoint").iterdir()} == {0o600}
    assert (tmp_path / "run" / "model.npz").stat().st_mode & 0o777 == 0o666 & ~umask()


def umask():
    """Return this process's."""
    found = os.umask(0)
    os.umask(found)
    return found
