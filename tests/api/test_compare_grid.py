"""``edgefed.compare_grid``: every block an ordinary comparison, checked beforehand, resumable, adjusted as a whole."""

import csv
import importlib
import io
import json
import re

import pytest
from bad_input import GOOD
from federations import settings
from made_comparisons import contents, without_time

import edgefed
from edgefed.api.grid_plan import checked_grid, parse_grid, planned
from edgefed.api.plan import comparison_defaults
from edgefed.config import FederationConfig, SettingsError
from edgefed.runs import Interrupted, is_folder_of

module = importlib.import_module("edgefed.api.lockstep")

ARMS = ("none", "post-hoc", "class-weights")
GRID = {"alpha": [0.1, 1.0], "long-tail": [1.0, 10.0]}
NAMES = ["alpha-0.1_long-tail-1", "alpha-0.1_long-tail-10", "alpha-1_long-tail-1", "alpha-1_long-tail-10"]
BASE = settings(num_server_rounds=2, local_epochs=1)


def compared(config=BASE, grid=None, **arguments):
    given = {"strategies": ARMS, "seeds": 2, "tune": None, "progress": False, "processes": 1} | arguments
    return edgefed.compare_grid(config, GRID if grid is None else grid, **given)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished grid and its folder."""
    return compared(out=tmp_path_factory.mktemp("grids") / "made")


def test_it_is_short_to_print(made):
    said = f"{made.result['generalises_over']}: {made.result['finding']}"
    assert repr(made) == f"<GridComparison {said}; in {made.folder}>"


# ---------------------------------------------------------------------------------------------- blocks
def test_each_block_is_the_comparison_that_its_settings_give_alone(made):
    assert [block["block"] for block in made.result["blocks"]] == list(made.comparisons) == NAMES
    for block in made.result["blocks"]:
        alpha, tail = block["settings"]["alpha"], block["settings"]["long-tail"]
        alone = edgefed.compare(
            BASE.replace(alpha=alpha, long_tail=tail), strategies=ARMS, seeds=2, tune=None, progress=False
        )
        for kept in (block["strategies"], made.comparisons[block["block"]]["strategies"]):
            for found, expected in zip(kept, alone.result["strategies"], strict=True):
                assert found["name"] == expected["name"]
                assert found["balanced_accuracy"]["values"] == expected["balanced_accuracy"]["values"]
                assert found["difference"] == expected["difference"]
        home = made.folder / block["folder"]
        assert json.loads((home / "comparison.json").read_text()) == made.comparisons[block["block"]]
        assert is_folder_of(home, "comparison")


@pytest.mark.parametrize("key", ["dataset", "drop-columns"])
def test_each_block_learns_from_rows_of_its_own(tmp_path, key):
    path = tmp_path / "rows.csv"
    rows = [f"{number},{number * 7 % 5},{'uvw'[number // 20]}" for number in range(60)]
    path.write_text("\n".join(["a,b,y", *rows, ""]))
    base, values = {
        "dataset": (BASE.replace(long_tail=1.0), ["iris", "wine"]),
        "drop-columns": (BASE.replace(long_tail=1.0, dataset="csv", data_path=str(path)), ["", "a"]),
    }[key]

    found = compared(base, {key: values}, strategies="post-hoc")

    figures = []
    for value, block in zip(values, found.comparisons.values(), strict=True):
        config = base.replace(**{key.replace("-", "_"): value})
        alone = edgefed.compare(config, strategies="post-hoc", seeds=2, tune=None, progress=False, processes=1)
        assert block["strategies"] == alone.result["strategies"]
        figures.append([arm["balanced_accuracy"]["values"] for arm in block["strategies"]])
    assert figures[0] != figures[1]


def test_the_settings_alone_need_not_lead_to_rows(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("\n".join(["id,a,b,y", *(f"n{row},{row},{row % 5},{'uv'[row // 20]}" for row in range(40)), ""]))
    base = BASE.replace(long_tail=1.0, dataset="csv", data_path=str(path))
    with pytest.raises(SettingsError, match="column 'id'"):
        edgefed.compare(base, strategies="post-hoc", seeds=2, tune=None, progress=False, processes=1)

    found = compared(base, {"drop-columns": ["id", "id,b"]}, strategies="post-hoc")

    assert [block["settings"]["drop-columns"] for block in found.result["blocks"]] == ["id", "id,b"]


def test_the_folder_holds_all_of_it(made):
    result = made.result
    assert json.loads((made.folder / "grid.json").read_text()) == result == json.loads(json.dumps(result))
    assert result["grid"] == GRID
    for key in ("federations", "client_updates"):
        assert result[key] == sum(comparison[key] for comparison in made.comparisons.values())
    assert result["federations"] == 4 * 3 * 2
    with (made.folder / "gains.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(result["gains"]) == 4 * 2
    for row, gain in zip(rows, result["gains"], strict=True):
        assert f"alpha-{row['alpha']}_long-tail-{row['long-tail']}" == gain["block"]
        assert row["strategy"] == gain["strategy"]
        assert float(row["gain"]) == pytest.approx(gain["mean"], rel=1e-5, abs=1e-9)
        assert (row["tier"], row["tier_grid"]) == (gain["tier"], gain["tier_grid"])
        assert float(row["learning_rate"]) == gain["learning_rate"] == BASE.learning_rate
    assert not list(made.folder.rglob(".*"))


def test_in_memory_nothing_is_written_and_the_figures_are_the_same(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    found = compared()

    assert found.folder is None
    assert {block.pop("folder") for block in found.result["blocks"]} == {None}
    kept = json.loads(json.dumps(made.result))
    for block in kept["blocks"]:
        del block["folder"]
    assert without_time(found.result) == without_time(kept)
    assert list(tmp_path.iterdir()) == []


def test_each_bundled_dataset_bears_the_default_tail():
    base = comparison_defaults({"dataset": "iris", "num-server-rounds": 1, "local-epochs": 1})
    datasets = ["iris", "wine", "breast-cancer", "digits"]

    found = compared(base, {"dataset": datasets}, strategies="post-hoc")

    assert [block["settings"]["dataset"] for block in found.result["blocks"]] == datasets
    assert found.result["generalises_over"] == (
        "on iris, wine, breast-cancer and digits, each by itself, "
        "over random splits, partitions and initialisations (2 seeds)"
    )
    assert found.result["across_blocks"]["basis"] == "a block a dataset"


def test_a_folders_name_is_safe_and_does_not_depend_on_the_other_values():
    def names(grid, base=BASE):
        return [block.name for block in planned(base, checked_grid(grid, tuned=False), "post-hoc", 2, None)]

    assert names({"alpha": [1e-05, 0.1, 1e6]}) == ["alpha-1e-05", "alpha-0.1", "alpha-1000000"]
    assert names({"hidden": ["", "32-16"]}) == ["hidden-none", "hidden-32-16"]
    csv_base = FederationConfig(dataset="csv", data_path="x.csv")
    files = names({"data-path": ["a/../B.csv", "a/../b.csv", "a-..-b.csv", "x" * 300]}, csv_base)
    assert len(set(files)) == 4
    assert all(re.fullmatch(r"data-path-[a-z0-9.-]{1,60}", name) for name in files)
    assert names({"data-path": ["y.csv", "a/../b.csv"]}, csv_base)[1] == files[1]


# ---------------------------------------------------------------------------------------------- resume
@pytest.mark.parametrize("finished", [0, 1, 3])
def test_interrupted_and_resumed_runs_what_is_missing_and_nothing_else(monkeypatch, tmp_path, made, finished):
    monkeypatch.setattr(module, "BLOCK", 4)  # six federations a block of the grid: in 4 and 2
    run_rounds, trained = module.run_rounds, []

    def cells(federations):
        return [(f.config.alpha, f.config.long_tail, f.config.imbalance, f.config.seed) for f in federations]

    def until_interrupted(federations, exchange):
        if len(trained) == finished:
            raise KeyboardInterrupt
        trained.append(cells(federations))
        run_rounds(federations, exchange)

    with monkeypatch.context() as patched:
        patched.setattr(module, "run_rounds", until_interrupted)
        # In blocks of four and two federations, in turn.
        there = 4 * finished - 2 * (finished // 2)
        said = rf"^interrupted with {there} of 24 federations done and kept; --resume --out "
        with pytest.raises(Interrupted, match=rf"{said}{tmp_path / 'parts'} goes on"):
            compared(out=tmp_path / "parts")
    assert not is_folder_of(tmp_path / "parts", "grid")
    done = [cell for part in trained for cell in part]
    trained.clear()

    def counted(federations, exchange):
        trained.append(cells(federations))
        run_rounds(federations, exchange)

    monkeypatch.setattr(module, "run_rounds", counted)
    resumed = compared(out=tmp_path / "parts", resume=True)

    again = [cell for part in trained for cell in part]
    assert len(again) + len(done) == 24
    assert set(again) & set(done) == set()
    assert without_time(resumed.result) == without_time(made.result)


def test_a_finished_grid_is_returned_as_it_is(monkeypatch, made):
    before = contents(made.folder)
    monkeypatch.setattr(module, "run_rounds", lambda *_: pytest.fail("it trained"))
    other_order = {"long-tail": [10.0, 1.0], "alpha": [0.1, 1.0]}

    for grid in (GRID, other_order):
        again = compared(grid=grid, out=made.folder, resume=True)
        assert again.result == made.result
        assert again.comparisons == made.comparisons
    assert contents(made.folder) == before


def test_further_values_run_the_missing_blocks_alone(monkeypatch, tmp_path, made):
    first = compared(grid={"alpha": [0.1, 1.0]}, out=tmp_path / "grown")
    kept = contents(first.folder / "blocks")
    run_rounds, trained = module.run_rounds, []

    def counted(federations, exchange):
        trained.extend(f.config.alpha for f in federations)
        run_rounds(federations, exchange)

    monkeypatch.setattr(module, "run_rounds", counted)
    grown = compared(grid={"alpha": [0.1, 0.3, 1.0]}, out=tmp_path / "grown", resume=True)

    assert set(trained) == {0.3}
    assert [block["block"] for block in grown.result["blocks"]] == ["alpha-0.1", "alpha-0.3", "alpha-1"]
    after = contents(first.folder / "blocks")
    assert {path: after[path] for path in kept} == kept
    monkeypatch.setattr(module, "run_rounds", run_rounds)
    assert without_time(grown.result) == without_time(
        compared(grid={"alpha": [0.1, 0.3, 1.0]}, out=tmp_path / "b").result
    )


def test_interrupted_while_it_grows_a_grid_is_unfinished(monkeypatch, tmp_path):
    compared(grid={"alpha": [0.1, 1.0]}, out=tmp_path / "grown")

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "run_rounds", interrupted)
        with pytest.raises(Interrupted):
            compared(grid={"alpha": [0.1, 0.3, 1.0]}, out=tmp_path / "grown", resume=True)
    assert not is_folder_of(tmp_path / "grown", "grid")

    grown = compared(grid={"alpha": [0.1, 0.3, 1.0]}, out=tmp_path / "grown", resume=True)
    assert grown.result["grid"] == {"alpha": [0.1, 0.3, 1.0]}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"config": BASE.replace(num_clients=5)}, r"num-clients=5 differs from .*, which has num-clients=10"),
        ({"config": BASE.replace(seed=1)}, "seed=1 differs"),
        ({"seeds": 3}, r"seeds \[0, 1, 2\] differ from"),
        ({"strategies": "post-hoc"}, "strategies .* differ from"),
        ({"tune": (0.1, 1)}, "tuned True differ"),
        ({"grid": GRID | {"alpha": [0.1, 0.3]}}, r"--grid alpha lacks 1, which"),
        ({"grid": {"alpha": [0.1, 1.0]}}, r"--grid lacks long-tail; the grid of .* is over alpha, long-tail"),
        ({"grid": GRID | {"num-clients": [5, 10]}}, r"--grid adds num-clients; the grid of"),
    ],
)
def test_another_grid_is_refused_by_name(made, change, named):
    before = contents(made.folder)

    with pytest.raises(SettingsError, match=f"^--resume: {named}"):
        compared(**({"out": made.folder, "resume": True} | change))

    assert contents(made.folder) == before


def test_neither_a_grid_goes_on_in_a_comparisons_folder_nor_the_other_way_round(tmp_path, made):
    edgefed.compare(BASE, strategies=ARMS, seeds=2, tune=None, progress=False, out=tmp_path / "one")

    with pytest.raises(SettingsError, match=r"--resume: .*one is not a grid's folder"):
        compared(out=tmp_path / "one", resume=True)
    with pytest.raises(SettingsError, match="--resume"):
        edgefed.compare(BASE, strategies=ARMS, seeds=2, tune=None, progress=False, out=made.folder, resume=True)


def test_other_rows_than_a_block_began_with_are_refused_before_anything_is_trained(monkeypatch, tmp_path):
    data = tmp_path / "rows.csv"
    data.write_bytes(GOOD)
    config = FederationConfig(dataset="csv", data_path=str(data), num_server_rounds=1, num_clients=2)
    compared(config, {"alpha": [1.0, 3.0]}, out=tmp_path / "grid")
    data.write_bytes(GOOD + GOOD.split(b"\n", 1)[1])
    monkeypatch.setattr(module, "run_rounds", lambda *_: pytest.fail("it trained"))

    with pytest.raises(SettingsError, match="the data are not those that"):
        # The new block comes first: the old ones are looked at all the same.
        compared(config, {"alpha": [0.5, 1.0, 3.0]}, out=tmp_path / "grid", resume=True)


# ---------------------------------------------------------------------------------------------- what is found
def test_the_control_alone_has_nothing_to_gain(tmp_path):
    found = compared(grid={"alpha": [0.1, 1.0]}, strategies=(), out=tmp_path / "grid")

    assert found.result["finding"] == "nothing to compare: name remedies beside none"
    assert found.result["gains"] == found.result["wins"] == []
    assert (tmp_path / "grid" / "gains.csv").read_text().startswith("alpha,strategy,gain,")


def test_gains_of_text_settings_are_quoted(tmp_path):
    orders = ["setosa,versicolor,virginica", "virginica,versicolor,setosa"]
    found = compared(grid={"long-tail-order": orders}, strategies="post-hoc", out=tmp_path / "grid")

    rows = list(csv.DictReader(io.StringIO((tmp_path / "grid" / "gains.csv").read_text())))
    assert [row["long-tail-order"] for row in rows] == orders
    assert len({block["folder"] for block in found.result["blocks"]}) == 2


# ---------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        ({}, "--grid: expected KEY=VALUE,VALUE"),
        ({"long_tail": [1, 3]}, "unknown setting 'long_tail': did you mean long-tail"),
        ({"alpha": []}, "--grid alpha=: expected at least two values"),
        ({"dataset": "iris,wine"}, "--grid dataset: expected a list of values, found the text"),
        ({"alpha": [1, True]}, "alpha=true: expected a number"),
    ],
)
def test_mistakes_from_python(grid, says):
    with pytest.raises(SettingsError, match=says):
        compared(grid=grid)


def test_values_that_hold_commas_stand_between_semicolons():
    orders = ["setosa,versicolor,virginica", "virginica,versicolor,setosa"]

    assert parse_grid([f"long-tail-order={';'.join(orders)}", "hidden=,16"]) == {
        "long-tail-order": orders,
        "hidden": ["", "16"],
    }
