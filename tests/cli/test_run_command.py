"""``edgefed run``: its object, its table, its notes, ``--resume``, a person's own file."""

import csv
import html
import re
from pathlib import Path

import pytest
from bad_input import GOOD, WITH_CLIENTS
from command_line import QUICK, one_object
from contract import check_run
from federations import trained

import edgefed
from edgefed.config import FederationConfig
from edgefed.report.plots import _shards
from edgefed.runs import Run
from edgefed.runs.writer import Interrupted


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

    # A run that was stopped before its end, and a comparison that lost one of its four federations.
    def stop(federation):
        if federation.round == 2:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        edgefed.run(FederationConfig(num_server_rounds=3, local_epochs=1), out="stopped", progress=False, on_round=stop)
    Path("compared/comparison.json").unlink()
    Path("compared/federations/none/rate-0.1/seed-1/manifest.json").unlink()
    code, _, err = cli("run", "--out", "stopped", "--resume")
    assert code == 0
    assert "note: stopped goes on after round 2 of 3\n" in err
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


def test_settings_whose_file_lies_in_another_folder_say_which_setting_names_it(cli):
    Path("lab").mkdir()
    Path("lab/mine.csv").write_bytes(GOOD)
    Path("lab/best.toml").write_text('dataset = "csv"\ndata-path = "mine.csv"\nnum-clients = 2\n')

    for command in ("run", "compare", "partition"):
        assert cli(command, "lab/best.toml") == (
            2,
            "",
            "edgefed: mine.csv: no such file (the setting data-path, looked for from the current folder); "
            "-s data-path=FILE.csv says where it is now\n",
        )
    code, _, err = cli("partition", "lab/best.toml", "-s", f"data-path={Path('elsewhere.csv').absolute()}")
    assert (code, "elsewhere.csv: no such file (the setting data-path); -s" in err) == (2, True)
    assert cli("partition", "lab/best.toml", "-s", "data-path=lab/mine.csv")[0] == 0


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
