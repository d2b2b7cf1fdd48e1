"""Commands that look at data, folders and names: partition, plot, predict, list."""

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from bad_input import GOOD
from command_line import QUICK, made_here, one_object

from edgefed import api
from edgefed.cli.look import LISTS, OTHER_LISTS
from edgefed.config import FederationConfig, catalogue, schema
from edgefed.data.shards import federate
from edgefed.edge.profiles import PROFILES
from edgefed.engines import ENGINES
from edgefed.runs import Run


def test_partition_shows_who_holds_what(cli):
    _, data = federate(FederationConfig(num_clients=6, seed=2))
    asked = ("partition", "-s", "num-clients=6", "-s", "seed=2")

    code, out, err = cli(*asked, "--format", "json")
    assert (code, err) == (0, "")
    found = one_object(out)
    assert found["partition"] == "dirichlet"
    assert found["clients"] == 6
    assert found["classes"] == ["setosa", "versicolor", "virginica"]
    assert [list(shard.values()) for shard in found["shards"]] == data.class_counts.tolist()

    code, out, _ = cli(*asked)
    assert code == 0
    rows = [re.findall(r"\d+", line) for line in out.splitlines()]
    numbers = [[int(cell) for cell in row] for row in rows if len(row) == 5]
    assert numbers == [[client, *counts, sum(counts)] for client, counts in enumerate(data.class_counts.tolist())]
    assert made_here() == []


def test_partition_says_where_the_other_rows_are(cli):
    settings = {"long-tail": 5.0, "client-test-fraction": 0.25, "seed": 1}
    code, _, err = cli("partition", *(part for key, value in settings.items() for part in ("-s", f"{key}={value}")))

    assert code == 0
    said = re.fullmatch(
        r"of 150 rows: (\d+) train \(above\), (\d+) held out by clients, (\d+) validation, (\d+) test, (\d+) of them "
        r"dropped from training by long-tail=5\n",
        err,
    )
    train, held, validation, test, dropped = map(int, said.groups())
    assert train + held + validation + test == 150
    # A fifth of 150 each; what the tail leaves of the 90 others is the clients'.
    assert (validation, test, train + held) == (30, 30 + dropped, 90 - dropped)
    _, data = federate(FederationConfig.from_mapping(settings))
    assert train == data.class_counts.sum()


def test_partition_draws_a_picture(cli):
    code, _, err = cli("partition", "--plot", "shards.png")

    assert code == 0
    assert "shards.png" in err
    assert Path("shards.png").read_bytes().startswith(b"\x89PNG")

    Path("shards.png").write_bytes(b"a person's own")
    for name in ("shards.png", "shards"):  # without a suffix it is to be a PNG and an SVG
        code, out, err = cli("partition", "--plot", name)
        assert (code, out) == (2, "")
        assert err == "edgefed: --plot shards.png: exists already; give another name\n"
    assert Path("shards.png").read_bytes() == b"a person's own"
    assert not Path("shards.svg").exists()


def test_plot_draws_a_run_again(cli):
    cli("run", *QUICK, "--out", "run")

    code, out, err = cli("plot", "run")

    assert (code, err) == (0, "")
    pictures = out.splitlines()
    assert len(pictures) >= 2
    assert all(Path(picture).stat().st_size > 1000 for picture in pictures)


def test_predict_classifies_the_rows_of_a_file(cli):
    cli("run", *QUICK, "--out", "run")
    names = Run.read("run").manifest["features"]
    rows = [[5.1, 3.5, 1.4, 0.2], [6.3, 2.9, 5.6, 1.8], [6.0, 2.7, 4.2, 1.3]]
    text = io.StringIO()
    csv.writer(text).writerows([names, *rows])
    Path("rows.csv").write_text(text.getvalue())

    code, out, err = cli("predict", "run", "rows.csv")

    assert (code, err) == (0, "")
    table = list(csv.DictReader(io.StringIO(out)))
    expected = api.predict("run", np.array(rows))
    classes = Run.read("run").manifest["classes"]
    assert [row["predicted"] for row in table] == [classes[place] for place in expected.argmax(1)]
    found = np.array([[float(row[name]) for name in classes] for row in table])
    np.testing.assert_allclose(found, expected, atol=5.1e-7)


def test_an_empty_cell_is_filled_where_the_run_knows_its_mean(cli):
    lines = GOOD.decode().splitlines()
    Path("whole.csv").write_text("\n".join(lines) + "\n")
    Path("holes.csv").write_text("\n".join([*lines, ",2,u"]) + "\n")
    Path("new.csv").write_text("a,b\n,2\n")
    assert cli("run", "whole.csv", *QUICK, "-s", "num-clients=2", "--out", "refuses")[0] == 0
    assert cli("run", "holes.csv", *QUICK, "-s", "num-clients=2", "-s", "missing=mean", "--out", "fills")[0] == 0

    code, out, err = cli("predict", "refuses", "new.csv")
    assert (code, out) == (2, "")
    assert err == (
        "edgefed: new.csv: row 2, column 'a': empty cell; the run had missing=refuse, so fill the cell, or train a run "
        "with -s missing=mean to predict from\n"
    )
    code, out, _ = cli("predict", "fills", "new.csv")
    assert code == 0
    mean = Run.read("fills").manifest["prediction"]["mean"][0]
    (filled,) = csv.DictReader(io.StringIO(out))
    (expected,) = api.predict("fills", np.array([[mean, 2.0]]))
    assert [float(filled[name]) for name in "uvw"] == pytest.approx(expected, abs=2e-6)


def test_a_file_that_cannot_be_predicted_prints_no_header(cli):
    cli("run", *QUICK, "--out", "run")
    Path("rows.csv").write_text("a,b\n1,2\n")

    code, out, err = cli("predict", "run", "rows.csv")

    assert (code, out) == (2, "")
    assert re.fullmatch(r"edgefed: rows\.csv: no column 'sepal length \(cm\)'.*\n", err)


def test_a_cell_that_is_no_number_is_refused_without_a_setting_that_predict_does_not_take(cli):
    cli("run", *QUICK, "--out", "run")
    names = Run.read("run").manifest["features"]
    Path("rows.csv").write_text(",".join(names) + "\n1,2,high,4\n")

    code, out, err = cli("predict", "run", "rows.csv")

    assert (code, out) == (2, "")
    said = f"row 2, column '{names[2]}': 'high' is not a number; the model learned from numbers there"
    assert err == f"edgefed: rows.csv: {said}\n"


def test_an_unfinished_run_can_be_neither_plotted_nor_used(cli):
    cli("run", *QUICK, "--out", "run")
    manifest = json.loads(Path("run/manifest.json").read_text())
    del manifest["summary"]
    Path("run/manifest.json").write_text(json.dumps(manifest))

    for arguments in (("plot", "run"), ("predict", "run", "rows.csv")):
        code, out, err = cli(*arguments)
        assert (code, out) == (2, "")
        assert re.fullmatch(r"edgefed: run: the run is not finished; --resume goes on with it\n", err)


@pytest.mark.parametrize("what", [*LISTS, *OTHER_LISTS])
def test_every_list_names_what_the_setting_takes(cli, what):
    code, out, err = cli("list", what)

    assert (code, err) == (0, "")
    if what == "settings":
        expected = [key for key, *_ in schema()]
    elif what == "engines":
        expected = list(ENGINES)
    elif what == "devices":
        expected = list(PROFILES)
    else:
        expected = list(catalogue(LISTS[what]))
    # No terminal here: a line an entry, whatever its length, below the heads.
    assert [line.split(" ")[0] for line in out.splitlines()[1:]] == expected
    assert all(line == line.rstrip() for line in out.splitlines())


def test_what_can_be_listed_and_which_names_are_one_remedy(cli):
    code, out, err = cli("list")
    assert (code, err) == (0, "")
    lines = out.splitlines()[1:]
    assert [line.split(" ")[0] for line in lines] == [*LISTS, *OTHER_LISTS]
    assert all(len(line.split()) > 3 for line in lines)

    (_, strategies, _), (_, remedies, _) = cli("list", "strategies"), cli("list", "remedies")
    assert strategies.splitlines()[1:] == remedies.splitlines()[1:]
    about = {name: text.strip() for name, _, text in (line.partition(" ") for line in remedies.splitlines()[1:])}
    full = "class-weights-balanced-local"
    assert about["class-weights"] == f"another name of {full}: {about[full]}"
    assert not any(text.startswith("another") for name, text in about.items() if name != "class-weights")


def test_a_grid_tells_of_settings_that_act_in_none_of_its_blocks(cli):
    grid = ("compare", "--grid", "partition=iid,dirichlet", "--strategies", "focal", "--seeds", "2", "--no-tune")
    code, _, err = cli(*grid, *QUICK, "-s", "alpha=1", "-s", "focal-gamma=1", "-s", "shards-per-client=3")

    assert code == 0
    assert [line for line in err.splitlines() if "no effect" in line] == [
        "note: shards-per-client=3 has no effect here: it is for partition=shards"
    ]
