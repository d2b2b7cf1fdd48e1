"""``edgefed compare``: what is said before, its object, its table, what is made of it."""

import json
import re
import sys
from pathlib import Path

import pytest
from bad_input import WITH_CLIENTS
from command_line import COMPARE, QUICK, one_object
from contract import check_comparison

from edgefed import api
from edgefed.api.plan import comparison_defaults, plan
from edgefed.cli.compare import what_is_trained
from edgefed.data import datasets
from edgefed.runs import Run


def test_compare_as_json(cli):
    code, out, _ = cli(*COMPARE, "-s", "num-server-rounds=3", "--format", "json", "--out", "comparison")

    assert code == 0
    found = one_object(out)
    check_comparison(found, ["none", "class-weights", "random-oversampling"], 5, tuned=False)
    assert found["federations"] == 15
    assert json.loads(Path("comparison/comparison.json").read_text()) == found
    pictures = list(Path("comparison/plots").iterdir())
    assert pictures
    for picture in pictures:
        picture.unlink()
    code, out, err = cli("plot", "comparison")
    assert (code, err) == (0, "")
    assert sorted(Path(line) for line in out.splitlines()) == sorted(pictures)


@pytest.mark.parametrize(
    ("tune", "grid", "said"),
    [
        (None, {}, "iris: 2 remedies x 36 seeds = 72 federations (10 clients, 100 rounds each) in 2 blocks, then "),
        ((0.1, 1), {}, "iris: 2 remedies x 2 learning rates x 36 seeds = 144 federations (10 clients, "),
        (None, {"alpha": [0.1, 1], "long-tail": [1, 5]}, " x 4 combinations of alpha and long-tail = 288 federations "),
    ],
)
def test_what_is_trained_is_said_in_a_line(tune, grid, said):
    line = what_is_trained(plan(comparison_defaults({}), "post-hoc", 36, tune), grid)

    assert said in line
    assert len(line.splitlines()) == 1


def test_what_is_trained_is_said_before_anything_is_loaded_and_not_before_a_mistake(cli, monkeypatch):
    """Without torch in the process, as when the command begins."""
    Path("there").mkdir()
    Path("there/a").touch()
    Path("bad.csv").write_text("a,y\n1,x\n")
    monkeypatch.delitem(sys.modules, "torch")
    grids = (("--grid", text) for text in ("alpha=0.1,0.1", "seed=1,2", "imbalance=none,focal", "learning-rate=1,2"))
    for mistake in (("--engine", "batch"), ("--out", "there"), ("bad.csv",), ("-s", "min-rows=50"), *grids):
        code, out, err = cli("compare", *mistake)
        assert (code, out, len(err.splitlines())) == (2, "", 1), err

    def loaded(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setitem(vars(api), "compare", loaded)
    _, _, err = cli("compare", "--seeds", "8", "--no-tune")
    assert err.startswith("iris: 7 remedies x 8 seeds = 56 federations (10 clients, 100 rounds each) in 1 block, ")


def test_a_remedy_and_a_rate_of_a_settings_file_are_said_to_decide_nothing(cli):
    """Under a round the page has no score at equal cost where a round is dearer than the cheapest remedy's."""
    Path("mine.toml").write_text('imbalance = "focal"\nlearning-rate = 0.05\nnum-server-rounds = 1\n')
    asked = ("compare", "mine.toml", "--strategies", "none,post-hoc", "--seeds", "2", "--tune", "learning-rate=0.1")

    code, _, err = cli(*asked)

    assert code == 0
    assert err.count("note: imbalance=focal has no say in a comparison: strategies names the remedies") == 1
    assert err.count("note: learning-rate=0.05 has no say in a comparison: tune names the rates") == 1


def test_compare_as_text_names_every_remedy_and_the_references(cli):
    code, out, err = cli("compare", "--strategies", "post-hoc", "--seeds", "2", "--tune", "learning-rate=0.1,1", *QUICK)

    assert code == 0
    for name in ("none", "post-hoc", "pooled", "pooled-before-tail", "local-only", "too few seeds"):
        assert name in out
    assert "runs/compare-iris/best.toml" in err
    assert cli("run", "runs/compare-iris/best.toml", *QUICK)[0] == 0
    # A comparison is not a run: what would do is in the line.
    for command in (("predict", "rows.csv"), ("export",)):
        code, out, err = cli(command[0], "runs/compare-iris", *command[1:])
        assert (code, out) == (2, "")
        assert re.fullmatch(
            r"edgefed: runs/compare-iris: a comparison of many runs, expected one run's folder: edgefed run "
            r"runs/compare-iris/best\.toml trains its best as a run; or give one of its runs, as "
            r"runs/compare-iris/federations/none/rate-0\.1/seed-0\n",
            err,
        )


def test_a_reference_that_another_one_equals_is_not_in_the_table(cli):
    """Without a tail, rows before the tail are the rows."""
    asked = ("compare", "--strategies", "focal", "--seeds", "2", "--no-tune", *QUICK)

    code, out, _ = cli(*asked, "-s", "long-tail=1")
    assert code == 0
    assert "reference: pooled " in out
    assert "pooled-before-tail" not in out


def test_a_persons_own_clients_are_read_once_and_the_best_runs_as_it_is(cli, monkeypatch):
    """Read once for all of it, though one number of clients and one category have to be looked up in the file."""
    text = (
        WITH_CLIENTS.decode().replace("a,b,y,site", "a,b,y,site,kind").replace("h\n", "h,m\n").replace("t\n", "t,n\n")
    )
    Path("sites.csv").write_text(text.replace("east,n", "North,n", 1))
    given = ("sites.csv", "--label", "y", "--client", "site", "-s", "categories=kind", *QUICK)
    read, times = datasets.read_csv, []
    monkeypatch.setattr(datasets, "read_csv", lambda *how, **named: times.append(1) or read(*how, **named))

    asked = ("--strategies", "focal", "--seeds", "2", "--no-tune", "--processes", "1", "--out", "c")
    code, _, err = cli("compare", *given, "-s", "num-clients=4", *asked)

    assert (code, len(times)) == (0, 1)
    assert err.splitlines()[0] == (
        "note: clients that differ in capitals or spaces alone count as different: 'North' and 'north'"
    )
    times.clear()
    assert cli("run", "c/best.toml", "--out", "best")[0] == 0
    assert Run.read("best").config.num_clients == 4
    assert len(times) == 1


def test_what_is_no_run_is_named_with_what_would_do(cli):
    Path("sites.csv").write_bytes(WITH_CLIENTS)
    for command in (("predict", "sites.csv", "sites.csv"), ("export", "sites.csv"), ("explain", "sites.csv")):
        code, out, err = cli(*command)
        assert (code, out) == (2, "")
        assert err == "edgefed: sites.csv: a file, expected a run's folder; edgefed run sites.csv makes one\n"
