"""Turns that `Memory` archived and that could not be written are written later, once, in order."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.memory import Memory
from llama_index.core.storage.chat_store.base_db import MessageStatus
from llama_index.core.storage.chat_store.sql import SQLAlchemyChatStore

from mimir_core import FunctionEmbedder, KdfProfile, Mimir
from mimir_core.errors import InputError, VaultClosed
from mimir_llamaindex import MimirChatStore, MimirMemoryBlock, memory_block

PLACE = ("llamaindex", "memory")


class Failing:
    """An embedding function that fails while it is told to."""

    def __init__(self) -> None:
        self.broken = False
        self.gate: threading.Event | None = None

    def __call__(self, texts: list[str]) -> Any:
        if self.gate is not None:
            self.gate.wait(10)
        if self.broken:
            raise RuntimeError("the model is away")
        return np.ones((len(texts), 4), np.float32)


@pytest.fixture
def model() -> Failing:
    return Failing()


@pytest.fixture
def mimir(path: Path, model: Failing) -> Any:
    """A vault whose embedder may fail."""
    fast = KdfProfile.INSECURE_FOR_TESTS
    embedder = FunctionEmbedder("failing", model, dimension=4)
    with Mimir.create(path, "a passphrase", embedder=embedder, profile=fast) as opened:
        yield opened


def turns(*texts: str) -> list[ChatMessage]:
    return [ChatMessage(text) for text in texts]


def kept(mimir: Mimir, session: str = "u1") -> list[str]:
    return [memory.text for memory in mimir.thread(session, namespace=PLACE)]


async def hand_over(block: MimirMemoryBlock, *texts: str, session: str = "u1") -> None:
    """As `Memory` does with what leaves its queue."""
    await block.aput(turns(*texts), from_short_term_memory=True, session_id=session)


@pytest.mark.parametrize("kind", ["mimir", "sql"])
async def test_memory_loses_no_turn(mimir: Mimir, model: Failing, kind: str) -> None:
    """After writes that failed, all archived turns are in the block: in order, each once."""
    store = MimirChatStore(mimir) if kind == "mimir" else SQLAlchemyChatStore(table_name="m")
    chat = Mimir.with_embedder(mimir, FunctionEmbedder("sound", Failing(), dimension=4))
    store = MimirChatStore(chat) if kind == "mimir" else store
    memory = Memory.from_defaults(
        session_id="u1", chat_store=store, memory_blocks=[MimirMemoryBlock(mimir)],
        token_limit=100, token_flush_size=40, chat_history_token_ratio=0.5,
    )  # fmt: skip
    failed = 0
    for number in range(40):
        model.broken = number in range(10, 25)
        try:
            await memory.aput(ChatMessage(f"turn {number} of this talk"))
        except RuntimeError:
            failed += 1
    assert failed > 1
    archived = await memory.aget_all(status=MessageStatus.ARCHIVED)
    assert kept(mimir) == [message.content for message in archived]
    assert len(archived) > 25


async def test_what_failed_comes_first(mimir: Mimir, model: Failing) -> None:
    """A session's turns stand in the order handed over, however often writing failed."""
    block = MimirMemoryBlock(mimir)
    model.broken = True
    for text in "abc":
        with pytest.raises(RuntimeError):
            await hand_over(block, text, text + text)
    assert kept(mimir) == []
    model.broken = False
    await hand_over(block, "d")
    assert kept(mimir) == ["a", "aa", "b", "bb", "c", "cc", "d"]
    await hand_over(block, "e")
    assert kept(mimir)[7:] == ["e"]


async def test_sessions_wait_apart(mimir: Mimir, model: Failing) -> None:
    """What waits of one session neither delays another nor is written into it."""
    block = MimirMemoryBlock(mimir)
    model.broken = True
    with pytest.raises(RuntimeError):
        await hand_over(block, "of u1")
    model.broken = False
    await hand_over(block, "of u2", session="u2")
    assert (kept(mimir), kept(mimir, "u2")) == ([], ["of u2"])
    await hand_over(block)
    assert (kept(mimir), kept(mimir, "u2")) == (["of u1"], ["of u2"])


async def test_a_turn_handed_over_again_waits_once(mimir: Mimir, model: Failing) -> None:
    """Two tasks that hand over the same turn while writing fails leave one memory of it."""
    sound = mimir.with_embedder(FunctionEmbedder("sound", Failing(), dimension=4))
    store = MimirChatStore(sound)
    await store.add_messages("u1", turns("yes", "yes"))
    messages = await store.get_messages("u1")
    block = MimirMemoryBlock(mimir)
    model.broken = True
    tasks = [block.aput(messages, from_short_term_memory=True, session_id="u1") for _ in range(3)]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [RuntimeError] * 3
    model.broken = False
    await block.aput(messages, from_short_term_memory=True, session_id="u1")
    assert kept(mimir) == ["yes", "yes"]


async def test_a_write_that_succeeded_although_it_raised(
    mimir: Mimir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody can say whether a write was done, it is not done twice."""
    block = MimirMemoryBlock(mimir)
    write = Mimir.remember_many

    def written(self: Mimir, *args: Any, **kwargs: Any) -> Any:
        write(self, *args, **kwargs)
        raise OSError("the disk did not answer")

    with monkeypatch.context() as patch:
        patch.setattr(Mimir, "remember_many", written)
        with pytest.raises(OSError, match="answer"):
            await hand_over(block, "a", "b")
    await hand_over(block, "c")
    assert kept(mimir) == ["a", "b", "c"]


async def test_whoever_stops_waiting_loses_nothing(mimir: Mimir, model: Failing) -> None:
    """A task that is cancelled while it waits has handed its turns over all the same."""
    block = MimirMemoryBlock(mimir)
    model.gate = threading.Event()
    tasks = [asyncio.create_task(hand_over(block, text)) for text in "abc"]
    await asyncio.sleep(0.05)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    model.gate.set()
    await hand_over(block, "d")
    assert kept(mimir) == ["a", "b", "c", "d"]


async def test_threads_with_loops_of_their_own(mimir: Mimir, model: Failing) -> None:
    """Threads that hand over at once, while some writes fail, lose no turn and repeat none."""
    block = MimirMemoryBlock(mimir)
    model.broken = True

    def talk(name: int) -> None:
        for number in range(5):
            try:
                asyncio.run(hand_over(block, f"{name}-{number}", session=str(name)))
            except RuntimeError:
                model.broken = number < 3

    threads = [threading.Thread(target=talk, args=[name]) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    model.broken = False
    for name in range(4):
        await hand_over(block, session=str(name))
        assert kept(mimir, str(name)) == [f"{name}-{number}" for number in range(5)]


async def test_a_turn_that_can_never_be_kept_keeps_no_other_away(
    mimir: Mimir, model: Failing
) -> None:
    """A text that is too long raises with its number; its neighbours and those held are written."""
    block = MimirMemoryBlock(mimir)
    model.broken = True
    with pytest.raises(RuntimeError):
        await hand_over(block, "held")
    model.broken = False
    with pytest.raises(InputError, match="item 1: the text has"):
        await hand_over(block, "a", "x" * (9 << 20), "b")
    assert kept(mimir) == ["held", "a", "b"]
    await hand_over(block, "c")
    assert kept(mimir) == ["held", "a", "b", "c"]


async def test_what_is_put_directly_is_the_callers(mimir: Mimir, model: Failing) -> None:
    """A put that did not come from `Memory` is stored or raises, and may be repeated."""
    block = MimirMemoryBlock(mimir)
    model.broken = True
    with pytest.raises(RuntimeError):
        await block.aput(turns("a"), session_id="u1")
    model.broken = False
    await block.aput(turns("a"), session_id="u1")
    assert kept(mimir) == ["a"]


async def test_waiting_turns_have_a_bound(
    mimir: Mimir, model: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more characters than may wait, the oldest of the session longest silent give way."""
    monkeypatch.setattr(memory_block, "_HELD_CHARACTERS", 10)
    block = MimirMemoryBlock(mimir)
    model.broken = True
    for session, text in (("u2", "aaaa"), ("u1", "bbbb"), ("u1", "cccc"), ("u1", "dd")):
        with pytest.raises(RuntimeError):
            await hand_over(block, text, session=session)
    model.broken = False
    await hand_over(block)
    await hand_over(block, session="u2")
    assert (kept(mimir), kept(mimir, "u2")) == (["bbbb", "cccc", "dd"], [])


async def test_what_a_lost_process_held_is_made_up_for(mimir: Mimir, model: Failing) -> None:
    """A new block is handed the archive, and writes what is missing, each turn once."""
    sound = mimir.with_embedder(FunctionEmbedder("sound", Failing(), dimension=4))
    memory = Memory.from_defaults(
        session_id="u1", chat_store=MimirChatStore(sound), memory_blocks=[MimirMemoryBlock(mimir)],
        token_limit=100, token_flush_size=40, chat_history_token_ratio=0.5,
    )  # fmt: skip
    for number in range(30):
        model.broken = number > 20
        try:
            await memory.aput(ChatMessage(f"turn {number} of this talk"))
        except RuntimeError:
            continue
    archived = await memory.aget_all(status=MessageStatus.ARCHIVED)
    assert 0 < len(kept(mimir)) < len(archived)
    model.broken = False
    await MimirMemoryBlock(mimir).aput(archived, session_id="u1")
    assert kept(mimir) == [message.content for message in archived]


async def test_a_closed_vault_leaves_nothing_waiting(mimir: Mimir) -> None:
    """After the vault was closed no text waits in memory for a next time that cannot come."""
    block = MimirMemoryBlock(mimir)
    mimir.close()
    with pytest.raises(VaultClosed):
        await hand_over(block, "secretword")
    assert block._held == {}
    assert "secretword" not in repr(block) + repr(vars(block))
