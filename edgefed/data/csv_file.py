"""A person's own CSV file, read with one clear line for whatever is wrong with it."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from edgefed.categories import columns_of, feature_names, indicators
from edgefed.data.cells import MAX_COLUMNS, MEANS_FILL, Reading
from edgefed.data.empty_cells import empty_cells
from edgefed.data.labels import as_number, class_names, natural_order
from edgefed.errors import SettingsError, read_utf8, shown, unknown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edgefed.data.cells import Row
    from edgefed.data.empty_cells import EmptyCells


@dataclass(frozen=True)
class Table:
    """A CSV's contents: float32 features [rows, features], int64 labels and clients [rows], and names.

    ``columns`` are those that the features come from; ``categories`` are the values of the categorical ones.
    ``empty`` are columns with empty cells, where those are read.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    columns: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    clients: NDArray[np.int64] | None
    client_names: tuple[str, ...]
    label_name: str = ""
    empty: tuple[EmptyCells, ...] = ()


def read_csv(
    path: str | Path,
    *,
    label: str = "",
    client: str = "",
    features: Sequence[str] = (),
    drop: Sequence[str] = (),
    categories: Mapping[str, Sequence[str]] | None = None,
    classes: Sequence[str] = (),
    allow_missing: bool = False,
    partial: bool = False,
    ask_label: bool = False,
) -> Table:
    """Read a comma-separated file with a header line.

    Parameters
    ----------
    path : path
        UTF-8 text (a byte-order mark is fine).
    label : str
        The label column; empty takes the last one that has no other part.
    client : str
        The column that names each row's client; empty for none.
    features, drop : sequence of str
        Columns to learn from (empty: all the rest), columns to leave out.
    categories : mapping of str to sequence of str
        Feature columns that are categorical, and their values (empty: the sorted union of those in the file). Each
        value becomes an indicator feature, ``color=blue``: 1 where a cell holds it, else 0.
    classes : sequence of str
        Labels in order; empty takes the sorted union (numbers in numeric order).
    allow_missing : bool
        Read an empty feature cell as NaN instead of refusing it.
    partial : bool
        The file is one client's part of the data: one class will do, and so will no row at all.
    ask_label : bool
        Where no label column is named, say which is taken for it before a column of text is proposed as a category.

    Raises
    ------
    SettingsError
        One line: the file, the row (the line on which it starts, as an editor counts) and column, what was
        found, what would do.
    """
    path = Path(path)
    header, rows = _records(path, fewest_columns=2, fewest_rows=0 if partial else 1, strict=partial)
    columns = _columns(path, header, label, client, features, drop, categories or {})
    taken = header[columns.label] if ask_label and not label else ""
    reading = Reading(categories or {}, allow_missing, partial, drop, taken_label=taken)
    values, known = _features(path, reading, header, rows, columns.features)
    sources = tuple(header[column] for column in columns.features)
    names_of_features = feature_names(sources, known)
    _check_names(path, names_of_features, known)
    for place, name in enumerate(names_of_features):
        if not partial and np.isnan(values[:, place]).all():
            (column,) = columns_of([name], known)
            _refuse(path, f"column '{shown(column)}': every cell is empty; drop it with drop-columns")
    label_name, labels = header[columns.label], [row[columns.label].strip() for _, row in rows]
    if label_name in labels:
        _refuse(path, f"row 1: '{shown(label_name)}' is a label too, expected a header line with column names")
    lines = [line for line, _ in rows]
    try:
        names = class_names(label_name, lines, labels, classes, partial=partial)
    except SettingsError as error:
        _refuse(path, str(error), error.told)
    index = {name: position for position, name in enumerate(names)}
    clients, client_names = _clients(path, header, rows, columns.client)
    return Table(
        features=values,
        labels=np.array([index[text] for text in labels], np.int64),
        columns=sources,
        categories=known,
        feature_names=names_of_features,
        class_names=names,
        clients=clients,
        client_names=client_names,
        label_name=label_name,
        empty=empty_cells(header, rows, columns.features, known) if allow_missing else (),
    )


def read_feature_rows(
    path: str | Path,
    names: Sequence[str],
    *,
    categories: Mapping[str, Sequence[str]] | None = None,
    allow_missing: bool,
    else_said: str = MEANS_FILL,
) -> NDArray[np.float32]:
    """Read named features from a CSV file's columns [rows, features]; other columns are passed over.

    Parameters
    ----------
    path : path
    names : sequence of str
    categories : mapping of str to sequence of str
        The values of columns whose indicators the names may be.
    allow_missing : bool
        Read an empty cell as NaN; else it is refused, and ``else_said`` is what would do.
    else_said : str

    Raises
    ------
    SettingsError
        One line, as :func:`read_csv`.
    """
    path = Path(path)
    header, rows = _records(path, fewest_columns=1, fewest_rows=1)
    columns = columns_of(names, categories or {})
    for column in columns:
        if column not in header:
            _refuse(path, f"no column '{shown(column)}', which the model learned from")
    reading = Reading(categories or {}, allow_missing, else_said=else_said)
    values, known = _features(path, reading, header, rows, [header.index(column) for column in columns])
    there = feature_names(columns, known)
    return values if there == tuple(names) else values[:, [there.index(name) for name in names]]


def _features(
    path: Path, reading: Reading, header: list[str], rows: list[Row], columns: list[int]
) -> tuple[NDArray[np.float32], dict[str, tuple[str, ...]]]:
    try:
        return reading.features(header, rows, columns)
    except SettingsError as error:
        _refuse(path, str(error), error.told)


def _check_names(path: Path, names: tuple[str, ...], categories: Mapping[str, Sequence[str]]) -> None:
    """Refuse an indicator that has another feature's name."""
    twice = next((name for name, times in Counter(names).items() if times > 1), None)
    if twice is not None:
        column, _ = indicators(categories)[twice]
        line = f"the indicator '{shown(twice)}' of column '{shown(column)}' is another feature's name: rename one"
        _refuse(path, line, line)


def _refuse(path: Path, line: str, told: str = "") -> NoReturn:
    raise SettingsError(f"{path}: {line}", told) from None


def _refuse_shape(path: Path, line: str) -> NoReturn:
    """Refuse for what is no row's content: the line may leave the machine, the path stays."""
    _refuse(path, line, told=line)


def _records(path: Path, fewest_columns: int, fewest_rows: int, strict: bool = False) -> tuple[list[str], list[Row]]:
    """Return the header and the rows, all of one width."""
    records = _parsed(path, read_utf8(path, "CSV text"))
    while records and not any(cell.strip() for cell in records[-1][1]):
        records.pop()  # a spreadsheet's empty rows below the table
    if not records:
        _refuse_shape(path, "empty; expected a header line and rows")
    header = [name.strip() for name in records[0][1]]
    _check_header(path, header, fewest_columns, strict)
    rows = records[1:]
    if len(rows) < fewest_rows:
        _refuse_shape(path, "a header line but no rows")
    for line, row in rows:
        if len(row) != len(header):
            _refuse_shape(path, f"row {line}: {len(row)} cells, expected {len(header)} as in the header")
    return header, rows


def _parsed(path: Path, text: str) -> list[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    records, line = [], 1
    try:
        for cells in reader:
            if cells:  # a blank line has none
                records.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        _refuse_shape(path, f"row {line}: not CSV ({error}); is a quote left open, or one inside a cell not doubled?")
    return records


def _check_header(path: Path, header: list[str], fewest_columns: int, strict: bool) -> None:
    if len(header) > MAX_COLUMNS:
        _refuse_shape(path, f"{len(header)} columns; at most {MAX_COLUMNS} are read (is the table transposed?)")
    if len(header) < fewest_columns:
        hint = next((mark for mark in (";", "\t", "|") if mark in header[0]), None)
        separated = f"; it looks separated by {hint!r}, save it with commas" if hint else ""
        _refuse_shape(path, f"one column only, expected features and a label separated by commas{separated}")
    if all(as_number(name) is not None for name in header):
        _refuse_shape(path, "row 1 holds numbers only, expected a header line with column names")
    number = next((name for name in header if as_number(name) is not None), None)
    if strict and number is not None:
        # What a device calls its columns leaves it: a file without a header line would give away its first row.
        line = "row 1: a column's name is a number, expected a header line of names"
        _refuse(path, f"{line}; '{shown(number)}' looks like a cell: add the header line, or rename the column", line)
    times = Counter(header)
    for position, name in enumerate(header):
        if not name:
            _refuse_shape(path, f"row 1: column {position + 1} has no name; give it one, or remove the column")
        if times[name] > 1:
            missing = "; is the header line missing?" if as_number(name) is not None else ", expected different names"
            # Without a header line, the name is a cell.
            _refuse(path, f"row 1: two columns are named '{shown(name)}'{missing}", "row 1: two columns of one name")


@dataclass(frozen=True)
class _Columns:
    label: int
    client: int | None
    features: list[int]


def _columns(
    path: Path,
    header: list[str],
    label: str,
    client: str,
    features: Sequence[str],
    drop: Sequence[str],
    categories: Mapping[str, Sequence[str]],
) -> _Columns:
    def find(setting: str, name: str) -> int:
        if name not in header:
            _refuse_shape(path, f"{setting}={shown(name)}: {unknown('column', name, header)}")
        return header.index(name)

    dropped = {find("drop-columns", name) for name in drop}
    chosen = [find("feature-columns", name) for name in features]
    categorical = {find("categories", name) for name in categories}
    client_at = find("client-column", client) if client else None
    taken = {*dropped, *chosen, client_at}
    left = [column for column in range(len(header)) if column not in taken]
    if not label and not left:
        _refuse_shape(path, "no column is left for the label beside the features, the client and what is dropped")
    label_at = find("label-column", label) if label else left[-1]
    for part, column in (("label-column", label_at), ("client-column", client_at)):
        if column in dropped:
            _refuse_shape(path, f"{part}={shown(header[column])}: the same column is in drop-columns")
        if column in chosen:
            _refuse_shape(path, f"{part}={shown(header[column])}: the same column is in feature-columns")
        if column in categorical:
            last = " (the last column, since none is named)" if part == "label-column" and not label else ""
            _refuse_shape(path, f"{part}={shown(header[column])}{last}: the same column is in categories")
    if label_at == client_at:
        _refuse_shape(path, f"label-column={shown(label)}: the same column is the client-column")
    chosen = chosen or [c for c in range(len(header)) if c not in {*dropped, client_at, label_at}]
    if not chosen:
        _refuse_shape(path, "no feature column is left beside the label")
    return _Columns(label_at, client_at, chosen)


def _clients(
    path: Path, header: list[str], rows: list[Row], column: int | None
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Return each row's client and the clients' names."""
    if column is None:
        return None, ()
    found = [row[column].strip() for _, row in rows]
    for (line, _), name in zip(rows, found, strict=True):
        if not name:
            _refuse(path, f"row {line}, column '{shown(header[column])}': empty cell, expected the row's client")
    names = tuple(sorted(set(found), key=natural_order))
    index = {name: position for position, name in enumerate(names)}
    return np.array([index[name] for name in found], np.int64), names
