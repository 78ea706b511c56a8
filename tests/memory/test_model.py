"""Mimir against a plain model: any sequence of calls, on one handle, on two, and reopened."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from mimir_core import EdgeKind, Item, Mimir
from mimir_core.dag import Parent
from mimir_core.errors import DuplicateKey, NotFound

from ..vault.foreign import merge
from ..vault.test_views import drop_views
from ..vault.vaults import MEMORY_FOLDER, create, reopen

SPACES = (("a",), ("a", "b"), ("c",))
WORDS = ("cat", "dog", "bird", "fish", "horse")

texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join)
namespaces = st.sampled_from(SPACES)
threads = st.none() | st.sampled_from(["t", "u"])
keys = st.none() | st.sampled_from(["k", "l"])
metadata = st.dictionaries(st.sampled_from(["n", "m"]), st.integers(0, 3), max_size=2)
fields = st.fixed_dictionaries(
    {"content": texts, "namespace": namespaces, "thread": threads, "key": keys,
     "metadata": metadata, "time": st.integers(0, 9), "keep_history": st.booleans()}
)  # fmt: skip


@dataclass
class Node:
    """What the model knows of a memory."""

    fields: dict[str, Any]
    parents: set[tuple[EdgeKind, str]]
    clock: int
    live: bool = True


@dataclass
class Model:
    """What a vault should be, as dictionaries in the order of storing."""

    nodes: dict[str, Node] = field(default_factory=dict)
    heads: dict[tuple[Any, str], str] = field(default_factory=dict)
    clock: int = 0

    def live(self) -> dict[str, dict[str, Any]]:
        """Fields of live memories by id."""
        return {id_: node.fields for id_, node in self.nodes.items() if node.live}

    def place(self, item: dict[str, Any], derived: list[str]) -> set[tuple[EdgeKind, str]]:
        """The parents of a memory to be, and the erasure of what it supersedes."""
        parents = {(EdgeKind.DERIVES, id_) for id_ in derived}
        where = (item["namespace"], item["thread"])
        if item["thread"] and any(
            (found["namespace"], found["thread"]) == where for found in self.live().values()
        ):
            parents.add((EdgeKind.FOLLOWS, self.heads[where]))
        if item["key"]:
            for older in self.current(item["namespace"], item["key"]):
                parents.add((EdgeKind.SUPERSEDES, older))
                self.nodes[older].live &= item["keep_history"]
        return parents

    def add(self, id_: str, item: dict[str, Any], parents: set[tuple[EdgeKind, str]]) -> None:
        """Takes a memory in."""
        self.clock += 1
        self.nodes[id_] = Node(item, parents, self.clock)
        if item["thread"]:
            self.heads[item["namespace"], item["thread"]] = id_

    def values(self, namespace: tuple[str, ...], key: str) -> list[str]:
        """The live memories of a key."""
        return [
            id_
            for id_, known in self.live().items()
            if (known["namespace"], known["key"]) == (namespace, key)
        ]

    def by_key(self, namespace: tuple[str, ...], key: str) -> str | None:
        """The last memory of a key by (clock, id)."""
        order = {id_: (self.nodes[id_].clock, id_) for id_ in self.values(namespace, key)}
        return max(order, key=order.__getitem__, default=None)

    def current(self, namespace: tuple[str, ...], key: str) -> set[str]:
        """The memories of a key that no live one of it superseded."""
        values = set(self.values(namespace, key))
        return values - set().union(*(self.history(id_) - {id_} for id_ in values))

    def history(self, id_: str) -> set[str]:
        """A memory and the live ones it superseded, through erased ones too."""
        found = {id_}
        for kind, parent in self.nodes[id_].parents:
            if kind is EdgeKind.SUPERSEDES:
                found |= self.history(parent)
        return found

    def derived(self, ids: set[str]) -> set[str]:
        """The memories and all that was made from them."""
        found = set(ids)
        for id_, node in self.nodes.items():
            if any(kind is EdgeKind.DERIVES and parent in found for kind, parent in node.parents):
                found.add(id_)
        return found

    def forget(self, ids: set[str]) -> set[str]:
        """Erases; what was live of it."""
        gone = {id_ for id_ in ids if self.nodes[id_].live}
        for id_ in gone:
            self.nodes[id_].live = False
        self.clock += bool(gone)  # of the erasure's record
        return gone


class Machine(RuleBasedStateMachine):
    """Applies the same calls to a vault and to the model."""

    stored = Bundle("stored")

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY_FOLDER)
        self.path = Path(self.folder.name, "v.mimir")
        self.model = Model()
        self.mimir: Mimir = create(self.path)
        self.other: Mimir | None = None

    def teardown(self) -> None:
        for handle in (self.mimir, self.other):
            if handle is not None:
                handle.close()
        self.folder.cleanup()

    def writer(self, second: bool) -> Mimir:
        return self.other if second and self.other is not None else self.mimir

    @rule(target=stored, item=fields, derived=st.lists(stored, max_size=3), second=st.booleans())
    def remember(self, item: dict[str, Any], derived: list[str], second: bool) -> Any:
        mimir = self.writer(second)
        if any(not self.model.nodes[id_].live for id_ in derived):
            with pytest.raises(NotFound):
                mimir.remember(**item, derived_from=derived)
            return multiple()
        id_ = mimir.remember(**item, derived_from=derived)
        alive = len(self.model.live())
        parents = self.model.place(item, derived)
        erased = alive > len(self.model.live())
        self.model.add(id_, item, parents)
        self.model.clock += erased  # of the erasure's record
        return id_

    @rule(
        target=stored,
        text=texts,
        namespace=namespaces,
        key=st.sampled_from(["k", "l"]),
        ahead=st.integers(-3, 3),
        over=st.none() | stored,
        second=st.booleans(),
    )
    def merge(
        self,
        text: str,
        namespace: tuple[str, ...],
        key: str,
        ahead: int,
        over: str | None,
        second: bool,
    ) -> str:
        """Another device's value of a key arrives, written beside those that are here."""
        parents = set() if over is None else {(EdgeKind.SUPERSEDES, over)}
        least = 1 if over is None else 1 + self.model.nodes[over].clock
        clock = max(least, self.model.clock + ahead)
        id_ = merge(
            self.writer(second), text, clock, namespace=namespace, key=key,
            parents=tuple(Parent(kind, bytes.fromhex(parent)) for kind, parent in parents),
        )  # fmt: skip
        item = {"content": text, "namespace": namespace, "thread": None, "key": key,
                "metadata": {}, "time": 0, "keep_history": True}  # fmt: skip
        self.model.nodes[id_] = Node(item, parents, clock)
        self.model.clock = max(self.model.clock, clock)
        return id_

    @rule(target=stored, items=st.lists(fields, min_size=1, max_size=6))
    def remember_many(self, items: list[dict[str, Any]]) -> Any:
        batch = [Item(**item) for item in items]
        named = [(item["namespace"], item["key"]) for item in items if item["key"]]
        if len(set(named)) < len(named):
            with pytest.raises(DuplicateKey):
                self.mimir.remember_many(batch)
            return multiple()
        # what a batch supersedes is erased once all of it is placed
        alive = {id_ for id_, node in self.model.nodes.items() if node.live}
        gone: set[str] = set()
        ids = self.mimir.remember_many(batch)
        for id_, item in zip(ids, items, strict=True):
            parents = self.model.place(item, [])
            for old in alive:
                if not self.model.nodes[old].live:
                    gone.add(old)
                    self.model.nodes[old].live = True
            self.model.add(id_, item, parents)
        self.model.forget(gone)
        return multiple(*ids)

    def check_forget(self, mimir: Mimir, expected: set[str], **arguments: Any) -> None:
        live = {id_ for id_ in expected if self.model.nodes[id_].live}
        assert set(mimir.forget(**arguments, dry_run=True).ids) == live
        assert set(mimir.forget(**arguments).ids) == live
        self.model.forget(live)

    @rule(
        ids=st.sets(stored, min_size=1, max_size=4), cascade=st.booleans(), second=st.booleans()
    )
    def forget_ids(self, ids: set[str], cascade: bool, second: bool) -> None:
        mimir = self.writer(second)
        if all(self.model.nodes[id_].live for id_ in ids):
            found = self.model.derived(ids) if cascade else ids
            self.check_forget(mimir, found, ids=sorted(ids), cascade=cascade)
        else:
            with pytest.raises(NotFound):
                mimir.forget(sorted(ids), cascade=cascade)

    @rule(namespace=namespaces, key=st.sampled_from(["k", "l"]))
    def forget_key(self, namespace: tuple[str, ...], key: str) -> None:
        newest = self.model.by_key(namespace, key)
        if newest is None:
            with pytest.raises(NotFound):
                self.mimir.forget(key=key, namespace=namespace)
        else:
            found = set(self.model.values(namespace, key))
            self.check_forget(self.mimir, found, key=key, namespace=namespace)

    @rule(
        namespace=namespaces,
        descendants=st.booleans(),
        thread=threads,
        number=st.none() | st.integers(0, 3),
        since=st.none() | st.integers(0, 9),
    )
    def forget_selection(
        self,
        namespace: tuple[str, ...],
        descendants: bool,
        thread: str | None,
        number: int | None,
        since: int | None,
    ) -> None:
        depth = len(namespace)
        found = {
            id_
            for id_, known in self.model.live().items()
            if (known["namespace"][:depth] if descendants else known["namespace"]) == namespace
            and thread in (None, known["thread"])
            and (number is None or known["metadata"].get("n") == number)
            and (since is None or known["time"] >= since)
        }
        where = None if number is None else {"n": number}
        self.check_forget(self.mimir, found, namespace=namespace, descendants=descendants,
                          thread=thread, where=where, since=since)  # fmt: skip

    @rule()
    def checkpoint(self) -> None:
        self.mimir.checkpoint()

    @rule()
    def reopen(self) -> None:
        self.mimir.close()
        self.mimir = reopen(self.path)

    @precondition(lambda self: self.other is None)
    @rule()
    def rebuild_views(self) -> None:
        drop_views(self.mimir)
        self.mimir.close()
        self.mimir = reopen(self.path)

    @rule()
    def second_handle(self) -> None:
        if self.other is None:
            self.other = reopen(self.path)
        else:
            self.other.close()
            self.other = None

    @invariant()
    def all_is_as_the_model_says(self) -> None:
        if not hasattr(self, "mimir"):
            return
        for mimir in (self.mimir, self.other):
            if mimir is not None:
                self.check(mimir)

    def check(self, mimir: Mimir) -> None:
        live = self.model.live()
        found = {
            m.id: (m.content, m.namespace, m.thread, m.key, m.metadata, m.time.timestamp())
            for m in mimir.memories()
        }
        names = ("content", "namespace", "thread", "key", "metadata", "time")
        assert list(found) == list(live)
        assert found == {id_: tuple(known[n] for n in names) for id_, known in live.items()}
        for namespace in SPACES:
            inside = {id_: k for id_, k in live.items() if k["namespace"] == namespace}
            assert mimir.namespaces().get(namespace, 0) == len(inside)
            for thread in ("t", "u"):
                turns = [id_ for id_, known in inside.items() if known["thread"] == thread]
                assert [m.id for m in mimir.thread(thread, namespace=namespace)] == turns
            for key in ("k", "l"):
                (value,) = mimir.known([key], namespace=namespace)
                assert value == self.model.by_key(namespace, key)
            for mode in ("lexical", "dense", "hybrid"):
                hits = {hit.id for hit in mimir.recall("cat", k=99, mode=mode, namespace=namespace)}
                cats = {id_ for id_, known in inside.items() if "cat" in known["content"]}
                assert cats <= hits <= set(inside)
                assert mode != "lexical" or hits == cats
        for id_ in list(self.model.nodes)[-5:]:
            direct = {r.id for r in mimir.lineage(id_).ancestors if r.distance == 1}
            assert direct == {parent for _, parent in self.model.nodes[id_].parents}
        assert mimir.stats().erased == len(self.model.nodes) - len(live)

    @rule()
    def verify(self) -> None:
        assert self.mimir.verify().ok


class TestModel(Machine.TestCase):
    """No sequence of calls makes the vault differ from the model."""

    settings = settings(
        max_examples=40,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
