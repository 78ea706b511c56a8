"""Filters over the catalog's columns, over one dict, and in the command line's text form."""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimir_core.errors import InvalidFilter
from mimir_core.index.catalog import Catalog
from mimir_core.index.catalog_columns import CatalogColumns, CatalogRow
from mimir_core.index.filter_text import parse_expressions
from mimir_core.index.filters import compile_filter
from mimir_core.types import check_metadata

DAY = dt.date(2024, 5, 1)
NOON = dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)
MIDNIGHT = dt.datetime(2024, 5, 1, tzinfo=dt.UTC)
BIG = 1 << 53

plain = [None, True, False, 0, 1, -1, 2, 1.0, 0.0, -0.0, 0.5, 1.5, "", "a", "ab", "abc", "1", "é"]
large = [BIG, BIG + 1, BIG + 2, float(BIG), -BIG - 1, (1 << 63) - 1, -(1 << 63), 2.0**63]
times = [DAY, MIDNIGHT, NOON, dt.date(9999, 1, 1), dt.datetime(9999, 1, 1, 0, 0, 0, 1, dt.UTC)]
scalars = st.sampled_from([*plain, *large, *times])
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
    ),
    max_leaves=4,
)
names = st.sampled_from(["speaker", "stars", "tags"])
metadata = st.dictionaries(names, values, max_size=3)
orderable = scalars.filter(lambda value: value is not None and not isinstance(value, bool))
operators = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne", "$contains"]), values),
    st.tuples(st.sampled_from(["$lt", "$lte", "$gt", "$gte"]), orderable),
    st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(values, max_size=9)),
    st.tuples(st.just("$exists"), st.booleans()),
)
conditions = scalars | st.lists(operators, min_size=1, max_size=2).map(dict)
specs = st.recursive(
    st.dictionaries(names, conditions, min_size=1, max_size=2),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"$and": parts}),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"$or": parts}),
        inner.map(lambda part: {"$not": part}),
    ),
    max_leaves=5,
)


def catalog_of(rows: list[dict[str, Any]]) -> Catalog:
    catalog = Catalog()
    add(catalog, rows)
    return catalog


def add(catalog: Catalog, rows: list[dict[str, Any]]) -> None:
    first = len(catalog)
    checked = [check_metadata(row) for row in rows]
    catalog.extend(
        CatalogColumns.of(
            [
                CatalogRow(place, 1, place + 1, namespace=("n",), metadata=row)
                for place, row in enumerate(checked, first)
            ]
        )
    )


def holds(spec: object, row: dict[str, Any]) -> bool:
    """Evaluates both ways and insists that they agree."""
    compiled = compile_filter(spec)
    verdict = compiled.matches(row)
    assert compiled.mask(catalog_of([row])).tolist() == [verdict]
    return verdict


@settings(max_examples=250, deadline=None)
@given(st.lists(metadata, max_size=8), st.lists(metadata, max_size=4), specs, st.data())
def test_mask_equals_matches_row_by_row(
    rows: list[dict[str, Any]], later: list[dict[str, Any]], spec: Any, data: st.DataObject
) -> None:
    """The mask equals matches() on every live row, also after erasing and appending."""
    compiled = compile_filter(spec)
    catalog = catalog_of(rows)
    alive = [True] * len(rows)

    def agree(known: list[dict[str, Any]]) -> None:
        expected = [live and compiled.matches(row) for live, row in zip(alive, known, strict=True)]
        assert compiled.mask(catalog).tolist() == expected

    agree(rows)
    gone = data.draw(st.sets(st.integers(0, len(rows) - 1))) if rows else set()
    catalog.erase(sorted(gone))
    alive = [place not in gone for place in range(len(rows))]
    agree(rows)
    add(catalog, later)
    alive += [True] * len(later)
    agree(rows + later)


@pytest.mark.parametrize(
    ("spec", "row", "expected"),
    [
        ({"s": "Ana"}, {"s": "Ana"}, True),
        ({"s": "Ana"}, {"s": "ana"}, False),
        ({"s": "Ana", "t": 1}, {"s": "Ana"}, False),
        ({"s": "c' OR '1'='1"}, {"s": "c"}, False),
        ({"n": 1}, {"n": 1.0}, True),
        ({"n": 1.0}, {"n": 1}, True),
        ({"n": 1}, {"n": True}, False),
        ({"n": True}, {"n": 1}, False),
        ({"n": -0.0}, {"n": 0.0}, True),
        ({"n": {"$gte": 1}}, {"n": True}, False),
        ({"n": {"$lt": 5}}, {"n": "4"}, False),
        ({"n": {"$lt": 5}}, {}, False),
        ({"n": {"$gt": BIG}}, {"n": BIG + 1}, True),
        ({"n": {"$lt": BIG + 1}}, {"n": BIG}, True),
        ({"n": {"$gte": 1, "$lt": 3}}, {"n": 3}, False),
        ({"t": {"$lt": "b"}}, {"t": "abc"}, True),
        ({"d": DAY}, {"d": MIDNIGHT}, True),
        ({"d": {"$lt": NOON}}, {"d": DAY}, True),
        ({"d": {"$gt": DAY}}, {"d": NOON}, True),
        ({"d": {"$gte": DAY}}, {"d": "2024-05-02"}, False),
        ({"n": {"$ne": 1}}, {}, True),
        ({"n": {"$nin": [1, 2]}}, {}, True),
        ({"n": {"$in": [1, 2]}}, {"n": 2.0}, True),
        ({"n": {"$in": []}}, {"n": 2}, False),
        ({"l": {"$contains": "a"}}, {"l": ["a", "b"]}, True),
        ({"l": {"$contains": "a"}}, {"l": ["ab"]}, False),
        ({"l": {"$contains": 1}}, {"l": [True]}, False),
        ({"t": {"$contains": "oo"}}, {"t": "food"}, True),
        ({"t": {"$contains": 1}}, {"t": "1"}, False),
        ({"t": {"$contains": "OO"}}, {"t": "food"}, False),
        ({"t": {"$icontains": "OO"}}, {"t": "food"}, True),
        ({"t": {"$icontains": "strasse"}}, {"t": "Die Straße"}, True),
        ({"t": {"$icontains": "a"}}, {"t": ["a"]}, False),
        ({"t": {"$icontains": ""}}, {}, False),
        ({"l": ["a"]}, {"l": ["a"]}, True),
        ({"o": {"$eq": {"a": 1}}}, {"o": {"a": 1.0}}, True),
        ({"n": None}, {"n": None}, True),
        ({"n": None}, {}, False),
        ({"n": {"$exists": True}}, {"n": None}, True),
        ({"n": {"$exists": False}}, {}, True),
        ({"$not": {"n": {"$gt": 3}}}, {}, True),
        ({"$or": [{"n": 1}, {"n": 2}]}, {"n": 2}, True),
        ({"$and": [{"n": 1}, {"$not": {"m": 1}}]}, {"n": 1, "m": 1}, False),
        ({}, {}, True),
    ],
)
def test_meaning(spec: dict[str, Any], row: dict[str, Any], expected: bool) -> None:
    """Each operator means what the module's table says, in both evaluations."""
    assert holds(spec, row) is expected


def nested(levels: int) -> dict[str, Any]:
    spec: dict[str, Any] = {"n": 1}
    for _ in range(levels - 1):
        spec = {"$not": spec}
    return spec


@pytest.mark.parametrize(
    "spec",
    [
        None, [], "speaker=Ana", {1: 2}, {"": 1}, {"n": {}}, {"n": {"gt": 1}}, {"n": {"$near": 1}},
        {"n": {"$gt": 1, "x": 2}}, {"$where": "1"}, {"$and": []}, {"$or": {"n": 1}}, {"$or": [{}]},
        {"$not": {}}, {"$not": [{"n": 1}]}, {"n": {"$lt": True}}, {"n": {"$lt": None}},
        {"n": {"$gt": [1]}}, {"n": {"$in": "abc"}}, {"n": {"$in": [float("nan")]}},
        {"n": {"$exists": 1}}, {"n": float("nan")}, {"n": float("inf")}, {"n": 1 << 63},
        {"n": object()}, {"n": b"x"}, {"n": ("a",)}, {"$and": [{"n": 1}, {"n": {"$bad": 1}}]},
        nested(33),
    ],
)  # fmt: skip
def test_refusals(spec: object) -> None:
    """Whatever the dialect does not define is refused when the filter is compiled."""
    with pytest.raises(InvalidFilter):
        compile_filter(spec)


def test_depth_of_32_is_allowed() -> None:
    """The deepest filter allowed is evaluated."""
    assert holds(nested(31), {"n": 1})
    assert holds(nested(32), {"n": 2})


@pytest.mark.parametrize(
    "spec",
    [{"secretfield": {"$secretop": 1}}, {"f": {"$in": "secretvalue"}}, {"$secret": 1},
     {"f": {"$lt": ["secretvalue"]}}],
)  # fmt: skip
def test_refusals_and_reprs_keep_quiet(spec: dict[str, Any]) -> None:
    """Neither an error's text nor a filter's repr holds anything of the filter."""
    with pytest.raises(InvalidFilter) as caught:
        compile_filter(spec)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    compiled = compile_filter({"secretfield": "secretvalue"})
    assert "secret" not in repr(compiled) + repr(compiled._condition)


def test_erased_rows_match_no_filter() -> None:
    """A negation, which missing fields satisfy, does not bring an erased memory back."""
    catalog = catalog_of([{"n": 1}, {"n": 2}])
    catalog.erase([0])
    for spec in ({"n": {"$ne": 7}}, {"$not": {"n": 7}}, {"m": {"$exists": False}}, {}):
        assert compile_filter(spec).mask(catalog).tolist() == [False, True]


def test_answers_are_kept_only_for_equal_operands() -> None:
    """Answers remembered for one operand serve no other, and none outlives an erasure."""
    catalog = catalog_of([{"l": [1]}, {"l": [True]}, {"l": ["1"]}, {"l": [2]}])
    for _ in range(2):
        for wanted, expected in ((1, 0), (True, 1), ("1", 2), (1.0, 0), (2, 3)):
            mask = compile_filter({"l": {"$contains": wanted}}).mask(catalog)
            assert np.flatnonzero(mask).tolist() == [expected]
    column = catalog.field("l")
    assert column is not None
    assert column._verdicts
    catalog.erase([3])
    assert not column._verdicts


def test_mask_belongs_to_the_caller() -> None:
    """Writing to a mask changes no later answer."""
    catalog = catalog_of([{"n": 1, "t": "x"}])
    ranges = ({"n": {"$gt": 0}}, {"t": {"$gt": "a"}}, {"n": {"$exists": True}})
    for spec in ({}, {"n": 1}, {"t": {"$contains": "x"}}, *ranges):
        compile_filter(spec).mask(catalog)[:] = False
        assert compile_filter(spec).mask(catalog).all()


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("speaker=Ana", {"speaker": {"$eq": "Ana"}}),
        ("speaker == Ana Maria", {"speaker": {"$eq": "Ana Maria"}}),
        ("stars>=4", {"stars": {"$gte": 4}}),
        ("stars < 4.5", {"stars": {"$lt": 4.5}}),
        ("n=-1e3", {"n": {"$eq": -1000.0}}),
        ("n='4'", {"n": {"$eq": "4"}}),
        ("tag~~food", {"tag": {"$contains": "food"}}),
        ("when<2024-05-01", {"when": {"$lt": DAY}}),
        ("when>2024-05-01T12:00Z", {"when": {"$gt": NOON}}),
        ("draft!=true", {"draft": {"$ne": True}}),
        ("x=null", {"x": {"$eq": None}}),
        ("place?", {"place": {"$exists": True}}),
        ("!place?", {"place": {"$exists": False}}),
        ("url=http://a?b=c", {"url": {"$eq": "http://a?b=c"}}),
        (r'"odd name" = "a \"b\" \\"', {"odd name": {"$eq": 'a "b" \\'}}),
        ("s in (Ana, 'Bob, C', 3)", {"s": {"$in": ["Ana", "Bob, C", 3]}}),
        ("s not in (Ana)", {"s": {"$nin": ["Ana"]}}),
        ("draft != True", {"draft": {"$ne": True}}),
        ("zip=01234", {"zip": {"$eq": "01234"}}),
        ("order=12345678901234567890", {"order": {"$eq": "12345678901234567890"}}),
        ("order=9223372036854775807", {"order": {"$eq": (1 << 63) - 1}}),
        ("order=9223372036854775808", {"order": {"$eq": "9223372036854775808"}}),
        ("title=salt and pepper", {"title": {"$eq": "salt and pepper"}}),
        ("s in (Ana, 'Bob (C)')", {"s": {"$in": ["Ana", "Bob (C)"]}}),
    ],
)
def test_text_form(text: str, spec: dict[str, Any]) -> None:
    """An expression is read with typed values, and the filter compiles."""
    assert parse_expressions([text]) == spec
    compile_filter(spec)


def test_text_forms_together() -> None:
    """No expression is no filter; several must all hold, also on one field."""
    assert parse_expressions([]) == {}
    spec = parse_expressions(["n>=1", "n<3"])
    assert holds(spec, {"n": 2})
    assert not holds(spec, {"n": 3})


@pytest.mark.parametrize(
    "text",
    ["", "speaker", "speaker=", "=Ana", "a='x", "a=\"x' ", "when<2024-13-41", "$and=1", "s in ()",
     "s in (a,,b)", "?", "s in ('a", "stars != 3 and draft = true", "stars!==3", "a != <3",
     "a != b or c?", "a != b && c = d", "s not in (Ana) or x in (C)", "s not in (Ana, (C))",
     "s not in ( )"],
)  # fmt: skip
def test_text_refusals(text: str) -> None:
    """What cannot be read is named by its number, without its text."""
    with pytest.raises(InvalidFilter, match="expression 2"):
        parse_expressions(["a=1", text])


LONG = 60_000


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("a = x" + " and" * (LONG // 4), {"a": {"$eq": "x" + " and" * (LONG // 4)}}),
        ("a in (b" + " " * LONG + ")", {"a": {"$in": ["b"]}}),
        ("a in (b" + " " * LONG + "c)", {"a": {"$in": ["b" + " " * LONG + "c"]}}),
        ("a in ('b'" + " " * LONG + "c)", None),
        ("a = x and" + " in" * (LONG // 3) + " (", None),
        ("a" + " " * LONG + "b", None),
        ("a = " + "x" * 70_000, None),
    ],
)
def test_long_texts_are_read_or_refused_at_once(text: str, spec: dict[str, Any] | None) -> None:
    """No text makes the parser try one place again and again; beyond 65,536 none is read."""
    if spec is not None:
        assert parse_expressions([text]) == spec
        return
    with pytest.raises(InvalidFilter, match="expression 1"):
        parse_expressions([text])


def test_a_filter_has_so_many_conditions() -> None:
    """4,096 conditions are taken, one more is not, however often one part is shared."""
    for symbol in ("$and", "$or"):
        compile_filter({symbol: [{"n": 1}] * 4_095})
        with pytest.raises(InvalidFilter, match="4,096 conditions"):
            compile_filter({symbol: [{"n": 1}] * 4_096})
    bomb: dict[str, Any] = {"n": 1}
    for _ in range(30):
        bomb = {"$and": [bomb, bomb]}
    with pytest.raises(InvalidFilter, match="4,096 conditions"):
        compile_filter(bomb)
    compile_filter({"n": {"$in": list(range(100_000))}})


@settings(deadline=None)
@given(st.text())
def test_any_text_parses_or_is_refused(text: str) -> None:
    """Any text gives a filter or InvalidFilter, and a quoted text gives itself."""
    with suppress(InvalidFilter):
        parse_expressions([text])
    quoted = text.replace("\\", r"\\").replace('"', r"\"")
    assert parse_expressions([f'f = "{quoted}"']) == {"f": {"$eq": text}}
