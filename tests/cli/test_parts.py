"""Times, safe text and lines on their own."""

from __future__ import annotations

import datetime as dt
import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimir_core.cli.console import safe, to_json
from mimir_core.cli.lines import LineReader, export_line
from mimir_core.cli.times import read_end, read_time
from mimir_core.errors import InvalidArgument
from mimir_core.results import Memory

NOON = dt.datetime(2023, 5, 8, 12, 30, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    "written",
    [
        "2023-05-08T12:30", "2023-05-08 12:30:00", "2023-05-08T14:30+02:00", "20230508T1230Z",
        NOON.timestamp(), int(NOON.timestamp()), int(NOON.timestamp()) * 1000,
        str(int(NOON.timestamp())), str(int(NOON.timestamp()) * 1000),
        "12:30 pm on 8 May, 2023", "8 May 2023 12:30", "May 8, 2023 at 12:30 PM",
        "8 may 2023, 12:30:00", "2023/05/08 12:30",
    ],
)  # fmt: skip
def test_times_are_read_as_people_write_them(written: str | float) -> None:
    """Each spelling names the same minute, in UTC."""
    assert read_time(written) == NOON


@pytest.mark.parametrize(
    "written",
    ["", "soon", "May", "8/5/2023", "2023-13-01", "1e999", 1e300, 10**400, 2023, -5.5, 0],
)
def test_what_is_no_time_or_ambiguous_is_refused(written: str | float) -> None:
    """Nothing is guessed, not even the order of day and month."""
    with pytest.raises(InvalidArgument):
        read_time(written)


def test_a_day_as_end_includes_the_day() -> None:
    """--until with a date, however it is written, reaches to its last microsecond."""
    for day in ("2023-05-08", " 2023-05-08 ", "8 May 2023", "on May 8, 2023", "2023/05/08"):
        assert read_end(day) == dt.datetime(2023, 5, 8, 23, 59, 59, 999999, dt.UTC)
    for moment in ("2023-05-08T12:30", "12:30 pm on 8 May, 2023"):
        assert read_end(moment) == NOON


def test_a_number_is_read_as_the_text_it_is_written_as() -> None:
    """A date written as a JSON number is that day, not seconds after 1970."""
    assert read_time(20230508) == read_time("20230508") == dt.datetime(2023, 5, 8, tzinfo=dt.UTC)


@given(st.text())
def test_safe_text_holds_nothing_that_acts(text: str) -> None:
    """No control character but the newline, and no bidirectional override, is left."""
    shown = safe(text)
    assert all(unicodedata.category(char) != "Cc" for char in shown if char != "\n")
    assert not set(shown) & set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u2069")


def _unfolded(time: dt.datetime) -> dt.datetime:
    return time.replace(fold=0)  # as the vault keeps it


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False, allow_infinity=False) | st.text(st.characters(codec="utf-8"))
    | st.dates() | st.datetimes(timezones=st.just(dt.UTC)).map(_unfolded),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["a", "$date", "$time", "$dict", "$$"]), inner, max_size=2),
    max_leaves=6,
)  # fmt: skip


@given(metadata=st.dictionaries(st.text("abc", min_size=1), _VALUES, max_size=3), raw=st.booleans())
def test_an_exported_line_is_read_back_exactly(metadata: dict[str, Any], raw: bool) -> None:
    """Content, names, time and every metadata value survive export and import, types included."""
    content = b"\x00\xff" if raw else "text \x1b \u202e"
    memory = Memory("ab" * 32, content, NOON, ("a", "b"), "t", "k", metadata)
    item = LineReader().read(to_json(export_line(memory, memory.key)).encode())
    assert (item.content, item.time, item.namespace) == (content, NOON, ("a", "b"))
    assert (item.thread, item.key) == ("t", "k")
    assert repr(item.metadata) == repr(metadata)


def test_lines_without_ids_get_the_same_keys_every_time() -> None:
    """Such keys depend on the line and its like before it, not on the reader or line numbers."""
    lines = [json.dumps({"text": text}).encode() for text in ("a", "b", "a")]
    first, second = LineReader(), LineReader()
    keys = [first.read(line).key for line in lines]
    assert len(set(keys)) == 3
    assert [second.read(line).key for line in lines] == keys
    assert LineReader().read(lines[1]).key == keys[1]
