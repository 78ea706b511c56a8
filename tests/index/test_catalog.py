"""The catalog against a list of rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimir_core.errors import InvalidArgument, InvalidNamespace
from mimir_core.index.catalog import Catalog
from mimir_core.index.catalog_columns import CatalogColumns, CatalogRow
from mimir_core.types import EdgeKind, Namespace

A, AB, A_B, B = ("a",), ("ab",), ("a", "b"), ("b",)
NAMESPACES: list[Namespace] = [A, AB, A_B, B]
THREADS: list[tuple[bytes, Namespace, str | None]] = [
    (b"1" * 16, A, "chat"),
    (b"2" * 16, A, "chat"),
    (b"3" * 16, A_B, "chat"),
    (b"4" * 16, A, None),
    (b"5" * 16, B, "notes"),
]
ERASED = {"time": 0, "namespace": None, "key": None, "thread_name": None, "metadata": {}}

values = st.sampled_from(
    [None, True, 1, 1.0, 0.0, -0.0, "x", "y", [1], [True], {"a": 1}, {"a": 1.0}]
)
metadata = st.dictionaries(st.sampled_from(["p", "q", "r"]), values, max_size=3)


@st.composite
def rows(draw: st.DrawFn, before: list[CatalogRow]) -> CatalogRow:
    """Draws the row after those before it; few distinct values, so that they meet."""
    known = len(before)
    ordinals = st.none() | st.integers(0, known - 1) if known else st.none()
    edges = st.lists(st.tuples(st.sampled_from(list(EdgeKind)), ordinals), max_size=3)
    thread, namespace, name = draw(
        st.sampled_from(THREADS) | st.tuples(st.none(), st.sampled_from(NAMESPACES), st.none())
    )
    parents = draw(edges)
    least = max((before[to].lamport for _, to in parents if to is not None), default=0)
    return CatalogRow(
        prefix=draw(st.sampled_from([0, 1, 1 << 53, (1 << 53) + 1, (1 << 64) - 1])),
        size=draw(st.integers(1, 1 << 20)),
        lamport=least + draw(st.integers(1, 3)),
        gap=draw(st.sampled_from([0, 0, 37])),
        time=draw(st.integers(-3, 3)),
        namespace=namespace if draw(st.integers(0, 5)) else None,
        key=draw(st.sampled_from([None, "k", "l"])),
        thread=thread,
        thread_name=name,
        parents=parents,
        metadata=draw(metadata),
    )


def batch(data: st.DataObject, known: list[CatalogRow], most: int = 4) -> list[CatalogRow]:
    fresh: list[CatalogRow] = []
    for _ in range(data.draw(st.integers(0, most))):
        fresh.append(data.draw(rows([*known, *fresh])))
    return fresh


def erased(row: CatalogRow) -> CatalogRow:
    return replace(row, **ERASED)


def clock(oracle: list[CatalogRow], ordinal: int) -> tuple[int, bytes]:
    """What orders memories: the clock, then the bytes of the id."""
    return oracle[ordinal].lamport, oracle[ordinal].prefix.to_bytes(8, "little")


def superseded(oracle: list[CatalogRow], ordinal: int) -> set[int]:
    """Everything that a memory supersedes, directly or through others."""
    edges = oracle[ordinal].parents
    direct = {to for kind, to in edges if kind is EdgeKind.SUPERSEDES and to is not None}
    return direct.union(*(superseded(oracle, to) for to in direct))


def check_whole(catalog: Catalog, oracle: list[CatalogRow]) -> None:
    """Compares every lookup and mask with the plain answer."""
    live = [i for i, row in enumerate(oracle) if row.namespace is not None]
    assert catalog.live.tolist() == [i in live for i in range(len(oracle))]
    assert catalog.times.tolist() == [
        oracle[i].time if i in live else 0 for i in range(len(oracle))
    ]
    check_spans(catalog, oracle)
    check_names(catalog, oracle, live)
    check_threads(catalog, oracle, live)
    check_edges(catalog, oracle)
    check_masks(catalog, oracle, live)


def check_spans(catalog: Catalog, oracle: list[CatalogRow]) -> None:
    end = 0
    for ordinal, row in enumerate(oracle):
        end += row.gap + row.size
        assert catalog.span(ordinal) == (end - row.size, row.size)
        same = [i for i, other in enumerate(oracle) if other.prefix == row.prefix]
        assert catalog.find(row.prefix).tolist() == same
    assert catalog.find(77).tolist() == []


def check_names(catalog: Catalog, oracle: list[CatalogRow], live: list[int]) -> None:
    counts = {name: sum(oracle[i].namespace == name for i in live) for name in NAMESPACES}
    assert catalog.namespaces() == {name: count for name, count in counts.items() if count}
    assert [catalog.namespace(i) for i in range(len(oracle))] == [row.namespace for row in oracle]
    for namespace in NAMESPACES:
        named = {oracle[i].key for i in live if oracle[i].namespace == namespace} - {None}
        keys = sorted(map(str, named))
        assert catalog.sorted_keys(namespace, "") == keys
        for key in ("k", "l", "none"):
            assert catalog.sorted_keys(namespace, key) == [key] * (key in keys)
            held = [i for i in live if (oracle[i].namespace, oracle[i].key) == (namespace, key)]
            assert sorted(catalog.values(namespace, key)) == held
            history = set().union(*(superseded(oracle, i) for i in held))
            assert sorted(catalog.current(namespace, key)) == sorted({*held} - history)
            found = catalog.by_key(namespace, key)
            assert (found is None) == (not held)
            if found is not None:
                assert found in held
                assert clock(oracle, found) == max(clock(oracle, i) for i in held)


def check_threads(catalog: Catalog, oracle: list[CatalogRow], live: list[int]) -> None:
    for namespace in NAMESPACES:
        for name in ("chat", "notes"):
            ids = {
                oracle[i].thread for i in live
                if (oracle[i].namespace, oracle[i].thread_name) == (namespace, name)
            }  # fmt: skip
            assert set(catalog.thread_ids(namespace, name)) == ids
            members = {i for i, row in enumerate(oracle) if row.thread in ids}
            assert catalog.threads(namespace).get(name, 0) == len(members & set(live))
            ordered = catalog.thread_ordinals(namespace, name).tolist()
            assert sorted(ordered) == sorted(members & set(live))
            clocks = [clock(oracle, i) for i in ordered]
            assert clocks == sorted(clocks)
            followed = {
                parent for i in members for kind, parent in oracle[i].parents
                if kind == EdgeKind.FOLLOWS and parent is not None
                and oracle[parent].thread == oracle[i].thread
            }  # fmt: skip
            assert set(catalog.heads(namespace, name).tolist()) == members - followed


def check_edges(catalog: Catalog, oracle: list[CatalogRow]) -> None:
    follows: list[tuple[int, int]] = []
    for i, row in enumerate(oracle):
        assert catalog.parents(i) == list(row.parents)
        follows += [
            (i, to) for kind, to in row.parents if kind == EdgeKind.FOLLOWS and to is not None
        ]
        children = [
            (kind, child)
            for child, other in enumerate(oracle)
            for kind, to in other.parents
            if to == i
        ]
        assert catalog.children(i) == children
    for i in range(len(oracle)):
        assert catalog.follows_previous[i] == next((to for child, to in follows if child == i), -1)
        assert catalog.follows_next[i] == next((child for child, to in follows if to == i), -1)


def check_masks(catalog: Catalog, oracle: list[CatalogRow], live: list[int]) -> None:
    def expect(mask: Any, test: Any) -> None:
        assert mask.dtype == np.bool_
        assert mask.tolist() == [i in live and test(row) for i, row in enumerate(oracle)]

    expect(catalog.mask(), lambda row: True)
    expect(catalog.mask(since=-1, until=2), lambda row: -1 <= row.time < 2)
    expect(catalog.mask(thread="chat"), lambda row: row.thread_name == "chat")
    for name in [*NAMESPACES, ("unknown",)]:
        below = [row.namespace is not None and row.namespace[: len(name)] == name for row in oracle]
        inside = {id(row) for row, hit in zip(oracle, below, strict=True) if hit}
        expect(catalog.mask(name), lambda row, name=name: row.namespace == name)
        expect(catalog.mask(name, prefix=True), lambda row, inside=inside: id(row) in inside)
        expect(
            catalog.mask(name, prefix=True, thread="chat", since=0),
            lambda row, inside=inside: (
                id(row) in inside and row.thread_name == "chat" and row.time >= 0
            ),
        )
        expect(catalog.mask(name, thread="none"), lambda row: False)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_catalog_equals_a_list(data: st.DataObject) -> None:
    """Through any extends and erasures every answer and every slice equals a plain list's."""
    catalog, oracle = Catalog(), []
    for _ in range(data.draw(st.integers(1, 4))):
        fresh = batch(data, oracle)
        catalog.extend(CatalogColumns.of(fresh))
        oracle += [row if row.namespace is not None else erased(row) for row in fresh]
        gone = data.draw(st.sets(st.integers(0, len(oracle) - 1), max_size=3)) if oracle else set()
        catalog.erase(sorted(gone))
        oracle = [erased(row) if i in gone else row for i, row in enumerate(oracle)]
        check_whole(catalog, oracle)
        start = data.draw(st.integers(0, len(oracle)))
        stop = data.draw(st.integers(start, len(oracle)))
        assert catalog.columns(start, stop) == CatalogColumns.of(oracle[start:stop])


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_columns_cut_join_and_erase_like_rows(data: st.DataObject) -> None:
    """Cutting, joining and erasing columns equals laying out the rows so treated."""
    known = batch(data, [], 8)
    columns = CatalogColumns.of(known)
    cut = data.draw(st.integers(0, len(known)))
    whole, joined = Catalog(), Catalog()
    whole.extend(columns)
    parts = [whole.columns(0, cut), whole.columns(cut, len(known))]
    assert parts == [CatalogColumns.of(known[:cut]), CatalogColumns.of(known[cut:])]
    for part in parts:
        joined.extend(part)
    assert joined.columns(0, len(known)) == columns
    gone = data.draw(st.sets(st.integers(0, len(known) - 1))) if known else set()
    kept = [erased(row) if i in gone else row for i, row in enumerate(known)]
    assert columns.erase(sorted(gone)) == CatalogColumns.of(kept)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_segments_rebuild_the_catalog(data: st.DataObject) -> None:
    """A catalog extended with another's columns, cut anywhere, gives the same columns."""
    known = batch(data, [], 8)
    catalog = Catalog()
    catalog.extend(CatalogColumns.of(known))
    catalog.erase([i for i in range(len(known)) if data.draw(st.booleans())])
    cut = data.draw(st.integers(0, len(known)))
    rebuilt = Catalog()
    for start, stop in ((0, 0), (0, cut), (cut, len(known))):
        rebuilt.extend(catalog.columns(start, stop))
    assert rebuilt.columns(0, len(known)) == catalog.columns(0, len(known))
    assert rebuilt.columns(cut, len(known)) == catalog.columns(cut, len(known))


def test_columns_tell_types_apart() -> None:
    """1, 1.0 and True, and zeros of both signs, are stored as different values."""
    stored: list[Any] = [1, 1.0, True, 0.0, -0.0, "1", [1], [1.0], [True], None]

    def laid_out(values: list[Any]) -> CatalogColumns:
        facts = enumerate(({"f": value} for value in values), 1)
        return CatalogColumns.of([CatalogRow(i, 1, i, namespace=A, metadata=f) for i, f in facts])

    columns = laid_out(stored)
    assert [repr(value) for value in columns.fields["f"].values] == [repr(v) for v in stored]
    assert laid_out(stored[:9]) != laid_out(stored[1:])


def secretive(ordinal: int) -> CatalogRow:
    return CatalogRow(
        ordinal, 1, ordinal + 1, time=1 << 40, namespace=(f"space{ordinal}",), key="secretkey",
        thread=bytes([ordinal]) * 16, thread_name="secretname",
        metadata={f"field{ordinal}": "secretvalue", "shared": f"value{ordinal}"},
    )  # fmt: skip


def reachable(item: object, seen: set[int]) -> set[str]:
    """Every str reachable from an object through its attributes and containers."""
    if id(item) in seen:
        return set()
    seen.add(id(item))
    if isinstance(item, str):
        return {item}
    if isinstance(item, dict):
        inner = [*item.keys(), *item.values()]
    elif isinstance(item, (list, tuple, set)):
        inner = list(item)
    else:
        slots = [s for c in type(item).__mro__ for s in getattr(c, "__slots__", ())]
        inner = [getattr(item, slot) for slot in slots if hasattr(item, slot)]
        inner += list(getattr(item, "__dict__", {}).values())
    return set().union(*(reachable(part, seen) for part in inner))


def test_erased_content_is_nowhere_in_memory() -> None:
    """After the last user of a name or value is erased, no table still holds it."""
    catalog = Catalog()
    catalog.extend(CatalogColumns.of([secretive(i) for i in range(2)]))
    assert catalog.field("shared") is not None
    assert {"secretvalue", "field0", "secretname", "space0"} <= reachable(catalog, set())
    catalog.erase([0])
    left = reachable(catalog, set())
    assert not {"field0", "value0", "space0"} & left
    assert {"field1", "value1", "space1", "secretname"} <= left
    catalog.erase([1])
    assert not [text for text in reachable(catalog, set()) if "secret" in text or "1" in text]
    assert not [text for text in reachable(catalog.columns(0, 2), set()) if "secret" in text]


def test_reprs_hold_no_content() -> None:
    """Rows, columns and catalogs print without content."""
    row = secretive(1)
    columns = CatalogColumns.of([row])
    catalog = Catalog()
    catalog.extend(columns)
    parts = (row, columns, columns.fields["shared"], catalog, catalog.field("shared"))
    assert "secret" not in "".join(map(repr, parts))


@pytest.mark.parametrize("bad", [(), "a.b", ("a", ""), ("a.b",), 7])
def test_a_namespace_that_is_none_never_widens(bad: Any) -> None:
    """A mask for something that is no namespace raises; it does not mean every memory."""
    catalog = Catalog()
    catalog.extend(CatalogColumns.of([CatalogRow(1, 1, 1, namespace=A)]))
    for prefix in (False, True):
        with pytest.raises(InvalidNamespace):
            catalog.mask(bad, prefix=prefix)


def test_namespaces_are_isolated() -> None:
    """Neighbouring labels, unknown names and same-named threads never show each other's rows."""
    catalog = Catalog()
    homes: list[Namespace] = [("a",), ("ab",), ("a", "b"), ("b", "a")]
    catalog.extend(
        CatalogColumns.of(
            [
                CatalogRow(
                    i, 1, i + 1, namespace=home, key="k", thread=bytes([i]) * 16, thread_name="chat"
                )
                for i, home in enumerate(homes)
            ]
        )
    )
    for i, home in enumerate(homes):
        assert np.flatnonzero(catalog.mask(home)).tolist() == [i]
        assert np.flatnonzero(catalog.mask(home, thread="chat")).tolist() == [i]
        assert catalog.thread_ordinals(home, "chat").tolist() == [i]
        assert catalog.by_key(home, "k") == i
    assert np.flatnonzero(catalog.mask(("a",), prefix=True)).tolist() == [0, 2]
    assert not catalog.mask(("c",)).any()
    assert not catalog.mask(("c",), prefix=True).any()
    assert catalog.by_key(("c",), "k") is None


def test_masks_belong_to_the_caller() -> None:
    """Writing to a mask changes no later answer."""
    catalog = Catalog()
    catalog.extend(CatalogColumns.of([CatalogRow(1, 1, 1, namespace=A)]))
    for arguments in ({}, {"namespace": A}, {"namespace": A, "prefix": True}, {"since": 0}):
        catalog.mask(**arguments)[:] = False  # type: ignore[arg-type]  # literal arguments
        assert catalog.mask(**arguments).all()  # type: ignore[arg-type]  # the same


def thread_row(ordinal: int, namespace: Namespace | None, name: str) -> CatalogRow:
    return CatalogRow(
        ordinal, 1, ordinal + 1, namespace=namespace, thread=b"t" * 16, thread_name=name, key="k"
    )


@pytest.mark.parametrize(("namespace", "name"), [(B, "chat"), (A, "other")])
def test_a_thread_keeps_its_name_and_namespace(namespace: Namespace, name: str) -> None:
    """A live thread that turns up elsewhere is refused, and nothing has changed."""
    first, second = thread_row(0, A, "chat"), thread_row(1, namespace, name)
    with pytest.raises(InvalidArgument):
        CatalogColumns.of([first, second])
    catalog = Catalog()
    catalog.extend(CatalogColumns.of([first]))
    with pytest.raises(InvalidArgument):
        catalog.extend(CatalogColumns.of([second]))
    assert catalog.columns(0, len(catalog)) == CatalogColumns.of([first])
    assert catalog.namespaces() == {A: 1}
    catalog.erase([0])
    catalog.extend(CatalogColumns.of([second]))
    assert catalog.thread(1) == (b"t" * 16, name)


def test_ordinals_beyond_the_catalog_are_refused() -> None:
    """A parent, an erasure or a slice outside the rows raises before anything changes."""
    catalog = Catalog()
    with pytest.raises(InvalidArgument):
        catalog.extend(
            CatalogColumns.of([CatalogRow(1, 1, 1, namespace=A, parents=[(EdgeKind.DERIVES, 1)])])
        )
    assert len(catalog) == 0
    catalog.extend(CatalogColumns.of([CatalogRow(1, 1, 1, namespace=A)]))
    for bad in ([1], [-1], [0, 5]):
        with pytest.raises(InvalidArgument):
            catalog.erase(bad)
    for start, stop in ((0, 2), (-1, 1), (1, 0)):
        with pytest.raises(InvalidArgument):
            catalog.columns(start, stop)
    assert catalog.live.tolist() == [True]


def linked(lamport: int, prefix: int, thread: bytes, *follows: int) -> CatalogRow:
    edges = [(EdgeKind.FOLLOWS, parent) for parent in follows]
    name = thread[:1].decode()
    return CatalogRow(
        prefix, 1, lamport, namespace=A, thread=thread, thread_name=name, parents=edges
    )


@pytest.mark.parametrize("size", [1, 9])
def test_forks_merges_and_equal_clocks(size: int) -> None:
    """The first of several edges is the chain; equal clocks are ordered by the id's bytes."""
    one, two = b"1" * 16, b"2" * 16
    fork = [
        linked(1, 5, one), linked(2, 0x0102, one, 0), linked(2, 0x0201, one, 0),
        linked(3, 1, one, 1, 2), linked(4, 1, two, 3), linked(4, 0, one, 0),
    ]  # fmt: skip
    catalog = Catalog()
    for start in range(0, len(fork), size):
        catalog.extend(CatalogColumns.of(fork[start : start + size]))
    assert catalog.follows_previous.tolist() == [-1, 0, 0, 1, 3, 0]
    assert catalog.follows_next.tolist() == [1, 3, 3, 4, -1, -1]
    assert [child for _, child in catalog.children(0)] == [1, 2, 5]
    assert catalog.thread_ordinals(A, "1").tolist() == [0, 2, 1, 3, 5]
    assert catalog.heads(A, "1").tolist() == [3, 5]
    assert catalog.heads(A, "2").tolist() == [4]
    catalog.erase([3])
    assert catalog.thread_ordinals(A, "1").tolist() == [0, 2, 1, 5]
    assert catalog.heads(A, "1").tolist() == [3, 5]


def test_ids_order_what_their_first_bytes_do_not() -> None:
    """Memories whose clocks and first 8 bytes agree are in the order of their whole ids."""
    ids = [b"same 8 b" + last for last in (b"2", b"9", b"1")]
    catalog = Catalog(lambda row: ids[row])
    prefix = int.from_bytes(ids[0][:8], "little")
    first = CatalogRow(prefix, 1, 1, namespace=A, thread=b"t" * 16, thread_name="chat", key="k")
    catalog.extend(CatalogColumns.of([first] * 3))
    assert catalog.by_key(A, "k") == 1
    assert catalog.thread_ordinals(A, "chat").tolist() == [2, 0, 1]
    assert catalog.heads(A, "chat").tolist() == [2, 0, 1]


CONTRADICTIONS = {
    "not above a parent's": [(1, None), (1, 0)],
    "below a parent's": [(4, None), (1, 0)],
    "far ahead": [(5, None), (6 + (1 << 32), None)],
    "far ahead from the first": [(1 + (1 << 32), None)],
    "at the end": [((1 << 64) - 1, None)],
    "none": [(0, None)],
    "its own parent": [(1, 0)],
}


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_clocks_that_contradict_each_other_are_refused(name: str, size: int) -> None:
    """A clock not above a parent's, or far ahead of all before it, raises; nothing has changed."""
    facts = [
        CatalogRow(i, 1, lamport, namespace=A, parents=[] if to is None else [(kind, to)])
        for kind in [EdgeKind.DERIVES]
        for i, (lamport, to) in enumerate(CONTRADICTIONS[name])
    ]
    catalog = Catalog()
    before = 0
    with pytest.raises(InvalidArgument):  # noqa: PT012  # whichever batch has the last row
        for start in range(0, len(facts), size):
            before = len(catalog)
            catalog.extend(CatalogColumns.of(facts[start : start + size]))
    assert len(catalog) == before
    whole = [CatalogRow(9, 1, 1 << 32, namespace=A), CatalogRow(8, 1, 1 << 33, namespace=None)]
    catalog = Catalog()
    catalog.extend(CatalogColumns.of(whole))
    assert catalog.latest == 1 << 33


def test_erasing_clears_the_arrays_made_for_filters() -> None:
    """Numbers and codes that a filter had laid out row by row are overwritten too."""
    catalog = Catalog()
    facts = [{"n": 41.5}, {"n": 42}]
    catalog.extend(
        CatalogColumns.of(
            [CatalogRow(i, 1, i + 1, namespace=A, metadata=fact) for i, fact in enumerate(facts)]
        )
    )
    column = catalog.field("n")
    assert column is not None
    assert column.numbers(2).tolist() == [41.5, 42.0]
    assert column.codes(2).tolist() == [0, 1]
    catalog.erase([0])
    assert np.isnan(column.numbers(2)).tolist() == [True, False]
    assert column.codes(2).tolist() == [-1, 1]


def test_many_rows_use_the_sorted_lookup() -> None:
    """Lookups agree with a scan when most rows lie in the sorted part and some in the tail."""
    catalog = Catalog()
    rng = np.random.default_rng(7)
    prefixes = rng.integers(0, 500, 5000).astype(np.uint64) + np.uint64(1 << 62)
    for start in range(0, 5000, 700):
        part = range(start, min(start + 700, 5000))
        catalog.extend(
            CatalogColumns.of(
                [
                    CatalogRow(
                        int(prefixes[i]), 1, i + 1, namespace=A, parents=follows[: min(i, 1)]
                    )
                    for i in part
                    for follows in [[(EdgeKind.FOLLOWS, i // 2)]]
                ]
            )
        )
        seen = prefixes[: len(catalog)]
        for wanted in seen[:: max(1, len(seen) // 50)]:
            assert catalog.find(int(wanted)).tolist() == np.flatnonzero(seen == wanted).tolist()
    assert catalog.children(2000) == [(EdgeKind.FOLLOWS, 4000), (EdgeKind.FOLLOWS, 4001)]
