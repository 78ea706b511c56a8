"""MimirStore and the running summary beside another process: no write is lost to another."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models.fake_chat_models import FakeListChatModel

from mimir_core import Mimir
from mimir_langchain import MimirStore, MimirSummaryMemory

from ..vault.between import Work, places

USERS = ("users", "ana")
LONG = 1_000_000.0


def put(value: str, ttl: float | None = None) -> Work:
    """Puts an item, for a time or for good."""
    store: dict[str, Any] = {"index": False, "ttl": ttl}
    return lambda mimir: MimirStore(mimir).put(USERS, "k", {"is": value}, **store)


def nothing(mimir: Mimir) -> None:
    """Leaves an empty vault."""


def leases(mimir: Mimir) -> int:
    """How many items have a time to live."""
    return sum("~leases" in place for place in mimir.namespaces())


def test_two_first_puts_of_one_key() -> None:
    """Of two that put the same new key, the second updates what the first created."""
    for mimir in places(nothing, put("mine"), put("theirs")):
        item = MimirStore(mimir).get(USERS, "k")
        assert item is not None
        assert item.created_at < item.updated_at


def test_a_time_to_live_goes_with_the_item_it_belongs_to() -> None:
    """An item put for good is never swept by the time to live of one put a moment before."""
    for one, other in ((put("mine"), put("theirs", LONG)), (put("mine", LONG), put("theirs"))):
        for mimir in places(nothing, one, other):
            item = MimirStore(mimir).get(USERS, "k")
            assert item is not None
            (memory,) = mimir.memories(namespace=("langgraph", "store", *USERS))
            assert leases(mimir) == ("minutes" in memory.metadata)


def test_a_deletion_beside_a_put() -> None:
    """An item that is put and deleted at once is there whole with its lease, or not at all."""

    def delete(mimir: Mimir) -> None:
        MimirStore(mimir).delete(USERS, "k")

    for begin in (nothing, put("old", LONG), put("old")):
        for one, other in ((put("new", LONG), delete), (delete, put("new", LONG))):
            for mimir in places(begin, one, other):
                there = MimirStore(mimir).get(USERS, "k") is not None
                assert leases(mimir) == there


def test_two_that_summarise_at_once() -> None:
    """The summary of more turns is not replaced by one of fewer that was begun before it."""

    def memory(mimir: Mimir, *texts: str) -> MimirSummaryMemory:
        return MimirSummaryMemory(mimir, llm=FakeListChatModel(responses=list(texts)), last_turns=0)

    def prepare(mimir: Mimir) -> None:
        memory(mimir, "s0").save_context({"input": "turn 0"}, {"output": "yes"})
        (summary,) = mimir.memories(namespace=("langchain", "summary"), where={"role": "summary"})
        mimir.forget(summary.id)

    def load(mimir: Mimir) -> None:
        memory(mimir, "slow").load_memory_variables({})

    def say(mimir: Mimir) -> None:
        fast = memory(mimir, "fast 1", "fast 2")
        fast.load_memory_variables({})
        fast.save_context({"input": "turn 1"}, {"output": "yes"})

    for mimir in places(prepare, load, say):
        held = memory(mimir, "asked again").load_memory_variables({})["history"]
        assert held in ("fast 1", "fast 2")
