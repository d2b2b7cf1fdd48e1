"""The setting that lists categories: what it says, how it is written, and the one line where it says nothing."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefed.categories import (
    categories_text,
    columns_among,
    columns_by_feature,
    columns_of,
    feature_names,
    indicators,
    parsed_categories,
)
from edgefed.config import FederationConfig, read_settings
from edgefed.errors import SettingsError

AWKWARD = st.text(st.sampled_from("\\,|=\"' abé\n"), min_size=1, max_size=6)
NAMES = (st.text(min_size=1, max_size=8) | AWKWARD).map(str.strip).filter(bool)
CATEGORIES = st.dictionaries(NAMES, st.lists(NAMES, max_size=4, unique=True).map(tuple), min_size=1, max_size=3)


@given(CATEGORIES)
def test_what_is_written_reads_back(categories):
    assert parsed_categories(categories_text(categories)) == categories


@given(CATEGORIES)
def test_what_is_written_survives_the_command_line_and_toml(categories):
    """Neither an option's optional quotes nor TOML's escapes take anything off."""
    text = categories_text(categories)
    assert read_settings(None, [f"categories={text}"]) == {"categories": text}
    config = FederationConfig(dataset="csv", data_path="a.csv", categories=text)
    assert tomllib.loads(config.to_toml())["categories"] == text


def test_what_a_person_writes():
    text = r"color = blue | green|light\, blue, income==<1|>=2 ,a\=b=c\|d|e\\, city,"
    assert parsed_categories(text) == {
        "color": ("blue", "green", "light, blue"),
        "income": ("=<1", ">=2"),
        "a=b": ("c|d", "e\\"),
        "city": (),
    }
    assert parsed_categories("") == parsed_categories(" , ") == {}


def test_features_are_named_by_column_and_value_and_lead_back():
    categories = {"b": ("x", "y=z"), "c": ("1",)}
    names = feature_names(("a", "b", "c", "d"), categories)
    assert names == ("a", "b=x", "b=y=z", "c=1", "d")
    assert columns_of(names, categories) == ("a", "b", "c", "d")
    assert indicators(categories)["b=y=z"] == ("b", "y=z")
    assert columns_of(("d", "b=y=z"), categories) == ("d", "b")


def test_features_know_the_place_of_their_column():
    categories = {"b": ("x", "y"), "a": ("1",)}
    assert columns_by_feature(("a=1", "n", "b=x", "b=y"), categories) == (1, -1, 0, 0)
    assert columns_by_feature(("n", "m"), {}) == ()
    assert [columns_among(places) for places in ((1, -1, 0, 0), (-1, 0, 0), (-1,), ())] == [2, 1, 0, 0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a=x|y,a", "'a' stands there twice"),
        ("a=x|y|x", "the value 'x' of 'a' stands there twice"),
        ("a=", "an empty value of 'a', expected as color=blue|green"),
        ("a=x||y", "an empty value of 'a'"),
        ("=x|y", "'=x|y' names no column"),
        ("a=x\\", "a backslash at the end"),
        ("a=x\\\\\\", "a backslash at the end"),
    ],
)
def test_text_that_says_nothing_is_refused_in_one_line(text, says):
    with pytest.raises(SettingsError) as caught:
        FederationConfig(dataset="csv", data_path="a.csv", categories=text)
    assert str(caught.value).startswith(f"categories={text}: {says}")


def test_a_device_is_not_asked_for_values_nor_told_so_in_silence():
    with pytest.raises(SettingsError, match=r"list the values of 'size', as size=A\|B\|C") as caught:
        FederationConfig(dataset="devices", categories="color=red|blue,size")
    assert caught.value.told == str(caught.value)


def test_a_column_is_in_one_place():
    for changes, says in (
        ({"drop_columns": "a"}, "categories names 'a', which drop-columns leaves out"),
        ({"feature_columns": "b"}, "categories names 'a', which is not in feature-columns"),
    ):
        with pytest.raises(SettingsError, match=says):
            FederationConfig(dataset="csv", data_path="x.csv", categories="a=x|y", **changes)
    with pytest.raises(SettingsError, match="categories=a contradicts dataset=iris"):
        FederationConfig(categories="a")
