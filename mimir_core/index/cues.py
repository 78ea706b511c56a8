"""What a question says about time.

"What did Ana paint in May 2023?" names a date, and when a memory was made is known: of a question's
evidence on conversations, nine tenths lie within the dates that it names. "When did Ana move?" asks
for one, and its evidence says "last Friday", "a week ago": three quarters of it, where a tenth of
all turns do.

Months are read in English, and numbers as ISO 8601; of other languages nothing is read, and nothing
changes. A year alone names too much, "last week" needs to know when it was asked, and a date of a
year before 1900 or written '23 is not read at all.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DATED, TELLING = 1.5, 0.5
"""What a memory gains, as a part of its worth, for lying within a date that the question names, and
for telling of time where the question asks when."""

MAX_CHARS = 1000
"""So much of a query is read: what is longer is not a question."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = (
    "january|february|march|april|may|june|july|august|september|sept|october|november|december|"
    + "|".join(_MONTHS).lower()
)
_PLAIN = re.compile("[A-Z]|january|february|april|june|july|august|september|october|november")
# A month counts beside a number or after such a word: April and June are names too.
_DATE = re.compile(
    r"(?:\b(?P<before>\d\d?)(?:st|nd|rd|th)?,? (?:of )?"
    r"|\b(?P<cue>(?i:in|during|of|early|late|mid|since|until|by|last))[ -])?"
    rf"\b(?P<name>(?i:{_MONTH}))\b\.?"
    r"(?: (?P<after>\d\d?)(?:st|nd|rd|th)?(?!\d))?(?:,? ?(?:of )?(?P<year>(?:19|20)\d\d)\b)?"
    r"(?!,? ?(?:of )?(?:\d\d?(?:st|nd|rd|th)?,? )?(?:\d{3,4}\b|['\u2019]\d\d\b))"
    r"|(?<!\d)(?P<iso>(?:19|20)\d\d-\d\d(?:-\d\d)?)(?!\d)"
)
_HINTS = (*map(str.lower, _MONTHS), "19", "20")
_ASKS_WHEN = re.compile(r"\bwhen (?:did|was|were|will)\b", re.IGNORECASE)

TIME_WORDS = (
    "yesterday ago tomorrow tonight week weekend month year"
    " monday tuesday wednesday thursday friday saturday sunday"
    " january february march april june july august september october november december"
)
_MICROS_A_DAY = 86_400_000_000
_MARGIN = np.array([[-1], [0], [1]])  # days; time zones differ


class Date(NamedTuple):
    """A day, or a month; of any year if that is None."""

    year: int | None
    month: int
    day: int | None


def dates(question: str) -> set[Date]:
    """The dates that a question names; months at least."""
    text = question[:MAX_CHARS]
    if not any(map(text.lower().__contains__, _HINTS)):
        return set()  # ten times sooner than the expression says so
    found = map(_date, _DATE.finditer(text))
    return {date for date in found if date is not None}


def asks_when(question: str) -> bool:
    """Whether it asks for a point in time; "when is it safe" does not."""
    return _ASKS_WHEN.search(question[:MAX_CHARS]) is not None


def within(times: NDArray[np.int64], named: set[Date]) -> NDArray[np.bool_]:
    """Which times lie in one of the dates, give or take a day.

    Args:
        times: Microseconds since 1970 UTC, [n].
    """
    days = (times // _MICROS_A_DAY + _MARGIN).astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    year, month = np.divmod(months.astype(np.int64), 12)
    day = (days - months).astype(np.int64)
    found = np.zeros(days.shape, np.bool_)
    for date in named:
        hit = month == date.month - 1
        if date.year is not None:
            hit &= year == date.year - 1970
        if date.day is not None:
            hit &= day == date.day - 1
        found |= hit
    hits: NDArray[np.bool_] = np.logical_or.reduce(found)
    return hits


def _date(match: re.Match[str]) -> Date | None:
    if match["iso"]:
        year, month, *day = map(int, match["iso"].split("-"))
        return Date(year, month, day[0] if day else None)
    day_text, year_text = match["before"] or match["after"], match["year"]
    if not (day_text or year_text or match["cue"]):
        return None
    if not (_PLAIN.match(match["name"]) or year_text):
        return None  # "may", "march" and the short forms are other words too
    month = _MONTHS.index(match["name"][:3].title()) + 1
    return Date(int(year_text) if year_text else None, month, int(day_text) if day_text else None)
