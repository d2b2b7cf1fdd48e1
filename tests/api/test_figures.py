"""Each figure of a comparison, counted again from its runs by hand or by scikit-learn and imbalanced-learn."""

import csv
import io
import json
import math
import shutil

import numpy as np
import pytest
from contract import check_comparison
from federations import settings
from imblearn.metrics import geometric_mean_score
from scipy import stats
from sklearn import metrics as sk

import edgefed
from edgefed.api.figures import finding
from edgefed.api.plan import comparison_defaults
from edgefed.api.tables import strategies_table
from edgefed.data.shards import federate
from edgefed.imbalance import REMEDIES
from edgefed.learning.metrics import log_softmax
from edgefed.report import write_report
from edgefed.terminal import show_comparison

ARMS = ("none", "post-hoc", "class-weights", "random-oversampling", "class-weights-balanced-noisy", "climb")
SEEDS = 7
BASE = settings(num_server_rounds=6, local_epochs=1, num_clients=14)


def compared(config=BASE, **arguments):
    return edgefed.compare(
        config, **({"strategies": ARMS, "seeds": SEEDS, "tune": None, "progress": False} | arguments)
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A tuned comparison and its folder: seven seeds, so that one order of rarity comes twice."""
    return compared(tune=(0.05, 0.5), out=tmp_path_factory.mktemp("figures") / "made")


@pytest.fixture(params=ARMS)
def arm(request, made):
    """An arm's entry, and its runs at the rate it chose, a seed each."""
    entry = next(entry for entry in made.result["strategies"] if entry["name"] == request.param)
    return entry, [made.runs[request.param, entry["learning_rate"], seed] for seed in range(SEEDS)]


def chosen(made, name):
    entry = next(entry for entry in made.result["strategies"] if entry["name"] == name)
    return [made.runs[name, entry["learning_rate"], seed] for seed in range(SEEDS)]


def predictions(run):
    """Labels of a run's test rows, and the probabilities that its model gives them."""
    _, data = federate(run.config)
    known = run.manifest["prediction"]
    features = (data.dataset.features[data.split.test].astype(np.float64) - known["mean"]) / known["scale"]
    weights = [array.astype(np.float64) for array in run.weights.values()]
    logits = np.maximum(features @ weights[0].T + weights[1], 0) @ weights[2].T + weights[3] + known["logit_shift"]
    return data.dataset.labels[data.split.test], np.exp(log_softmax(logits))


# ---------------------------------------------------------------------------------------------- measures
def test_measures_are_those_of_scikit_learn_and_imbalanced_learn_at_the_stated_mix(made, arm):
    entry, runs = arm
    for seed, run in enumerate(runs):
        labels, probabilities = predictions(run)
        predicted = probabilities.argmax(1)
        weight = (50 / np.bincount(labels))[labels]  # iris: 50 flowers a species, before the tail
        expected = {
            "balanced_accuracy": sk.balanced_accuracy_score(labels, predicted),
            "accuracy": sk.accuracy_score(labels, predicted, sample_weight=weight),
            "macro_f1": sk.f1_score(labels, predicted, average="macro", labels=[0, 1, 2], sample_weight=weight),
            "worst_recall": sk.recall_score(labels, predicted, average=None).min(),
            "g_mean": geometric_mean_score(labels, predicted, average="multiclass"),
            "log_loss": sk.log_loss(labels, probabilities, labels=[0, 1, 2], sample_weight=weight),
            "brier": sk.brier_score_loss(
                labels, probabilities, labels=[0, 1, 2], scale_by_half=False, sample_weight=weight
            ),
        }
        for name, value in expected.items():
            assert entry[name]["values"][seed] == pytest.approx(value, abs=2e-5), name
        recall = sk.recall_score(labels, predicted, average=None, labels=[0, 1, 2])
        assert [row["values"][seed] for row in entry["recall"]] == pytest.approx(recall.tolist())
    assert [row["class"] for row in entry["recall"]] == ["setosa", "versicolor", "virginica"]
    for row in [entry["brier"], entry["log_loss"], entry["g_mean"], *entry["recall"]]:
        known = stats.ttest_1samp(row["values"], 0).confidence_interval(0.95)
        assert row["mean"] == pytest.approx(np.mean(row["values"]))
        assert (row["low"], row["high"]) == pytest.approx((known.low, known.high))


def test_what_mix_the_measures_stand_at_is_said(made):
    found = made.result["measures_at"]

    assert found["measures"] == ["accuracy", "macro_f1", "log_loss", "brier"]
    assert found["shares"] == pytest.approx({"setosa": 1 / 3, "versicolor": 1 / 3, "virginica": 1 / 3})
    assert "before the long tail" in found["mix"]
    plain = compared(BASE.replace(long_tail=1.0, dataset="wine"), strategies="none", seeds=2).result
    assert "as they are" in plain["measures_at"]["mix"]
    assert plain["measures_at"]["shares"]["class_0"] == pytest.approx(59 / 178)


def test_a_class_without_test_rows_is_null_and_left_out(tmp_path):
    """A CSV class of one row is trained on, not tested on: nobody knows its recall."""
    rng = np.random.default_rng(0)
    rows = [f"{rng.normal() + 2 * i:.3f},{'ab'[i % 2]}" for i in range(60)] + ["9.0,c"]
    (tmp_path / "few.csv").write_text("\n".join(["x,label", *rows]) + "\n")
    config = comparison_defaults({"dataset": "csv", "data-path": str(tmp_path / "few.csv"), "num-server-rounds": 2})

    result = compared(config, strategies="none", seeds=2, out=tmp_path / "out").result

    entry = result["strategies"][0]
    assert entry["recall"][2] == {"class": "c", "mean": None, "low": None, "high": None, "values": [None, None]}
    assert entry["recall"][0]["mean"] is not None
    assert compared(config, strategies="none", seeds=2).result["comparison"] == "few.csv"
    assert result["generalises_over"].startswith("on few.csv, ")
    row = next(csv.DictReader(io.StringIO((tmp_path / "out" / "results.csv").read_text())))
    assert row["recall of c"] == ""
    assert float(row["recall of a"]) == pytest.approx(entry["recall"][0]["values"][0], abs=1e-6)


def test_how_the_model_serves_clients(arm):
    """Label shares times the server's recalls, a client each; fourteen clients: the lowest tenth is the worst."""
    entry, runs = arm
    for seed, run in enumerate(runs):
        counts = np.array(run.manifest["shards"]["class_counts"])
        counts = counts[counts.sum(1) > 0]
        scores = counts / counts.sum(1, keepdims=True) @ run.summary["test"]["recall"]
        expected = {
            "mean": scores.mean(),
            "worst": scores.min(),
            "bottom10": scores.min(),
            "std": scores.std(ddof=1),
        }
        for name, value in expected.items():
            assert entry["clients"][name]["values"][seed] == pytest.approx(value, abs=1e-12), name
    assert entry["clients"]["basis"].startswith("label shares")


# ---------------------------------------------------------------------------------------------- remedies
def test_what_a_remedy_is_and_needs(made):
    entries = {entry["name"]: entry for entry in made.result["strategies"]}

    assert {name: entry["family"] for name, entry in entries.items()} == {
        "none": "control",
        "post-hoc": "control",
        "class-weights": "class weights",
        "random-oversampling": "resampling",
        "class-weights-balanced-noisy": "class weights",
        "climb": "aggregation",
    }
    assert {name: entry["needs"] for name, entry in entries.items()} == {
        "none": "nothing",
        "post-hoc": "global class counts: one more message",
        "class-weights": "nothing",
        "random-oversampling": "nothing",
        "class-weights-balanced-noisy": "noisy class counts (Laplace noise of scale 1 a count): one more message",
        "climb": "a loss from each client each round",
    }
    for name, entry in entries.items():
        assert REMEDIES[name].__doc__.startswith(entry["about"])
        assert len(entry["about"]) > 10


def test_what_was_applied_under_the_first_seed(arm):
    entry, runs = arm
    kept = runs[0].manifest["applied"]

    assert entry["applied"]["asked"] == entry["name"]
    clients = entry["applied"]["clients"]
    assert [client["client"] for client in clients] == list(range(14))
    assert [client["rows"] for client in clients] == [sum(row) for row in runs[0].manifest["shards"]["class_counts"]]
    for name in ("drawn", "made", "why"):
        assert [client[name] for client in clients] == kept[name]
    if entry["name"] == "random-oversampling":
        counts = np.array(runs[0].manifest["shards"]["class_counts"])
        level = counts.max(1) * (counts > 0).sum(1)
        assert [client["drawn"] for client in clients] == level.tolist()
        assert all(client["why"] for client, row in zip(clients, counts, strict=True) if (row > 0).sum() < 2)


def test_clients_of_a_persons_file_go_by_their_names(tmp_path):
    rng = np.random.default_rng(0)
    rows = [f"{rng.normal() + i % 2:.3f},{'uv'[i % 2]},site-{'NSE'[i % 3]}" for i in range(90)]
    (tmp_path / "sites.csv").write_text("\n".join(["x,label,site", *rows]) + "\n")
    config = comparison_defaults(
        {
            "dataset": "csv",
            "data-path": str(tmp_path / "sites.csv"),
            "client-column": "site",
            "partition": "natural",
            "num-server-rounds": 2,
        }
    )

    entry = compared(config, strategies="none", seeds=2).result["strategies"][0]

    assert {client["client"] for client in entry["applied"]["clients"]} == {"site-N", "site-S", "site-E"}
    assert entry["clients"]["basis"].startswith("held out")
    assert entry["by_order"] == []


# ---------------------------------------------------------------------------------------------- cost
def test_rounds_and_bytes_to_the_target(made, arm):
    entry, runs = arm
    control = [run.summary["test"]["balanced_accuracy"] for run in chosen(made, "none")]
    target = math.floor(100 * np.mean(control)) / 100
    assert made.result["target"] == entry["cost"]["target"] == target
    rounds, moved = [], []
    for run in runs:
        spent = sum(run.manifest["query_bytes"].values())
        first = None
        for row in run.rounds:
            spent += row["bytes_up"] + row["bytes_down"]
            if row["test"]["balanced_accuracy"] >= target:
                first = row["round"]
                break
        rounds.append(first)
        moved.append(None if first is None else spent)
    assert entry["cost"]["rounds"]["values"] == rounds
    assert entry["cost"]["bytes"]["values"] == moved
    reached = [number for number in rounds if number is not None]
    assert entry["cost"]["rounds"]["reached"] == entry["cost"]["bytes"]["reached"] == len(reached)
    middle = sorted([*reached, *[math.inf] * (SEEDS - len(reached))])[SEEDS // 2]
    assert entry["cost"]["rounds"]["median"] == (None if math.isinf(middle) else middle)


def test_bytes_and_steps(arm):
    entry, runs = arm

    for way in ("up", "down"):
        assert entry["bytes"][way] == pytest.approx(np.mean([run.summary["bytes"][way] for run in runs]))
    steps = []
    for run in runs:
        with (run.folder / "clients.csv").open(newline="") as file:
            steps.append(np.mean([int(row["steps"]) for row in csv.DictReader(file)]))
    assert entry["steps"] == pytest.approx(np.mean(steps))


# ---------------------------------------------------------------------------------------------- rates, orders, splits
def test_every_rate_is_there(made, arm):
    entry, _ = arm
    for row in entry["rates"]:
        rate = row["learning_rate"]
        scores, control = (
            np.array([made.runs[name, rate, seed].summary["test"]["balanced_accuracy"] for seed in range(SEEDS)])
            for name in (entry["name"], "none")
        )
        assert row["mean"] == pytest.approx(scores.mean())
        if entry["name"] == "none":
            assert row["difference"] is None
        else:
            assert row["difference"]["mean"] == pytest.approx((scores - control).mean())
        if rate == entry["learning_rate"]:
            assert (row["mean"], row["low"], row["high"]) == tuple(
                entry["balanced_accuracy"][name] for name in ("mean", "low", "high")
            )
    assert [row["learning_rate"] for row in entry["rates"]] == [0.05, 0.5]


def test_rates_chosen_seed_by_seed(made, arm):
    entry, _ = arm
    own = entry["tuned_per_seed"]
    for seed, rate in enumerate(own["learning_rates"]):
        merit = {
            option: (
                made.runs[entry["name"], option, seed].summary["validation"]["balanced_accuracy"],
                -made.runs[entry["name"], option, seed].summary["validation"]["log_loss"],
            )
            for option in (0.05, 0.5)
        }
        assert merit[rate] == max(merit.values())
        assert own["values"][seed] == made.runs[entry["name"], rate, seed].summary["test"]["balanced_accuracy"]
    if entry["name"] != "none":
        control = next(e for e in made.result["strategies"] if e["name"] == "none")["tuned_per_seed"]
        assert own["difference"]["mean"] == pytest.approx(np.mean(np.subtract(own["values"], control["values"])))


def test_by_order_of_rarity(made, arm):
    """Seven seeds, six orders: seeds 0 and 6 share one."""
    entry, runs = arm
    control = chosen(made, "none")

    assert sorted(row["seeds"] for row in entry["by_order"]) == [1, 1, 1, 1, 1, 2]
    first = next(row for row in entry["by_order"] if row["seeds"] == 2)
    assert first["order"] == runs[0].manifest["long_tail_order"] == runs[6].manifest["long_tail_order"]
    scores, base = (
        [sample[seed].summary["test"]["balanced_accuracy"] for seed in (0, 6)] for sample in (runs, control)
    )
    assert first["mean"] == pytest.approx(np.mean(scores))
    if entry["name"] == "none":
        assert first["difference"] is None
    else:
        assert first["difference"] == pytest.approx(np.mean(scores) - np.mean(base))


def test_the_wider_interval(made, arm):
    """Nadeau & Bengio: the t interval with 1/n + n_test/n_train in the place of 1/n."""
    entry, runs = arm
    if entry["name"] == "none":
        assert entry["nadeau_bengio"] is None
        return
    differences = [
        run.summary["test"]["balanced_accuracy"] - control.summary["test"]["balanced_accuracy"]
        for run, control in zip(runs, chosen(made, "none"), strict=True)
    ]
    test, train = (np.array([run.manifest["rows"][name] for run in runs]) for name in ("test", "train"))
    share = (test / (test + train)).mean()
    half = stats.t.ppf(0.975, SEEDS - 1) * np.std(differences, ddof=1) * np.sqrt(1 / SEEDS + share / (1 - share))
    assert entry["nadeau_bengio"] == pytest.approx(
        {"low": np.mean(differences) - half, "high": np.mean(differences) + half}
    )
    assert entry["nadeau_bengio"]["low"] <= entry["difference"]["low"]


def test_one_split_says_nothing_of_other_rows():
    result = compared(BASE.replace(split_seed=3), strategies="post-hoc", seeds=2).result

    assert {entry["nadeau_bengio"] for entry in result["strategies"]} == {None}


# ---------------------------------------------------------------------------------------------- the whole
def test_the_contract_holds_and_the_rest_says_where_it_comes_from(made):
    result = made.result
    check_comparison(result, list(ARMS), SEEDS, tuned=True)
    assert result["settings"] == BASE.to_mapping()
    first = made.runs["none", 0.5, 0].manifest
    assert result["versions"] == first["environment"]["versions"]
    assert result["classes"] == first["classes"]
    empty = [
        sum(not sum(row) for row in made.runs["none", 0.5, seed].manifest["shards"]["class_counts"])
        for seed in range(SEEDS)
    ]
    assert result["empty_clients"] == {"mean": pytest.approx(np.mean(empty))}
    assert list(result["references"]) == ["pooled", "pooled-before-tail", "local-only", "local-only-own-mix"]
    entries = {entry["name"]: entry for entry in result["strategies"]}
    assert entries["none"]["pooled"] == entries["climb"]["pooled"]
    assert entries["none"]["pooled"] | {"measure": "balanced_accuracy"} == result["references"]["pooled"]
    assert result["references"]["local-only-own-mix"]["measure"] == "own_mix_accuracy"
    assert all(len(entry["pooled"]["values"]) == SEEDS for entry in entries.values())
    json.dumps(result, allow_nan=False)


def test_an_untuned_comparison_has_every_key_too(made):
    plain = compared(strategies="post-hoc", seeds=2).result

    assert set(plain) == set(made.result)
    assert {key for entry in plain["strategies"] for key in entry} == set(made.result["strategies"][0])
    assert [entry["tuned_per_seed"] for entry in plain["strategies"]] == [None, None]


def test_tables_hold_the_same_figures(made):
    with (made.folder / "strategies.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["strategy"] for row in rows] == [entry["name"] for entry in made.result["strategies"]]
    for row, entry in zip(rows, made.result["strategies"], strict=True):
        assert float(row["mean"]) == pytest.approx(entry["balanced_accuracy"]["mean"])
        assert float(row["bytes_up"]) == pytest.approx(entry["bytes"]["up"])
        assert float(row["pooled"]) == pytest.approx(entry["pooled"]["mean"])
        assert (row["tier"], row["family"], row["needs"]) == (entry["tier"], entry["family"], entry["needs"])
        assert int(row["target_reached"]) == entry["cost"]["rounds"]["reached"]
        median = entry["cost"]["rounds"]["median"]
        assert row["rounds_to_target"] == ("" if median is None else f"{median:g}")
        difference = entry["difference"]
        assert (row["difference"] == "") == (difference is None)
        if difference is not None:
            assert float(row["p_holm"]) == pytest.approx(difference["p_holm"])
    with (made.folder / "results.csv").open(newline="") as file:
        federations = list(csv.DictReader(file))
    order = [(ARMS.index(row["strategy"]), float(row["learning_rate"]), int(row["seed"])) for row in federations]
    assert order == sorted(order)
    assert len(order) == len(ARMS) * 2 * SEEDS
    for row in federations:
        test = made.runs[row["strategy"], float(row["learning_rate"]), int(row["seed"])].summary["test"]
        assert float(row["brier"]) == pytest.approx(test["brier"], abs=1e-6)
        assert float(row["recall of virginica"]) == pytest.approx(test["recall"][2], abs=1e-6)


def told(name, tier, low, high):
    return {"name": name, "tier": tier, "nadeau_bengio": {"low": low, "high": high} if low is not None else None}


@pytest.mark.parametrize(
    ("low", "high", "here"),
    [(0.01, 0.03, False), (-0.03, -0.01, False), (-0.01, 0.05, True), (0.0, 0.05, True), (None, None, False)],
)
def test_the_finding_says_what_the_wider_interval_takes_back(low, high, here):
    """Told from none on these rows, while other rows of the kind may show nothing: one sentence says both."""
    better, worse = (f"{tier} than none" for tier in ("better", "worse"))
    arms = [told("a", better, 0.02, 0.06), told("b", better, low, high), told("none", "control", None, None)]
    arms += [told("c", "indistinguishable from none", -0.1, 0.1), told("d", worse, low, high)]

    assert finding(arms) == (
        "better than none: a; better than none on these rows (for other rows of the kind the interval includes zero): "
        "b; indistinguishable from none: c; worse than none on these rows: d"
        if here
        else "better than none: a, b; indistinguishable from none: c; worse than none: d"
    )


def test_the_headline_and_its_caveat_are_one_answer_wherever_they_stand(made, capsys, tmp_path):
    """A gain of 2 points whose wider interval goes from -1 to 5: terminal, page and tables say how far it holds."""
    folder = tmp_path / "made"
    shutil.copytree(made.folder, folder)
    result = json.loads((folder / "comparison.json").read_text())
    for entry in result["strategies"]:
        if entry["name"] != "none":
            entry["tier"] = "indistinguishable from none"
    gain = next(entry for entry in result["strategies"] if entry["name"] == "post-hoc")
    gain["tier"], gain["nadeau_bengio"] = "better than none", {"low": -0.01, "high": 0.05}
    result["finding"] = finding(result["strategies"])
    (folder / "comparison.json").write_text(json.dumps(result))

    show_comparison(result)
    out, err = capsys.readouterr()
    page = " ".join(write_report(folder).read_text().split())

    caveat = "for other rows of the kind the interval includes zero"
    row = next(line for line in out.splitlines() if " post-hoc " in line)
    assert row.split("│")[-2].strip() == "better on these rows"
    assert f"better than none on these rows ({caveat}): post-hoc" in " ".join(out.split())
    assert f"note: {caveat} (Nadeau and Bengio's, in points): post-hoc (-1.0 to +5.0)" in err.splitlines()
    assert "One of five remedies beats training without one on these rows: <strong>post-hoc</strong> by" in page
    assert page.count(f"F{caveat[1:]}") == 2  # beside the answer, and with its figures among what to beware of
    assert "Better than none on these rows</text>" in page
    beware = page.partition("Before you rely on this</a>: ")[2].partition("<")[0]
    assert "told on these rows alone" in beware.rstrip(".").split("; ")  # no comma in it makes one of two
    assert f"On these rows: {caveat} (Nadeau and Bengio’s)." in page  # below the tiers' picture
    row = next(row for row in csv.DictReader(strategies_table(result).splitlines()) if row["strategy"] == "post-hoc")
    assert (float(row["wider_low"]), float(row["wider_high"])) == (-0.01, 0.05)


def test_the_terminal_says_what_a_person_needs(made, capsys):
    show_comparison(made.result)

    out, err = capsys.readouterr()
    for entry in made.result["strategies"]:
        line = next(line for line in out.splitlines() if f" {entry['name']} " in line)
        assert f"{entry['balanced_accuracy']['mean']:.3f}" in line
        if entry["difference"] is not None:
            assert f"{100 * entry['difference']['mean']:+.1f} (" in line
        if entry["cost"]["rounds"]["reached"] < SEEDS:
            assert f"({entry['cost']['rounds']['reached']}/{SEEDS})" in line
    assert "reference: local-only " in out
    assert "own-mix" not in out  # another measure than the column's
    alone = made.result["references"]["local-only-own-mix"]["mean"]
    assert f"own class mix: {alone:.3f} training alone" in err
    assert f"rounds to {100 * made.result['target']:.0f} %" in out
    assert "clients without a training row" in err
