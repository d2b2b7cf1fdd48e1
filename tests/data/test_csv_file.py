"""A person's CSV file: read as it was meant, or one line on what is wrong, where."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefed.data.csv_file import Table, read_csv, read_feature_rows
from edgefed.errors import SettingsError

PLAIN = b"a,b,y\n1,2,u\n3,4,v\n5,6,u\n"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return one file's path, written anew by each test."""
    return tmp_path_factory.mktemp("csv") / "rows.csv"


def read(path: Path, content: bytes, **how: Any) -> Table:
    path.write_bytes(content)
    return read_csv(path, **how)


def refusal(path: Path, content: bytes, **how: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        read(path, content, **how)
    return str(caught.value).removeprefix(f"{path}: ")


# ---- what is read
def test_a_plain_file(path: Path) -> None:
    table = read(path, PLAIN)
    np.testing.assert_array_equal(table.features, np.array([[1, 2], [3, 4], [5, 6]], np.float32))
    assert [table.features.dtype.name, table.labels.dtype.name] == ["float32", "int64"]
    assert (table.labels.tolist(), table.class_names) == ([0, 1, 0], ("u", "v"))
    assert table.feature_names == ("a", "b")
    assert (table.clients, table.client_names) == (None, ())


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.replace(b"\n", b"\r\n"),
        PLAIN.replace(b"\n", b"\r"),
        PLAIN.removesuffix(b"\n"),
        b"\xef\xbb\xbf" + PLAIN,
        b"\n\n" + PLAIN.replace(b"\n", b"\n\n"),
        PLAIN + b",,\n , ,\n",
        PLAIN.replace(b",", b" , "),
        b'"a","b","y"\n"1","2","u"\n"3","4","v"\n"5","6","u"\n',
        PLAIN.replace(b"1,2", b"1.0,2e0").replace(b"3,4", b"+3,.4e1"),
    ],
    ids=["CRLF", "CR", "no last line end", "mark", "blank lines", "empty rows below", "spaces", "quotes", "numbers"],
)
def test_the_same_table_written_differently(path: Path, content: bytes) -> None:
    table, plain = read(path, content), read(path, PLAIN)
    np.testing.assert_array_equal(table.features, plain.features)
    assert (table.labels.tolist(), table.class_names) == (plain.labels.tolist(), plain.class_names)
    assert table.feature_names == plain.feature_names


numbers = st.floats(min_value=-(2.0**100), max_value=2.0**100) | st.integers(-(10**6), 10**6)
labels = st.sampled_from(["u", "v", "a b", 'say "ja"', "x,y", "zwei\nZeilen", "é"])


@settings(max_examples=40)
@given(st.lists(st.tuples(numbers, numbers, labels), min_size=2, max_size=12))
def test_read_back_what_pandas_wrote(path: Path, rows: list[tuple[float, float, str]]) -> None:
    frame = pd.DataFrame(rows, columns=["a", "first, last", "y"])
    content = frame.to_csv(index=False).encode()
    classes = sorted(set(frame["y"]))
    if len(classes) == 1:
        assert "one class only" in refusal(path, content)
        return
    table = read(path, content)
    assert table.feature_names == ("a", "first, last")
    np.testing.assert_array_equal(table.features, frame[["a", "first, last"]].to_numpy(np.float64).astype(np.float32))
    assert list(table.class_names) == classes
    assert [table.class_names[label] for label in table.labels] == frame["y"].tolist()


# ---- which column is what
def test_the_label_is_the_last_column_left(path: Path) -> None:
    content = b"y,a,b,site,note\nu,1,2,n,x\nv,3,4,s,x\n"
    table = read(path, content, label="y", client="site", drop=("note",))
    assert table.feature_names == ("a", "b")
    assert table.class_names == ("u", "v")
    content = b"a,b,y,site,note\n1,2,u,n,x\n3,4,v,s,x\n"
    assert read(path, content, client="site", drop=("note",)).class_names == ("u", "v")
    # Not a column that was chosen as a feature.
    assert read(path, content, features=("b",), client="site", drop=("note",)).class_names == ("u", "v")


def test_features_come_in_the_order_asked_for(path: Path) -> None:
    table = read(path, PLAIN, features=("b", "a"))
    assert table.feature_names == ("b", "a")
    np.testing.assert_array_equal(table.features[0], [2, 1])


def test_numbers_as_labels_and_clients_are_in_numeric_order(path: Path) -> None:
    table = read(path, b"site,a,y\n10,1,10\n9,1,-2\n9,1,9\nb,1,9\n10,1,10\na,1,-2\n", client="site")
    assert table.class_names == ("-2", "9", "10")
    assert table.labels.tolist() == [2, 0, 1, 1, 2, 0]
    assert table.client_names == ("9", "10", "a", "b")
    assert table.clients is not None
    assert table.clients.tolist() == [1, 0, 0, 3, 1, 2]


def test_a_class_without_rows_keeps_its_place(path: Path) -> None:
    table = read(path, PLAIN, classes=("v", "w", "u"))
    assert (table.class_names, table.labels.tolist()) == (("v", "w", "u"), [2, 0, 2])


def test_columns_named_by_numbers_beside_a_named_label(path: Path) -> None:
    table = read(path, b"0,1,label\n0,1,0\n1,0,1\n")
    assert table.feature_names == ("0", "1")


# ---- empty cells
def test_missing_cells_become_nan_where_allowed(path: Path) -> None:
    table = read(path, b"a,b,y\n,2,u\n3,NA,v\n5,?,u\n 7 ,null,v\n9,1,v\n", allow_missing=True)
    nan = np.nan
    np.testing.assert_array_equal(
        table.features, np.array([[nan, 2], [3, nan], [5, nan], [7, nan], [9, 1]], np.float32)
    )


def test_no_other_text_counts_as_missing(path: Path) -> None:
    assert refusal(path, b"a,y\n1,u\n-,v\n", allow_missing=True).startswith("row 3, column 'a': '-' is not a number")


# ---- where a mistake is
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("before", range(4))
def test_rows_are_counted_as_an_editor_counts_lines(path: Path, end: bytes, before: int) -> None:
    """Rows above the mistake span one to three lines each, blank lines between them."""
    above = [b"1,2,u", b'1,2,"two\nlines"', b"", b'"1\n\n",2,u'][:before]
    lines = end.join([b"a,b,y", *(row.replace(b"\n", end) for row in above), b""])
    bad = len(lines.splitlines()) + 1
    assert refusal(path, lines + b"3,red,v" + end + b"4,5,u").startswith(f"row {bad}, column 'b': 'red'")
    assert refusal(path, lines + b"3,v" + end).startswith(f"row {bad}: 2 cells")
    assert refusal(path, lines + b'3,"4,v' + end + b"5,6,u" + end).startswith(f"row {bad}: not CSV")
    assert refusal(path, lines + b"3,4,\xff" + end).startswith(f"row {bad}: not UTF-8")
    assert refusal(path, lines + b"3,4," + end + b"5,6,w" + end).startswith(f"row {bad}, column 'y': a row without")


def test_a_row_that_spans_lines_is_named_by_its_first(path: Path) -> None:
    assert refusal(path, b'a,b,y\n1,2,u\n"3\n\n",red,v\n').startswith("row 3, column 'b'")


def test_the_first_mistake_is_named(path: Path) -> None:
    assert refusal(path, b"a,b,y\n1,2,u\n3,x,v\nz,4,v\n").startswith("row 3, column 'b': 'x'")


def test_a_long_cell_is_cut_short(path: Path) -> None:
    line = refusal(path, b"a,y\n" + b"x" * 100_000 + b",u\n")
    assert len(line) < 200
    assert "xxx..." in line


# ---- any bytes
TOKENS = [
    b"",
    b"\r",
    b"\n",
    b'"',
    b'""',
    b",",
    b"\0",
    b"\xef\xbb\xbf",
    b"nan",
    b"-inf",
    b"1e39",
    b"\xff",
    b" ",
    b"y",
    b"_",
]


@settings(max_examples=150)
@given(st.lists(st.tuples(st.integers(0, 24), st.integers(0, 3), st.sampled_from(TOKENS)), min_size=1, max_size=4))
def test_any_bytes_are_a_table_or_one_line(path: Path, edits: list[tuple[int, int, bytes]]) -> None:
    content = PLAIN
    for place, width, token in edits:
        content = content[:place] + token + content[place + width :]
    table = table_or_line(path, content)
    if isinstance(table, str):
        assert table.startswith(f"{path}: ")
        assert table.isprintable()
    else:
        assert np.isfinite(table.features).all()
        assert len(table.features) == len(table.labels) <= content.count(b"\n") + content.count(b"\r")
        assert set(np.unique(table.labels)) == set(range(len(table.class_names)))


def table_or_line(path: Path, content: bytes) -> Table | str:
    try:
        return read(path, content)
    except SettingsError as error:
        return str(error)


# ---- new rows for a model
def test_feature_rows_in_the_models_order(path: Path) -> None:
    path.write_bytes(b"note,b,y,a\nx,2,u,1\n,4,,3\n")
    found = read_feature_rows(path, ["a", "b"], allow_missing=False)
    np.testing.assert_array_equal(found, np.array([[1, 2], [3, 4]], np.float32))
    assert found.dtype == np.float32


def test_one_feature_alone_is_a_table(path: Path) -> None:
    path.write_bytes(b"a\n1\n2\n")
    assert read_feature_rows(path, ["a"], allow_missing=False).tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"a\n1\n", "no column 'b', which the model learned from"),
        (b"a,b\n1,\n", "row 2, column 'b': empty cell"),
        (b"a,b\n1,2\n,\n3,4\n", "row 3, column 'a': empty cell"),
        (b"a;b\n1;2\n", "no column 'a', which the model learned from"),
    ],
)
def test_feature_rows_that_a_model_cannot_take(path: Path, content: bytes, says: str) -> None:
    path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        read_feature_rows(path, ["a", "b"], allow_missing=False)
    assert str(caught.value).startswith(f"{path}: {says}")


def test_feature_rows_with_missing_cells(path: Path) -> None:
    path.write_bytes(b"a,b\n1,\n,2\n")
    found = read_feature_rows(path, ["a", "b"], allow_missing=True)
    np.testing.assert_array_equal(found, [[1, np.nan], [np.nan, 2]])


def test_all_text_columns_are_named_at_once(path: Path) -> None:
    """A file's names, dates and notes are left out by one line, which keeps what is left out already."""
    rows = b"id,when,a,b,note,y\n7,monday,1,2,fine,no\n8,tuesday,3,red,,yes\n"

    assert refusal(path, rows, drop=("id",)).endswith("drop-columns=id,when,b,note")
    last = refusal(path, rows, drop=("id", "when", "note"))
    assert last.startswith("row 3, column 'b': 'red' is not a number")
    assert last.endswith("drop-columns=id,when,note,b")
