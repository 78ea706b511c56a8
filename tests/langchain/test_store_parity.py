"""MimirStore against InMemoryStore: random batches, synchronous and asynchronous, and reopening.

The model is InMemoryStore with the improvements that MimirStore names: results are in the order of
creation (InMemoryStore groups them by namespace), an order on a missing field holds for no item,
an item that is put again keeps its first time and loses its old vectors, pages of a ranked search
do not repeat what is not indexed, and a namespace without items is none.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from langgraph.store.base import (
    GetOp,
    IndexConfig,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    SearchItem,
    SearchOp,
)
from langgraph.store.memory import InMemoryStore

from mimir_core import Mimir
from mimir_core.embedding import HashEmbedder
from mimir_langchain import MimirStore

from ..vault.vaults import MEMORY_FOLDER, create, reopen

LABELS = ["a", "ab", "b", "*", "~x", "A", "e\u0301", "é", "new\nline", "per%cent"]
Place = tuple[str, ...]
Spot = tuple[Place, str]

places = st.one_of(
    st.sampled_from([("a",), ("ab",), ("a", "b"), ("a", "b", "a")]),
    st.lists(st.sampled_from(LABELS), min_size=1, max_size=3).map(tuple),
)
prefixes = st.one_of(st.just(()), st.just(("a",)), places)
keys = st.sampled_from(["k1", "k2", "k3", "", "~", "long" * 300, "emoji 🦜"])
scalars = st.sampled_from(
    [None, True, False, 0, 1, 2, -3, 2.5, 1 << 70, "2", "0.5", "red", "blue", "red" * 40, ""]
)
words = st.sampled_from(["ana", "cat", "dog", "Pixel", "roof", "tea", "harbour", "night"])


@st.composite
def values(draw: st.DrawFn) -> dict[str, Any]:
    value: dict[str, Any] = draw(
        st.dictionaries(st.sampled_from(["n", "color", "a-b", "9x"]), scalars)
    )
    if draw(st.booleans()):
        value["tags"] = draw(st.lists(scalars, max_size=2))
    if draw(st.booleans()):
        value["owner"] = {"name": draw(scalars)}
    return value


numbers = st.sampled_from([0, 1, 2, 2.5, -3, "1", True, 1 << 70])
conditions = st.one_of(
    scalars,
    st.lists(scalars, max_size=2),
    st.fixed_dictionaries({"name": scalars}),
    st.dictionaries(st.sampled_from(["$eq", "$ne"]), scalars, min_size=1),
    st.dictionaries(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), numbers, min_size=1),
)
filters = st.one_of(
    st.none(),
    st.dictionaries(
        st.sampled_from(["n", "color", "a-b", "9x", "tags", "owner", "none"]),
        conditions,
        max_size=2,
    ),
)
pages = st.tuples(st.sampled_from([0, 1, 2, 10]), st.sampled_from([0, 0, 1, 3]))


@st.composite
def batches(draw: st.DrawFn) -> list[Op]:
    return draw(st.lists(st.one_of(puts(), puts(), reads()), min_size=1, max_size=6))


@st.composite
def puts(draw: st.DrawFn) -> PutOp:
    value = draw(st.one_of(st.none(), values(), values(), values()))
    if value is not None:
        # InMemoryStore cannot embed one text twice in a batch.
        for field in draw(st.sets(st.sampled_from(["text", "title"]))):
            unique = draw(st.integers(0, 1 << 40))
            value[field] = f"{draw(words)} {draw(words)} {draw(words)} {unique} {field}"
    index = draw(st.sampled_from([None, None, None, False, ["title"], ["text", "title"]]))
    return PutOp(draw(places), draw(keys), value, index=index)


@st.composite
def reads(draw: st.DrawFn) -> Op:
    kind = draw(st.sampled_from(["get", "search", "search", "query", "list"]))
    limit, offset = draw(pages)
    if kind == "get":
        return GetOp(draw(places), draw(keys))
    if kind == "list":
        found = st.builds(MatchCondition, st.sampled_from(["prefix", "suffix"]), prefixes)
        depth = draw(st.sampled_from([None, 1, 2]))
        return ListNamespacesOp(tuple(draw(st.lists(found, max_size=2))), depth, limit, offset)
    query = f"{draw(words)} {draw(words)}" if kind == "query" else None
    return SearchOp(draw(prefixes), draw(filters), limit, offset, query)


def embed(texts: list[str]) -> list[list[float]]:
    """Texts that share words are near; not of unit length, as models of users may be."""
    vectors: list[list[float]] = (2.0 * HashEmbedder(96).embed_documents(list(texts))).tolist()
    return vectors


INDEX: IndexConfig = {"dims": 96, "embed": embed, "fields": ["text"]}


class Model:
    """What a batch is to answer, by InMemoryStore."""

    def __init__(self) -> None:
        self.store = InMemoryStore(index=INDEX)
        self.born: dict[Spot, int] = {}
        self.clock = 0

    def read(self, op: Op) -> Any:
        if isinstance(op, ListNamespacesOp):
            return self._list(op)
        if isinstance(op, SearchOp):
            return self._search(op)
        return self.store.batch([op])[0]

    def write(self, ops: list[PutOp]) -> None:
        last = {(op.namespace, op.key): op for op in ops}
        for spot, op in last.items():
            self.store.delete(*spot)  # its vectors go with it
            if op.value is None:
                self.born.pop(spot, None)
            else:
                self.clock += 1
                self.born.setdefault(spot, self.clock)
                self.store.batch([op])

    def _list(self, op: ListNamespacesOp) -> list[Place]:
        alive = InMemoryStore()
        for place, key in self.born:
            alive.put(place, key, {})
        found: list[Place] = alive.batch([op])[0]  # type: ignore[assignment]
        return found

    def scores(self, op: SearchOp) -> dict[Spot, float | None]:
        """All that fits a search, with its score."""
        return dict(self._search(op._replace(limit=10_000, offset=0)))

    def _search(self, op: SearchOp) -> list[tuple[Spot, float | None]]:
        wide = SearchOp(op.namespace_prefix, None, 10_000, 0, op.query)
        found: list[SearchItem] = self.store.batch([wide])[0]  # type: ignore[assignment]
        kept = [((i.namespace, i.key), i.score) for i in found if self._fits(i, op)]
        kept.sort(key=lambda each: (each[1] is None, -(each[1] or 0), self.born[each[0]]))
        return kept[op.offset : op.offset + op.limit]

    def _fits(self, item: SearchItem, op: SearchOp) -> bool:
        alone = InMemoryStore()
        alone.put(("one",), "one", item.value)
        try:
            return bool(alone.search(("one",), filter=op.filter))
        except (TypeError, ValueError):  # no order to what is missing or no number
            return False


class Parity(RuleBasedStateMachine):
    """Random batches on both stores, and closing and opening the vault."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY_FOLDER)
        self.path = Path(self.folder.name) / "vault.mimir"
        self.model = Model()
        self.created: dict[Spot, dt.datetime] = {}

    @initialize()
    def start(self) -> None:
        self.serve(create(self.path))

    def serve(self, mimir: Mimir) -> None:
        self.mimir = mimir
        self.store = MimirStore(mimir, index=INDEX)

    @rule()
    def reopen(self) -> None:
        self.mimir.close()
        self.serve(reopen(self.path))

    @rule(ops=batches(), asynchronous=st.booleans())
    def batch(self, ops: list[Op], asynchronous: bool) -> None:
        expected = [None if isinstance(op, PutOp) else self.model.read(op) for op in ops]
        found = asyncio.run(self.store.abatch(ops)) if asynchronous else self.store.batch(ops)
        assert len(found) == len(ops)
        for op, one, other in zip(ops, found, expected, strict=True):
            self.compare(op, one, other)
        self.model.write([op for op in ops if isinstance(op, PutOp)])
        self.created = {spot: at for spot, at in self.created.items() if spot in self.model.born}

    def compare(self, op: Op, found: Any, expected: Any) -> None:
        if isinstance(op, SearchOp):
            self.compare_pages(op, found, expected)
        elif isinstance(op, GetOp) and expected is not None:
            self.compare_items(found, expected)
        else:
            assert found == expected

    def compare_pages(
        self, op: SearchOp, found: list[SearchItem], expected: list[tuple[Spot, float | None]]
    ) -> None:
        scores = [score for _, score in expected]
        assert [item.score for item in found] == pytest.approx(scores, abs=0.03)
        known = self.model.scores(op)
        for item in found:
            score = known[(item.namespace, item.key)]  # fails for an item that does not fit
            assert item.score == pytest.approx(score, abs=0.03)
        if op.query is None or None in scores[:1]:
            assert [(item.namespace, item.key) for item in found] == [spot for spot, _ in expected]
        for item in found:
            same = self.model.store.get(item.namespace, item.key)
            self.compare_items(item, same)

    def compare_items(self, found: Item, expected: Item | None) -> None:
        assert expected is not None
        assert (found.namespace, found.key) == (expected.namespace, expected.key)
        assert found.value == expected.value
        assert repr(found.value) == repr(expected.value)  # no 1 for True, no 1.0 for 1
        spot = (found.namespace, found.key)
        assert found.created_at == self.created.setdefault(spot, found.created_at)
        assert found.created_at <= found.updated_at

    def teardown(self) -> None:
        if hasattr(self, "mimir"):
            self.mimir.close()
        self.folder.cleanup()


TestParity = Parity.TestCase
TestParity.settings = settings(max_examples=30, stateful_step_count=12)
