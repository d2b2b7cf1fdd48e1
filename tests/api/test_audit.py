"""edgefed audit, from Python and the command line: what it sees, what it cannot see, what it refuses."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from federations import Recorder, settings, together

import edgefed
from edgefed.analysis.membership import Attack
from edgefed.analysis.statistics import t_interval
from edgefed.api.audited_run import _Ready, rarest
from edgefed.api.influence import influence
from edgefed.api.membership import Audit
from edgefed.api.who_took_part import took_part
from edgefed.data.shards import federate
from edgefed.engines import make_engine
from edgefed.report.audit import plot_audit
from edgefed.report.folder import ComparisonFolder
from edgefed.report.page import write_report
from edgefed.runs import Run, read_json, write_json


def attacks(run, **arguments):
    return edgefed.audit(run, progress=False, **arguments).result["strategies"][0]["attacks"]


@pytest.fixture(scope="module")
def random_labels(tmp_path_factory):
    """A CSV whose labels follow from nothing: whatever a model knows of them it has learned by heart."""
    path = tmp_path_factory.mktemp("random") / "rows.csv"
    rng = np.random.default_rng(0)
    with path.open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow([*(f"x{column}" for column in range(10)), "label"])
        for row in rng.normal(size=(200, 10)):
            writer.writerow([*(f"{value:.4f}" for value in row), rng.choice(["no", "yes"])])
    return path


def memorised(path, seed, **changes):
    """A federation that learns its few rows by heart."""
    return edgefed.run(
        edgefed.FederationConfig(
            dataset="csv",
            data_path=str(path),
            partition="iid",
            num_clients=4,
            hidden="64",
            learning_rate=0.3,
            batch_size=5,
            local_epochs=20,
            num_server_rounds=20,
            validation_fraction=0.4,
            evaluate_every=20,
            seed=seed,
            **changes,
        ),
        progress=False,
    )


@pytest.fixture(scope="module")
def learned_by_heart(random_labels):
    return [memorised(random_labels, seed) for seed in range(20)]


def test_what_a_model_has_learned_by_heart_is_seen(learned_by_heart):
    found = attacks(learned_by_heart[:8])

    for kind in ("global", "update", "whose", "first-update"):
        assert found[kind]["auc"]["low"] > 0.7, kind


def test_rows_that_no_model_saw_look_alike(learned_by_heart):
    """Validation rows, taken for members, against test rows: exchangeable, so every interval is to cover 0.5."""
    trainer = make_engine("batched")
    found = []
    for run in learned_by_heart:
        ready = _Ready.of(run, trainer)
        seen = ready.view(ready.final, ready.data.split.validation, ready.data.split.test)
        found.append(Attack([seen]).auc())
    over_seeds = t_interval([one.mean for one in found])

    assert over_seeds.low <= 0.5 <= over_seeds.high
    assert np.mean([one.low <= 0.5 <= one.high for one in found]) >= 0.9


def test_noise_on_the_sum_hides_members_from_who_sees_the_model_and_not_from_the_server(
    random_labels, learned_by_heart
):
    noise = {"privacy": "dp-fixed", "noise_multiplier": 10.0, "standardize": "server"}
    plain = attacks(learned_by_heart[:8])
    noisy = edgefed.audit([memorised(random_labels, seed, **noise) for seed in range(8)], progress=False).result
    found = noisy["strategies"][0]["attacks"]

    assert found["global"]["auc"]["high"] < plain["global"]["auc"]["low"] - 0.1
    assert found["update"]["auc"]["low"] > 0.65
    assert any("the server sees updates as they are attacked here" in said for said in noisy["cautions"])


def test_what_masks_hide_is_attacked_without_them():
    masked = settings(privacy="secagg", secagg_bits=20, partition="iid")
    found = edgefed.audit(edgefed.run(masked, progress=False), progress=False).result
    plain = attacks(edgefed.run(settings(partition="iid"), progress=False))

    first = found["strategies"][0]["attacks"]["first-update"]
    assert first["auc"] == plain["first-update"]["auc"]  # it begins with the same weights
    assert any("keeps from the server the updates that are attacked here" in said for said in found["cautions"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    home = tmp_path_factory.mktemp("audited") / "run"
    edgefed.run(settings(num_server_rounds=15), out=home, progress=False)
    edgefed.audit(home, progress=False)
    return home


@pytest.fixture
def result(folder):
    return read_json(folder / "audit" / "audit.json")


def test_members_are_the_rows_of_clients_and_outsiders_the_servers(folder, result):
    run = Run.read(folder)
    found = result["strategies"][0]["attacks"]["global"]

    assert found["members"] == run.manifest["rows"]["train"]
    assert found["outsiders"] == run.manifest["rows"]["test"] + run.manifest["rows"]["validation"]
    assert [row["members"] for row in found["classes"]] == federate(run.config)[1].class_counts.sum(0).tolist()
    assert found["rarest_auc"]["mean"] == min(found["classes"], key=lambda row: row["members"])["auc"]


def test_its_loss_is_the_models_own(folder):
    """Scores of the views are the log-odds of the probabilities that the model predicts."""
    run = Run.read(folder)
    ready = _Ready.of(run, make_engine("batched"))
    seen = ready.view(ready.final, ready.data.shards.train.indices)
    p = edgefed.predict(run, ready.data.dataset.features[seen.rows])[np.arange(len(seen.rows)), seen.labels]

    np.testing.assert_allclose(seen.scores, np.log(p) - np.log1p(-p), rtol=1e-3, atol=1e-4)


def test_the_sequential_engine_gives_the_same_audit(folder, result):
    again = edgefed.audit(folder, engine="sequential", progress=False).result

    del again["seconds"], result["seconds"]
    for kind, found in result["strategies"][0]["attacks"].items():
        for end in ("mean", "low", "high"):
            other = again["strategies"][0]["attacks"][kind]["auc"][end]
            assert other == (None if found["auc"][end] is None else pytest.approx(found["auc"][end], abs=1e-6))


def test_few_outsiders_are_said_to_resolve_little(result):
    assert any("resolve no false-positive rate below" in said for said in result["cautions"])
    assert result["strategies"][0]["attacks"]["global"]["resolution"] > 0.01


def test_rows_that_undersampling_leaves_out_are_no_members(folder):
    run = edgefed.run(settings(imbalance="random-undersampling", partition="iid"), progress=False)
    drawn = sum(run.manifest["applied"]["drawn"])

    assert attacks(run)["global"]["members"] == drawn < run.manifest["rows"]["train"]


def test_clients_that_never_took_part_have_no_members(tmp_path):
    config = settings(num_server_rounds=2, fraction_train=0.2, partition="iid")
    run = edgefed.run(config, out=tmp_path / "run", progress=False)
    with (tmp_path / "run" / "clients.csv").open() as lines:
        clients = sorted({int(row["client"]) for row in csv.DictReader(lines)})
    rows = federate(config)[1].shards.train.sizes

    assert took_part(run, rows) == clients
    assert attacks(run)["global"]["members"] == rows[clients].sum()
    with pytest.raises(edgefed.SettingsError, match="not every client took part") as refusal:
        edgefed.audit(edgefed.run(config, progress=False), progress=False)
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"fraction_train": 0.4},
        {"stragglers": 0.5, "partial_work": "accept", "local_epochs": 5},
        {"stragglers": 0.5, "drop_out": 0.3},
        {"max_update_norm": 0.28},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_first_updates_are_what_the_first_rounds_clients_sent_to_the_bit(tmp_path, changes):
    config = settings(partition="iid", **changes)
    recorder = Recorder(make_engine("batched"))
    (federation,) = together([config], recorder)
    _, (_, replies), *_ = recorder.exchanges
    counted = federation.clients[0]
    ids = counted.ids[[verdict == "ok" for verdict in counted.verdicts]]
    sent = {
        int(client): weights for client, weights in zip(replies.metrics["partition-id"], replies.stack, strict=True)
    }
    trainer = make_engine("batched")
    run = edgefed.run(config, out=tmp_path / "run", progress=False)
    first = _Ready.of(run, trainer).of_the_first(trainer)

    assert 0 < len(ids) < 10 or "partial_work" in changes
    assert first.clients.tolist() == ids.tolist()
    np.testing.assert_array_equal(first.stack, np.stack([sent[client] for client in ids.tolist()]))
    if len(ids) < 10:
        said = edgefed.audit(run, progress=False).result["cautions"]
        assert any(sentence.startswith("First updates are of clients whose") for sentence in said)


def test_an_update_after_the_last_round_does_all_its_epochs(tmp_path):
    """It is asked for after the first round was, whose stragglers did fewer."""
    config = settings(partition="iid", stragglers=0.5, partial_work="accept", local_epochs=5)
    trainer = make_engine("batched")
    ready = _Ready.of(edgefed.run(config, out=tmp_path / "run", progress=False), trainer)
    before = ready.after_the_last(trainer)
    ready.of_the_first(trainer)

    np.testing.assert_array_equal(ready.after_the_last(trainer).stack, before.stack)


def test_a_first_round_in_which_nobody_counted_has_no_first_updates(tmp_path):
    run = edgefed.run(settings(partition="iid"), out=tmp_path / "run", progress=False)
    table = tmp_path / "run" / "clients.csv"
    lines = table.read_text(encoding="utf-8").splitlines(keepends=True)
    table.write_text("".join(line.replace(",ok", ",no reply") if line.startswith("1,") else line for line in lines))
    found = attacks(run)

    assert found["first-update"]["members"] == 0
    assert found["first-update"]["auc"]["mean"] is None
    assert found["update"]["members"] > 0
    assert "What the models give away" in write_report(tmp_path / "run").read_text(encoding="utf-8")


def test_a_run_in_which_nobody_ever_counted_is_refused(tmp_path):
    run = edgefed.run(settings(partition="iid", max_update_norm=1e-9), out=tmp_path / "run", progress=False)

    with pytest.raises(edgefed.SettingsError, match="no client's update counted in any round") as refusal:
        edgefed.audit(run, progress=False)
    assert len(str(refusal.value).splitlines()) == 1


def test_the_rarest_class_is_that_of_the_training_rows_whatever_a_remedy_draws():
    """Undersampling levels the classes at each client: none is rare among what it draws."""
    config = settings(
        imbalance="random-undersampling", partition="iid", num_clients=3, long_tail_order="virginica,versicolor,setosa"
    )
    found = edgefed.audit(edgefed.run(config, progress=False), progress=False).result
    drawn = found["strategies"][0]["attacks"]["global"]
    by_class = {row["class"]: row for row in drawn["classes"]}

    assert len({row["members"] for row in drawn["classes"]}) == 1
    assert found["rarest"] == ["setosa"]
    assert drawn["rarest_auc"]["mean"] == by_class["setosa"]["auc"]
    assert len({row["auc"] for row in drawn["classes"]}) == 3


def test_where_classes_are_alike_in_number_the_last_of_the_tail_is_rarest():
    config, data = federate(settings(long_tail=1.01, long_tail_order="virginica,versicolor,setosa"))

    assert data.class_counts.sum(0).tolist() == [30, 30, 30]
    assert rarest(data) == 0
    assert rarest(federate(config.replace(long_tail=1.0, long_tail_order="rotate"))[1]) == 0


def test_where_validation_rows_chose_the_rate_they_are_no_outsiders_and_pairs_share_their_members(tmp_path):
    home = tmp_path / "tuned"
    edgefed.compare(
        settings(num_server_rounds=2, partition="iid"),
        strategies="none,random-undersampling",
        seeds=2,
        tune=[0.1, 0.3],
        out=home,
        progress=False,
    )
    found = edgefed.audit(home, progress=False).result
    entries = {entry["name"]: entry["attacks"]["global"] for entry in found["strategies"]}
    arms = ComparisonFolder.read(home).runs
    run, trainer = arms["none"][0], make_engine("batched")

    assert entries["none"]["outsiders"] == run.manifest["rows"]["test"]
    assert any("chosen by the validation rows" in said for said in found["cautions"])
    difference = entries["random-undersampling"]["auc"]["difference"]
    for seed, value in enumerate(difference["values"]):
        under, none = (_Ready.of(arms[arm][seed], trainer, tuned=True) for arm in ("random-undersampling", "none"))
        rows = np.concatenate(list(under.trained.values()))
        ours, theirs = (Attack([ready.view(ready.final, rows)]) for ready in (under, none))
        assert value == pytest.approx(ours.auc().mean - theirs.auc().mean)
        if seed == 0:
            assert difference["members"] == ours.members < entries["none"]["members"]


def test_where_clients_carry_state_only_first_updates_are_made_again():
    found = edgefed.audit(edgefed.run(settings(strategy="scaffold"), progress=False), progress=False).result

    assert list(found["strategies"][0]["attacks"]) == ["global", "first-update"]
    assert any("only first updates" in said for said in found["cautions"])


@pytest.mark.parametrize("remedy", ["none", "random-oversampling", "class-weights-balanced-local"])
def test_a_rows_part_under_a_remedy(remedy):
    """Level classes: of C present classes each has a part 1 / C, a row 1 / (C n_c), where it had 1 / n."""
    config, data = federate(settings(imbalance=remedy))
    ready = _Ready.of(edgefed.run(config, progress=False), make_engine("batched"))
    found = influence(ready.clients, ready.federation.guidance)
    held = data.class_counts
    several = (held > 0).sum(1) > 1
    made = np.where(held > 0, held.max(1, keepdims=True) / np.maximum(held, 1), 0)[several]
    level = (held.sum(1, keepdims=True) / (held > 0).sum(1, keepdims=True).clip(1) / np.maximum(held, 1))[several]
    level = level[held[several] > 0]

    assert found["samples"] == pytest.approx(made.max() if remedy == "random-oversampling" else 1)
    assert found["share"] == pytest.approx(1 if remedy == "none" else level.max(), rel=1e-5)


def test_a_comparison_is_paired_by_seed(tmp_path):
    home = tmp_path / "compared"
    edgefed.compare(
        settings(num_server_rounds=4),
        strategies="none,post-hoc,random-oversampling",
        seeds=3,
        tune=None,
        out=home,
        progress=False,
    )
    write_report(home)
    found = edgefed.audit(home, progress=False).result
    entries = {entry["name"]: entry for entry in found["strategies"]}

    assert (found["interval_over"], found["seeds"]) == ("seeds", [0, 1, 2])
    # Post-hoc trains as none does: its models are none's.
    assert entries["post-hoc"]["attacks"]["global"]["auc"]["difference"]["ties"] == 3
    none, over = (entries[name]["attacks"]["global"]["auc"]["values"] for name in ("none", "random-oversampling"))
    difference = entries["random-oversampling"]["attacks"]["global"]["auc"]["difference"]
    assert difference["mean"] == pytest.approx(np.mean(np.subtract(over, none)))
    alone = attacks(home / "federations" / "none" / "rate-0.1" / "seed-1")["global"]["auc"]["mean"]
    assert none[1] == pytest.approx(alone)
    assert {path.name for path in plot_audit(home)} == {"membership.png", "membership.svg"}
    page = write_report(home).read_text(encoding="utf-8")
    assert "What the models give away" in page
    assert "One row, many samples" in page


def test_a_runs_page_says_what_was_found(folder, result):
    page = write_report(folder).read_text(encoding="utf-8")

    assert "What the models give away" in page
    assert f"{result['strategies'][0]['attacks']['global']['auc']['mean']:.3f}" in page
    assert 'href="audit/audit.json"' in page
    assert "One row, many samples" not in page


def test_an_audit_is_short_to_print(result):
    auc = {kind: f"{attack['auc']['mean']:.3f}" for kind, attack in result["strategies"][0]["attacks"].items()}
    said = ", ".join(f"{kind} {mean}" for kind, mean in auc.items())
    assert repr(Audit(result)) == f"<Audit of {result['audited']}: AUC of none ({said}); in memory>"


def test_the_command_prints_one_object_and_writes_pictures_and_the_page(cli, folder):
    page = folder / "report.html"
    page.unlink(missing_ok=True)

    code, out, err = cli("audit", folder, "--format", "json")

    assert code == 0, err
    assert json.loads(out)["strategies"][0]["name"] == "none"
    assert len(out.splitlines()) == 1
    assert (folder / "audit" / "plots" / "membership.png").stat().st_size > 5000
    assert f"page: {page}" in err
    assert "What the models give away" in page.read_text(encoding="utf-8")


def test_rows_on_devices_cannot_be_audited(folder):
    run = Run.read(folder)
    deployed = replace(run, config=run.config.replace(dataset="devices"))

    with pytest.raises(edgefed.SettingsError, match="its rows lie on devices") as refusal:
        edgefed.audit(deployed, progress=False)
    assert len(str(refusal.value).splitlines()) == 1


def test_what_is_no_run_is_one_line(tmp_path):
    for what in (tmp_path / "nothing", tmp_path):
        with pytest.raises(edgefed.SettingsError, match=r"no such file; is .* a run folder") as refusal:
            edgefed.audit(what, progress=False)
        assert len(str(refusal.value).splitlines()) == 1
    with pytest.raises(edgefed.SettingsError, match="nothing to audit"):
        edgefed.audit([], progress=False)


def test_of_many_clients_so_many_updates_are_attacked():
    config = settings(dataset="breast-cancer", num_clients=80, partition="iid", long_tail=1.0, num_server_rounds=1)
    found = edgefed.audit(edgefed.run(config, progress=False), progress=False).result
    attacked = found["strategies"][0]["attacks"]

    assert attacked["update"]["members"] + attacked["update"]["left_out"] < attacked["global"]["members"]
    assert "Updates of 50 of 80 clients are attacked." in found["cautions"]


def test_rows_that_are_others_are_refused(folder):
    run = Run.read(folder)
    other = replace(run, manifest=run.manifest | {"data_sha256": "0" * 64})

    with pytest.raises(edgefed.SettingsError, match="not those it was trained on"):
        edgefed.audit(other, progress=False)


def test_a_model_that_diverged_is_refused(folder):
    run = Run.read(folder)
    broken = replace(run, weights={name: np.full_like(array, np.nan) for name, array in run.weights.items()})

    with pytest.raises(edgefed.SettingsError, match="its model diverged"):
        edgefed.audit(broken, progress=False)


def test_a_folder_without_an_audit_is_one_line(tmp_path, folder):
    with pytest.raises(edgefed.SettingsError, match=r"not audited yet; edgefed audit .* does it"):
        plot_audit(tmp_path)
    write_json(folder / "audit" / "audit.json", {"strategies": [{}]})
    with pytest.raises(edgefed.SettingsError, match="not an audit's figures"):
        plot_audit(folder)
