"""Runs that are interrupted and go on end as if nothing had happened."""

import json
import random
from dataclasses import asdict

import pytest
from federations import figures, settings, trained

import edgefed
from edgefed.config import SettingsError
from edgefed.engines import batched
from edgefed.runs import Interrupted

CASES = {
    "default": {},
    "cohorts": {"fraction_train": 0.4},
    "adam": {"optimizer": "adam", "learning_rate": 0.01},
    "momentum": {"momentum": 0.9},
    "oversampling": {"imbalance": "random-oversampling"},
    "post-hoc": {"imbalance": "post-hoc"},
    "float64": {"dtype": "float64"},
    "checkpoint every third round": {"checkpoint_every": 3},
    "no checkpoints": {"checkpoint_every": 0},
    "evaluated every fourth round": {"evaluate_every": 4},
    "climb": {"imbalance": "climb", "climb_rate": 20.0},
    "balanced batches": {"imbalance": "balanced-batches"},
    "mixup": {"imbalance": "mixup"},
    "empty cohorts": {"num_clients": 40, "fraction_train": 0.01},
}
ROUNDS = 9


def interrupt_at(number):
    def stop(federation):
        if federation.round == number:
            raise KeyboardInterrupt

    return stop


def interrupted(config, folder, *rounds, **arguments):
    """Run until Ctrl-C after each of these rounds."""
    for place, number in enumerate(rounds):
        with pytest.raises(Interrupted, match=r"interrupted; --resume --out .* goes on"):
            edgefed.run(
                config,
                out=folder,
                progress=False,
                resume=place > 0,
                on_round=interrupt_at(number),
                **arguments,
            )


def files(folder):
    return {name: (folder / name).read_text() for name in ("clients.csv", "config.toml")}


@pytest.mark.parametrize(
    ("case", "engine"), [*((case, "batched") for case in CASES), ("default", "sequential"), ("cohorts", "sequential")]
)
def test_interrupted_and_resumed_is_uninterrupted(tmp_path, case, engine):
    config = settings(num_server_rounds=ROUNDS, local_epochs=1, **CASES[case])
    number = random.Random(case).randint(1, ROUNDS - 1)
    whole, _ = trained(config, engine, out=tmp_path / "whole")
    interrupted(config, tmp_path / "parts", number, engine=engine)

    resumed = edgefed.run(config, engine=engine, out=tmp_path / "parts", progress=False, resume=True)

    assert resumed.summary["model_sha256"] == whole.summary["model_sha256"]
    for run in (resumed, edgefed.Run.read(tmp_path / "parts")):
        assert figures(run) == figures(edgefed.Run.read(tmp_path / "whole"))
        assert [row["round"] for row in run.rounds] == list(range(1, ROUNDS + 1))
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


def test_resumed_bytes_with_evaluation_by_clients(tmp_path):
    config = settings(num_server_rounds=4, client_test_fraction=0.2, long_tail=1.0)
    whole, _ = trained(config)
    interrupted(config, tmp_path / "parts", 2)

    resumed = edgefed.run(config, out=tmp_path / "parts", progress=False, resume=True)

    assert resumed.summary["model_sha256"] == whole.summary["model_sha256"]
    assert resumed.summary["bytes"] == whole.summary["bytes"]


def test_interrupted_again_and_again(tmp_path):
    config = settings(num_server_rounds=ROUNDS, local_epochs=1, checkpoint_every=2)
    trained(config, out=tmp_path / "whole")
    interrupted(config, tmp_path / "parts", 1, 3, 4, 8, 9)

    resumed = edgefed.run(config, out=tmp_path / "parts", progress=False, resume=True)

    assert figures(resumed) == figures(edgefed.Run.read(tmp_path / "whole"))
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


def test_seconds_cover_the_whole_run(tmp_path):
    config = settings(num_server_rounds=6, local_epochs=1)
    interrupted(config, tmp_path / "run", 4)
    earlier = [json.loads(line)["seconds"] for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]

    resumed = edgefed.run(config, out=tmp_path / "run", progress=False, resume=True)

    assert len(earlier) == 4
    assert resumed.summary["seconds"] > sum(earlier)
    assert resumed.summary["client_updates"] == sum(row["clients"] for row in resumed.rounds)


def test_an_interrupted_run_is_not_a_finished_one(tmp_path):
    interrupted(settings(), tmp_path / "run", 2)

    with pytest.raises(SettingsError, match="not finished; --resume goes on with it"):
        edgefed.Run.read(tmp_path / "run")
    with pytest.raises(SettingsError, match="exists already; give another folder, or --resume"):
        edgefed.run(settings(), out=tmp_path / "run", progress=False)


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("seed", {"seed": 1}),
        ("num-server-rounds", {"num_server_rounds": 4}),
        ("imbalance", {"imbalance": "post-hoc"}),
        ("learning-rate", {"learning_rate": 0.2}),
        ("hidden", {"hidden": ""}),
        ("dtype", {"dtype": "float64"}),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_other_settings_are_refused_by_name(tmp_path, key, change, finished):
    if finished:
        trained(settings(), out=tmp_path / "run")
    else:
        interrupted(settings(), tmp_path / "run", 1)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    with pytest.raises(SettingsError, match=rf"^--resume: {key}=.* differs from .*, which has {key}="):
        edgefed.run(settings(**change), out=tmp_path / "run", progress=False, resume=True)

    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_setting_younger_than_the_folder_stands_at_its_default(tmp_path):
    folder = tmp_path / "run"
    interrupted(settings(num_server_rounds=4), folder, 2)
    lines = (folder / "config.toml").read_text().splitlines(keepends=True)
    (folder / "config.toml").write_text("".join(line for line in lines if not line.startswith("focal-gamma")))

    with pytest.raises(SettingsError, match=r"focal-gamma=3.0 differs from .*, which has focal-gamma=2.0"):
        edgefed.run(settings(num_server_rounds=4, focal_gamma=3.0), out=folder, resume=True, progress=False)
    assert edgefed.run(settings(num_server_rounds=4), out=folder, resume=True, progress=False).summary["rounds"] == 4


def test_a_finished_run_is_returned_as_it_is(tmp_path):
    done, _ = trained(settings(), out=tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    again = edgefed.run(
        settings(), out=tmp_path / "run", progress=False, resume=True, on_round=lambda _: pytest.fail("it trained")
    )

    assert again.summary == done.summary
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_nothing_there_starts_at_round_1(tmp_path):
    whole, _ = trained(settings())
    (tmp_path / "empty").mkdir()

    for folder in ("new", "empty"):
        run = edgefed.run(settings(), out=tmp_path / folder, progress=False, resume=True)
        assert run.summary["model_sha256"] == whole.summary["model_sha256"]
        assert [row["round"] for row in run.rounds] == [1, 2, 3]


def test_resume_needs_a_folder():
    with pytest.raises(SettingsError, match="--resume needs --out"):
        edgefed.run(settings(), resume=True, progress=False)


def test_a_torn_checkpoint_is_passed_over_for_the_one_before(tmp_path):
    """As after a disk that lied about a write: the rounds since are trained again."""
    config = settings(num_server_rounds=6, local_epochs=1)
    trained(config, out=tmp_path / "whole")
    interrupted(config, tmp_path / "parts", 3, 4)
    kept = sorted((tmp_path / "parts" / "checkpoint").glob("round-*.npz"))
    assert [path.name for path in kept] == ["round-000003.npz", "round-000004.npz"]
    kept[-1].write_bytes(kept[-1].read_bytes()[:100])

    resumed = edgefed.run(config, out=tmp_path / "parts", progress=False, resume=True)

    assert figures(resumed) == figures(edgefed.Run.read(tmp_path / "whole"))
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


def test_rows_of_a_round_whose_checkpoint_was_never_written_are_written_once(tmp_path):
    """Killed between the rows and the weights that make them count: the rows are there, the round is not."""
    config = settings(num_server_rounds=6, local_epochs=1)
    trained(config, out=tmp_path / "whole")
    interrupted(config, tmp_path / "parts", 4)
    (tmp_path / "parts" / "checkpoint" / "round-000004.npz").unlink()

    resumed = edgefed.run(config, out=tmp_path / "parts", progress=False, resume=True)

    assert figures(resumed) == figures(edgefed.Run.read(tmp_path / "whole"))
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


def test_a_line_that_was_torn_in_the_middle_is_redone(tmp_path):
    """Killed while the rows of round 12 were written: "1" is left of one of them."""
    config = settings(num_server_rounds=14, local_epochs=1, fraction_train=0.2)
    whole, _ = trained(config, out=tmp_path / "whole")
    interrupted(config, tmp_path / "parts", 11)
    with (tmp_path / "parts" / "clients.csv").open("a") as file:
        file.write("1")

    resumed = edgefed.run(config, out=tmp_path / "parts", progress=False, resume=True)

    assert resumed.summary["model_sha256"] == whole.summary["model_sha256"]
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


def test_a_table_that_was_made_and_never_written_is_made_anew(tmp_path):
    config = settings(local_epochs=1)
    whole, _ = trained(config, out=tmp_path / "whole")
    interrupted(config, tmp_path / "parts", 1)
    (tmp_path / "parts" / "checkpoint" / "round-000001.npz").unlink()
    (tmp_path / "parts" / "clients.csv").write_bytes(b"")

    resumed = edgefed.run(config, out=tmp_path / "parts", progress=False, resume=True)

    assert resumed.summary["model_sha256"] == whole.summary["model_sha256"]
    assert files(tmp_path / "parts") == files(tmp_path / "whole")


def test_a_model_that_was_edited_is_refused(tmp_path):
    done, _ = trained(settings(), out=tmp_path / "run")
    other, _ = trained(settings(seed=1), out=tmp_path / "other")
    assert done.summary["model_sha256"] != other.summary["model_sha256"]
    (tmp_path / "run" / "model.npz").write_bytes((tmp_path / "other" / "model.npz").read_bytes())

    with pytest.raises(SettingsError, match=r"model\.npz: does not match the hash in manifest\.json"):
        edgefed.Run.read(tmp_path / "run")


def test_a_resumed_run_shares_its_work_out_as_it_began(tmp_path, monkeypatch):
    """The manifest of another machine, with another number of cores, says how; this machine's has no say."""
    folder, seen = tmp_path / "run", []
    interrupted(settings(num_server_rounds=4), folder, 2)
    manifest = json.loads((folder / "manifest.json").read_text())
    kept = {"cores": 61, "chunk_bytes": 12_345, "shared_bytes": 67_890}
    assert set(manifest["execution"]) == set(kept)
    (folder / "manifest.json").write_text(json.dumps(manifest | {"execution": kept}))
    really = batched.train

    def watched(update, schedule, cohort, execution, threads):
        seen.append(asdict(execution))
        return really(update, schedule, cohort, execution)

    monkeypatch.setattr(batched, "train", watched)
    done = edgefed.run(settings(num_server_rounds=4), out=folder, resume=True, progress=False)

    assert seen == [kept, kept]
    assert done.manifest["execution"] == kept


@pytest.mark.parametrize(
    "found", [None, {}, [1], {"cores": 2, "frobs": 3}, {"cores": "two"}, {"cores": 0}, {"cores": True}]
)
def test_a_manifest_that_does_not_say_how_is_refused(tmp_path, found):
    folder = tmp_path / "run"
    interrupted(settings(num_server_rounds=4), folder, 2)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"execution": found}))

    with pytest.raises(SettingsError, match="no 'execution' that could be gone on with"):
        edgefed.run(settings(num_server_rounds=4), out=folder, resume=True, progress=False)


@pytest.mark.parametrize("key", ["clients", "payload", "modelled", "seconds"])
@pytest.mark.parametrize("found", [None, "many"])
def test_a_history_row_that_was_edited_is_refused_in_one_line(tmp_path, key, found):
    folder = tmp_path / "run"
    interrupted(settings(num_server_rounds=4, local_epochs=1), folder, 2)
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    rows[1][key] = found
    (folder / "history.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))

    with pytest.raises(SettingsError, match=r"history.jsonl: row 2: no round's figures; the file was edited"):
        edgefed.run(settings(num_server_rounds=4, local_epochs=1), out=folder, resume=True, progress=False)


def test_a_run_that_is_killed_before_its_explanation_was_kept_makes_it_when_it_goes_on(tmp_path, monkeypatch):
    config, folder = settings(local_epochs=1, explain="yes", client_test_fraction=0.2, long_tail=1.0), tmp_path / "run"

    def killed(folder, answers):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("edgefed.api.single.keep", killed)
        with pytest.raises(Interrupted):
            edgefed.run(config, out=folder, progress=False)
    edgefed.run(config, out=folder, progress=False, resume=True)

    assert (folder / "explanation" / "collected.npz").is_file()
