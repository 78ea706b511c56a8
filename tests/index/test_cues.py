"""What a question says about time."""

from __future__ import annotations

import calendar
import datetime as dt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimir_core.index.cues import MAX_CHARS, Date, asks_when, dates, within
from mimir_core.types import to_micros

days = st.dates(dt.date(1900, 1, 1), dt.date(2099, 12, 31))


def micros(*times: dt.date) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([to_micros(time) for time in times], np.int64)


@given(days, st.sampled_from(["%d %B %Y", "%d %B, %Y", "%B %d, %Y", "%b %d %Y", "%Y-%m-%d"]))
def test_a_day_is_read_however_it_is_written(day: dt.date, form: str) -> None:
    """A day written with a month's name, or as ISO 8601, is that day."""
    assert dates(f"What did Ana paint on {day.strftime(form)}?") == {Date(*day.timetuple()[:3])}


@pytest.mark.parametrize(
    ("question", "date"),
    [
        ("the 3rd of May", Date(None, 5, 3)),
        ("on Dec 1,2023", Date(2023, 12, 1)),
        ("on Sept. 2nd", Date(None, 9, 2)),
        ("May 2023", Date(2023, 5, None)),
        ("in early june", Date(None, 6, None)),
        ("since mid-October", Date(None, 10, None)),
        ("in 2023-05?", Date(2023, 5, None)),
        ("at 2023-05-08T10:00", Date(2023, 5, 8)),
        ("in may 2023", Date(2023, 5, None)),
        ("on 5 march, 2023", Date(2023, 3, 5)),
        ("dec 2022", Date(2022, 12, None)),
    ],
)
def test_parts_of_a_date(question: str, date: Date) -> None:
    """A day or a year may be missing, a month's name short, its first letter small."""
    assert dates(question) == {date}


@pytest.mark.parametrize(
    "question",
    [
        "What did June say to April?",
        "May I march in?",
        "which of these may fail",
        "Python 3 may fail",
        "dec 10 to hex",
        "CVE-2021-44228",
        "in 2023",
        "on 31 December 1850",
        "May 5, 1850",
        "in May '23",
        "in May\u201923",
        "last week",
        "am 8. Mai 2023",
        "x" * MAX_CHARS + " 8 May 2023",
        "",
    ],
)
def test_what_is_no_date(question: str) -> None:
    """Names and verbs that look like months, years alone, and other languages name no date."""
    assert dates(question) == set()


def test_several_dates() -> None:
    """Each date of a question counts, once."""
    found = dates("between 3 June 2022 and 2022-07-01, not on June 3, 2022")
    assert found == {Date(2022, 6, 3), Date(2022, 7, 1)}


@given(st.lists(days, max_size=20), days, st.booleans(), st.booleans())
def test_within_is_the_calendar(
    times: list[dt.date], asked: dt.date, any_day: bool, any_year: bool
) -> None:
    """A time lies within a date if its day, or one beside it, agrees with all the date says."""
    date = Date(None if any_year else asked.year, asked.month, None if any_day else asked.day)

    def agrees(day: dt.date) -> bool:
        parts = zip(date, (day.year, day.month, day.day), strict=True)
        return all(said is None or said == held for said, held in parts)

    near = [dt.timedelta(days=shift) for shift in (-1, 0, 1)]
    expected = [any(agrees(time + shift) for shift in near) for time in times]
    assert within(micros(*times), {date}).tolist() == expected


def test_a_day_that_is_not_there() -> None:
    """The 31st of February holds no time, and no date none either."""
    year = micros(*(dt.date(2023, month, calendar.monthrange(2023, month)[1]) for month in (2, 3)))
    assert not within(year, {Date(2023, 2, 31)}).any()
    assert not within(year, set()).any()


@pytest.mark.parametrize(
    ("question", "asks"),
    [
        ("When did Ana move?", True),
        ("and when will she be back", True),
        ("When is a cast safe?", False),
        ("What happens when it fails?", False),
        ("whenever did", False),
    ],
)
def test_asking_when(question: str, asks: bool) -> None:
    """What was and what will be is asked for its time; what holds in general is not."""
    assert asks_when(question) is asks
