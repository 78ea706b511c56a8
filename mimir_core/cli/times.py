"""Times as people and chat logs write them. No guessing: what is ambiguous is not read."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from itertools import product

from mimir_core.errors import InvalidArgument
from mimir_core.types import from_micros, to_micros

_SECONDS = re.compile(r"\d{9,10}(\.\d+)?")
_MILLISECONDS = re.compile(r"\d{13}(\.\d+)?")
_DATES = ("%d %B %Y", "%d %b %Y", "%B %d %Y", "%b %d %Y", "%Y/%m/%d")
_CLOCKS = ("%H:%M", "%H:%M:%S", "%I:%M %p", "%I:%M:%S %p")
_FORMATS = [
    *_DATES,
    *(f"{date} {clock}" for date, clock in product(_DATES, _CLOCKS)),
    *(f"{clock} {date}" for date, clock in product(_DATES, _CLOCKS)),
]


def read_time(value: str | float) -> dt.datetime:
    """A time in UTC; without an offset it is taken as UTC.

    Reads ISO 8601, seconds (9 or 10 digits) or milliseconds (13) since 1970, and a date with a
    month's English name (or year/month/day) with or without a clock before or after it: "1:56 pm on
    8 May, 2023". A number is read as the text it is written as.

    Raises:
        InvalidArgument: for anything else.
    """
    return _from_text(value.strip() if isinstance(value, str) else repr(value))


def read_end(text: str) -> dt.datetime:
    """The end of a range: as `read_time`, but a day without a clock stands for its end.

    Raises:
        InvalidArgument: as `read_time`.
    """
    try:
        day = dt.date.fromisoformat(text.strip())
    except ValueError:
        found = _from_words(text, _DATES)
        if found is None:
            return read_time(text)
        day = found.date()
    return dt.datetime.combine(day, dt.time.max, dt.UTC)


@lru_cache(4096)  # the turns of one session often carry one time
def _from_text(text: str) -> dt.datetime:
    if _SECONDS.fullmatch(text):
        return from_micros(to_micros(float(text)))
    if _MILLISECONDS.fullmatch(text):
        return from_micros(to_micros(float(text) / 1000))
    try:
        return from_micros(to_micros(text))
    except InvalidArgument:
        found = _from_words(text, _FORMATS)
    if found is None:
        raise InvalidArgument(
            "a time cannot be read", hint="write it in ISO 8601, as 2024-05-31T18:30"
        )
    return found


def _from_words(text: str, forms: Iterable[str]) -> dt.datetime | None:
    words = " ".join(re.sub(r",|\b(?:on|at)\b", " ", text).split())
    for form in forms:
        with suppress(ValueError):
            return dt.datetime.strptime(words, form).replace(tzinfo=dt.UTC)
    return None
