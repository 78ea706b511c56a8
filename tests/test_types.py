"""Namespaces, metadata values and timestamps are checked before anything is stored."""

from __future__ import annotations

import datetime as dt
from enum import IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimir_core.errors import InvalidArgument, InvalidMetadata, InvalidNamespace
from mimir_core.types import (
    check_metadata,
    check_namespace,
    check_value,
    from_micros,
    to_micros,
)

NOON = dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)


class Colour(StrEnum):
    RED = "red"


class Size(IntEnum):
    LARGE = 3


class Half(float):
    pass


@pytest.mark.parametrize(
    ("value", "namespace"),
    [
        ("alice", ("alice",)),
        (("alice", "chat"), ("alice", "chat")),
        (["alice", "chat"], ("alice", "chat")),
        (("a b", "é-ü_/@"), ("a b", "é-ü_/@")),
        (("e\u0301",), ("\u00e9",)),
        (("x" * 256,) * 16, ("x" * 256,) * 16),
    ],
)
def test_namespaces(value: Any, namespace: tuple[str, ...]) -> None:
    """A namespace becomes a tuple of labels in normalization form C; a str is one label."""
    assert check_namespace(value) == namespace
    assert check_namespace(namespace) == namespace


@pytest.mark.parametrize(
    "value",
    [
        (), [], "", ("a", ""), "a.b", ("a", "."), "a\0b", "a\n", "\x7f", "\u0085", "\ud800", None,
        7, b"a", ("a", 7), {"a"}, "x" * 257, "é" * 129, ("a",) * 17,
    ],
)  # fmt: skip
def test_namespace_refusals(value: Any) -> None:
    """Empty, dotted, oversized and unprintable labels are refused."""
    with pytest.raises(InvalidNamespace):
        check_namespace(value)


def test_metadata_is_copied_in_plain_types() -> None:
    """What comes back shares nothing with the caller's objects and has exact built-in types."""
    tags = ["a"]
    given_metadata = {
        "tags": tags, "colour": Colour.RED, "size": Size.LARGE, "half": Half(0.5), "none": None,
        "yes": True, "day": dt.date(2024, 5, 1), "naive": dt.datetime(2024, 5, 1, 12),
        "aware": dt.datetime(2024, 5, 1, 14, tzinfo=dt.timezone(dt.timedelta(hours=2))),
        "nested": {"": [{"$x": 1}]}, "least": -(1 << 63), "most": (1 << 63) - 1,
    }  # fmt: skip
    metadata = check_metadata(given_metadata)
    tags.append("b")
    assert metadata == {
        **given_metadata, "tags": ["a"], "colour": "red", "size": 3, "naive": NOON, "aware": NOON
    }  # fmt: skip
    assert [type(metadata[name]) for name in ("colour", "size", "half")] == [str, int, float]
    assert isinstance(metadata["aware"], dt.datetime)
    assert metadata["aware"].tzinfo is dt.UTC


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


CYCLE: list[Any] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    "metadata",
    [
        None, [], "a", {"": 1}, {"$a": 1}, {1: 2}, {"a": float("nan")}, {"a": float("-inf")},
        {"a": 1 << 63}, {"a": -(1 << 63) - 1}, {"a": (1,)}, {"a": {1}}, {"a": b"x"},
        {"a": object()}, {"a": 1j}, {"a": {1: 2}}, {"a": "\ud800"}, {"\ud800": 1},
        {"a": dt.datetime.max.replace(tzinfo=dt.timezone(-dt.timedelta(hours=1)))},
        {"a": dt.time()}, {"a": nested(16)}, {"a": CYCLE}, {"a": "x" * (1 << 20)},
        {"a": [0] * 120_000},
    ],
    ids=lambda metadata: type(metadata).__name__,
)  # fmt: skip
def test_metadata_refusals(metadata: Any) -> None:
    """What could not be stored exactly is refused."""
    with pytest.raises(InvalidMetadata):
        check_metadata(metadata)


def test_metadata_limits_are_inclusive() -> None:
    """Fifteen lists in a dict make sixteen levels, and half a megabyte is allowed."""
    assert check_metadata({"a": nested(15)}) == {"a": nested(15)}
    assert check_value("x" * (1 << 19)) == "x" * (1 << 19)


@pytest.mark.parametrize("metadata", [{"tags": {"secret"}}, {"$secret": 1}, {"a": "secret\ud800"}])
def test_metadata_errors_keep_quiet(metadata: Any) -> None:
    """An error names the rule, not the value, and chains no exception that does."""
    with pytest.raises(InvalidMetadata) as caught:
        check_metadata(metadata)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@given(st.datetimes(timezones=st.just(dt.UTC)))
def test_micros_round_trip(moment: dt.datetime) -> None:
    """Every UTC datetime survives the way to microseconds and back, also as ISO text."""
    assert from_micros(to_micros(moment)) == moment
    assert from_micros(to_micros(moment.isoformat())) == moment


@pytest.mark.parametrize(
    ("value", "micros"),
    [
        (0, 0), (1, 1_000_000), (1.5, 1_500_000), (-0.000001, -1), ("1970-01-01T00:00:01Z", 10**6),
        ("1970-01-02", 86_400 * 10**6), ("1970-01-01T02:00+02:00", 0),
        (dt.date(1970, 1, 2), 864 * 10**8),
        (dt.datetime(1970, 1, 1, 0, 0, 1), 10**6),
    ],
)  # fmt: skip
def test_to_micros(value: Any, micros: int) -> None:
    """Numbers are seconds, naive times are UTC, dates are their midnight."""
    assert to_micros(value) == micros


@pytest.mark.parametrize(
    "value",
    [None, True, "yesterday", "", "2024-13-01", float("nan"), float("inf"), 1e300, 10**30, b"",
     1_700_000_000_000_000],
)  # fmt: skip
def test_to_micros_refusals(value: Any) -> None:
    """What is no time in the years 1 to 9999 is refused; so are microseconds taken for seconds."""
    with pytest.raises(InvalidArgument):
        to_micros(value)


def test_from_micros_refuses_far_times() -> None:
    """Microseconds outside the years 1 to 9999 are refused."""
    for micros in (1 << 62, -(1 << 62), 10**40):
        with pytest.raises(InvalidArgument):
            from_micros(micros)


def test_a_huge_label_is_refused_before_it_is_normalized(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of marks costs nothing: its length alone is looked at."""
    monkeypatch.setattr("mimir_core.types.unicodedata", None)
    with pytest.raises(InvalidNamespace, match="256 bytes"):
        check_namespace("b" + "\u0315\u0300" * 100_000)
