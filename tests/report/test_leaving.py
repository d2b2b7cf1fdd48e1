"""A run's page shows the ledger of what left the clients, and what its noise promises."""

import json

import pytest
from page_reader import Page

import edgefed
from edgefed.config import FederationConfig
from edgefed.notes import notes_of_comparison, notes_of_grid
from edgefed.report import write_report
from edgefed.runs import Run, read_json, write_json

SETTINGS = {"num_server_rounds": 2, "local_epochs": 1, "privacy": "dp-fixed", "standardize": "server"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run under differential privacy whose remedy asks for class counts."""
    home = tmp_path_factory.mktemp("private") / "run"
    edgefed.run(FederationConfig(**SETTINGS, imbalance="balanced-softmax"), out=home, progress=False)
    return home


def page_of(folder):
    return Page(write_report(folder).read_text(encoding="utf-8"))


def test_the_page_shows_every_row_of_the_ledger(folder):
    page, ledger = page_of(folder), Run.read(folder).manifest["ledger"]
    rows = page.tables["ledger"][1:]
    assert len(rows) == len(ledger)
    for cells, row in zip(rows, ledger, strict=True):
        assert cells[0].startswith(row["field"])
        assert cells[1].strip() == row["what"]
        assert cells[4].strip() == "; ".join(filter(None, (row["status"], row["caveat"])))
    assert "clipped and noised centrally: the server sees it as it is" in page.text


def test_the_page_says_what_is_promised_to_whom_and_what_is_not(folder):
    page, told = page_of(folder), Run.read(folder).summary["privacy"]
    head, client, row = page.tables["account"]
    assert head[0].startswith("Of whom")
    assert [cell.strip() for cell in client[:3]] == ["a client", f"{told['epsilon']:.4g}", "0.01"]
    assert [cell.strip() for cell in row[:3]] == ["a row", "2", "0"]
    for line in [*told["assumes"], *told["leaves_out"]]:
        assert line in page.text


def test_adaptive_clipping_shows_no_epsilon_and_why(tmp_path):
    config = FederationConfig(**SETTINGS | {"privacy": "dp-adaptive"}, noise_multiplier=0.5)
    edgefed.run(config, out=tmp_path / "run", progress=False)
    (_, client) = page_of(tmp_path / "run").tables["account"]
    assert [cell.strip() for cell in client[1:3]] == ["none", "none"]
    assert "nothing accounts for adaptive clipping" in client[3]


def test_a_run_without_noise_has_a_ledger_and_no_promise(tmp_path):
    edgefed.run(FederationConfig(num_server_rounds=1, explain="yes"), out=tmp_path / "run", progress=False)
    page = page_of(tmp_path / "run")
    assert "ledger" in page.tables
    assert "account" not in page.tables
    assert any(cells[0].startswith("Explanation, once") for cells in page.tables["moved-table"])


def test_a_folder_that_is_older_than_the_ledger_has_its_page(folder, tmp_path):
    import shutil

    shutil.copytree(folder, tmp_path / "old")
    manifest = read_json(tmp_path / "old" / "manifest.json")
    for name in ("ledger", "explanation_bytes"):
        del manifest[name]
    del manifest["summary"]["privacy"]
    write_json(tmp_path / "old" / "manifest.json", manifest)
    page = page_of(tmp_path / "old")
    assert "ledger" not in page.tables


def test_a_comparison_says_whose_epsilon_it_is_and_its_references_have_no_noise():
    base = FederationConfig(**SETTINGS, long_tail=10.0)
    plain = base.replace(privacy="none")
    arms = {"strategies": ("none", "balanced-softmax"), "seeds": 2, "tune": None, "progress": False, "processes": 1}
    private, open_ = (edgefed.compare(config, **arms).result for config in (base, plain))
    assert private["references"] == open_["references"]
    for entry in private["strategies"]:
        assert entry["privacy"]["unit"] == "client"
        assert (entry["privacy"]["histogram"] is None) == (entry["name"] == "none")
    assert all(entry["privacy"] is None for entry in open_["strategies"])
    assert json.loads(json.dumps(private)) == private
    epsilon = private["strategies"][0]["privacy"]["epsilon"]
    promise, *_ = notes_of_comparison(private)
    assert promise.startswith(f"privacy: epsilon {epsilon:.4g} at delta 0.01 for a client, of each federation alone")
    assert "share their noise" in promise
    assert not any("epsilon" in line for line in notes_of_comparison(open_))


def test_a_grid_over_privacy_says_what_each_block_promises_and_how_they_differ(tmp_path):
    base = FederationConfig(**SETTINGS, long_tail=10.0).replace(privacy="none")
    asked = {"strategies": "balanced-softmax", "seeds": 2, "tune": None, "progress": False, "processes": 1}
    found = edgefed.compare_grid(base, {"privacy": ["none", "dp-fixed"]}, out=tmp_path / "g", **asked).result
    promise, *_, uneven = notes_of_grid(found)
    assert promise.startswith("privacy=dp-fixed: privacy: epsilon ")
    assert uneven.startswith("blocks with noise average clients evenly")
    page = " ".join(page_of(tmp_path / "g").text.split())
    assert f"{uneven[1:]}." in page
    assert "epsilon" in page
    assert notes_of_grid({"blocks": found["blocks"][:1]}) == []
