"""Categorical columns as they are read: indicators in the column's place, or one line on the cell that is none."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import OneHotEncoder

from edgefed.data.cells import MOST_VALUES
from edgefed.data.csv_file import read_csv, read_feature_rows
from edgefed.errors import SettingsError

FILE = "a,color,b,zip,y\n1,red,2,8001,u\n3,blue,4,801,v\n5, red ,6,8001,u\n"
FOUND = {"color": (), "zip": ()}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("csv") / "rows.csv"


def read(path, text, **how):
    path.write_text(text, encoding="utf-8")
    return read_csv(path, **how)


def refused(path, text, **how):
    with pytest.raises(SettingsError) as caught:
        read(path, text, **how)
    return str(caught.value).removeprefix(f"{path}: "), caught.value.told


def test_indicators_stand_where_the_column_stands(path):
    table = read(path, FILE, categories=FOUND)
    assert table.feature_names == ("a", "color=blue", "color=red", "b", "zip=801", "zip=8001")
    expected = [[1, 0, 1, 2, 0, 1], [3, 1, 0, 4, 1, 0], [5, 0, 1, 6, 0, 1]]
    np.testing.assert_array_equal(table.features, np.array(expected, np.float32))
    assert table.features.dtype == np.float32
    assert table.columns == ("a", "color", "b", "zip")
    assert table.categories == {"color": ("blue", "red"), "zip": ("801", "8001")}


def test_listed_values_keep_their_order_and_those_without_a_row(path):
    table = read(path, FILE, categories={"color": ("red", "green", "blue")}, drop=("zip",))
    assert table.feature_names == ("a", "color=red", "color=green", "color=blue", "b")
    np.testing.assert_array_equal(table.features[:, 1:4], [[1, 0, 0], [0, 0, 1], [1, 0, 0]])


def test_a_category_is_a_feature_and_the_label_is_never_guessed_past_it(path):
    text = "a,y,color\n1,u,red\n2,v,blue\n"
    line, _ = refused(path, text, categories={"color": ()})
    assert line.endswith("label-column=color (the last column, since none is named): the same column is in categories")
    table = read(path, text, categories={"color": ()}, label="y")
    assert (table.label_name, table.columns) == ("y", ("a", "color"))
    table = read(path, FILE, categories={"color": ()}, features=("color", "a"))
    assert table.feature_names == ("color=blue", "color=red", "a")


texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1, max_size=5).map(str.strip)
known = texts.filter(lambda text: text and text.lower() not in {"na", "nan", "null", "none", "?"})


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(["x", "y=z", "p|q", "r, s"]) | known, known), min_size=2, max_size=12))
def test_the_same_indicators_as_scikit_learns(path, rows):
    frame = pd.DataFrame(rows, columns=["c", "d"]).assign(y=["u", "v"] * (len(rows) // 2) + ["u"] * (len(rows) % 2))
    listed = {name: tuple(dict.fromkeys(frame[name])) for name in ("c", "d")}
    encoder = OneHotEncoder(categories=[list(values) for values in listed.values()], sparse_output=False)
    expected = encoder.fit_transform(frame[["c", "d"]].to_numpy(object))
    table = read(path, frame.to_csv(index=False, lineterminator="\n"), categories=listed)
    np.testing.assert_array_equal(table.features, expected)
    assert table.feature_names == tuple(f"{name}={value}" for name, values in listed.items() for value in values)


# ---- empty cells
def test_an_empty_cell_leaves_all_its_indicators_empty(path):
    table = read(path, FILE.replace("blue", ""), categories={"color": ("blue", "red")}, allow_missing=True)
    assert np.isnan(table.features[1, 1:3]).all()
    assert np.isfinite(table.features[[0, 2]]).all()
    assert np.isfinite(table.features[1, [0, 3, 4]]).all()


def test_text_that_counts_as_empty_is_a_value_where_it_is_listed(path):
    text = FILE.replace("blue", "none")
    table = read(path, text, categories={"color": ("none", "red")})
    np.testing.assert_array_equal(table.features[:, 1:3], [[0, 1], [1, 0], [0, 1]])
    assert refused(path, text, categories={"color": ()})[0] == (
        "row 3, column 'color': 'none' for an empty cell; missing=mean fills it with the feature's mean, "
        "or list it in categories"
    )
    assert refused(path, FILE.replace("blue", " "), categories={"color": ()})[0].startswith(
        "row 3, column 'color': empty cell; missing=mean fills it"
    )


def test_a_column_without_any_value(path):
    text = FILE.replace("blue", "").replace(" red ", "").replace("red", "")
    for values in ((), ("blue", "red")):
        line, _ = refused(path, text, categories={"color": values}, allow_missing=True)
        assert line == "column 'color': every cell is empty; drop it with drop-columns"


# ---- what is no category
def test_an_unknown_value_is_named_here_and_to_nobody_else(path):
    line, told = refused(path, FILE.replace("blue", "Dr. Roth"), categories={"color": ("red", "green")})
    assert line == "row 3, column 'color': 'Dr. Roth' is none of its categories (red, green)"
    assert told == "column 'color': a value that is none of its categories"


def test_names_of_rows_are_no_categories(path):
    rows = "".join(f"r{row},{row % 7},{'uv'[row % 2]}\n" for row in range(21))
    line, _ = refused(path, f"id,b,y\n{rows}", categories={"id": ()})
    assert line.startswith("column 'id': 21 different values in 21 rows are many for a category; drop-columns=id")
    assert read(path, f"id,b,y\n{rows}", categories={"b": ()}, drop=("id",)).categories == {"b": tuple("0123456")}
    # Listed, they are meant.
    assert len(read(path, f"id,b,y\n{rows}", categories={"id": [f"r{row}" for row in range(21)]}).columns) == 2


def test_more_values_than_most_columns_of_categories_hold(path):
    for number, refuses in ((MOST_VALUES, False), (MOST_VALUES + 1, True)):
        text = "c,y\n" + "".join(f"c{row % number},{'uv'[row % 2]}\n" for row in range(300))
        if refuses:
            assert f"{number} different values in 300 rows" in refused(path, text, categories={"c": ()})[0]
        else:
            assert len(read(path, text, categories={"c": ()}).feature_names) == number


def test_one_number_written_in_two_ways_is_not_two_categories_unless_both_are_listed(path):
    text = FILE.replace("801,", "8001.0,")
    line, _ = refused(path, text, categories=FOUND)
    assert line == "column 'zip': '8001' and '8001.0' are the same number; write them alike, or list both in categories"
    assert read(path, text, categories=FOUND | {"zip": ("8001", "8001.0")}).features.shape == (3, 6)


def test_an_indicator_with_the_name_of_another_feature(path):
    line, _ = refused(path, FILE.replace("b,zip", "color=red,zip"), categories=FOUND)
    assert line == "the indicator 'color=red' of column 'color' is another feature's name: rename one"
    text = "a,a=b,y\nb=c,c,u\nb=d,c,v\n"
    assert "'a=b=c'" in refused(path, text, categories={"a": (), "a=b": ()})[0]


def test_more_indicators_than_features_that_are_learnt_from(path):
    values = [f"v{place}" for place in range(10_000)]
    line, _ = refused(path, FILE, categories={"color": values, "zip": ()})
    assert line.startswith("10004 features with an indicator for each category; at most 10000")


# ---- what is said of text in a column that is none
def test_text_is_named_with_what_makes_it_categories_and_what_leaves_it_out(path):
    rows = "".join(f"r{row},{'red' if row % 2 else 'blue'},{row},S,{'uv'[row % 2]}\n" for row in range(30))
    text = f"id,color,a,size,y\n{rows}"
    line, _ = refused(path, text)
    assert line.endswith(
        "to learn from text, categories=color,size and drop-columns=id; "
        "to leave out every column like it, drop-columns=id,color,size"
    )
    line, _ = refused(path, text, categories={"color": ()}, drop=("id",))
    assert line.endswith(
        "categories=color,size and drop-columns=id; to leave out every column like it, drop-columns=id,size"
    )
    assert read(path, text, categories={"color": (), "size": ()}, drop=("id",)).features.shape == (30, 4)


def test_what_would_do_can_be_typed_however_many_columns_there_are(path):
    names = [f"a column of text {place}" for place in range(8)]
    rows = "".join(f"{','.join('pq'[row % 2] * 8)},{'uv'[row % 2]}\n" for row in range(30))
    text = f"{','.join(names)},y\n{rows}"
    line, _ = refused(path, text)
    assert f"categories={','.join(names)}; to leave" in line
    assert line.endswith(f"drop-columns={','.join(names)}")
    assert read(path, text, categories=dict.fromkeys(names, ())).features.shape == (30, 16)


def test_dates_and_what_differs_from_row_to_row_are_no_categories_to_propose(path):
    """Four days and a name a row, in so few rows that either could have been a category of values in the file."""
    rows = "".join(
        f"{1 + row % 4}.11.2026 14:30,2026-11-0{1 + row % 3},name {row},{('blue', 'red')[row % 2]},{'uv'[row % 2]}\n"
        for row in range(12)
    )
    line, told = refused(path, f"visit,seen,who,color,y\n{rows}")
    do = "categories=color and drop-columns=visit,seen,who; to leave out every column like it, drop-columns="
    assert line.endswith(f"{do}visit,seen,who,color; 'visit', 'seen' look like dates")
    assert "look" not in told
    line, _ = refused(path, f"visit,seen,who,color,y\n{rows}", drop=("seen", "who", "color"))
    assert line.endswith("drop-columns=seen,who,color,visit; 'visit' looks like a date")
    # Who means it may have it so.
    named = read(
        path, f"visit,seen,who,color,y\n{rows}", categories=dict.fromkeys(("visit", "seen", "who", "color"), ())
    )
    assert named.features.shape == (12, 4 + 3 + 12 + 2)


def test_codes_of_which_some_are_numbers_are_text_where_they_are_few(path):
    rows = "".join(f"{('8001', 'A12', '9000')[row % 3]},{row + 0.5},{'uv'[row % 2]}\n" for row in range(30))
    line, _ = refused(path, f"zip,a,y\n{rows}")
    assert "'A12' is not a number; to learn from text, categories=zip; to leave out" in line
    # A slip among measurements is none.
    line, _ = refused(path, f"zip,a,y\n{rows}".replace("4.5", "4;5"), categories={"zip": ()})
    assert "'4;5' is not a number; to leave out every column like it, drop-columns=a" in line


def test_what_a_devices_cells_hold_is_said_to_its_own_person_alone(path):
    line, told = refused(path, "color,a,y\nred,1,u\nblue,2,v\n", partial=True)
    assert "'red' is not a number; to learn from text, categories=color=blue|red; to leave out" in line
    assert told == (
        "row 2, column 'color': not a number; to learn from text, list the values of color in categories; "
        "to leave out every column like it, drop-columns=color"
    )


# ---- new rows for a model
def test_rows_for_a_model_by_its_own_features(path):
    path.write_text("zip,color,note,a\n801,red,,7\n8001,blue,x,8\n")
    categories = {"color": ("blue", "red"), "zip": ("801", "8001")}
    names = ("a", "color=red", "zip=801")
    found = read_feature_rows(path, names, categories=categories, allow_missing=False)
    np.testing.assert_array_equal(found, [[7, 1, 1], [8, 0, 0]])
    path.write_text("zip,color,a\n801,green,7\n")
    with pytest.raises(SettingsError, match=r"row 2, column 'color': 'green' is none of its categories \(blue, red\)"):
        read_feature_rows(path, names, categories=categories, allow_missing=False)
    path.write_text("color=red,a\n1,7\n")
    with pytest.raises(SettingsError, match="no column 'color', which the model learned from"):
        read_feature_rows(path, names, categories=categories, allow_missing=False)
