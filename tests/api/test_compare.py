"""``edgefed.compare``: paired, tuned on validation rows alone, resumable, and read from its folder alone."""

import csv
import importlib
import json
import shutil
import time
import tomllib
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from contract import check_comparison
from federations import settings, trained, without_seconds

import edgefed
from edgefed.analysis.statistics import ranking
from edgefed.api.plan import DEFAULT_ARMS, DEFAULT_RATES, comparison_defaults, plan, without_say
from edgefed.config import FederationConfig, SettingsError, catalogue
from edgefed.imbalance import REMEDIES
from edgefed.report import write_report
from edgefed.runs import Interrupted, Run
from edgefed.terminal import show_comparison

module = importlib.import_module("edgefed.api.lockstep")

ARMS = ("none", "post-hoc", "class-weights", "random-oversampling")
BASE = settings(num_server_rounds=4, local_epochs=1)


def compared(config=BASE, **arguments):
    return edgefed.compare(
        config, **({"strategies": ARMS, "seeds": 3, "tune": None, "progress": False, "processes": 1} | arguments)
    )


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A tuned comparison and its folder."""
    return compared(tune=(0.05, 0.5), out=tmp_path_factory.mktemp("comparisons") / "tuned")


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


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_folder_that_exists_is_refused_and_left_alone(tuned):
    before = contents(tuned.folder)

    with pytest.raises(SettingsError, match="exists already; give another folder, or --resume"):
        compared(out=tuned.folder)

    assert contents(tuned.folder) == before


# ---------------------------------------------------------------------------------------------- resume
def without_time(result):
    return {key: value for key, value in result.items() if key not in ("seconds", "comparison")}


def test_a_finished_comparison_is_returned_as_it_is(monkeypatch, tuned):
    before = contents(tuned.folder)
    monkeypatch.setattr(module, "run_rounds", lambda *_: pytest.fail("it trained"))

    again = compared(tune=(0.05, 0.5), out=tuned.folder, resume=True)

    assert again.result == tuned.result
    assert set(again.runs) == set(tuned.runs)
    assert contents(tuned.folder) == before


@pytest.mark.parametrize("finished_blocks", [0, 1, 4])
def test_interrupted_and_resumed_redoes_what_is_missing_and_nothing_else(monkeypatch, tmp_path, tuned, finished_blocks):
    monkeypatch.setattr(module, "BLOCK", 5)  # 24 federations in blocks of 5, 5, 5, 5, 4
    trained_now = []
    run_rounds = module.run_rounds

    def until_interrupted(federations, exchange):
        trained_now.append([(f.config.imbalance, f.config.learning_rate, f.config.seed) for f in federations])
        if len(trained_now) > finished_blocks:
            raise KeyboardInterrupt
        run_rounds(federations, exchange)

    with monkeypatch.context() as patched:
        patched.setattr(module, "run_rounds", until_interrupted)
        said = f"^interrupted with {5 * finished_blocks} of 24 federations done and kept; --resume --out .* goes on"
        with pytest.raises(Interrupted, match=said):
            compared(tune=(0.05, 0.5), out=tmp_path / "parts")
    done = {cell for block in trained_now[:finished_blocks] for cell in block}
    assert len(done) == 5 * finished_blocks
    kept = contents(tmp_path / "parts" / "federations") if done else {}
    trained_now.clear()

    def counted(federations, exchange):
        trained_now.append([(f.config.imbalance, f.config.learning_rate, f.config.seed) for f in federations])
        run_rounds(federations, exchange)

    monkeypatch.setattr(module, "run_rounds", counted)
    resumed = compared(tune=(0.05, 0.5), out=tmp_path / "parts", resume=True)

    again = [cell for block in trained_now for cell in block]
    assert sorted(again) == sorted(set(tuned.runs) - done)
    assert without_time(resumed.result) == without_time(tuned.result)
    after = contents(tmp_path / "parts" / "federations")
    assert {path: after[path] for path in kept} == kept


def test_seconds_cover_all_sessions(monkeypatch, tmp_path):
    """Two interrupted sessions and the one that finishes: what each took is in the sum."""
    monkeypatch.setattr(module, "BLOCK", 5)
    run_rounds, spent, kept = module.run_rounds, 0.0, []

    def until_the_second_block(federations, exchange):
        if until_the_second_block.blocks:
            raise KeyboardInterrupt
        until_the_second_block.blocks += 1
        run_rounds(federations, exchange)

    for resume in (False, True):
        with monkeypatch.context() as patched:
            until_the_second_block.blocks = 0
            patched.setattr(module, "run_rounds", until_the_second_block)
            begun = time.perf_counter()
            with pytest.raises(Interrupted):
                compared(out=tmp_path / "parts", resume=resume)
            spent += time.perf_counter() - begun
        kept.append(json.loads((tmp_path / "parts" / "elapsed.json").read_text())["seconds"])
    begun = time.perf_counter()
    done = compared(out=tmp_path / "parts", resume=True)
    last = time.perf_counter() - begun

    assert 0 < kept[0] < kept[1] <= spent
    assert kept[1] < done.result["seconds"] <= spent + last
    assert compared(out=tmp_path / "parts", resume=True).result["seconds"] == done.result["seconds"]


def test_results_do_not_depend_on_where_it_was_interrupted(monkeypatch, tmp_path, tuned):
    """Read first and trained last, a federation's row stands where it always does."""
    monkeypatch.setattr(module, "BLOCK", 5)
    run_rounds, blocks = module.run_rounds, []

    def thrice(federations, exchange):
        blocks.append(len(federations))
        if len(blocks) > 3:
            raise KeyboardInterrupt
        run_rounds(federations, exchange)

    with monkeypatch.context() as patched:
        patched.setattr(module, "run_rounds", thrice)
        with pytest.raises(Interrupted):
            compared(tune=(0.05, 0.5), out=tmp_path / "parts")
    shutil.rmtree(tmp_path / "parts" / "federations" / "none")  # the first rows are trained last
    compared(tune=(0.05, 0.5), out=tmp_path / "parts", resume=True)

    for name in ("results.csv", "strategies.csv"):
        assert (tmp_path / "parts" / name).read_bytes() == (tuned.folder / name).read_bytes()


def test_a_federation_half_written_is_done_again(tmp_path, tuned):
    """Killed while a federation's folder was written: rows without a model."""
    first = compared(tune=(0.05, 0.5), out=tmp_path / "parts")
    (tmp_path / "parts" / "comparison.json").unlink()
    home = tmp_path / "parts" / "federations" / "none" / "rate-0.5" / "seed-1"
    manifest = json.loads((home / "manifest.json").read_text())
    del manifest["summary"]
    (home / "manifest.json").write_text(json.dumps(manifest))
    (home / "model.npz").unlink()

    resumed = compared(tune=(0.05, 0.5), out=tmp_path / "parts", resume=True)

    assert without_time(resumed.result) == without_time(first.result) == without_time(tuned.result)
    assert len((home / "history.jsonl").read_text().splitlines()) == 4
    again = Run.read(home)
    assert len((home / "clients.csv").read_text().splitlines()) == 1 + again.summary["client_updates"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"config": BASE.replace(alpha=0.5)}, r"alpha=0\.5 differs from .*, which has alpha=0\.3"),
        ({"config": BASE.replace(seed=1)}, "seed=1 differs"),
        ({"seeds": 4}, r"seeds \[0, 1, 2, 3\] differ from"),
        ({"strategies": ("none",)}, "strategies .* differ from"),
        ({"tune": (0.05,)}, "rates .* differ from"),
    ],
)
def test_another_comparison_is_refused_by_name(tuned, change, named):
    before = contents(tuned.folder)

    with pytest.raises(SettingsError, match=f"^--resume: {named}"):
        compared(**({"tune": (0.05, 0.5), "out": tuned.folder, "resume": True} | change))

    assert contents(tuned.folder) == before


def test_resume_needs_a_folder_and_makes_one():
    with pytest.raises(SettingsError, match="--resume needs --out"):
        compared(resume=True)


def test_nothing_there_starts_from_the_beginning(tmp_path):
    result = compared(strategies="none", seeds=2, out=tmp_path / "new", resume=True)

    assert len(result.runs) == 2


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


# ---------------------------------------------------------------------------------------------- plan
def test_the_control_is_always_there_and_nothing_twice():
    assert plan(BASE, "post-hoc,post-hoc, none").arms == ("none", "post-hoc")
    assert plan(BASE, []).arms == ("none",)
    assert plan(BASE, "all").arms[0] == "none"
    assert set(plan(BASE, "all").arms) == set(REMEDIES) - {"class-weights"}
    assert plan(BASE).arms == DEFAULT_ARMS
    assert plan(BASE, tune=(0.1, 0.1, 1)).rates == (0.1, 1.0)
    assert plan(BASE, tune=None).rates == (BASE.learning_rate,)
    assert plan(BASE.replace(seed=5), seeds=3).seeds == (5, 6, 7)
    assert set(DEFAULT_ARMS) <= set(catalogue("imbalance"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"strategies": "none,post-hok"}, "unknown strategy 'post-hok': did you mean post-hoc"),
        ({"seeds": 1}, "--seeds 1: expected at least 2"),
        ({"seeds": -3}, "--seeds -3: expected at least 2"),
        ({"tune": ()}, "--tune: expected learning rates"),
        ({"tune": (0.1, -1)}, "learning-rate=-1"),
        ({"tune": (float("nan"),)}, "learning-rate=nan"),
        ({"config": BASE.replace(validation_fraction=0), "tune": DEFAULT_RATES}, "nothing to tune on: --no-tune"),
        ({"config": BASE.replace(loss="hinge"), "strategies": "post-hoc"}, "post-hoc contradicts loss=hinge"),
        ({"config": BASE.replace(seed=2**32 - 2), "seeds": 3}, "^--seeds 3 from seed=4294967294: the last would"),
        ({"config": BASE.replace(long_tail=1000.0)}, "long-tail=1000"),
        ({"engine": "batch"}, "unknown engine 'batch'"),
    ],
    ids=lambda value: None if isinstance(value, str) else "-".join(value),
)
def test_mistakes_are_said_before_anything_is_made(tmp_path, arguments, says):
    with pytest.raises(SettingsError, match=says):
        compared(**arguments, out=tmp_path / "comparison")

    assert list(tmp_path.iterdir()) == []


def test_defaults_thin_the_bundled_datasets_and_leave_a_persons_own_data_alone():
    assert (comparison_defaults({}).long_tail, comparison_defaults({}).num_server_rounds) == (10, 100)
    own = comparison_defaults({"dataset": "csv", "data-path": "mine.csv"})
    assert (own.long_tail, own.num_server_rounds) == (1, 100)
    assert comparison_defaults({"long-tail": 5.0, "num-server-rounds": 7}).long_tail == 5
    assert comparison_defaults({"num-server-rounds": 7}).num_server_rounds == 7


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


def test_other_rows_are_not_gone_on_with(tmp_path):
    """The settings are the same, the file is not: half of the pairs would be of other data."""
    table = tmp_path / "rows.csv"
    rng = np.random.default_rng(0)
    lines = [f"{a:.3f},{b:.3f},{'xy'[i % 2]}" for i, (a, b) in enumerate(rng.normal(size=(60, 2)))]
    table.write_text("\n".join(["a,b,label", *lines]) + "\n")
    config = comparison_defaults({"dataset": "csv", "data-path": str(table), "num-server-rounds": 2})
    wanted = {"strategies": "none", "seeds": 2, "tune": None, "out": tmp_path / "kept", "progress": False}
    edgefed.compare(config, **wanted)
    (tmp_path / "kept" / "comparison.json").unlink()
    table.write_text("\n".join(["a,b,label", *lines[::-1]]) + "\n")

    with pytest.raises(SettingsError, match="the data are not those"):
        edgefed.compare(config, **wanted, resume=True)


def test_a_torn_federation_is_run_again(tmp_path):
    config = comparison_defaults({"num-server-rounds": 2})
    wanted = {"strategies": "none,post-hoc", "seeds": 2, "tune": None, "out": tmp_path / "kept", "progress": False}
    whole = edgefed.compare(config, **wanted)
    (tmp_path / "kept" / "comparison.json").unlink()
    next((tmp_path / "kept").rglob("model.npz")).write_bytes(b"")

    again = edgefed.compare(config, **wanted, resume=True)

    assert again.result["strategies"] == whole.result["strategies"]


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


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"tune": 0.1}, r"^tune=0\.1: expected learning rates in a list, as tune=\[0\.1, 0\.3, 1, 3\]$"),
        ({"tune": "0.1"}, r"^tune=0\.1: expected learning rates in a list"),
        ({"tune": ["fast"]}, r"^tune=\['fast'\]: expected numbers"),
        ({"seeds": [0, 1]}, r"^seeds=\[0, 1\]: expected how many, a whole number; seed=0 is the first$"),
        ({"seeds": True}, r"^seeds=true: expected how many"),
        ({"config": {"seed": 1}}, r"^config=\{'seed': 1\}: expected a FederationConfig, found dict"),
    ],
)
def test_a_mistake_from_python_is_one_line(asked, says):
    for compare in (edgefed.compare, partial(edgefed.compare_grid, grid={"alpha": [0.1, 1]})):
        with pytest.raises(SettingsError, match=says):
            compare(**({"config": BASE} | asked), progress=False)
    if "config" in asked:
        for config in (asked["config"], {}, "mine.toml"):
            with pytest.raises(SettingsError, match=r"expected a FederationConfig, found (dict|str)"):
                edgefed.run(config)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"strategies": "post-hoc", "tune": (0.1,)}, ["imbalance=class-weights ", "learning-rate=0.05 "]),
        ({"strategies": "class-weights-balanced-local", "tune": (0.1,)}, ["learning-rate=0.05 "]),
        ({"strategies": "class-weights", "tune": (0.1, 0.05)}, []),
        ({"strategies": "post-hoc", "tune": None}, ["imbalance=class-weights "]),
    ],
)
def test_a_remedy_and_a_rate_that_a_comparison_has_not_are_told(asked, said):
    """Under either of its names a remedy is the same one."""
    work = plan(BASE.replace(imbalance="class-weights", learning_rate=0.05), seeds=2, **asked)

    assert [line.partition("has no say")[0] for line in without_say(work)] == said
    assert without_say(plan(BASE, seeds=2, **asked)) == []


def test_a_grid_tells_them_once(capsys):
    config = BASE.replace(imbalance="focal", num_server_rounds=1)
    edgefed.compare_grid(config, {"alpha": [0.1, 1]}, strategies="none", seeds=2, tune=None, progress=True)

    assert capsys.readouterr().err.count("note: imbalance=focal has no say in a comparison") == 1


def test_so_many_seeds_as_there_are():
    last = plan(BASE.replace(seed=2**32 - 3), "none", 3).seeds[-1]
    assert last == 2**32 - 1
    with pytest.raises(SettingsError, match=r"^--seeds 4 from seed=4294967293: the last would be 4294967296; at most"):
        plan(BASE.replace(seed=2**32 - 3), "none", 4)


def test_without_validation_rows_nothing_is_suggested(tmp_path):
    """The list is sorted by test rows: its first entry would be chosen by them."""
    config = BASE.replace(validation_fraction=0.0)
    done = edgefed.compare(config, strategies="none,post-hoc", seeds=2, tune=None, out=tmp_path / "c", progress=False)

    assert not (done.folder / "best.toml").exists()
    assert (done.folder / "comparison.json").is_file()
