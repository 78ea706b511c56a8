"""Times as people and chat logs write them. No guessing: what is ambiguous is not read."""

from __future__ import annotations

import datetime as dt
import re
from functools import lru_cache
from itertools import product

from mimir_core.errors import InvalidArgument
from mimir_core.types import from_micros, to_micros

_EPOCH_DIGITS = re.compile(r"\d{9,10}(\.\d+)?|\d{13}")
_MILLISECONDS = 1e11  # as seconds it is the year 5138, as milliseconds 1973
_DATES = ("%d %B %Y", "%d %b %Y", "%B %d %Y", "%b %d %Y", "%Y/%m/%d")
_CLOCKS = ("%H:%M", "%H:%M:%S", "%I:%M %p", "%I:%M:%S %p")
_FORMATS = [
    *_DATES,
    *(f"{date} {clock}" for date, clock in product(_DATES, _CLOCKS)),
    *(f"{clock} {date}" for date, clock in product(_DATES, _CLOCKS)),
]


def read_time(value: str | float) -> dt.datetime:
    """A time in UTC; without an offset it is taken as UTC.

    Reads ISO 8601, seconds or milliseconds since 1970, and a date with a month's English name (or
    year/month/day) with or without a clock before or after it: "1:56 pm on 8 May, 2023".

    Raises:
        InvalidArgument: for anything else.
    """
    if isinstance(value, str):
        return _from_text(value.strip())
    seconds = value / 1000 if abs(value) >= _MILLISECONDS else value
    return from_micros(to_micros(seconds))


def read_end(text: str) -> dt.datetime:
    """The end of a range: as `read_time`, but a bare ISO date stands for the end of that day.

    Raises:
        InvalidArgument: as `read_time`.
    """
    try:
        day = dt.date.fromisoformat(text)
    except ValueError:
        return read_time(text)
    return dt.datetime.combine(day, dt.time.max, dt.UTC)


@lru_cache(4096)  # the turns of one session often carry one time
def _from_text(text: str) -> dt.datetime:
    if _EPOCH_DIGITS.fullmatch(text):
        return read_time(float(text))
    try:
        return from_micros(to_micros(text))
    except InvalidArgument:
        words = " ".join(re.sub(r",|\b(?:on|at)\b", " ", text).split())
    for form in _FORMATS:
        try:
            return dt.datetime.strptime(words, form).replace(tzinfo=dt.UTC)
        except ValueError:
            continue
    raise InvalidArgument("a time cannot be read", hint="write it in ISO 8601, as 2024-05-31T18:30")
