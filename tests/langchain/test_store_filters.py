"""Filters of MimirStore: LangGraph's meaning, and no item lost to the catalog's rough selection."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.store.base import PutOp
from langgraph.store.memory import InMemoryStore

from mimir_core import Mimir
from mimir_core.errors import InvalidFilter
from mimir_langchain import MimirStore
from mimir_langchain.store_filters import check_filter, matches

PLACE = ("docs",)
VALUES: dict[str, dict[str, Any]] = {
    "int": {"n": 3, "tag": "a"},
    "float": {"n": 3.0, "tag": "b"},
    "big": {"n": 10**30},
    "vast": {"n": 10**400},
    "bool": {"n": True},
    "digits": {"n": "3"},
    "text": {"n": "three"},
    "blank": {"n": ""},
    "null": {"n": None},
    "missing": {"tag": "a"},
    "list": {"n": [1, 2]},
    "dict": {"n": {"a": 1, "b": 2}},
    "long": {"n": "x" * 300},
    "longer": {"n": "x" * 300 + "y"},
    "odd": {"a-b": 1, "a.b": 2, "9x": 3, "user": {"a-b": 4, "deep": {"n": 5}}, "first name": "Al"},
    "path": {"a": {"b": 2}},
    "speech": {"author": "Ana", "speaker": "Bo", "updated": 1, "plain": True, "lease": True},
    "wide": {f"field{n}": n for n in range(100)} | {"n": 3},
}


@pytest.fixture
def store(mimir: Mimir) -> MimirStore:
    """A store with values of every kind."""
    store = MimirStore(mimir, index=None)
    store.batch([PutOp(PLACE, key, value) for key, value in VALUES.items()])
    return store


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"n": 3}, "int float wide"),
        ({"n": True}, "bool"),
        ({"n": "3"}, "digits"),
        ({"n": 10**30}, "big"),
        ({"n": 10**400}, "vast"),
        ({"n": ""}, "blank"),
        ({"n": "x" * 300}, "long"),
        ({"n": [1, 2]}, "list"),
        ({"n": {"a": 1}}, "dict"),
        ({"n": {"a": {"$gt": 0}, "b": 2}}, "dict"),
        ({"n": {"$eq": {"a": 1, "b": 2}}}, "dict"),
        ({"n": {"$gte": 3}}, "int float big digits wide"),
        ({"n": {"$gt": "2", "$lt": 4}}, "int float digits wide"),
        ({"n": {"$lt": 2}}, "bool"),
        ({"n": {"$lte": float("inf")}}, "int float big bool digits wide"),
        ({"n": {"$eq": float("nan")}}, ""),
        ({"n": {"$eq": 3, "$ne": 3}}, ""),
        ({"n": 3, "tag": "a"}, "int"),
        ({"tag": {"$ne": "a"}}, " ".join(k for k in VALUES if k not in ("int", "missing"))),
        ({"n": None, "tag": "a"}, "missing"),
        ({"a-b": 1}, "odd"),
        ({"a.b": 2}, "odd path"),
        ({"9x": 3}, "odd"),
        ({"first name": "Al"}, "odd"),
        ({"user.a-b": 4}, "odd"),
        ({"user.deep.n": {"$lt": 6}}, "odd"),
        ({"user.deep.n.more": 5}, ""),
        ({"user": {"deep": {"n": 5}}}, "odd"),
        ({"author": "Ana", "plain": True, "lease": True, "updated": 1}, "speech"),
        ({"field99": 99}, "wide"),
        ({}, " ".join(VALUES)),
    ],
)
def test_filters_find_what_they_mean(
    store: MimirStore, wanted: dict[str, Any], found: str
) -> None:
    """Each filter finds exactly these items, in order, and pages count what fits."""
    items = store.search(PLACE, filter=wanted, limit=100)
    assert [item.key for item in items] == found.split()
    page = store.search(PLACE, filter=wanted, limit=1, offset=1)
    assert [item.key for item in page] == found.split()[1:2]


@pytest.mark.parametrize(
    "wanted",
    [
        {"$and": [{"n": 3}]}, {"n": {"$in": [3]}}, {"n": {"$gt": 1, "x": 2}}, {"n": {"$gt": "x"}},
        {"n": {"$lt": None}}, {"n": {"$gte": [1]}}, {"a'b": 1}, {"n) OR 1=1": 1}, {"a[0]": 1},
        {"": 1}, {1: 1}, {"n": {"a": {"$nope": 1}}}, {"n": [{"$nope": 1}]}, {"n": {1: 2}}, "n", 5,
        {"a\n": 1}, {"n": {"$lt": 10**400}},
    ],
)  # fmt: skip
def test_filters_outside_the_dialect_raise(store: MimirStore, wanted: Any) -> None:
    """What cannot be meant raises, also where there is nothing to search."""
    for place in (PLACE, ("nobody",)):
        with pytest.raises(InvalidFilter):
            store.search(place, filter=wanted)


def test_a_filter_that_nests_without_end_raises(store: MimirStore) -> None:
    """A cycle in a filter is an error, not a crash."""
    cycle: dict[str, Any] = {}
    cycle["n"] = cycle
    with pytest.raises(InvalidFilter):
        store.search(PLACE, filter=cycle)


def test_ranked_pages_count_what_fits(mimir: Mimir) -> None:
    """Where the catalog lets through what does not fit, a ranked page is still full and exact."""
    store = MimirStore(mimir, index={"fields": ["text"]})
    for n in range(40):
        mixed = "7" if n % 2 else "x"
        value = {"text": f"the cat number {n}", "deep": {"n": n % 4}, "mixed": mixed}
        store.put(PLACE, f"{n:02}", value)
    for wanted in ({"deep.n": 1}, {"mixed": {"$gt": 5}, "deep": {"n": 1}}):
        pages = [
            store.search(PLACE, query="cat number", filter=wanted, limit=4, offset=at)
            for at in range(0, 12, 4)
        ]
        assert [len(page) for page in pages] == [4, 4, 2]
        found = [item for page in pages for item in page]
        assert {item.key for item in found} == {f"{n:02}" for n in range(1, 40, 4)}
        scores = [item.score for item in found]
        assert scores == sorted(scores, reverse=True)


names = st.sampled_from(["a", "b", "c"])
plain = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(-3, 3), st.sampled_from(["", "1", "x"])
)
trees = st.recursive(
    plain, lambda t: st.one_of(st.lists(t, max_size=2), st.dictionaries(names, t, max_size=2))
)
orders = st.dictionaries(
    st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), st.integers(-3, 3), min_size=1
)
equals = st.dictionaries(st.sampled_from(["$eq", "$ne"]), trees, min_size=1)


@given(st.dictionaries(names, trees), st.dictionaries(names, st.one_of(trees, equals, orders)))
def test_a_filter_holds_as_in_memory(value: dict[str, Any], wanted: dict[str, Any]) -> None:
    """For any value and filter the answer is InMemoryStore's, or no where that one fails."""
    reference = InMemoryStore()
    reference.put(PLACE, "k", value)
    try:
        expected = bool(reference.search(PLACE, filter=wanted))
    except (TypeError, ValueError):
        expected = False
    assert matches(value, check_filter(wanted)) == expected
