"""A person's mistake: exit code 2, one line, nothing left behind; and what is none."""

import re
from pathlib import Path

import pytest
from bad_input import BAD_INPUT
from command_line import refused

from edgefed.federation.clients import Clients


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
    "run nowhere.csv": r"nowhere\.csv: no such file$",
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
    "compare -s seed=4294967290 --seeds 10": r"--seeds 10 from seed=4294967290: the last would be 4294967299; at most",
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
    "explain nowhere --select -3": r"--select.*-3 is not in the range",
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
