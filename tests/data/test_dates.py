"""What is a date among the cells of a text column."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefed.data.dates import are_dates, is_date

WRITTEN = ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%y", "%Y/%m/%d")
WITH_TIMES = ("%d.%m.%Y %H:%M", "%d.%m.%Y, %H:%M:%S", "%m/%d/%Y %I:%M %p", "%d-%m-%Y %H:%M:%S.%f", "%Y-%m-%dT%H:%MZ")


@given(st.datetimes(), st.sampled_from([*WRITTEN, *WITH_TIMES]))
def test_a_day_is_a_date_however_it_is_written(moment, written):
    moment = moment.replace(year=1000 + moment.year % 9000)
    assert is_date(moment.strftime(written))
    assert is_date(pd.Timestamp(moment, tz="UTC").isoformat())


@pytest.mark.parametrize(
    "text",
    ["red", "", "2026-13-01", "31.02.2026", "13/13/2026", "26.11/2026", "1.2.3", "8001/12", "A12", "26.11.2026 25:00"],
)
def test_what_is_none(text):
    assert not is_date(text)


def test_a_column_of_dates_may_hold_a_slip_in_ten():
    days = [f"{day:02}.11.2026" for day in range(1, 10)]
    assert are_dates([*days, "unknown"])
    assert not are_dates([*days, "unknown", "?"])
    assert not are_dates([])
