"""Whoever replaces or deletes learns that old pages are not yet scrubbed, once all is done.

Another process holds a snapshot of the vault, so that the journal cannot be emptied.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.messages import HumanMessage
from langchain_core.outputs import Generation
from langgraph.store.base import PutOp

from mimir_core import Mimir
from mimir_core.errors import ScrubPending
from mimir_langchain import (
    MimirByteStore,
    MimirCache,
    MimirChatMessageHistory,
    MimirMemory,
    MimirStore,
    MimirSummaryMemory,
    MimirVectorStore,
)
from mimir_langchain.store import _now

from ..vault.vaults import create, reopen
from ..vault.worker import start_worker
from .talking import Listener

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated")

PLACE = ("docs",)


@contextmanager
def held(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Another process reads the vault as it is now, all the while."""
    monkeypatch.setattr("mimir_core.vault.vault.SCRUB_TIMEOUT", 0.1)
    with start_worker("hold_snapshot", path) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == "held\n"
        try:
            yield
        finally:
            holder.stdin.close()
            holder.wait(30)


def vectors(mimir: Mimir) -> Any:
    """Documents: the second transaction of a call comes after the one that owes a scrub."""
    store = MimirVectorStore(mimir)
    store.add_texts(["old"], ids=["0"])
    documents = [Document(f"new {number}", id=str(number)) for number in range(2_050)]

    def done() -> object:
        return [each.page_content for each in store.get_by_ids(["0", "2049"])]

    return lambda: store.add_documents(documents), done, ["new 0", "new 2049"]


def unnamed(mimir: Mimir) -> Any:
    """A document under a name, and a memory that has none."""
    store = MimirVectorStore(mimir)
    store.add_texts(["a"], ids=["a"])
    id_ = mimir.remember("b", namespace=("langchain", "vectors"))
    return lambda: store.delete(["a", id_]), lambda: store.get_by_ids(["a", id_]), []


def values(mimir: Mimir) -> Any:
    """Bytes of a byte store."""
    store = MimirByteStore(mimir)
    store.mset([("a", b"1"), ("b", b"1")])
    return (
        lambda: store.mset([("a", b"2"), ("new", b"2")]),
        lambda: store.mget(["a", "b", "new"]),
        [b"2", b"1", b"2"],
    )


def removed(mimir: Mimir) -> Any:
    """Bytes of a byte store that are deleted."""
    store = MimirByteStore(mimir)
    store.mset([("a", b"1"), ("b", b"1")])
    return lambda: store.mdelete(["a", "b"]), lambda: list(store.yield_keys()), []


def answers(mimir: Mimir) -> Any:
    """A model's answer: the next question is answered from the cache."""
    cache = MimirCache(mimir)
    cache.update("q", "m", [Generation(text="old")])
    new = [Generation(text="new")]
    return lambda: cache.update("q", "m", new), lambda: cache.lookup("q", "m"), new


def session(mimir: Mimir) -> Any:
    """The messages of a session."""
    history = MimirChatMessageHistory(mimir, "s")
    history.add_messages([HumanMessage("old")])
    new = [HumanMessage("new"), HumanMessage("newer")]

    def replace() -> None:
        history.messages = new

    return replace, lambda: history.messages, new


def items(mimir: Mimir) -> Any:
    """Items of a store, one of them new."""
    store = MimirStore(mimir, index=None)
    store.put(PLACE, "a", {"n": 1}, ttl=5)
    return (
        lambda: store.batch([PutOp(PLACE, "a", {"n": 2}), PutOp(PLACE, "b", {"n": 3})]),
        lambda: [item.value["n"] for item in store.search(PLACE)],
        [2, 3],
    )


def expired(mimir: Mimir) -> Any:
    """Items whose time is over."""
    store = MimirStore(mimir, index=None, ttl={"default_ttl": 0})
    store.put(PLACE, "a", {"n": 1})
    return store.sweep_ttl, lambda: mimir.stats().memories, 0


def summarising(mimir: Mimir) -> MimirSummaryMemory:
    """A memory with a summary, and models for two more."""
    memory = MimirSummaryMemory(mimir, llm=Listener(responses=["first"]), last_turns=0)
    memory.save_context({"input": "a"}, {"output": "b"})
    memory.llm = Listener(responses=["second", "third"])
    return memory


def saved(mimir: Mimir) -> Any:
    """A turn, and the summary that replaces another."""
    memory = summarising(mimir)
    return (
        lambda: memory.save_context({"input": "c"}, {"output": "d"}),
        lambda: memory.load_memory_variables({}),
        {"history": "second"},
    )


def loaded(mimir: Mimir) -> Any:
    """Two summaries after one another, since what is due is long."""
    memory = summarising(mimir)
    turns = MimirMemory(mimir, namespace=("langchain", "summary"))
    for _ in range(2):
        turns.save_context({"input": "c" * 9_000}, {"output": "d"})
    return (
        lambda: memory.load_memory_variables({}),
        lambda: memory.load_memory_variables({}),
        {"history": "third"},
    )


def cleared(mimir: Mimir) -> Any:
    """A summary whose turns were forgotten before."""
    memory = summarising(mimir)
    for turn in mimir.thread("default", namespace=("langchain", "summary")):
        mimir.forget(turn.id)
    return memory.clear, lambda: mimir.stats().memories, 0


CASES: list[Callable[[Mimir], Any]] = [
    vectors, unnamed, values, removed, answers, session, items, expired, saved, loaded, cleared,
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_who_replaces_or_deletes_learns_that_scrubbing_waits(
    path: Path, monkeypatch: pytest.MonkeyPatch, case: Callable[[Mimir], Any]
) -> None:
    """ScrubPending reaches the caller, and the work is done whole by then."""
    with create(path) as mimir:
        change, look, expected = case(mimir)
        with held(path, monkeypatch):
            with pytest.raises(ScrubPending):
                change()
            assert look() == expected
        mimir.remember("scrubs what is owed")
    with reopen(path) as mimir:
        assert case is not vectors or mimir.stats().memories == 2_051


async def test_summaries_of_async_chains_tell_as_well(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The asynchronous twin raises ScrubPending after the summary is stored."""
    with create(path) as mimir:
        memory = summarising(mimir)
        with held(path, monkeypatch):
            with pytest.raises(ScrubPending):
                await memory.asave_context({"input": "c"}, {"output": "d"})
            assert await memory.aload_memory_variables({}) == {"history": "second"}


def test_who_only_adds_or_reads_hears_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Additions replace nothing and a renewed lease replaces but a date; a sweeper logs."""
    with create(path) as mimir:
        store = MimirStore(mimir, index=None, ttl={"default_ttl": 10, "refresh_on_read": True})
        store.put(PLACE, "a", {"n": 1})
        store.put(PLACE, "over", {"n": 1}, ttl=0)
        monkeypatch.setattr("mimir_langchain.store._now", after(9))
        with held(path, monkeypatch):
            found = store.get(PLACE, "a")
            assert found is not None
            MimirChatMessageHistory(mimir, "s").add_messages([HumanMessage("new")])
            MimirMemory(mimir).save_context({"input": "a"}, {"output": "b"})
            MimirVectorStore(mimir).add_texts(["new"])
            MimirByteStore(mimir).mset([("new", b"1")])
            store.put(PLACE, "new", {"n": 1})
            with caplog.at_level(logging.WARNING, "mimir_langchain"):
                assert store._sweeper._sweep()
            assert "erased, but not yet scrubbed" in caplog.text


def after(minutes: int) -> Callable[[], int]:
    """The store's clock, so many minutes on."""
    return lambda: _now() + minutes * 60_000_000
