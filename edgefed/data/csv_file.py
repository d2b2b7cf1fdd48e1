"""A person's own CSV file, read with one clear line for whatever is wrong with it."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import numpy as np

from edgefed.config import SettingsError, unknown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: Wider tables than this are a mistake (a transposed file) or a job for another tool.
MAX_COLUMNS = 10_000
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_MISSING = {"", "na", "nan", "null", "none", "?"}


@dataclass(frozen=True)
class Table:
    """A CSV's contents: float32 features [rows, features], int64 labels and clients [rows], and names."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]
    clients: NDArray[np.int64] | None
    client_names: tuple[str, ...]


def read_csv(
    path: str | Path,
    *,
    label: str = "",
    client: str = "",
    features: Sequence[str] = (),
    drop: Sequence[str] = (),
    classes: Sequence[str] = (),
    allow_missing: bool = False,
) -> Table:
    """Read a comma-separated file with a header line.

    Parameters
    ----------
    path : path
        UTF-8 text (a byte-order mark is fine).
    label : str
        The label column; empty takes the last one that is neither the client column nor dropped.
    client : str
        The column that names each row's client; empty for none.
    features, drop : sequence of str
        Columns to learn from (empty: all the rest), columns to leave out.
    classes : sequence of str
        Labels in order; empty takes the sorted union (numbers in numeric order).
    allow_missing : bool
        Read an empty feature cell as NaN instead of refusing it.

    Raises
    ------
    SettingsError
        One line: the file, the row (as an editor counts lines) and column, what was found, what would do.
    """
    path = Path(path)
    header, rows = _records(path)
    columns = _columns(path, header, label, client, features, drop)
    cells = np.full((len(rows), len(columns.features)), np.nan)
    for position, (line, row) in enumerate(rows):
        for place, column in enumerate(columns.features):
            cells[position, place] = _number(path, line, header[column], row[column], allow_missing)
    labels = [row[columns.label].strip() for _, row in rows]
    class_names = _class_names(path, header[columns.label], rows, labels, classes)
    clients, client_names = None, ()
    if columns.client is not None:
        names = [row[columns.client].strip() for _, row in rows]
        for (line, _), name in zip(rows, names, strict=True):
            if not name:
                _refuse(path, f"row {line}, column '{header[columns.client]}': empty client name")
        client_names = tuple(sorted(set(names), key=_natural_order))
        index = {name: position for position, name in enumerate(client_names)}
        clients = np.array([index[name] for name in names], np.int64)
    for place, column in enumerate(columns.features):
        if np.isnan(cells[:, place]).all():
            _refuse(path, f"column '{header[column]}': every cell is empty; drop it with drop-columns")
    class_index = {name: position for position, name in enumerate(class_names)}
    return Table(
        features=cells.astype(np.float32),
        labels=np.array([class_index[text] for text in labels], np.int64),
        feature_names=tuple(header[column] for column in columns.features),
        class_names=class_names,
        clients=clients,
        client_names=client_names,
    )


def read_feature_rows(path: str | Path, names: Sequence[str], *, allow_missing: bool) -> NDArray[np.float32]:
    """Read named feature columns of a CSV file [rows, features]; other columns are passed over.

    Raises
    ------
    SettingsError
        One line, as :func:`read_csv`.
    """
    path = Path(path)
    header, rows = _records(path)
    for name in names:
        if name not in header:
            _refuse(path, f"no column '{name}', which the model learned from")
    places = [header.index(name) for name in names]
    cells = [[_number(path, line, header[place], row[place], allow_missing) for place in places] for line, row in rows]
    return np.array(cells, np.float32)


def _refuse(path: Path, line: str) -> NoReturn:
    raise SettingsError(f"{path}: {line}")


def _records(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header and (line number, cells) for each row, all of one width."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.reader(handle, strict=True)
            records = [(reader.line_num, record) for record in reader if any(cell.strip() for cell in record)]
    except FileNotFoundError:
        _refuse(path, "no such file")
    except IsADirectoryError:
        _refuse(path, "is a folder, expected a CSV file")
    except UnicodeDecodeError as error:
        _refuse(path, f"not UTF-8 text (byte {error.start}); save it as UTF-8")
    except csv.Error as error:
        _refuse(path, f"row {reader.line_num}: not CSV ({error})")
    except OSError as error:
        _refuse(path, f"cannot be read ({error.strerror})")
    if not records:
        _refuse(path, "empty; expected a header line and rows")
    header = [name.strip() for name in records[0][1]]
    if len(header) > MAX_COLUMNS:
        _refuse(path, f"{len(header)} columns; at most {MAX_COLUMNS} are read (is the table transposed?)")
    if len(header) < 2:
        hint = next((mark for mark in (";", "\t", "|") if mark in header[0]), None)
        separated = f"; it looks separated by {hint!r}, save it with commas" if hint else ""
        _refuse(path, f"one column only, expected features and a label separated by commas{separated}")
    for position, name in enumerate(header):
        if not name:
            _refuse(path, f"row 1: column {position + 1} has no name")
        if name in header[:position]:
            _refuse(path, f"row 1: two columns are named '{name}'")
    if all(_is_number(name) for name in header):
        _refuse(path, "row 1 holds numbers only, expected a header line with column names")
    rows = records[1:]
    if not rows:
        _refuse(path, "a header line but no rows")
    for line, record in rows:
        if len(record) != len(header):
            _refuse(path, f"row {line}: {len(record)} cells, expected {len(header)} as in the header")
    return header, rows


@dataclass(frozen=True)
class _Columns:
    label: int
    client: int | None
    features: list[int]


def _columns(
    path: Path, header: list[str], label: str, client: str, features: Sequence[str], drop: Sequence[str]
) -> _Columns:
    def find(setting: str, name: str) -> int:
        if name not in header:
            _refuse(path, f"{setting}={name}: {unknown('column', name, header)}")
        return header.index(name)

    dropped = {find("drop-columns", name) for name in drop}
    client_at = find("client-column", client) if client else None
    left = [column for column in range(len(header)) if column not in dropped and column != client_at]
    if not left:
        _refuse(path, "every column is dropped")
    label_at = find("label-column", label) if label else left[-1]
    if label_at in dropped:
        _refuse(path, f"label-column={label}: the same column is in drop-columns")
    if label_at == client_at:
        _refuse(path, f"label-column={label}: the same column is the client-column")
    chosen = (
        [find("feature-columns", name) for name in features]
        if features
        else [column for column in left if column != label_at]
    )
    for column in chosen:
        if column in (label_at, client_at) or column in dropped:
            _refuse(path, f"feature-columns: '{header[column]}' is the label, the client or a dropped column")
    if not chosen:
        _refuse(path, "no feature column is left beside the label")
    return _Columns(label_at, client_at, chosen)


def _number(path: Path, line: int, column: str, text: str, allow_missing: bool) -> float:
    text = text.strip()
    where = f"row {line}, column '{column}'"
    if text.lower() in _MISSING:
        if allow_missing:
            return math.nan
        found = "empty cell" if not text else f"'{text}'"
        _refuse(path, f"{where}: {found}; missing=mean fills it with the feature's mean")
    try:
        value = float(text)
    except ValueError:
        shown = text if len(text) <= 40 else text[:37] + "..."
        _refuse(path, f"{where}: '{shown}' is not a number; leave the column out with drop-columns={column}")
    if not abs(value) <= _FLOAT32_MAX:
        _refuse(path, f"{where}: {text} is out of range, expected a number within ±{_FLOAT32_MAX:.2g}")
    return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _natural_order(name: str) -> tuple[int, float, str]:
    """Order numbers by value, then text by letters."""
    return (0, float(name), name) if _is_number(name) and math.isfinite(float(name)) else (1, 0.0, name)


def _class_names(
    path: Path,
    column: str,
    rows: list[tuple[int, list[str]]],
    labels: list[str],
    classes: Sequence[str],
) -> tuple[str, ...]:
    for (line, _), text in zip(rows, labels, strict=True):
        if text.lower() in _MISSING:
            _refuse(path, f"row {line}, column '{column}': a row without a label; remove it or label it")
        if classes and text not in classes:
            _refuse(path, f"row {line}, column '{column}': '{text}' is not in classes={','.join(classes)}")
    found = set(labels)
    if len(found) < 2:
        _refuse(path, f"column '{column}': one class only ('{labels[0]}'), expected at least two")
    if len(found) > 1000 or (len(found) > 20 and len(found) > len(labels) / 2):
        _refuse(
            path,
            f"column '{column}': {len(found)} different labels in {len(labels)} rows; "
            "is it a measured number? name the label column with label-column",
        )
    return tuple(classes) or tuple(sorted(found, key=_natural_order))
