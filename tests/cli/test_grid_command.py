"""``edgefed compare --grid``: its object, its tables, its mistakes, ``--resume``."""

import importlib
import json
import re
from pathlib import Path

import pytest

module = importlib.import_module("edgefed.api.lockstep")

MISTAKES = {
    "--grid alfa=1,2": r"--grid: unknown setting 'alfa': did you mean alpha\?",
    "--grid alpha": r"--grid alpha: expected KEY=VALUE,VALUE",
    "--grid alpha=": r"--grid alpha=: an empty value",
    "--grid alpha=0.1,,1": r"--grid alpha=0\.1,,1: an empty value",
    "--grid alpha=0.1": r"--grid alpha=0\.1: expected at least two values; -s alpha=0\.1 sets one",
    "--grid alpha=0.1,0.10": r"--grid alpha: 0\.1 comes twice",
    "--grid alpha=0.1,1 --grid alpha=3,4": r"--grid alpha comes twice: give all its values at once",
    "--grid alpha=small,large": r"--grid: alpha=small: expected a number, more than 0",
    "--grid alpha=0.1,-1": r"--grid: alpha=-1.*: expected a number, more than 0",
    "--grid num-clients=2.5,3": r"--grid: num-clients=2\.5: expected a whole number",
    "--grid dataset=iris,irsi": r"--grid: dataset=irsi: unknown name .* did you mean iris\?",
    "--grid imbalance=none,post-hoc": r"--grid imbalance says nothing in a comparison: --strategies does",
    "--grid seed=0,1": r"--grid seed says nothing in a comparison: --seeds does",
    "--grid run-folder=a,b": r"--grid run-folder says nothing in a comparison: --out does",
    "--grid learning-rate=0.1,1": r"--grid learning-rate says nothing in a comparison: --tune",
    "--grid alpha=0.1,1 -s alpha=1": r"-s alpha contradicts --grid alpha",
    "--grid long-tail=1,50": r"--grid: block long-tail=50: long-tail=50: the rarest class would keep 1 .* "
    r"at most 12 fits",
    "--grid long-tail=1,10 --grid test-fraction=0.2,0.8 -s validation-fraction=0.1": (
        r"block long-tail=10, test-fraction=0\.8: .* at most 2 fits"
    ),
    "--grid loss=cross-entropy,hinge --strategies post-hoc": r"block loss=hinge: imbalance=post-hoc contradicts",
    "--grid optimizer=sgd,adam -s momentum=0.9": r"block optimizer=adam: momentum=0\.9 contradicts optimizer=adam",
    "--grid dataset=iris,csv": r"block dataset=csv: dataset=csv needs data-path",
    "--grid alpha=0.1,1 --seeds 1": r"edgefed: --seeds 1: expected at least 2",
    "--grid alpha=0.1,1 --strategies post-hok": r"edgefed: --strategies: unknown strategy",
    "--grid alpha=0.1,1 --engine batch": r"unknown engine 'batch'",
    "--grid alpha=0.1,1 --resume": r"--resume needs --out",
    "--grid": r"requires an argument",
}


@pytest.mark.parametrize("arguments", MISTAKES)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(cli, monkeypatch, arguments):
    monkeypatch.setattr(module, "run_rounds", lambda *_: pytest.fail("it trained"))

    code, out, err = cli("compare", *arguments.split())

    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1, err
    assert re.search(MISTAKES[arguments], err), err
    assert list(Path().iterdir()) == []


ASKED = ("--strategies", "post-hoc", "--seeds", "2", "--no-tune", "-s", "num-server-rounds=2", "-s", "local-epochs=1")


def test_compare_with_a_grid_as_json_then_resumed_grown_and_plotted(cli):
    code, out, err = cli("compare", *ASKED, "--grid", "alpha=0.1,1", "--out", "grid", "--format", "json")

    assert code == 0
    assert len(out.splitlines()) == 1
    found = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found == json.loads(Path("grid/grid.json").read_text())
    assert found["grid"] == {"alpha": [0.1, 1.0]}
    assert "step 8/8" in err
    assert cli("compare", "--resume", "--out", "grid", "--format", "json")[1] == out
    assert cli("compare", *ASKED, "--resume", "--out", "grid", "--format", "json")[1] == out

    code, out, err = cli("compare", "--resume", "--out", "grid", "--grid", "alpha=0.1,0.3,1", "--format", "json")
    assert code == 0
    grown = json.loads(out)
    assert "step 4/4" in err
    assert grown["grid"] == {"alpha": [0.1, 0.3, 1.0]}
    assert [row for row in grown["gains"] if row["block"] != "alpha-0.3"] == found["gains"]

    pictures = sorted(Path("grid/plots").iterdir())
    assert [picture.name for picture in pictures] == ["gain.png", "gain.svg"]
    for picture in pictures:
        picture.unlink()
    code, out, err = cli("plot", "grid", "grid/blocks/alpha-0.3")
    assert (code, err) == (0, "")
    drawn = [Path(line) for line in out.splitlines()]
    assert drawn[:2] == pictures
    assert Path("grid/blocks/alpha-0.3/plots/ranking.png") in drawn
    code, out, err = cli("compare", "--resume", "--out", "grid", "-s", "alpha=3")
    assert (code, out) == (2, "")
    assert "-s alpha contradicts --grid alpha" in err


def test_compare_with_a_grid_as_text_names_remedies_and_blocks(cli):
    code, out, err = cli("compare", *ASKED, "--grid", "alpha=0.1,1", "--grid", "long-tail=1,10")

    assert code == 0
    for text in ("post-hoc", "alpha=0.1", "long-tail=10", "too few seeds to tell any remedy from none"):
        assert text in out
    assert "8 federations" not in err.splitlines()[-1]
    assert Path("runs/compare-grid/grid.json").is_file()
    assert "runs/compare-grid/plots/gain.png" in err


def test_ctrl_c_exits_130_with_one_line(cli, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "run_rounds", interrupted)

    code, out, err = cli("compare", *ASKED, "--grid", "alpha=0.1,1", "--out", "grid")

    assert (code, out) == (130, "")
    assert (
        err.splitlines()[-1]
        == "edgefed: interrupted with 0 of 8 federations done and kept; --resume --out grid goes on"
    )
    assert err.splitlines()[:-1] == [
        "one contrast needs at least 6 seeds to tell anything from none: --seeds 6 or more",
        "grid of 2: 2 comparisons, 8 federations and their references: step 0/8  begins",
    ]
