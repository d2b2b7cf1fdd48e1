"""A comparison that was interrupted: what is missing is run, and nothing else, to the same figures."""

import importlib
import json
import shutil
import time

import numpy as np
import pytest
from made_comparisons import BASE, compared, contents, without_time

import edgefed
from edgefed.api.plan import comparison_defaults
from edgefed.config import SettingsError
from edgefed.runs import Interrupted, Run

module = importlib.import_module("edgefed.api.lockstep")


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
