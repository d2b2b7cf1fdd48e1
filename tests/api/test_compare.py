"""``edgefed.compare``: paired, tuned on validation rows alone, resumable, and read from its folder alone."""

import csv
import importlib
import json
import shutil
import tomllib
from dataclasses import replace

import numpy as np
import pytest
from contract import check_comparison
from federations import trained, without_seconds
from made_comparisons import ARMS, BASE, compared, contents, without_time

import edgefed
from edgefed.analysis.statistics import ranking
from edgefed.api.plan import comparison_defaults
from edgefed.config import FederationConfig, SettingsError
from edgefed.imbalance import REMEDIES
from edgefed.report import write_report
from edgefed.runs import Run
from edgefed.terminal import show_comparison

module = importlib.import_module("edgefed.api.lockstep")


def test_its_result_keeps_the_contract(tuned):
    check_comparison(tuned.result, list(ARMS), 3, tuned=True)
    check_comparison(compared().result, list(ARMS), 3, tuned=False)
    assert tuned.result["federations"] == 4 * 2 * 3 == len(tuned.runs)
    assert tuned.result["client_updates"] == sum(run.summary["client_updates"] for run in tuned.runs.values())
    assert tuned.result["seeds"] == [0, 1, 2]
    assert json.loads(json.dumps(tuned.result)) == tuned.result
    assert repr(tuned).startswith(f"<Comparison {tuned.result['generalises_over']}: {tuned.result['finding']}; ")
    for entry in tuned.result["strategies"]:
        assert f" {entry['name']} {entry['balanced_accuracy']['mean']:.3f}" in repr(tuned)
    assert repr(tuned).endswith(f"; in {tuned.folder}>")


def test_every_federation_is_the_run_that_its_settings_give_alone(tuned):
    """Lockstep changes nothing: each is reproduced from its own settings, bit for bit."""
    for (arm, rate, seed), run in tuned.runs.items():
        assert (run.config.imbalance, run.config.learning_rate, run.config.seed) == (arm, rate, seed)
        alone, _ = trained(BASE.replace(imbalance=arm, learning_rate=rate, seed=seed))
        assert run.summary["model_sha256"] == alone.summary["model_sha256"]
        assert without_seconds(run.rounds)[-1]["test"]["recall"] == alone.rounds[-1]["test"]["recall"]


def test_remedies_are_paired_by_seed(tuned):
    """Under one seed all have the same split, shards, tail order and cohorts; under another seed others."""
    seen = {}
    for (_, _, seed), run in tuned.runs.items():
        what = (
            json.dumps(run.manifest["shards"]["class_counts"]),
            json.dumps(run.manifest["long_tail_order"]),
            json.dumps(run.manifest["rows"]),
            tuple(row["clients"] for row in run.rounds),
        )
        seen.setdefault(seed, set()).add(what)
    assert [len(kinds) for kinds in seen.values()] == [1, 1, 1]
    assert len(set.union(*seen.values())) == 3
    posthoc, none = (tuned.runs[arm, 0.5, 1] for arm in ("post-hoc", "none"))
    assert posthoc.summary["model_sha256"] == none.summary["model_sha256"]


def test_seeds_that_are_set_stay_and_the_others_vary():
    result = compared(BASE.replace(split_seed=7, partition_seed=7), strategies=("none",), seeds=2)

    first, second = result.runs.values()
    assert first.manifest["shards"] == second.manifest["shards"]
    assert first.summary["model_sha256"] != second.summary["model_sha256"]


def test_rates_are_picked_by_validation_score(tuned):
    """The highest mean validation balanced accuracy over seeds in the last round; ties to the lower loss."""
    for arm in ARMS:
        merit = {}
        for rate in (0.05, 0.5):
            last = [tuned.runs[arm, rate, seed].rounds[-1]["validation"] for seed in range(3)]
            merit[rate] = (
                np.mean([row["balanced_accuracy"] for row in last]),
                -np.mean([row["log_loss"] for row in last]),
            )
        picked = max(merit, key=merit.get)
        known = tuned.result["tuned"][arm]
        assert known["learning-rate"] == picked
        assert known["validation_balanced_accuracy"] == {
            f"{rate:g}": pytest.approx(score) for rate, (score, _) in merit.items()
        }
        entry = next(entry for entry in tuned.result["strategies"] if entry["name"] == arm)
        assert entry["learning_rate"] == picked
        assert entry["balanced_accuracy"]["values"] == [
            tuned.runs[arm, picked, seed].summary["test"]["balanced_accuracy"] for seed in range(3)
        ]


def test_test_rows_choose_nothing(monkeypatch, tuned):
    """With every test label turned the picks are the same, and the test scores are not."""
    original = module.federate

    def turned(config, dataset=None):
        config, data = original(config, dataset)
        labels = data.dataset.labels.copy()
        labels[data.split.test] = (labels[data.split.test] + 1) % 3
        return config, replace(data, dataset=replace(data.dataset, labels=labels))

    monkeypatch.setattr(module, "federate", turned)
    other = compared(tune=(0.05, 0.5))

    assert other.result["tuned"] == tuned.result["tuned"]
    assert {e["name"]: e["balanced_accuracy"]["values"] for e in other.result["strategies"]} != {
        e["name"]: e["balanced_accuracy"]["values"] for e in tuned.result["strategies"]
    }


def test_the_statistics_are_those_of_its_values(tuned):
    values = {entry["name"]: entry["balanced_accuracy"]["values"] for entry in tuned.result["strategies"]}
    expected = {row["name"]: row for row in ranking(values, "none")}

    for entry in tuned.result["strategies"]:
        row = expected[entry["name"]]
        assert entry["tier"] == row["tier"]
        assert entry["difference"] == row["difference"]
        assert (entry["balanced_accuracy"]["low"], entry["balanced_accuracy"]["high"]) == (row["low"], row["high"])
    assert tuned.result["finding"] == "too few seeds to tell any remedy from none: 3 contrasts need at least 7"
    assert "3 seeds" in tuned.result["generalises_over"]


def test_what_share_of_the_rows_a_remedy_could_act_on(tuned):
    """Rows on shards of two or more unequal classes, over all seeds, counted by hand."""
    acted = total = 0
    for seed in range(3):
        for counts in tuned.runs["none", 0.5, seed].manifest["shards"]["class_counts"]:
            held = [count for count in counts if count]
            total += sum(held)
            acted += sum(held) if len(set(held)) > 1 else 0
    shares = {entry["name"]: entry["acts_on_rows"] for entry in tuned.result["strategies"]}

    assert shares["class-weights"] == shares["random-oversampling"] == pytest.approx(acted / total)
    assert shares["none"] == shares["post-hoc"] == 1
    asked = {entry["name"]: entry["needs_global_counts"] for entry in tuned.result["strategies"]}
    assert asked == {name: REMEDIES[name].needs_global_counts for name in ARMS}


def test_loss_that_still_falls_is_flagged(tuned):
    """Four rounds: from the third to the fourth the validation loss falls by over 1 %."""
    for entry in tuned.result["strategies"]:
        falling = 0
        for seed in range(3):
            rounds = tuned.runs[entry["name"], entry["learning_rate"], seed].rounds
            losses = [row["validation"]["log_loss"] for row in rounds]
            falling += losses[-1] < 0.99 * losses[-2] and losses[-1] < 1.05 * min(losses)
        assert entry["not_converged"] == falling


def test_loss_past_its_best_is_said_where_people_look(tuned, capsys, tmp_path):
    """As counted by hand from the runs; then with another figure in the folder."""
    folder = tmp_path / "late"
    shutil.copytree(tuned.folder, folder)
    result = json.loads((folder / "comparison.json").read_text())
    for entry in result["strategies"]:
        best = []
        for seed in range(3):
            losses = tuned.runs[entry["name"], entry["learning_rate"], seed].history["validation.log_loss"]
            best += [1 + int(losses.argmin())] if losses[3] >= 1.05 * losses.min() else []
        assert entry["past_best"] == {"seeds": len(best), "round": float(np.median(best)) if best else None}
        entry["past_best"] = {"seeds": 3, "round": 2.0} if entry["name"] == "none" else {"seeds": 0, "round": None}
    (folder / "comparison.json").write_text(json.dumps(result))

    show_comparison(result)

    line = next(line for line in capsys.readouterr().err.splitlines() if "past its best" in line)
    assert line.endswith(": none (round 2 of 4, 3 of 3 seeds); fewer rounds or a smaller rate")
    page = write_report(folder).read_text()
    assert "none (round 2 of 4, 3 of 3 seeds). Fewer rounds" in page


# ---------------------------------------------------------------------------------------------- files
def test_the_folder_holds_all_of_it(tuned):
    folder = tuned.folder
    assert json.loads((folder / "comparison.json").read_text()) == tuned.result
    with (folder / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    picks = {entry["name"]: entry["learning_rate"] for entry in tuned.result["strategies"]}
    for row in rows:
        run = tuned.runs[row["strategy"], float(row["learning_rate"]), int(row["seed"])]
        assert float(row["balanced_accuracy"]) == pytest.approx(run.summary["test"]["balanced_accuracy"], abs=1e-6)
        assert row["chosen"] == str(int(float(row["learning_rate"]) == picks[row["strategy"]]))
    for (arm, rate, seed), run in tuned.runs.items():
        home = folder / "federations" / arm / f"rate-{rate:g}" / f"seed-{seed}"
        again = Run.read(home)
        assert again.summary == run.summary
        assert len((home / "clients.csv").read_text().splitlines()) == 1 + run.summary["client_updates"]
    assert not list(folder.rglob(".*"))


def test_best_toml_trains_what_it_names(tuned):
    config = FederationConfig.from_mapping(edgefed.config.read_settings(tuned.folder / "best.toml"))

    run, _ = trained(config)

    known = tuned.runs[config.imbalance, config.learning_rate, 0]
    assert run.summary["model_sha256"] == known.summary["model_sha256"]


def test_a_folder_that_exists_is_refused_and_left_alone(tuned):
    before = contents(tuned.folder)

    with pytest.raises(SettingsError, match="exists already; give another folder, or --resume"):
        compared(out=tuned.folder)

    assert contents(tuned.folder) == before


# ---------------------------------------------------------------------------------------------- what is trained
def test_a_rate_that_diverges_is_not_picked_and_does_not_stop_the_others(tmp_path):
    """Its log-loss is infinite, which JSON cannot hold: read again from the folder it is still the worst."""
    config = BASE.replace(loss="hinge", hidden="32-32-32", num_server_rounds=8)
    arguments = {"strategies": "class-weights", "tune": (0.1, 1000.0), "out": tmp_path / "wild"}

    first = compared(config, **arguments)
    (tmp_path / "wild" / "comparison.json").unlink()
    again = compared(config, **arguments, resume=True)

    assert {entry["learning-rate"] for entry in first.result["tuned"].values()} == {0.1}
    assert without_time(again.result) == without_time(first.result)
    assert first.runs["none", 1000.0, 0].rounds[-1]["test"]["log_loss"] == np.inf
    alone = compared(config.replace(learning_rate=1000.0), strategies="none")
    assert alone.result["strategies"][0]["log_loss"]["mean"] is None
    json.dumps(alone.result, allow_nan=False)


def test_without_validation_rows_and_without_tuning():
    result = compared(BASE.replace(validation_fraction=0), strategies="class-weights", seeds=2).result

    check_comparison(result, ["none", "class-weights"], 2, tuned=False)
    assert {entry["not_converged"] for entry in result["strategies"]} == {0}


def test_the_control_alone_has_nothing_to_be_compared_with():
    result = compared(strategies=(), seeds=2).result

    assert result["finding"] == "nothing to compare: name remedies beside none"


def test_natural_clients_of_a_csv(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        f"{rng.normal() + label:.3f},{rng.normal():.3f},{'uv'[label]},site-{place % 4}"
        for place, label in enumerate(rng.choice(2, 200, p=[0.8, 0.2]))
    ]
    (tmp_path / "data.csv").write_text("\n".join(["a,b,y,site", *rows]) + "\n")
    config = comparison_defaults(
        {
            "dataset": "csv",
            "data-path": str(tmp_path / "data.csv"),
            "client-column": "site",
            "partition": "natural",
            "num-server-rounds": 3,
        }
    )

    made = compared(config, strategies="class-weights", seeds=2, out=tmp_path / "comparison")
    again = compared(config, strategies="class-weights", seeds=2, out=tmp_path / "comparison", resume=True)

    check_comparison(made.result, ["none", "class-weights"], 2, tuned=False)
    assert again.result == made.result
    assert {run.summary["clients"] for run in made.runs.values()} == {4}
    assert all(run.summary["clients_test"]["basis"].startswith("held out") for run in made.runs.values())


def test_engines_compare_alike():
    batched, sequential = (
        compared(strategies="random-oversampling", seeds=2, engine=engine).result
        for engine in ("batched", "sequential")
    )

    assert without_time(batched) == without_time(sequential)


def test_the_references_know_no_pull(tmp_path):
    """Training without a federation has no global weights to stay near."""
    config = comparison_defaults({"num-server-rounds": 3})
    free, pulled = (
        edgefed.compare(changed, strategies="none", seeds=2, tune=None, progress=False).result["references"]
        for changed in (config, config.replace(proximal_mu=1.0))
    )
    assert free == pulled


def test_best_toml_is_chosen_on_validation_rows(tmp_path):
    """The arm and rate of best.toml have the highest mean validation score, whatever the test rows say."""
    config = comparison_defaults({"num-server-rounds": 5})
    found = edgefed.compare(
        config,
        strategies="none,post-hoc,balanced-softmax",
        seeds=3,
        tune=[0.1, 1.0],
        out=tmp_path / "c",
        progress=False,
    ).result

    scores = {
        (arm, float(rate)): score
        for arm, row in found["tuned"].items()
        for rate, score in row["validation_balanced_accuracy"].items()
    }
    best = FederationConfig.from_mapping(tomllib.loads((tmp_path / "c" / "best.toml").read_text()))
    assert scores[best.imbalance, best.learning_rate] == pytest.approx(max(scores.values()))


def test_without_validation_rows_nothing_is_suggested(tmp_path):
    """The list is sorted by test rows: its first entry would be chosen by them."""
    config = BASE.replace(validation_fraction=0.0)
    done = edgefed.compare(config, strategies="none,post-hoc", seeds=2, tune=None, out=tmp_path / "c", progress=False)

    assert not (done.folder / "best.toml").exists()
    assert (done.folder / "comparison.json").is_file()
