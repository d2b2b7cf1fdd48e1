"""The command line: exit codes, one line for a mistake, one JSON object, Ctrl-C, and nothing heavy for help."""

import csv
import html
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from bad_input import BAD_INPUT, GOOD, WITH_CLIENTS
from contract import check_comparison, check_run
from federations import trained

from edgefed import api
from edgefed.api.plan import comparison_defaults, plan
from edgefed.cli import _exit_code
from edgefed.cli.compare import what_is_trained
from edgefed.cli.look import LISTS, OTHER_LISTS
from edgefed.config import FederationConfig, catalogue, schema
from edgefed.data.shards import federate
from edgefed.edge.profiles import PROFILES
from edgefed.engines import ENGINES
from edgefed.federation.clients import Clients
from edgefed.report.plots import _shards
from edgefed.runs import Run


def made_here():
    return sorted(str(path) for path in Path().rglob("*"))


def refused(result, says=""):
    """Check a person's mistake: exit 2, one line on stderr, nothing on stdout, nothing left behind."""
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.endswith("\n")
    assert len(err.splitlines()) == 1, err
    assert err.startswith("edgefed: ")
    assert "Traceback" not in err
    assert re.search(says, err), err
    assert made_here() == []


# ---------------------------------------------------------------------------------------------- mistakes
@pytest.mark.parametrize("case", BAD_INPUT, ids=lambda case: case.name)
def test_a_mistake_in_settings_or_data_is_one_line(cli, tmp_path, case):
    refused(cli("run", *case.arguments(tmp_path)), case.says)


@pytest.mark.parametrize("command", ["compare", "partition"])
@pytest.mark.parametrize("case", BAD_INPUT[::4], ids=lambda case: case.name)
def test_other_commands_say_the_same(cli, tmp_path, case, command):
    refused(cli(command, *case.arguments(tmp_path)))


MISTAKES = {
    "--nope": r"No such option '--nope'",
    "frobnicate": r"No such command 'frobnicate'",
    "run --nope": r"No such option '--nope'",
    "run --format xml": r"'xml' is not one of 'text', 'json'",
    "run nowhere.toml": r"nowhere\.toml: no such file",
    "run nowhere.csv": r"nowhere\.csv: no such file",
    "run data.txt": r"data\.txt: expected settings \(\.toml\) or data \(\.csv\)",
    "run one.toml two.toml": r"unexpected extra argument",
    "run -s": r"requires an argument",
    "run -s nope": r"setting 'nope': expected key=value",
    "run -s alfa=1": r"unknown setting 'alfa': did you mean alpha\?",
    "run -s lr=0.1": r"unknown setting 'lr': did you mean learning-rate\?",
    "run -s Num_Rounds=3": r"unknown setting 'Num_Rounds': did you mean num-server-rounds\?",
    "run --engine batch": r"unknown engine 'batch': did you mean batched\?",
    "run --resume": r"--resume needs --out",
    "run --label y": r"label-column=y contradicts dataset=iris",
    "run --client site": r"client-column=site contradicts dataset=iris",
    "run --resume --out nowhere -s alpha=0": r"alpha=0.*: expected a number, more than 0",
    "compare --resume": r"--resume needs --out",
    "compare --seeds 1": r"--seeds 1: expected at least 2",
    "compare --seeds x": r"--seeds.*'x' is not a valid integer",
    "compare --strategies none,post-hok": r"unknown strategy 'post-hok': did you mean post-hoc\?",
    "compare --no-tune --tune learning-rate=1": r"--no-tune contradicts --tune",
    "compare --tune 0.1,1": r"--tune 0\.1,1: which setting\? expected --tune learning-rate=0\.1,1",
    "compare --tune alpha=1": r"--tune alpha=1: expected learning-rate=0\.1,0\.3,1,3",
    "compare --tune learning-rate": r"expected learning-rate=",
    "compare --tune learning-rate=": r"--tune: expected learning rates",
    "compare --tune learning-rate=a,b": r"expected numbers, as learning-rate=",
    "compare --tune learning-rate=-1": r"learning-rate=-1",
    "compare -s validation-fraction=0": r"nothing to tune on: --no-tune",
    "compare --engine batch": r"unknown engine 'batch'",
    "partition -s num-clients=0": r"num-clients=0: expected a whole number, at least 1",
    "plot": r"Missing argument",
    "plot nowhere": r"nowhere",
    "predict": r"Missing argument",
    "predict nowhere": r"Missing argument",
    "predict nowhere rows.csv": r"nowhere.*no such file",
    "list nope": r"unknown list 'nope': known: activations",
}


def test_a_mistyped_command_is_told_of_its_like_once(cli):
    assert cli("runn") == (2, "", "edgefed: No such command 'runn'. Did you mean 'run'?\n")


@pytest.mark.parametrize("arguments", MISTAKES)
def test_a_mistake_on_the_command_line_is_one_line(cli, arguments):
    refused(cli(*arguments.split()), MISTAKES[arguments])


def test_no_command_at_all_shows_help(cli):
    code, out, err = cli()

    assert code == 2
    assert re.search(r"Usage: .*edgefed", out)
    assert err == ""


def test_a_folder_that_exists_is_refused_and_left_alone(cli):
    assert cli("run", "-s", "num-server-rounds=1", "--out", "mine")[0] == 0
    before = {path: path.read_bytes() for path in Path("mine").rglob("*") if path.is_file()}

    for command in ("run", "compare"):
        code, out, err = cli(command, "--out", "mine")
        assert (code, out) == (2, "")
        assert re.fullmatch(r"edgefed: --out mine: exists already; give another folder, or --resume.*\n", err)
    assert {path: path.read_bytes() for path in Path("mine").rglob("*") if path.is_file()} == before


def test_a_federation_that_cannot_go_on_exits_1_with_one_line(cli, monkeypatch):
    def silent(self, **asked):
        raise OSError("battery empty")

    monkeypatch.setattr(Clients, "statistics", silent)
    code, out, err = cli("run", "--engine", "sequential", "--out", "run")

    assert (code, out) == (1, "")
    assert re.fullmatch(r"edgefed: 0 of 10 clients answered the query \(OSError: battery empty\).*\n", err)


def test_a_mistake_of_ours_is_not_passed_off_as_a_persons(cli, monkeypatch):
    def broken(self, **asked):
        raise AssertionError("ours")

    monkeypatch.setattr(Clients, "statistics", broken)

    with pytest.raises(AssertionError, match="ours"):
        cli("run", "--out", "run")


# ---------------------------------------------------------------------------------------------- run
QUICK = ("-s", "num-server-rounds=3", "-s", "local-epochs=1")


def one_object(out):
    """Return the one JSON object that stdout consists of."""
    assert out.endswith("\n")
    assert len(out.splitlines()) == 1
    found = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert isinstance(found, dict)
    return found


def test_run_as_json(cli):
    code, out, err = cli("run", *QUICK, "--format", "json", "--out", "run")

    assert code == 0
    found = one_object(out)
    check_run(found, 3)
    assert found == Run.read("run").summary
    assert (found["rounds"], found["clients"], found["engine"]) == (3, 10, "batched")
    same, _ = trained(FederationConfig(num_server_rounds=3, local_epochs=1))
    assert found["model_sha256"] == same.summary["model_sha256"]
    assert "round 3/3" in err


def test_run_again_with_resume_prints_the_same_object(cli):
    _, first, _ = cli("run", *QUICK, "--format", "json", "--out", "run")
    code, again, _ = cli("run", *QUICK, "--format", "json", "--out", "run", "--resume")

    assert code == 0
    assert again == first
    code, out, err = cli("run", *QUICK, "-s", "seed=1", "--out", "run", "--resume")
    assert (code, out) == (2, "")
    assert err.startswith("edgefed: --resume: seed=1 differs from run")
    assert len(err.splitlines()) == 1


def test_resume_says_where_it_goes_on_or_that_there_is_nothing(cli):
    small = ("--strategies", "focal", "--seeds", "2", "--no-tune", *QUICK, "--out", "compared", "--resume")
    code, _, err = cli("run", *QUICK, "--out", "run", "--resume")
    assert (code, err.splitlines()[0]) == (0, "note: nothing to resume in run: begins at round 1")
    code, _, err = cli("compare", *small)
    assert code == 0
    # A block and a part of references, three rounds each.
    assert "4 federations in 1 block, references in 1 part: step 0/6  begins\n" in err
    assert "note: nothing to resume in compared: begins at the first federation\n" in err

    # As a run is left that was stopped before its end, and a comparison that lost one of its four federations.
    manifest = json.loads(Path("run/manifest.json").read_text())
    del manifest["summary"]
    Path("run/manifest.json").write_text(json.dumps(manifest))
    Path("compared/comparison.json").unlink()
    Path("compared/federations/none/rate-0.1/seed-1/manifest.json").unlink()
    last = max(int(path.stem.removeprefix("round-")) for path in Path("run/checkpoint").glob("round-*.npz"))
    code, _, err = cli("run", "--out", "run", "--resume")
    assert code == 0
    assert f"note: run goes on after round {last} of 3\n" in err
    code, _, err = cli("compare", "--out", "compared", "--resume")
    assert code == 0
    assert "note: compared goes on with 3 of 4 federations done\n" in err


def test_resume_without_a_source_names_what_differs_from_the_folder(cli):
    Path("mine.csv").write_bytes(GOOD)
    small = ("--strategies", "focal", "--seeds", "2", "--no-tune", "mine.csv", *QUICK)
    assert cli("run", "mine.csv", *QUICK, "--out", "run")[0] == 0
    assert cli("compare", *small, "--out", "compared")[0] == 0

    keeps = "; what was begun keeps its rounds: more, or fewer, need a new folder\n"
    line = "edgefed: --resume: num-server-rounds=7 differs from {}, which has num-server-rounds=3" + keeps
    more = ("-s", "num-server-rounds=7", "--resume", "--out")
    assert cli("run", *more, "run") == (2, "", line.format("run/config.toml"))
    assert cli("compare", *more, "compared") == (2, "", line.format("compared"))
    code, out, err = cli("compare", "--seeds", "3", "--resume", "--out", "compared")
    assert (code, out) == (2, "")
    assert err.startswith("edgefed: --resume: seeds [0, 1, 2] differ from compared, which has [0, 1]")
    code, _, _ = cli("run", "-s", "seed=0", "--resume", "--out", "run")
    assert code == 0


def test_resume_of_another_kind_of_folder_says_what_it_is(cli):
    small = ("--strategies", "focal", "--seeds", "2", "--no-tune", *QUICK)
    assert cli("run", *QUICK, "--out", "run")[0] == 0
    assert cli("compare", *small, "--out", "compared")[0] == 0

    line = "edgefed: --resume --out {}: a {}'s folder, expected a {}'s; edgefed {} --resume goes on with it\n"
    said = line.format("compared", "comparison", "run", "compare")
    assert cli("run", "--out", "compared", "--resume") == (2, "", said)
    for more in ((), ("--grid", "alpha=0.3,1")):
        said = line.format("run", "run", "comparison", "run")
        assert cli("compare", *small, *more, "--out", "run", "--resume") == (2, "", said)


def test_run_as_text(cli):
    code, out, err = cli("run", *QUICK)

    assert code == 0
    assert "balanced accuracy" in out
    assert "recall of setosa" in out
    assert "client updates" in err
    assert Run.read("runs/iris-none-seed-0").summary["rounds"] == 3
    assert cli("run", *QUICK)[0] == 0
    assert Run.read("runs/iris-none-seed-0-2").summary["rounds"] == 3


def test_settings_from_a_file_and_from_the_command_line(cli):
    Path("mine.toml").write_text('imbalance = "post-hoc"\nnum-server-rounds = 9\nhidden = "8"\n')

    quoted = ("-s", "num-server-rounds='2'", "-s", 'activation="tanh"', "-s", "seed = 3")
    assert cli("run", "mine.toml", *quoted, "--out", "run")[0] == 0

    config = Run.read("run").config
    assert (config.imbalance, config.num_server_rounds, config.hidden) == ("post-hoc", 2, "8")
    assert (config.activation, config.seed) == ("tanh", 3)
    assert cli("run", "run/config.toml", "--format", "json", "--out", "again")[0] == 0
    assert Run.read("again").summary["model_sha256"] == Run.read("run").summary["model_sha256"]


def test_a_persons_own_csv(cli):
    Path("mine.csv").write_bytes(GOOD)
    Path("sites.csv").write_bytes(WITH_CLIENTS)

    code, out, _ = cli("run", "mine.csv", *QUICK, "-s", "num-clients=2", "--format", "json", "--out", "plain")
    assert code == 0
    check_run(one_object(out), 3)
    lines = GOOD.decode().splitlines()
    Path("turned.csv").write_text("\n".join(",".join(reversed(line.split(","))) for line in lines) + "\n")
    assert cli("run", "turned.csv", "--label", "y", *QUICK, "-s", "num-clients=2", "--out", "turned")[0] == 0
    assert Run.read("turned").manifest["classes"] == Run.read("plain").manifest["classes"] == ["u", "v", "w"]
    assert Run.read("turned").manifest["features"] == ["b", "a"]
    code, out, _ = cli("run", "sites.csv", "--label", "y", "--client", "site", *QUICK, "--format", "json", "--out", "s")
    assert code == 0
    found = one_object(out)
    assert found["clients"] == 3
    assert found["clients_test"]["basis"].startswith("held out")
    named = Run.read("s")
    assert named.config.partition == "natural"
    assert len(set(named.manifest["client_names"])) == 3
    assert cli("report", "s")[0] == 0
    held = Path("s/report.html").read_text().split('id="shards"')[1].split("</table>")[0]
    _shards(named, Path("who.svg"), "")
    picture = Path("who.svg").read_text()
    for name in named.manifest["client_names"]:
        assert f">{name}<" in held
        assert re.search(rf"\b{name}\b", picture)
    assert "client_names" not in Run.read("plain").manifest
    with Path("s/clients.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {int(row["client"]): row["name"] for row in rows} == dict(enumerate(named.manifest["client_names"]))
    assert "name" not in Path("plain/clients.csv").read_text().partition("\n")[0]


def test_names_in_a_persons_file_are_no_mark_up(cli):
    """Brackets and colons in class and client names are printed as they are."""
    rows = [f"{n % 7},{n % 5},{('[/b]', '[red]x', ':+1:')[n % 3]},{('[/c]', '[bold]')[n % 2]}" for n in range(90)]
    Path("mine.csv").write_text("\n".join(["a,b,y,site", *rows]) + "\n")
    asked = ("mine.csv", "--label", "y", "--client", "site")

    code, out, _ = cli("partition", *asked)
    assert code == 0
    assert all(name in out for name in ("[/b]", "[red]x", ":+1:", "[/c]", "[bold]"))
    code, out, _ = cli("run", *asked, *QUICK)
    assert code == 0
    assert all(f"recall of {name}" in out for name in ("[/b]", "[red]x", ":+1:"))


def test_a_run_that_diverged_is_shown_again(cli):
    """Its log-loss is infinite, which JSON holds as null."""
    wild = ("-s", "learning-rate=1000", "-s", "hidden=32-32-32", "-s", "loss=hinge")

    for resume in ((), ("--resume",)):
        code, out, _ = cli("run", *QUICK, *wild, "--out", "run", *resume)
        assert code == 0
        assert re.search(r"log loss +inf\b", out)
    code, out, _ = cli("run", *QUICK, *wild, "--out", "run", "--resume", "--format", "json")
    assert code == 0
    assert one_object(out)["test"]["log_loss"] is None


def settings_noted(err):
    """Return the notes but for those on the few test rows of so small a file."""
    return [line for line in err.splitlines() if line.startswith("note: ") and "test rows" not in line]


def test_what_the_mean_fills_is_told_on_stderr_and_on_the_page(cli):
    rows = "".join(f"{'none' if place % 3 else 'yes'},{place or ''},{'ab'[place % 2]}\n" for place in range(60))
    Path("homes.csv").write_text(f"garage,b,y\n{rows}", encoding="utf-8")
    given = ("homes.csv", "-s", "missing=mean", "-s", "categories=garage", *QUICK)
    line = (
        "missing=mean fills 40 of 60 cells of garage ('none' counts as empty: list it in categories where it is a "
        "value), 1 of b"
    )

    assert settings_noted(cli("run", *given, "--out", "run")[2])[0] == f"note: {line}"
    assert cli("report", "run")[0] == 0
    assert line.split(" ", 1)[1] in html.unescape(Path("run/report.html").read_text())
    _, _, err = cli("compare", *given, "--strategies", "none", "--seeds", "2", "--no-tune", "--out", "compared")
    assert f"note: {line}\n" in err
    assert line.split(" ", 1)[1] in html.unescape(Path("compared/report.html").read_text())


def test_settings_without_effect_and_an_idle_client_column_are_told_on_stderr_and_on_the_page(cli):
    Path("sites.csv").write_bytes(WITH_CLIENTS)
    given = ("sites.csv", "--label", "y", "-s", "client-column=site", "-s", "num-clients=2", "-s", "focal-gamma=3")

    code, _, err = cli("run", *given, *QUICK, "--out", "run", "--format", "json")
    assert code == 0
    assert settings_noted(err) == [
        "note: client-column=site only leaves its column out of the features here; partition=natural makes its names "
        "the clients",
        "note: focal-gamma=3 has no effect here: it is for imbalance=focal",
    ]
    assert Run.read("run").manifest["features"] == ["a", "b"]
    assert cli("report", "run")[0] == 0
    page = Path("run/report.html").read_text()
    assert "<code>client-column=site</code> only leaves its column out of the features here" in page
    assert "<code>focal-gamma=3</code> has no effect here" in page
    # Asked for what acts, nothing is said.
    code, _, err = cli("run", "sites.csv", "--label", "y", "--client", "site", *QUICK, "-s", "focal-gamma=2")
    assert code == 0
    assert settings_noted(err) == []


def test_a_number_of_clients_that_is_given_is_meant_even_at_the_default(cli):
    Path("sites.csv").write_bytes(WITH_CLIENTS)
    given = ("sites.csv", "--label", "y", "--client", "site")
    Path("mine.toml").write_text('dataset = "csv"\ndata-path = "sites.csv"\nlabel-column = "y"\nnum-clients = 10\n')

    for command in ("run", "compare", "partition"):
        for asked in ((*given, "-s", "num-clients=10"), ("mine.toml", "--client", "site")):
            code, out, err = cli(command, *asked)
            assert (code, out) == (2, "")
            assert err == ("edgefed: num-clients=10 contradicts partition=natural: column 'site' names 3 clients\n"), (
                command
            )
    code, _, err = cli("shards", *given, "-s", "num-clients=10", "--out", "shards")
    assert (code, "names 3 clients" in err) == (2, True)
    assert cli("partition", *given)[0] == cli("partition", *given, "-s", "num-clients=3")[0] == 0
    assert cli("partition", *given, "-s", "num-clients=")[0] == 0


def test_a_persons_file_gives_runs_pictures_and_progress_their_name(cli):
    Path("flowers.csv").write_bytes(GOOD)

    code, _, err = cli("run", "flowers.csv", *QUICK, "-s", "num-clients=2")
    assert code == 0
    assert "flowers.csv: round 3/3" in err
    assert Run.read("runs/flowers-none-seed-0").summary["run"] == "flowers-none-seed-0"
    code, out, _ = cli("partition", "flowers.csv", "-s", "num-clients=2")
    assert "flowers.csv, dirichlet: training rows" in " ".join(out.split())


def test_a_class_without_a_test_row_is_told_of(cli):
    """Five rows of the rare class of 85, three test rows: not one is of it."""
    rows = [f"{n % 7},{n % 5},{'common' if n < 40 else 'other' if n < 80 else 'rare'}" for n in range(85)]
    Path("mine.csv").write_text("\n".join(["a,b,y", *rows]) + "\n")
    settings = ("-s", "test-fraction=0.03", "-s", "validation-fraction=0.03", "-s", "num-clients=2")

    code, out, err = cli("run", "mine.csv", *QUICK, *settings, "--out", "run")
    assert code == 0
    assert re.search(r"recall of rare +no rows", out)
    line = "no test row of rare: what averages over classes leaves it out"
    assert f"note: {line}\n" in err
    assert cli("report", "run")[0] == 0
    assert f"N{line[1:]}." in Path("run/report.html").read_text()

    code, out, err = cli("compare", "mine.csv", "--strategies", "focal", "--seeds", "2", "--no-tune", *QUICK, *settings)
    assert code == 0
    line = "no test row of rare under every seed: there, what averages over classes leaves it out"
    assert f"note: {line}\n" in err
    assert f"N{line[1:]}." in Path("runs/compare-mine/report.html").read_text()


def test_a_class_with_few_test_rows_is_told_of(cli):
    """A fifth of ten rare rows are two test rows: of three classes one row is a sixth of balanced accuracy."""
    rows = [f"{n % 7},{n % 5},{'common' if n < 40 else 'other' if n < 80 else 'rare'}" for n in range(90)]
    Path("mine.csv").write_text("\n".join(["a,b,y", *rows]) + "\n")

    code, _, err = cli("run", "mine.csv", *QUICK, "-s", "num-clients=2", "--out", "run")
    assert code == 0
    line = "recall of rare rests on 2 test rows: each moves balanced accuracy by 16.7 points"
    assert f"note: {line}\n" in err
    assert cli("report", "run")[0] == 0
    page = Path("run/report.html").read_text()
    assert page.count(f"R{line[1:]}.") == 1
    assert f"R{line[1:]}." in page.partition('<p class="lead">')[2].partition("</p>")[0]  # beside the figure itself

    asked = ("--strategies", "focal", "--seeds", "2", "--no-tune", *QUICK, "-s", "num-clients=2")
    code, _, err = cli("compare", "mine.csv", *asked)
    assert code == 0
    line = "recall of rare rests on 2 test rows under some seeds: each moves balanced accuracy by 16.7 points"
    assert f"note: {line}\n" in err
    assert f"R{line[1:]}." in Path("runs/compare-mine/report.html").read_text()


# ---------------------------------------------------------------------------------------------- compare
COMPARE = ("compare", "--strategies", "none,class-weights,random-oversampling", "--seeds", "5", "--no-tune")


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
    for mistake in (("--engine", "batch"), ("--out", "there"), ("bad.csv",), ("-s", "min-rows=50")):
        code, out, err = cli("compare", *mistake)
        assert (code, out, len(err.splitlines())) == (2, "", 1), err

    def loaded(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setitem(vars(api), "compare", loaded)
    _, _, err = cli("compare", "--seeds", "8", "--no-tune")
    assert err.startswith("iris: 7 remedies x 8 seeds = 56 federations (10 clients, 100 rounds each) in 1 block, ")


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


def test_the_best_of_a_comparison_of_a_persons_own_clients_runs_as_it_is(cli):
    Path("sites.csv").write_bytes(WITH_CLIENTS)
    given = ("sites.csv", "--label", "y", "--client", "site", *QUICK)

    assert cli("compare", *given, "--strategies", "focal", "--seeds", "2", "--no-tune", "--out", "c")[0] == 0
    assert cli("run", "c/best.toml", "--out", "best")[0] == 0
    assert Run.read("best").config.num_clients == 3


def test_what_is_no_run_is_named_with_what_would_do(cli):
    Path("sites.csv").write_bytes(WITH_CLIENTS)
    for command in (("predict", "sites.csv", "sites.csv"), ("export", "sites.csv"), ("explain", "sites.csv")):
        code, out, err = cli(*command)
        assert (code, out) == (2, "")
        assert err == "edgefed: sites.csv: a file, expected a run's folder; edgefed run sites.csv makes one\n"


# ---------------------------------------------------------------------------------------------- the rest
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


# ---------------------------------------------------------------------------------------------- real processes
HEAVY = {"torch", "ray", "matplotlib", "sklearn", "flwr", "scipy", "statsmodels", "imblearn"}


def imported_by(*arguments, cwd):
    """Return which heavy packages a command imports."""
    program = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print('HEAVY', *sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr))\n"
        "from edgefed.cli import main\n"
        f"sys.argv = ['edgefed', *{arguments!r}]\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split()[1:]), done.stdout


@pytest.mark.parametrize("arguments", [("--help",), ("run", "--help"), ("compare", "--help")], ids=" ".join)
def test_help_imports_nothing_heavy(tmp_path, arguments):
    heavy, out = imported_by(*arguments, cwd=tmp_path)

    assert heavy == set()
    assert "Usage: edgefed" in out


def test_the_version_is_told_without_importing_what_it_is_of(tmp_path):
    heavy, out = imported_by("--version", cwd=tmp_path)

    assert heavy == set()
    assert out == f"edgefed {version('edgefed')} (flwr {version('flwr')}, torch {version('torch')})\n"


def test_partitions_are_shown_without_torch(tmp_path):
    heavy, out = imported_by("partition", "--format", "json", cwd=tmp_path)

    assert heavy & {"torch", "flwr", "ray", "matplotlib"} == set()
    assert one_object(out)["clients"] == 10


def test_a_run_is_plotted_without_torch(tmp_path):
    trained(FederationConfig(num_server_rounds=2), out=tmp_path / "run")

    heavy, _ = imported_by("plot", "run", cwd=tmp_path)

    assert heavy & {"torch", "flwr", "ray"} == set()


def test_as_a_module_and_as_a_program(tmp_path):
    programs = ([sys.executable, "-m", "edgefed"], [str(Path(sys.executable).with_name("edgefed"))])
    for program in programs:
        done = subprocess.run([*program, "list", "nope"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("edgefed: unknown list 'nope'")


def test_a_terminal_that_cannot_show_a_name_gets_its_escape(tmp_path):
    (tmp_path / "mine.csv").write_text("a,b,y\n" + "1,2,é\n2,3,ü\n" * 20, encoding="utf-8")
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "edgefed", "partition", "mine.csv"]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, env=environment)

    assert done.returncode == 0, done.stderr
    assert "\\xe9" in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to a process alone")
def test_ctrl_c_exits_130_with_one_line_and_resume_finishes_the_same_run(cli, tmp_path):
    rounds = ("-s", "num-server-rounds=900", "-s", "local-epochs=1", "-s", "evaluate-every=10")
    command = [sys.executable, "-m", "edgefed", "run", *rounds, "--out", "run", "--format", "json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not [path for path in Path("run").glob("checkpoint/round-*.npz") if int(path.stem[6:]) >= 10]:
            assert time.monotonic() < deadline
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()

    assert (process.returncode, out) == (130, "")
    said = [line for line in err.splitlines() if not re.match(r"iris: round \d+/900 ", line)]
    assert said == ["edgefed: interrupted; --resume --out run goes on"]
    written = len(Path("run/history.jsonl").read_text().splitlines())
    assert 10 <= written < 900
    code, out, _ = cli("run", *rounds, "--out", "run", "--format", "json", "--resume")
    assert code == 0
    whole, _ = trained(FederationConfig(num_server_rounds=900, local_epochs=1, evaluate_every=10))
    found = one_object(out)
    assert found["model_sha256"] == whole.summary["model_sha256"]
    assert found["bytes"] == whole.summary["bytes"]
    assert [row["round"] for row in Run.read("run").rounds] == list(range(1, 901))


def test_json_of_a_real_process_is_alone_on_stdout(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-m", "edgefed", "run", *QUICK, "--format", "json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    check_run(one_object(done.stdout), 3)
    assert all(re.match(r"iris: round \d/3 ", line) for line in done.stderr.splitlines())


def test_run_folder_is_where_a_run_is_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["edgefed", "run", "-s", "num-server-rounds=1", "-s", "run-folder=kept"])
    assert _exit_code() == 0
    assert (tmp_path / "kept" / "manifest.json").is_file()

    monkeypatch.setattr("sys.argv", ["edgefed", "run", "-s", "run-folder=kept", "--out", "other"])
    capsys.readouterr()
    assert _exit_code() == 2
    assert "contradicts run-folder=kept" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_doctor_measures_this_machine_and_a_run_uses_its_profile(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    code, out, err = cli("doctor", "--profile", "here.toml", "--format", "json")

    assert code == 0, err
    assert json.loads(out)["this-machine"]["flops"] > 0
    settings = ("-s", "devices=this-machine", "-s", "device-profiles=here.toml", "-s", "num-server-rounds=1")
    code, out, err = cli("run", *settings, "--format", "json")
    assert code == 0, err
    assert json.loads(out)["modelled"]["seconds"] > 0
    code, out, err = cli("doctor", "--profile", "here.toml")
    assert (code, out) == (2, "")
    assert "here.toml: exists already" in err
