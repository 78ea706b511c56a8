"""Forgetting: what is selected, what goes, what stays."""

from __future__ import annotations

import pytest

from mimir_core import Item, Mimir
from mimir_core.errors import DuplicateKey, InvalidArgument, InvalidFilter, NotFound

from ..vault.vaults import contents

OTHER = "0" * 64


@pytest.fixture
def ids(mimir: Mimir) -> list[str]:
    """Eight memories: two namespaces, two threads, numbered, a key, a derived one."""
    items = [
        Item("zero", namespace=("a",), thread="t", metadata={"n": 0}, time=0),
        Item("one", namespace=("a",), thread="t", metadata={"n": 1}, time=1),
        Item("two", namespace=("a",), thread="u", metadata={"n": 2}, time=2),
        Item("three", namespace=("a", "b"), thread="t", metadata={"n": 3}, time=3),
        Item("four", namespace=("a", "b"), key="k", metadata={"n": 4}, time=4),
        Item("five", metadata={"n": 5}, time=5),
        Item("six", metadata={"n": 6}, time=6, thread="t"),
    ]
    stored = mimir.remember_many(items)
    return [*stored, mimir.remember("made", derived_from=[stored[5], stored[0]])]


CASES = {
    "one id": (lambda ids: {"ids": ids[2]}, {2}),
    "several ids": (lambda ids: {"ids": [ids[3], ids[0]]}, {0, 3}),
    "no ids": (lambda _: {"ids": []}, set()),
    "key": (lambda _: {"key": "k", "namespace": ("a", "b")}, {4}),
    "namespace": (lambda _: {"namespace": "a"}, {0, 1, 2}),
    "namespace below": (lambda _: {"namespace": "a", "descendants": True}, {0, 1, 2, 3, 4}),
    "unknown namespace": (lambda _: {"namespace": "nowhere"}, set()),
    "thread": (lambda _: {"thread": "t", "namespace": "a"}, {0, 1}),
    "thread in default": (lambda _: {"thread": "t"}, {6}),
    "filter": (lambda _: {"where": {"n": {"$gte": 1}}, "namespace": "a"}, {1, 2}),
    "filter in default": (lambda _: {"where": {"n": 5}}, {5}),
    "time": (lambda _: {"since": 1, "until": 2, "namespace": "a"}, {1, 2}),
    "from the beginning": (lambda _: {"since": 0, "until": 0, "namespace": "a"}, {0}),
    "cascade": (lambda ids: {"ids": ids[0], "cascade": True}, {0, 7}),
    "all at once": (
        lambda _: {"namespace": "a", "thread": "t", "where": {"n": 1}, "since": 0},
        {1},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_exactly_what_was_selected_goes(mimir: Mimir, ids: list[str], name: str) -> None:
    """A dry run names what would go and changes nothing; then exactly that goes."""
    arguments, expected = CASES[name]
    gone = {ids[number] for number in expected}
    before = contents(mimir)
    dry = mimir.forget(**arguments(ids), dry_run=True)
    assert (set(dry.ids), dry.count, dry.dry_run) == (gone, len(gone), True)
    assert contents(mimir) == before
    done = mimir.forget(**arguments(ids))
    assert (set(done.ids), done.dry_run) == (gone, False)
    assert set(contents(mimir)) == set(ids) - gone
    assert mimir.stats().erased == len(gone)
    assert mimir.verify().ok


def test_derived_memories_stay_without_cascade(mimir: Mimir, ids: list[str]) -> None:
    """A summary outlives its sources, and its lineage still names them, as erased."""
    mimir.forget([ids[0], ids[5]])
    assert mimir.get(ids[7]).text == "made"
    assert {(r.id, r.erased) for r in mimir.lineage(ids[7]).ancestors} >= {
        (ids[0], True),
        (ids[5], True),
    }


def test_cascade_follows_derivation_only_and_transitively(mimir: Mimir, ids: list[str]) -> None:
    """Cascade takes what was made from the forgotten, not what followed it in the thread."""
    deeper = mimir.remember("deeper", derived_from=[ids[7]], thread="t", namespace="a")
    assert set(mimir.forget(ids[0], cascade=True).ids) == {ids[0], ids[7], deeper}
    assert ids[1] in contents(mimir)


@pytest.mark.parametrize("arguments", [
    {},
    {"cascade": True},
    {"where": {}},
    {"where": None, "thread": None},
    {"ids": OTHER, "key": "k"},
    {"ids": OTHER, "namespace": "a"},
    {"ids": OTHER, "since": 0},
    {"ids": OTHER, "where": {}},
    {"key": "k", "thread": "t"},
    {"key": "k", "since": 0},
    {"key": "k", "descendants": True},
    {"ids": "not an id"},
    {"ids": " " * 64},
    {"ids": 7},
    {"ids": [None]},
    {"key": ""},
    {"key": 7},
    {"key": []},
    {"thread": ""},
    {"thread": 7},
    {"thread": []},
    {"since": "yesterday"},
    {"until": float("nan")},
])  # fmt: skip
def test_an_unclear_selection_forgets_nothing(
    mimir: Mimir, ids: list[str], arguments: dict[str, object]
) -> None:
    """What does not say clearly what to forget is refused."""
    with pytest.raises(InvalidArgument):
        mimir.forget(**arguments)
    assert set(contents(mimir)) == set(ids)


def test_unknown_ids_and_keys_forget_nothing(mimir: Mimir, ids: list[str]) -> None:
    """One unknown id among known ones, or one given twice, forgets nothing at all."""
    with pytest.raises(NotFound):
        mimir.forget([ids[0], OTHER])
    with pytest.raises(DuplicateKey):
        mimir.forget([ids[0], ids[0].upper()])
    with pytest.raises(NotFound):
        mimir.forget(key="nothing")
    with pytest.raises(InvalidFilter):
        mimir.forget(where={"n": {"$near": 1}})
    assert set(contents(mimir)) == set(ids)
    mimir.forget(ids[0])
    with pytest.raises(NotFound):
        mimir.forget(ids[0])


def test_a_forgotten_memory_is_found_no_more(mimir: Mimir, ids: list[str]) -> None:
    """Neither recall, nor its key, thread, filter or id lead to it; its node stays in lineage."""
    mimir.forget([ids[4], ids[6]])
    for mode in ("dense", "lexical", "hybrid"):
        for query in ("four", "six"):
            hits = mimir.recall(query, k=50, mode=mode, namespace="a", descendants=True)
            hits += mimir.recall(query, k=50, mode=mode)
            assert not {ids[4], ids[6]} & {hit.id for hit in hits}
    with pytest.raises(NotFound):
        mimir.get(key="k", namespace=("a", "b"))
    with pytest.raises(NotFound):
        mimir.get(ids[4])
    assert mimir.thread("t") == []
    assert mimir.threads() == {}
    assert mimir.lineage(ids[4]).id == ids[4]
    with pytest.raises(NotFound):
        mimir.remember("made from it", derived_from=[ids[4]])
