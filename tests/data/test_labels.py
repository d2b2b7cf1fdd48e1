"""Class labels: their order, and what is taken for a mistake."""

import pytest

from edgefed.data.labels import MAX_CLASSES, as_number, class_names, is_missing
from edgefed.errors import SettingsError


def names(labels: list[str], wanted: tuple[str, ...] = ()) -> tuple[str, ...]:
    return class_names("y", range(2, len(labels) + 2), labels, wanted)


def test_numbers_by_value_then_text_by_letters() -> None:
    assert names(["b", "10", "9", "a", "-1", "2.5"] * 3) == ("-1", "2.5", "9", "10", "a", "b")


@pytest.mark.parametrize("text", ["", " ", "NA", "nan", "NaN", "NULL", "None", "?", " na "])
def test_missing(text: str) -> None:
    assert is_missing(text)


@pytest.mark.parametrize("text", ["0", "no", "-", "n/a?", "nano"])
def test_not_missing(text: str) -> None:
    assert not is_missing(text)


@pytest.mark.parametrize(("text", "number"), [("1e3", 1000.0), (" 2 ", 2.0), ("1_000", None), ("", None), ("x", None)])
def test_as_number(text: str, number: float | None) -> None:
    assert as_number(text) == number


def test_none_is_a_class_where_classes_name_it() -> None:
    assert names(["none", "mild", "none"], ("none", "mild")) == ("none", "mild")
    with pytest.raises(SettingsError, match=r"row 2, column 'y': 'none' counts as no label; .* list it in classes"):
        names(["none", "mild", "none"])


@pytest.mark.parametrize(
    ("labels", "fine"),
    [
        ([str(number) for number in range(20)], True),  # twenty classes of one row: small, but whole numbers
        ([str(number) for number in range(21)], False),
        ([str(number % 21) for number in range(42)], True),
        ([f"{number % 21}.5" for number in range(420)], False),  # more than twenty fractions are measurements
        ([f"{number % 3}.5" for number in range(9)], True),
        (["0.5", "1.5", "2.5", "2.5"], False),
        (["0.5", "1.5"], True),
        ([f"name {number}" for number in range(30)], False),
        ([str(number % MAX_CLASSES) for number in range(3 * MAX_CLASSES)], True),
        ([str(number % (MAX_CLASSES + 1)) for number in range(3 * MAX_CLASSES)], False),
    ],
)
def test_what_looks_like_a_measured_number(labels: list[str], fine: bool) -> None:
    if fine:
        assert len(names(labels)) == len(set(labels))
    else:
        with pytest.raises(SettingsError, match=r"different labels in \d+ rows; is it a measured number\?"):
            names(labels)
        # Whoever lists the classes means them.
        assert names(labels, tuple(sorted(set(labels)))) == tuple(sorted(set(labels)))


def test_one_number_written_in_two_ways() -> None:
    with pytest.raises(SettingsError, match=r"labels '01' and '1' are the same number"):
        names(["1", "01", "2"] * 3)
    assert names(["1", "01", "2"] * 3, ("1", "2", "01")) == ("1", "2", "01")
