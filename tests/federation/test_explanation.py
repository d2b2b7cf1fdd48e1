"""What clients say of a model: the same on every engine, scikit-learn's where it has the like, and no row of theirs."""

from dataclasses import replace

import numpy as np
import pytest
from devices import DeviceGrid, carried, launch, node_configs
from federations import ENGINES, Recorder, queried, settings
from flwr.app import Context, RecordDict
from sklearn.datasets import load_iris
from sklearn.feature_selection import f_classif, mutual_info_classif
from sklearn.inspection import permutation_importance

import edgefed
from edgefed.analysis.explanation import by_client, class_moments
from edgefed.analysis.filters import anova_f, mutual_information
from edgefed.api.assembly import in_process
from edgefed.config import FederationConfig, read_settings
from edgefed.data.shards import federate
from edgefed.engines import make_engine
from edgefed.engines.grid import InProcessGrid
from edgefed.errors import FederationError
from edgefed.federation import explanation
from edgefed.federation.client_explanation import _PERMUTED
from edgefed.federation.clients import Clients
from edgefed.federation.explanation import collect
from edgefed.federation.messages import METRICS
from edgefed.federation.rounds import run_rounds
from edgefed.federation.server_app import app as server_app
from edgefed.rng import counter_keys
from edgefed.runs import Run, read_arrays

CASES = {
    "plain": {},
    "held out": {"client_test_fraction": 0.3, "long_tail": 1.0},
    "a remedy that shifts logits": {"imbalance": "post-hoc"},
    "scaled by each client": {"standardize": "local"},
    "many empty shards": {"num_clients": 40},
    "more features than are gone through": {"dataset": "wine", "long_tail": 1.0},
}


def trained(config, engine="batched"):
    federation, trainer = queried(config, make_engine(engine))
    run_rounds([federation], trainer.exchange)
    return federation, trainer


@pytest.mark.parametrize("case", CASES)
def test_engines_agree_to_the_bit(case, monkeypatch):
    monkeypatch.setattr(explanation, "MOST_REPEATS", 4)
    config = settings(**CASES[case])
    federation, trainer = trained(config)
    told = collect(federation, trainer.exchange)

    one_by_one = make_engine("sequential")
    federation.grid = InProcessGrid(federation.grid.clients, one_by_one)
    again = collect(federation, one_by_one.exchange)

    assert told.keys() == again.keys()
    for name, values in told.items():
        if case == "more features than are gone through":
            # Sums over more features than a register holds are in another order for one row than for many.
            np.testing.assert_allclose(values, again[name], atol=1e-8, err_msg=name)
        else:
            np.testing.assert_array_equal(values, again[name], name)
    explained = federation.held_out if told["held_out"] else federation.rows
    assert told["rows"].sum() == explained.sum() > 0


class GivenOrders:
    """Hands scikit-learn the steps between given permutations: it permutes what the last one left."""

    def __init__(self, permutations):
        self.permutations, self.last = iter(permutations), np.arange(len(permutations[0]))

    def shuffle(self, order):
        wanted = next(self.permutations)
        order[:] = np.argsort(self.last)[wanted]
        self.last = wanted


@pytest.mark.parametrize("engine", ENGINES)
def test_one_client_is_scikit_learns_permutation_importance(engine, monkeypatch):
    config = settings(num_clients=1, partition="iid", long_tail=1.0, imbalance="post-hoc", num_server_rounds=10)
    run = edgefed.run(config, progress=False)
    federation, trainer = queried(config, make_engine(engine))
    federation.set_weights(federation.model.flat(run.weights))

    told = collect(federation, trainer.exchange)

    data = federate(config)[1]
    rows = data.shards.train.rows(0)
    x, y = data.dataset.features[rows].astype(float), np.array(data.dataset.class_names)[data.dataset.labels[rows]]
    repeats = int(told["repeats"])
    keys = [counter_keys(config.seed, "explanation", _PERMUTED + r, 0, np.arange(len(rows))) for r in range(repeats)]
    orders = [np.argsort(key) for key in keys]
    monkeypatch.setattr(
        "sklearn.inspection._permutation_importance.check_random_state",
        lambda seed: np.random.RandomState(0) if seed is None else GivenOrders(orders),
    )
    model = edgefed.FederatedClassifier.from_run(run)
    theirs = permutation_importance(
        model, x, y, scoring=["neg_log_loss", "balanced_accuracy"], n_repeats=repeats, random_state=None
    )
    for method, name in (("loss", "neg_log_loss"), ("accuracy", "balanced_accuracy")):
        np.testing.assert_allclose(by_client(told, method)[0][0], theirs[name].importances_mean, atol=2e-9)
    assert theirs["neg_log_loss"].importances_mean.max() > 0.1


@pytest.mark.parametrize("clients", [1, 10, 60])
def test_filters_are_scikit_learns_on_the_pooled_training_rows(clients):
    config = settings(num_clients=clients, long_tail=1.0)
    federation, trainer = queried(config)

    told = collect(federation, trainer.exchange)

    data = federate(config)[1]
    rows = data.shards.train.indices
    x, y = data.dataset.features[rows].astype(float), data.dataset.labels[rows]
    f, p = anova_f(class_moments(told))
    expected, expected_p = f_classif(x, y)
    np.testing.assert_allclose(f, expected, rtol=1e-9)
    np.testing.assert_allclose(p, expected_p, rtol=1e-6)
    binned = np.stack(
        [np.searchsorted(edge, column, side="right") for edge, column in zip(told["edges"], x.T, strict=True)]
    )
    np.testing.assert_allclose(
        mutual_information(told["histogram"]),
        mutual_info_classif(binned.T, y, discrete_features=True),
        rtol=1e-9,
    )
    assert told["histogram"].sum() == 4 * len(rows)


def test_bins_hold_a_tenth_of_a_normal_feature_each():
    sample = np.random.default_rng(0).normal(3, 2, 100_000)
    edges = explanation.bin_edges(np.array([3.0]), np.array([4.0]))[0]

    counts = np.histogram(sample, np.concatenate([[-np.inf], edges, [np.inf]]))[0]
    np.testing.assert_allclose(counts / len(sample), 0.1, atol=0.005)


def test_no_answer_holds_a_row():
    """An answer's size knows features, classes and bins, not how many rows a client has."""
    config = settings(long_tail=1.0)
    federation, trainer = trained(config)
    recorder = Recorder(trainer)
    collect(federation, recorder.exchange)

    for _, replies in recorder.exchanges:
        sizes = set()
        for reply in replies:
            record = reply.content.metric_records[METRICS]
            sizes.add(tuple((name, np.size(value)) for name, value in record.items()))
            assert reply.content.array_records == {}
        assert len(sizes) == 1
    names = {name for _, replies in recorder.exchanges for name in replies[0].content.metric_records[METRICS]}
    assert names == {
        "partition-id",
        *("count", "mean", "m2"),
        *("rows", "loss", "balanced-accuracy", "loss-increase", "accuracy-drop"),
        *("attributed", "integrated-gradients", "shap", "histogram"),
    }


def test_a_client_is_compared_with_its_own_rows_only():
    """Other clients' rows, moved far away, change nothing of what a client says of the same model."""
    config = settings(long_tail=1.0, num_clients=4, standardize="none")
    federation, trainer = trained(config)
    told = collect(federation, trainer.exchange)
    data = federate(config)[1]
    features = data.shards.features.copy()
    features[data.shards.train.rows(1)] += 50
    moved = replace(data, shards=replace(data.shards, features=features))
    other = in_process(config, moved, trainer)
    other.set_weights(federation.weights)
    other.guidance, other.nodes, other.rows, other.held_out = (
        getattr(federation, name) for name in ("guidance", "nodes", "rows", "held_out")
    )

    again = collect(other, trainer.exchange)

    kept = told["client"] != 1
    for name in ("loss-increase", "accuracy-drop", "shap", "integrated-gradients", "class-mean"):
        np.testing.assert_array_equal(told[name][kept], again[name][kept], name)
    assert not np.array_equal(told["shap"], again["shap"])


def test_held_out_rows_are_explained_where_clients_hold_any():
    for fraction, held_out in ((0.0, False), (0.3, True)):
        federation, trainer = queried(settings(client_test_fraction=fraction, long_tail=1.0))
        told = collect(federation, trainer.exchange)
        assert bool(told["held_out"]) == held_out
        assert told["rows"].sum() == (federation.held_out if held_out else federation.rows).sum()


def test_many_clients_are_asked_in_blocks_and_nothing_changes(monkeypatch):
    federation, trainer = trained(settings(num_clients=30, long_tail=1.0))
    whole = collect(federation, trainer.exchange)
    monkeypatch.setattr(explanation, "CLIENTS_AT_ONCE", 7)
    seen = []

    parts = collect(federation, trainer.exchange, lambda done, of: seen.append((done, of)))

    for name, values in whole.items():
        np.testing.assert_array_equal(values, parts[name], name)
    holders = int((federation.rows > 0).sum())
    assert seen == [(min(start + 7, holders), holders) for start in range(0, holders, 7)]


def test_work_is_bounded_however_many_rows_there_are():
    federation, _ = queried(settings())
    few = explanation.question_of(federation)
    federation.rows = np.full(10_000, 500)
    many = explanation.question_of(federation)

    assert (few.repeats, few.attributed) == (explanation.MOST_REPEATS, explanation.MOST_ATTRIBUTED)
    assert many.repeats == explanation.FEWEST_REPEATS
    assert (many.attributed, many.background) == (1, 6)


class Deaf:
    """An engine whose clients all fail to explain."""

    def __init__(self, engine):
        self.engine = engine

    def exchange(self, items):
        if items[0][1].message_type == "query.explain":
            return [[] for _ in items]
        return self.engine.exchange(items)


def test_nobody_answers_is_said():
    federation, trainer = queried(settings())

    with pytest.raises(FederationError, match="no client answered what an explanation needs"):
        collect(federation, Deaf(trainer).exchange)


class Lying:
    """An engine one of whose clients answers with numbers of its own."""

    def __init__(self, engine, name, value):
        self.engine, self.name, self.value = engine, name, value

    def exchange(self, items):
        answers = [list(replies) for replies in self.engine.exchange(items)]
        for replies in answers:
            if self.name in replies[1].content.metric_records[METRICS]:
                replies[1].content.metric_records[METRICS][self.name] = self.value
        return answers


@pytest.mark.parametrize(
    ("name", "value"), [("shap", [1.0]), ("loss-increase", [float("nan")] * 12), ("rows", [1] * 4)]
)
def test_a_client_whose_answer_does_not_fit_is_left_out(name, value):
    federation, trainer = trained(settings(long_tail=1.0), "sequential")
    told = collect(federation, trainer.exchange)

    again = collect(federation, Lying(trainer, name, value).exchange)

    kept = np.arange(len(told["client"])) != 1
    assert again["client"].tolist() == told["client"][kept].tolist()
    for key in ("loss-increase", "shap", "rows"):
        np.testing.assert_array_equal(again[key], told[key][kept])
    assert again["asked-clients"] == len(told["client"])


def test_the_server_app_asks_before_its_devices_go(tmp_path):
    config = settings(explain="yes", run_folder=str(tmp_path / "run"))
    config_of_run, data = federate(config)
    grid = InProcessGrid(Clients(config_of_run, data.shards), make_engine("sequential"))

    server_app(grid, Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config=config.to_mapping()))

    deployed = read_arrays(tmp_path / "run" / "explanation" / "collected.npz")
    simulated, trainer = trained(config)
    expected = collect(simulated, trainer.exchange)
    for name, values in expected.items():
        np.testing.assert_array_equal(deployed[name], values, name)
    assert deployed["model-sha256"].tobytes().hex() == Run.read(tmp_path / "run").summary["model_sha256"]


@pytest.mark.parametrize("fraction", [0.0, 0.25])
def test_devices_with_files_of_their_own_say_what_simulated_clients_say(tmp_path, monkeypatch, fraction):
    monkeypatch.setattr("edgefed.federation.fleet.LOOK_EVERY", 0.001)
    config = settings(num_clients=3, alpha=1.0, long_tail=1.0, dtype="float64", client_test_fraction=fraction)
    files = carried(config, tmp_path / "shards")
    asked = {
        "test-path": str(files.test),
        "run-folder": str(tmp_path / "run"),
        "explain": "yes",
        "wait-for-clients": 0.005,
    }
    of_devices = FederationConfig.from_mapping(read_settings(files.settings) | asked)

    launch(DeviceGrid(of_devices.to_mapping(), node_configs(files.clients)))

    found = edgefed.explain(tmp_path / "run", progress=False)
    federation, trainer = trained(config)
    expected = collect(federation, trainer.exchange)
    assert bool(found.collected[0]["held_out"]) == bool(fraction)
    for name in expected.keys() - {"model-sha256"}:
        np.testing.assert_allclose(found.collected[0][name], expected[name], atol=1e-6, err_msg=name)
    assert found.result["rows_explained"] == expected["rows"].sum() > 0


def test_devices_that_were_not_asked_cannot_be_explained(tmp_path, monkeypatch):
    monkeypatch.setattr("edgefed.federation.fleet.LOOK_EVERY", 0.001)
    files = carried(settings(num_clients=3, alpha=1.0, long_tail=1.0), tmp_path / "shards")
    asked = {"test-path": str(files.test), "run-folder": str(tmp_path / "run"), "wait-for-clients": 0.005}
    of_devices = FederationConfig.from_mapping(read_settings(files.settings) | asked)
    launch(DeviceGrid(of_devices.to_mapping(), node_configs(files.clients)))

    with pytest.raises(edgefed.SettingsError, match=r"its rows lie on devices, which nobody asked .* explain=yes"):
        edgefed.explain(tmp_path / "run", progress=False)


def test_iris_is_told_by_its_petals():
    """Fisher's flowers: any reader of the data names petal length and width, and so does a model that works."""
    federation, trainer = trained(settings(long_tail=1.0, partition="iid", num_server_rounds=30, local_epochs=5))
    told = collect(federation, trainer.exchange)

    names = np.array(load_iris().feature_names)
    for method in ("loss", "shap", "integrated-gradients"):
        values, rows = by_client(told, method)
        order = np.argsort(-(rows @ values))
        assert set(names[order[:2]]) == {"petal length (cm)", "petal width (cm)"}, method
