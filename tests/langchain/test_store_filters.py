"""Filters of MimirStore: LangGraph's meaning, and no item lost to the catalog's rough selection."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.store.base import PutOp
from langgraph.store.memory import InMemoryStore

from mimir_core import Mimir
from mimir_core.errors import InvalidFilter
from mimir_core.reading import open_memory
from mimir_langchain import MimirStore
from mimir_langchain.store_filters import check_filter, matches

from ..vault.vaults import create

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


class Opened:
    """Counts the memories that a vault opens."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0

        def counting(*arguments: Any) -> Any:
            self.count += 1
            return open_memory(*arguments)

        monkeypatch.setattr("mimir_core.lookup.open_memory", counting)

    def by(self, call: Callable[[], object]) -> int:
        """How many a call opens."""
        before = self.count
        call()
        return self.count - before


def many(number: int) -> dict[str, Any]:
    """A value with fields within fields, one of which is there more often than not."""
    owner = {"name": f"name {number}", "age": number, "home": {"city": f"city {number}"}}
    return {"n": number, "owner": owner | ({} if number == 7 else {"left": True})}


NEEDLES: list[dict[str, Any]] = [
    {"n": 7},
    {"owner.name": "name 7"},
    {"owner": {"name": "name 7"}},
    {"owner": {"age": {"$gt": 6, "$lte": 7}}},
    {"owner.age": {"$eq": 7}},
    {"owner.age": {"$gte": 7}, "owner": {"age": {"$lt": 8}}},
    {"owner.home.city": "city 7"},
    {"owner.home": {"city": "city 7"}},
    {"owner": {"home": {"city": "city 7"}}},
    {"owner.home": {"$eq": {"city": "city 7"}}},
    {"owner.left": None},
    {"owner": {"left": None}},
]


@pytest.mark.parametrize("wanted", NEEDLES)
def test_a_filter_opens_what_it_finds(
    mimir: Mimir, monkeypatch: pytest.MonkeyPatch, wanted: dict[str, Any]
) -> None:
    """However deep a field lies, the catalog finds it: the other 299 items stay sealed."""
    store = MimirStore(mimir, index=None)
    store.batch([PutOp(PLACE, str(number), many(number)) for number in range(300)])
    opened = Opened(monkeypatch)
    assert opened.by(lambda: store.search(PLACE, filter=wanted)) == 1
    assert [item.key for item in store.search(PLACE, filter=wanted)] == ["7"]
    assert store.search(PLACE, filter={"owner.name": "name 7", "owner.home.city": "city 8"}) == []


def test_items_stored_before_are_found_all_the_same(
    mimir: Mimir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Items of which the catalog holds no fields within fields are opened, and they alone."""
    store = MimirStore(mimir, index=None)
    with monkeypatch.context() as old:
        old.setattr("mimir_langchain.store_shadows._within", lambda value: iter(()))
        old.setattr("mimir_langchain.store_shadows.NESTED", "n")
        store.batch([PutOp(PLACE, f"old {number}", many(number)) for number in range(20)])
        store.put(PLACE, "old text", {"owner": "name 7"})
    store.batch([PutOp(PLACE, f"new {number}", many(number)) for number in range(20)])
    opened = Opened(monkeypatch)
    for wanted in NEEDLES[1:]:
        expected = [key for key in ("old 7", "old text", "new 7")
                    if key != "old text" or wanted == {"owner.left": None}]  # fmt: skip
        found = store.search(PLACE, filter=wanted)
        assert [item.key for item in found] == expected
    assert opened.by(lambda: store.search(PLACE, filter=NEEDLES[1], limit=100)) == 22
    for item in store.search(PLACE, limit=100):
        store.put(PLACE, item.key, item.value)
    assert opened.by(lambda: store.search(PLACE, filter=NEEDLES[1], limit=100)) == 2


@pytest.mark.parametrize(
    "value",
    [
        {f"field{number}": {"n": number} for number in range(40)},
        {"deep": {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"n": 1, "h": {"n": 1}}}}}}}}}},
        {"a.b": {"c": 1}, "a": {"b": {"c": 2, "d": 3}}},
        {"a": {"b.c": 1, "\x1f": 2, "half \ud800": 3, "long" * 20: 4}, "list": [{"n": 1}]},
        {"a": {"b\x1fc": 1}, "b": {"": 1}, "": {"": 2}},
    ],
)
def test_odd_values_are_found_by_whatever_is_in_them(
    mimir: Mimir, value: dict[str, Any]
) -> None:
    """Too many, too deep, too long, or with dots in their names: every field finds its item."""
    store, model = MimirStore(mimir, index=None), InMemoryStore()
    for each in (store, model):
        each.put(PLACE, "k", value)
        each.put(PLACE, "other", {"a": 1})
    for wanted in [*pieces(value), *({name: {"x": 1}} for name in value if name)]:
        found, expected = (each.search(PLACE, filter=wanted) for each in (store, model))
        assert [item.key for item in found] == [item.key for item in expected]
    for dotted in ("a.b.c", "a.b.d", "field39.n", "deep.a.b.c.d.e.f.g.n"):
        for number in (1, 2, 3, 39):
            found = store.search(PLACE, filter={dotted: number})
            assert [item.key for item in found] == ["k"] * matches(value, {dotted: number})


def pieces(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Filters that ask for one field of a value each, however deep."""
    for name, part in value.items():
        if isinstance(part, dict):
            yield from ({name: inner} for inner in pieces(part))
        elif name:
            yield {name: part}


class Hostile:
    """Whoever compares it is sorry."""

    __hash__ = None

    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError("canary")


@pytest.mark.parametrize("operand", [np.zeros(2), Hostile(), {1}, b"x", object()])
def test_no_operand_is_asked_for_its_opinion(store: MimirStore, operand: Any) -> None:
    """What no value can hold is refused, before it is compared with one."""
    for wanted in (operand, {"$eq": operand}, {"$ne": operand}, {"a": operand}, [operand]):
        with pytest.raises(InvalidFilter):
            store.search(PLACE, filter={"n": wanted})


def test_numbers_of_numpy_are_numbers(store: MimirStore) -> None:
    """A filter may hold the scalars of an array."""
    for number in (np.int64(3), np.float32(3), np.float64(3)):
        found = store.search(PLACE, filter={"n": number})
        assert [item.key for item in found] == ["int", "float", "wide"]


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


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mimir]:
    """A vault for many examples, each in a namespace of its own."""
    with create(tmp_path_factory.mktemp("filters") / "vault.mimir") as mimir:
        yield mimir


keys = st.sampled_from(["a", "b", "c", "a.b", "a.b.c", "b.a"])
wishes = st.recursive(
    st.one_of(plain, equals, orders, trees),
    lambda inner: st.dictionaries(names, inner, min_size=1, max_size=2),
    max_leaves=4,
)


@given(
    st.lists(st.dictionaries(keys, trees, max_size=3), min_size=1, max_size=4),
    st.dictionaries(keys, wishes, min_size=1, max_size=2),
)
def test_the_catalog_loses_nothing(
    shared: Mimir, values: list[dict[str, Any]], wanted: dict[str, Any]
) -> None:
    """For any values and filter a search finds what matches: the rough selection is never wrong."""
    store, place = MimirStore(shared, index=None), (uuid.uuid4().hex,)
    store.batch([PutOp(place, str(number), value) for number, value in enumerate(values)])
    checked = check_filter(wanted)
    expected = [str(number) for number, value in enumerate(values) if matches(value, checked)]
    assert [item.key for item in store.search(place, filter=wanted)] == expected
