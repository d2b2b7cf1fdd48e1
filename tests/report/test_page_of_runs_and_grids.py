"""Pages of a run, of a comparison and of a grid as the project itself makes them."""

import json
import shutil
from pathlib import Path

import pytest
from made_folders import write_run
from page_reader import Page, read

from edgefed.api import compare_grid
from edgefed.api import run as run_federation
from edgefed.config import FederationConfig, SettingsError
from edgefed.report.page import write_reports
from edgefed.report.page.applied import applied_in_run
from edgefed.runs import Run, read_json, write_json

SMALL = FederationConfig(num_server_rounds=3, long_tail=10, num_clients=4)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("runs") / "one"
    run_federation(SMALL.replace(imbalance="random-oversampling"), out=home)
    return home


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("grids") / "over"
    compare_grid(SMALL, {"alpha": [0.3, 1.0]}, strategies="post-hoc,random-oversampling", seeds=2, tune=None, out=home)
    return home


def test_a_run_says_how_good_its_model_is(run: Path) -> None:
    summary, page = read_json(run / "manifest.json")["summary"], read(run)
    test = summary["test"]
    assert f"balanced accuracy of {100 * test['balanced_accuracy']:.1f} % on test rows" in page.text
    assert page.row("measures", "Log-loss nats, lower is better")[1] == f"{test['log_loss']:.3f}"
    assert page.row("measures", "Recall of setosa, %")[1] == f"{100 * test['recall'][0]:.1f}"
    assert summary["model_sha256"] in page.text
    assert "edgefed run -s dataset=iris -s long-tail=10 -s num-clients=4 -s imbalance=random-oversampling" in page.text


def test_a_runs_confusion_matrix_shards_and_clients_are_those_of_its_files(run: Path) -> None:
    page, manifest = read(run), read_json(run / "manifest.json")
    last = (run / "history.jsonl").read_text().splitlines()[-1]
    confusion = json.loads(last)["test"]["confusion"]
    for name, counts in zip(manifest["classes"], confusion, strict=True):
        cells = page.row("confusion", f"{name} {sum(counts)} test rows")[1:]
        assert [cell.split()[0].replace("·", "0") for cell in cells] == [str(count) for count in counts]
    shards = manifest["shards"]["class_counts"]
    for client, counts in enumerate(shards):
        assert page.row("shards", str(client))[-2] == str(sum(counts))
        if sum(counts):
            assert page.row("clients", str(client))[1:3] == [str(sum(counts)), "3"]


def test_a_run_without_clients_rows_or_test_rows_has_a_page(tmp_path: Path) -> None:
    write_run(tmp_path / "bare", validation=False)
    (tmp_path / "bare" / "clients.csv").write_text("nothing\n")
    page = read(tmp_path / "bare")
    assert "clients" not in page.tables
    assert "confusion" in page.tables


def test_a_grid_shows_each_blocks_gain_and_links_to_its_page(grid: Path) -> None:
    result = read_json(grid / "grid.json")
    written = write_reports(grid)
    assert written == [*(grid / block["folder"] / "report.html" for block in result["blocks"]), grid / "report.html"]
    page = Page((grid / "report.html").read_text(encoding="utf-8"))
    links = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
    assert [link for link in links if not link.startswith("#")] == [
        f"{block['folder']}/report.html" for block in result["blocks"]
    ]
    head = [" ".join(cell.split()) for cell in page.tables["gains"][0]]
    for gain in result["gains"]:
        alpha = next(block["settings"]["alpha"] for block in result["blocks"] if block["block"] == gain["block"])
        cell = page.row("gains", f"{alpha:g}")[head.index(gain["strategy"])]
        sign, shown = cell.split()[0] in "▲▼", [part for part in cell.split() if part not in "▲▼"]
        assert not sign  # two seeds find nothing
        assert shown[0] in (f"{100 * gain['mean']:+.1f}".replace("-", "−"), "0.0")
        assert (shown[0] == "0.0") == (round(100 * gain["mean"], 1) == 0)
    assert "--grid alpha=0.3,1" in page.text
    assert result["finding"][1:] in page.text


def test_a_grid_whose_blocks_are_gone_has_a_page_without_links(grid: Path, tmp_path: Path) -> None:
    home = shutil.copytree(grid, tmp_path / "moved")
    shutil.rmtree(home / "blocks")
    page = read(home)
    assert all(attributes["href"].startswith("#") for tag, attributes in page.elements if tag == "a")


def test_a_grid_that_was_edited_is_one_line(tmp_path: Path) -> None:
    write_json(tmp_path / "grid.json", {"blocks": [{"settings": 3}]})
    with pytest.raises(SettingsError, match="not a grid's figures"):
        write_reports(tmp_path)


def test_a_comparison_as_the_project_makes_it_has_every_section(grid: Path) -> None:
    block = grid / read_json(grid / "grid.json")["blocks"][0]["folder"]
    page = read(block)
    sections = {attributes["aria-labelledby"] for tag, attributes in page.elements if tag == "section"}
    assert {"tiers", "curves", "recall", "measures", "shards", "applied", "cost", "orders", "references"} <= sections
    for arm in read_json(block / "comparison.json")["strategies"]:
        assert page.row("differences", arm["name"])[2].split()[0] == f"{100 * arm['balanced_accuracy']['mean']:.1f}"
        assert page.row("measures", arm["name"])[7].split()[0] == f"{arm['brier']['mean']:.3f}"


def test_where_seeds_or_datasets_are_too_few_nothing_holds_and_nothing_is_ranked(grid: Path) -> None:
    """Two seeds tell nothing apart, and two blocks of one dataset are one case to rank over."""
    page = read(grid)
    assert "Measured on iris, over random" in page.text
    assert "Holds on" not in page.text
    assert "Too few datasets: 1, at least 3 are needed." in page.text
    assert "ranks" not in page.tables
    block = read(grid / read_json(grid / "grid.json")["blocks"][0]["folder"])
    assert "Measured on iris, over random" in block.text
    assert "Holds on" not in block.text


# Five rows of one class and one of the other, four of one class, and none.
@pytest.mark.parametrize(
    ("remedy", "why", "made", "summary", "by_client"),
    [
        (
            "smote",
            ["b: one row: repeated with jitter", "one class only", "empty shard"],
            [4, 0, 0],
            ["1 of 3", "60", "0 of 3"],
            ["b: one row: repeated with jitter", "one class only", "empty shard"],
        ),
        ("focal", ["", "", ""], [0, 0, 0], ["2 of 3", "100", "2 of 3"], ["✓", "✓", "empty shard"]),
    ],
)
def test_a_remedy_acts_where_it_made_rows_and_nowhere_without_any(
    remedy: str, why: list[str], made: list[int], summary: list[str], by_client: list[str]
) -> None:
    idle = ["" if ":" in reason else reason for reason in why]
    manifest = {
        "classes": ["a", "b"],
        "shards": {"class_counts": [[5, 1], [4, 0], [0, 0]], "idle": idle},
        "applied": {"asked": remedy, "drawn": [6, 4, 0], "made": made, "why": why},
    }
    section = applied_in_run(Run(FederationConfig(imbalance=remedy), manifest, [], {}, None))

    whole, each = section.blocks
    assert [cell.text for cell in whole.lines[0].cells[1:4]] == summary
    assert [line.cells[-1].text for line in each.lines] == by_client


def test_devices_are_called_by_their_names(tmp_path: Path) -> None:
    """Their names are in the manifest, by partition id; a device that told none has its number."""
    write_run(tmp_path / "run")
    path = tmp_path / "run" / "manifest.json"
    table = "round,client,rows,steps,train_loss,verdict\n1,0,5,3,0.5,ok\n1,1,4,3,0.4,ok\n"
    (tmp_path / "run" / "clients.csv").write_text(table)
    devices = [{"partition-id": 0, "name": "north"}, {"partition-id": 1, "name": ""}]
    write_json(path, read_json(path) | {"devices": devices})

    page = read(tmp_path / "run")
    assert page.row("clients", "north")[0] == "north"
    assert page.row("clients", "1")[:2] == ["1", "4"]
