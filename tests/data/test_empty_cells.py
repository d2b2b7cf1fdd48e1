"""Which cells of a file count as empty, by hand."""

import pytest

from edgefed.data.csv_file import read_csv
from edgefed.data.empty_cells import EmptyCells
from edgefed.notes import notes_of_comparison

FILE = "garage,pressure,size,y\nnone,1.5,S,a\nyes,NA,none,b\n,2,M,a\nNone,nan,S,b\nno,?,S,a\nyes,1,M,b\n"


@pytest.fixture
def path(tmp_path):
    (tmp_path / "homes.csv").write_text(FILE, encoding="utf-8")
    return tmp_path / "homes.csv"


def test_a_word_for_nothing_is_named_where_it_could_be_a_value(path):
    table = read_csv(path, categories={"garage": (), "size": ("S", "M", "none")}, allow_missing=True)

    assert table.categories["garage"] == ("no", "yes")
    assert table.empty == (EmptyCells("garage", 3, 6, ("None", "none")), EmptyCells("pressure", 3, 6))


def test_nothing_is_empty_where_empty_cells_are_refused(path):
    listed = {"size": ("S", "M", "none")}
    assert read_csv(path, drop=["garage", "pressure"], categories=listed).empty == ()


def test_the_note_names_columns_and_stays_short():
    def noted(*rows):
        keys = ("column", "cells", "words")
        return notes_of_comparison({"empty_cells": [{"rows": 600} | dict(zip(keys, row, strict=True)) for row in rows]})

    assert noted() == []
    assert noted(("garage", 201, ["none"]), ("pressure", 12, [])) == [
        "missing=mean fills 201 of 600 cells of garage ('none' counts as empty: list it in categories where it is a "
        "value), 12 of pressure"
    ]
    (line,) = noted(("a", 9, ["NA", "none"]), *((name, 1, []) for name in "bcdefg"))
    assert "('NA' and 'none' count as empty: list them in categories where they are a value)" in line
    assert line.endswith(", 1 of e, and more in 2 more columns")
