"""A person's mistake gets one line that says where it is, what was found and what would do."""

import re
from pathlib import Path

import pytest
from bad_input import BAD_INPUT, GOOD, WITH_CLIENTS, BadInput

from edgefed.config import FederationConfig, read_settings
from edgefed.data.shards import FederatedData, federate
from edgefed.errors import SettingsError


def attempt(case: BadInput, folder: Path) -> FederatedData:
    path, texts = case.written(folder)
    return federate(FederationConfig.from_mapping(read_settings(path, texts)))[1]


@pytest.mark.parametrize("case", BAD_INPUT, ids=lambda case: case.name)
def test_one_line_says_what_is_wrong(case: BadInput, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        attempt(case, tmp_path)
    line = str(caught.value)
    assert re.search(case.says, line), line
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    assert len(line) < 1000 + len(str(tmp_path))
    if case.csv is not None and "data" in case.says:
        assert line.startswith(str(tmp_path))


def test_names_are_different() -> None:
    names = [case.name for case in BAD_INPUT]
    assert len(set(names)) == len(names) >= 40


@pytest.mark.parametrize(
    ("csv", "texts"),
    [(GOOD, ()), (WITH_CLIENTS, ("client-column=site", "partition=natural"))],
    ids=["good", "with clients"],
)
def test_the_files_that_mistakes_are_made_in_are_good(csv: bytes, texts: tuple[str, ...], tmp_path: Path) -> None:
    data = attempt(BadInput("none", "", texts, csv=csv), tmp_path)
    rows = csv.count(b"\n") - 1
    assert len(data.split.pool) + len(data.split.validation) + len(data.split.test) == rows


def test_terminal_codes_are_written_as_escapes() -> None:
    assert str(SettingsError("a\x1b[31m\r\nb")) == "a\\x1b[31m\\r\\nb"
