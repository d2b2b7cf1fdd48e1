"""A round on its devices and accuracy against cost: what is drawn is what the folder says."""

import numpy as np
import pytest
from matplotlib.image import imread

import edgefed
from edgefed.report import plot_comparison, plot_run, write_report
from edgefed.report.costs import COSTS, MOST_LINES, cost_figure, mean_at, scores, spent
from edgefed.report.folder import ComparisonFolder
from edgefed.report.page import words
from edgefed.report.page.clients import taking_part
from edgefed.report.page.moved import moved, moved_by_remedy, raw_bytes
from edgefed.report.timeline import timeline_figure, timeline_of
from edgefed.runs import Run

SETTINGS = {
    "num_clients": 12,
    "num_server_rounds": 4,
    "devices": "raspberry-pi-4:1,phone:1,microcontroller:1",
    "device_spread": 0.5,
    "drop_out": 0.3,
    "round_deadline": 0.4,
    "partition": "iid",
    "seed": 4,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edge") / "run"
    edgefed.run(edgefed.FederationConfig(**SETTINGS), out=folder, progress=False)
    return Run.read(folder)


OVERSAMPLED = {"long_tail": 10.0, "alpha": 1.0, "imbalance": "random-oversampling", "batch_size": 4}
SLOW = {"partition": "iid", "stragglers": 0.5, "partial_work": "accept"}


@pytest.mark.parametrize(
    "changes",
    [
        OVERSAMPLED,
        OVERSAMPLED | {"match": "epochs"},
        SLOW | {"privacy": "secagg"},
        SLOW | {"round_deadline": 0.149, "drop_out": 0.5, "local_epochs": 20},
        {"partition": "iid", "round_deadline": 0.15, "local_epochs": 20, "device_spread": 0.1},
    ],
    ids=["drawn rows", "drawn rows, their steps", "nobody says its steps", "partial work", "late"],
)
def test_bars_are_the_ledgers_seconds_and_end_with_the_round(changes, tmp_path):
    config = edgefed.FederationConfig(num_clients=5, num_server_rounds=3, devices="microcontroller").replace(**changes)
    edgefed.run(config, out=tmp_path / "run", progress=False)
    run = Run.read(tmp_path / "run")

    busy = np.zeros(config.num_clients)
    for number in range(1, 4):
        found = timeline_of(run, number)
        busy[found.clients] += found.times.total
        assert found.times.total.max() <= found.seconds * (1 + 1e-12)
    np.testing.assert_allclose(busy, run.manifest["edge"]["busy_seconds"], rtol=1e-12)
    pale = "pale: does not count" in legend_of(timeline_figure(run, "made up", 3))
    assert pale == bool({"late", "dropped out"} & set(found.verdicts)) == ("round_deadline" in changes)


def test_a_timeline_is_what_the_ledger_counted(run):
    """Summed over rounds, each client's bars are its seconds at work: the picture repeats the clock from the files."""
    rounds = [timeline_of(run, number) for number in range(1, 5)]

    busy = np.zeros(12)
    for found in rounds:
        busy[found.clients] += found.times.total
    np.testing.assert_allclose(busy, run.manifest["edge"]["busy_seconds"], rtol=1e-9)
    assert [found.seconds for found in rounds] == [row["modelled"]["seconds"] for row in run.rounds]
    verdicts = {verdict for found in rounds for verdict in found.verdicts}
    assert "dropped out" in verdicts
    assert "ok" in verdicts


def test_the_bars_end_where_the_clients_do(run):
    figure = timeline_figure(run, "made up", number=2)
    found = timeline_of(run, 2)

    (axes,) = figure.axes
    solid = [bar for bar in axes.patches if bar.get_height() > 0.5]
    ends = {}
    for bar in solid:
        row = round(bar.get_y() + bar.get_height() / 2)
        ends[row] = max(ends.get(row, 0.0), bar.get_x() + bar.get_width())
    np.testing.assert_allclose(sorted(ends.values()), sorted(found.times.total))
    said = [text.get_text().strip() for text in axes.texts]
    assert sorted(said) == sorted(verdict for verdict in found.verdicts if verdict != "ok")
    assert "modelled seconds" in axes.get_xlabel()
    assert legend_of(figure) == ["download", "training", "upload", "waiting", "pale: does not count"]


def test_costs_are_sums_over_rounds(run):
    query = sum(run.manifest["query_bytes"].values())
    moved_bytes = [row["bytes_up"] + row["bytes_down"] for row in run.rounds]

    assert spent(run, "bytes").tolist() == (query + np.cumsum(moved_bytes)).tolist()
    assert spent(run, "seconds")[-1] == pytest.approx(run.summary["modelled"]["seconds"])
    assert spent(run, "joules")[-1] == pytest.approx(run.summary["modelled"]["joules"])


def test_between_two_evaluations_the_earlier_score_stands(run):
    at, score = spent(run, "seconds"), scores(run)

    mean, _ = mean_at([run, run], "seconds", np.array([0.0, at[0], (at[0] + at[1]) / 2, at[1], at[-1], 2 * at[-1]]))

    np.testing.assert_array_equal(mean, [np.nan, score[0], score[0], score[1], score[-1], np.nan])


def test_a_picture_of_costs(run, tmp_path):
    figure = cost_figure({"a": [run], "b": [run]}, "made up")

    assert len(figure.axes) == len(COSTS)
    assert [axes.get_xlabel().split(" (")[0] for axes in figure.axes] == [words for words, _ in COSTS.values()]
    looks = [(line.get_color(), str(line.get_linestyle())) for line in figure.axes[0].lines]
    assert len({color for color, _ in looks}) == len({dash for _, dash in looks}) == 2
    assert "Mean over" not in figure.get_supxlabel()
    many = cost_figure({str(place): [run, run] for place in range(MOST_LINES + 1)}, "made up")
    looks = [(line.get_color(), str(line.get_linestyle()), line._dash_pattern) for line in many.axes[0].lines]
    assert len({color for color, *_ in looks}) == len({str(dash) for *_, dash in looks}) == MOST_LINES
    assert "A line ends where its cheapest seed" in " ".join(many.get_supxlabel().split())
    names = {path.name for path in plot_run(run, tmp_path)}
    assert {"round-timeline.png", "accuracy-by-cost.png"} <= names
    for name in ("round-timeline.png", "accuracy-by-cost.png"):
        image = imread(tmp_path / name)[..., :3].mean(-1)
        assert 0.5 < (image > 0.99).mean() < 0.99
        assert (image < 0.3).any()


def test_a_run_without_costs_has_no_such_pictures(run):
    bare = Run(run.config, {**run.manifest}, [{k: v for k, v in row.items() if k != "modelled"} for row in run.rounds],
               run.weights)  # fmt: skip

    assert cost_figure({"a": [bare]}, "made up") is None
    assert timeline_figure(bare, "made up") is None


def test_the_page_sets_what_was_moved_against_the_rows(run):
    section = moved(run)

    text = section.blocks[0].words
    cells = [[cell.text for cell in line.cells] for line in section.blocks[1].lines]
    rows = run.manifest["rows"]["train"]
    assert raw_bytes(run) == rows * (4 * 4 + 1)
    assert cells[2][1] == words.size(rows * 17)
    total = sum(run.summary["bytes"].values())
    assert f"{total / (rows * 17):.3g} times what the rows themselves weigh" in text
    assert "which outweigh them at this size" in text
    assert "row counts" in cells[1][2]
    assert "each client's trained weights" in cells[0][2]


def test_a_comparison_at_equal_cost(tmp_path):
    settings = edgefed.FederationConfig(long_tail=5.0, num_server_rounds=3, num_clients=3)
    result = edgefed.compare(
        settings, strategies=["random-oversampling"], seeds=2, tune=None, out=tmp_path / "c"
    ).result

    for arm in result["strategies"]:
        assert set(arm["at_equal"]) == {"bytes", "seconds", "joules"}
        assert set(arm["cost"]) == {"target", "rounds", "bytes", "seconds", "joules"}
        for found in arm["at_equal"].values():
            assert len(found["values"]) == 2
    for cost in ("bytes", "seconds", "joules"):
        assert sorted(arm["at_equal"][cost]["rank"] for arm in result["strategies"]) == [1, 2]
    assert "accuracy-by-cost.png" in {path.name for path in plot_comparison(tmp_path / "c")}


def test_the_page_says_how_often_each_classs_holders_counted(run):
    section = taking_part(run)

    shares = run.manifest["edge"]["by_class"]
    expected = [f"{name} {100 * share:.1f} %" for name, share in zip(run.manifest["classes"], shares, strict=True)]
    assert all(words in section.blocks[0].words for words in expected)
    lost = sum(row.count(",dropped out") + row.count(",late") for row in open_rows(run))
    assert sum(float(line.cells[-1].text) for line in section.blocks[1].lines) == lost > 0


def test_the_page_has_each_clients_device_and_modelled_costs(run):
    (table,) = [block for block in taking_part(run).blocks if block.kind == "table"]
    edge = run.manifest["edge"]
    place = {column.title: number for number, column in enumerate(table.columns)}

    assert len(table.lines) == 12
    for line in table.lines:
        client = int(line.cells[0].text)
        assert line.cells[place["Device"]].text == edge["devices"][edge["kind"][client]]
        assert line.cells[place["At work"]].value == edge["busy_seconds"][client]
        assert line.cells[place["Energy"]].value == edge["joules"][client]
    assert sum(line.cells[place["Energy"]].value for line in table.lines) == pytest.approx(
        run.summary["modelled"]["joules"]
    )


def test_a_folder_that_knows_no_costs_has_none_on_its_page(run):
    bare = Run(run.config, {**run.manifest, "edge": None}, run.rounds, run.weights, run.folder)
    (table,) = [block for block in taking_part(bare).blocks if block.kind == "table"]
    assert "Energy" not in [column.title for column in table.columns]


def test_a_comparisons_page_sets_what_each_remedy_moved_against_the_rows(tmp_path):
    settings = edgefed.FederationConfig(long_tail=5.0, num_server_rounds=3, num_clients=3, compression="int8")
    edgefed.compare(settings, strategies=["post-hoc", "climb"], seeds=2, tune=None, out=tmp_path / "c")
    found = ComparisonFolder.read(tmp_path / "c")

    (table,) = [block for block in moved_by_remedy(found).blocks if block.kind == "table"]
    lines = {line.cells[0].text: line.cells[1:] for line in table.lines}
    rows = np.mean([run.manifest["rows"]["train"] * 17 for run in found.runs["none"]])
    for name, runs in found.runs.items():
        total, query = (
            np.mean([sum(run.summary["bytes"].values()) for run in runs]),
            np.mean([sum(run.manifest["query_bytes"].values()) for run in runs]),
        )
        moved, asked, times, rounds, once = lines[name]
        assert [moved.value, asked.value, times.value] == pytest.approx([total - query, query, total / rows])
        assert "each client's update, to a 127th of its largest number" in rounds.text
        assert ("class counts" in once.text) == (name == "post-hoc")
        assert ("its say in the average" in rounds.text) == (name == "climb")
    assert lines["Instead: every training row"][0].value == rows
    assert "Moved data against raw data" in write_report(tmp_path / "c").read_text(encoding="utf-8")


def legend_of(figure):
    """Return what the legend of a figure's only axes says."""
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def open_rows(run):
    return (run.folder / "clients.csv").read_text().splitlines()
