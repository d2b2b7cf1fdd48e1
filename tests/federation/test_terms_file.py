"""The file of a device's terms: what it may say, and what the guide says of it."""

import re
from pathlib import Path

import pytest

import edgefed
from edgefed.config import FederationConfig, SettingsError
from edgefed.federation.disclosure import EXACT, FIELDS, MASKED
from edgefed.federation.terms import OF_ROWS
from edgefed.federation.terms_file import read_terms

MISTAKES = {
    "no TOML": ("[leaves", "not valid TOML"),
    "an unknown term": ("max-rows = 1", "unknown term 'max-rows': did you mean min-rows?"),
    "a setting at the top": ("privacy = 'secagg'", "privacy is a setting: it belongs under [settings]"),
    "no number": ("min-rows = -1", "min-rows=-1: expected a whole number, at least 0"),
    "no table": ("answers = 5", "answers=5: expected a table, [answers]"),
    "an unknown status": ("[leaves]\nexct = []", "[leaves]: unknown status 'exct': did you mean exact?"),
    "an unknown field": (
        "[leaves]\nexact = ['query/feature-means']",
        "[leaves] exact: unknown field 'query/feature-means': did you mean query/feature-mean?",
    ),
    "no list": ("[leaves]\nexact = 'query'", "[leaves] exact: expected a list of fields"),
    "twice": ("[leaves]\nexact = ['train']\nmasked = ['train/masked']", "train/masked stands there twice"),
    "an unknown message": ("[answers]\ntrian = 5", "[answers]: unknown message 'trian': did you mean train?"),
    "a name without quotes": ("[answers]\nquery.explain = 1", "names with a dot stand in quotes"),
    "an unknown setting": ("[settings]\nprivcy = 'secagg'", "unknown setting 'privcy': did you mean privacy?"),
    "an unknown name": ("[settings]\nprivacy = ['secag']", "privacy=secag: unknown name 'secag': did you mean secagg?"),
    "out of range": ("[settings]\nlocal-epochs = [0, 5]", "local-epochs=0: expected a whole number, at least 1"),
    "a range upside down": ("[settings]\nlocal-epochs = [5, 1]", "local-epochs=[5, 1]: expected a number or [low, hi"),
    "no names": ("[settings]\nprivacy = []", "[settings] privacy: expected at least one name"),
    "a term below": ("[settings]\nmin-rows = 20", "[settings]: min-rows is a term: it belongs above the tables"),
    "a status that it never has": ("[leaves]\nnoised = ['train/arrays']", "train/arrays never is, under any settings"),
    "one that a message never has": ("[leaves]\nmasked = ['evaluate']", "evaluate never is, under any settings"),
    "an empty name": ("[settings]\nprivacy = ['secagg', '']", "[settings] privacy: empty text, expected a value"),
    "an empty number": ("[settings]\nlocal-epochs = ''", "[settings] local-epochs: empty text, expected a value"),
    "empty columns": ("[settings]\nfeature-columns = ''", "[settings] feature-columns: empty text, expected a value"),
    "classes one by one": ("[settings]\nclasses = ['a', 'b']", 'classes=a: expected all in one text, as "a,b"'),
    "another dataset": ("[settings]\ndataset = 'iris'", "dataset=iris: on a device it is devices"),
    "no widths": ("[settings]\nhidden = 'abc'", "[settings] hidden=abc"),
    "a seed that is unset": ("[settings]\nsplit-seed = -1", "split-seed=-1: no run has it; say what it comes to"),
    "a delta that is unset": ("[settings]\nprivacy-delta = 0", "privacy-delta=0: no run has it; say what it comes to"),
}


@pytest.mark.parametrize(("text", "says"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_terms_is_one_line_that_says_what_would_do(tmp_path, text, says):
    path = tmp_path / "terms.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as raised:
        read_terms(path)
    assert str(raised.value).startswith(f"{path}")
    assert says in str(raised.value)
    assert raised.value.told == ""


def test_the_guide_lists_every_field():
    guide = (Path(edgefed.__file__).parents[1] / "docs" / "devices.md").read_text(encoding="utf-8")
    for message in OF_ROWS:
        (row,) = re.findall(rf"^\| `{re.escape(message)}` \| ((?:`[\w-]+` ?)+) \|$", guide, re.MULTILINE)
        assert re.findall(r"`([\w-]+)`", row) == [field for field in FIELDS[message] if field != "partition-id"]


def test_the_guides_example_is_read_and_says_what_the_guide_says(tmp_path):
    guide = (Path(edgefed.__file__).parents[1] / "docs" / "devices.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```toml\n(min-rows.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    (tmp_path / "terms.toml").write_text(example)
    terms = read_terms(tmp_path / "terms.toml")
    assert terms.min_rows == 20
    assert terms.leaves == {"query/num-examples": EXACT, "query/num-held-out": EXACT, "train/masked": MASKED}
    assert terms.settings["local-epochs"] == (1, 20)
    assert terms.answers == {"query": 10, "train": 2000}
    asked = {"num_clients": 3, "num_server_rounds": 2, "alpha": 1.0, "local_epochs": 1}
    terms.agree(FederationConfig(**asked, privacy="secagg", standardize="none", client_test_fraction=0.0))


def test_a_message_stands_for_all_of_its_fields(tmp_path):
    path = tmp_path / "terms.toml"
    path.write_text('[leaves]\nexact = ["evaluate", "query/num-examples"]\n')
    leaves = read_terms(path).leaves
    assert leaves == {f"evaluate/{field}": EXACT for field in FIELDS["evaluate"]} | {"query/num-examples": EXACT}
    assert not any(message.startswith("query.secagg") for message in OF_ROWS)
