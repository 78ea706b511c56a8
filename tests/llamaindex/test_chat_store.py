"""A chat store means what LlamaIndex's SQL store means, and erases what it deletes."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, ToolCallBlock
from llama_index.core.memory import Memory
from llama_index.core.storage.chat_store.base_db import AsyncDBChatStore, MessageStatus
from llama_index.core.storage.chat_store.sql import SQLAlchemyChatStore

from mimir_core import FunctionEmbedder, KdfProfile, Mimir
from mimir_core.errors import InputError, InvalidNamespace, NotSerializable
from mimir_llamaindex import MimirChatStore

from ..vault.scan import scan, text_forms
from ..vault.vaults import MEMORY_FOLDER, create, reopen

ACTIVE, ARCHIVED = MessageStatus.ACTIVE, MessageStatus.ARCHIVED
PLACE = ("llamaindex", "chat")
Call = Callable[[MimirChatStore], Awaitable[object]]


def said(*texts: str) -> list[ChatMessage]:
    """Messages of user and assistant in turn."""
    roles = ("user", "assistant")
    return [ChatMessage(text, role=roles[at % 2]) for at, text in enumerate(texts)]


def texts(messages: list[ChatMessage]) -> list[str | None]:
    """What they say."""
    return [message.content for message in messages]


@pytest.fixture
def store(mimir: Mimir) -> MimirChatStore:
    """A chat store on an empty vault."""
    return MimirChatStore(mimir)


# What the SQL store's own tests ask for


async def test_messages_come_back_in_order(store: MimirChatStore) -> None:
    """What is added one by one is read oldest first; an unknown session is empty."""
    await store.add_message("u1", ChatMessage("hello"))
    await store.add_message("u1", ChatMessage("world", role="assistant"))
    assert await store.get_messages("u1") == said("hello", "world")
    assert await store.get_messages("nobody") == []


async def test_a_batch_keeps_its_order(store: MimirChatStore) -> None:
    """What is added together stays in the order given; an empty batch adds nothing."""
    await store.add_messages("u1", said("a", "b", "c"))
    await store.add_messages("u1", [])
    assert texts(await store.get_messages("u1")) == ["a", "b", "c"]


async def test_counting(store: MimirChatStore) -> None:
    """Messages are counted by session and status."""
    await store.add_messages("u1", said("a", "b", "c"))
    await store.archive_oldest_messages("u1", 2)
    assert await store.count_messages("u1") == 1
    assert await store.count_messages("u1", ARCHIVED) == 2
    assert await store.count_messages("u1", None) == 3
    assert await store.count_messages("nobody", None) == 0


async def test_setting_replaces_every_status(store: MimirChatStore) -> None:
    """Set messages are all there is then, archived ones included; an empty set clears."""
    await store.add_messages("u1", said("a", "b", "c"))
    await store.archive_oldest_messages("u1", 2)
    await store.set_messages("u1", said("d", "e"))
    assert texts(await store.get_messages("u1", None)) == ["d", "e"]
    await store.set_messages("u1", said("f"), ARCHIVED)
    assert texts(await store.get_messages("u1")) == []
    assert texts(await store.get_messages("u1", ARCHIVED)) == ["f"]
    await store.set_messages("u1", [])
    assert (await store.get_messages("u1", None), await store.get_keys()) == ([], [])


async def test_deleting_one(store: MimirChatStore) -> None:
    """A message is deleted by its position among the active ones, and given back."""
    await store.add_messages("u1", said("gone", "a", "b", "c"))
    await store.archive_oldest_messages("u1", 1)
    deleted = await store.delete_message("u1", 1)
    assert deleted is not None
    assert deleted.content == "b"
    assert texts(await store.get_messages("u1")) == ["a", "c"]
    assert await store.delete_message("u1", 2) is None
    assert await store.delete_message("nobody", 0) is None


async def test_deleting_a_session(store: MimirChatStore) -> None:
    """One session's messages go, the other's stay."""
    for key in ("u1", "u2"):
        await store.add_messages(key, said("a", "b"))
    await store.delete_messages("u1")
    await store.delete_messages("nobody")
    assert await store.get_messages("u1", None) == []
    assert texts(await store.get_messages("u2")) == ["a", "b"]


@pytest.mark.parametrize(("status", "left"), [(ACTIVE, ["a", "b"]), (ARCHIVED, ["c", "d"])])
async def test_deleting_one_status(
    store: MimirChatStore, status: MessageStatus, left: list[str]
) -> None:
    """Only messages of that status go."""
    await store.add_messages("u1", said("a", "b", "c", "d"))
    await store.archive_oldest_messages("u1", 2)
    await store.delete_messages("u1", status)
    assert texts(await store.get_messages("u1", None)) == left
    await store.delete_messages("u1", status)
    assert await store.get_messages("u1", status) == []


async def test_deleting_the_oldest(store: MimirChatStore) -> None:
    """The oldest active messages go and are given back, as many as there are."""
    await store.add_messages("u1", said("a", "b", "c", "d"))
    await store.archive_oldest_messages("u1", 1)
    assert texts(await store.delete_oldest_messages("u1", 2)) == ["b", "c"]
    assert texts(await store.get_messages("u1", None)) == ["a", "d"]
    assert texts(await store.delete_oldest_messages("u1", 9)) == ["d"]
    assert await store.delete_oldest_messages("u1", 9) == []


async def test_archiving_the_oldest(store: MimirChatStore) -> None:
    """The oldest active messages become archived and are given back; nothing else moves."""
    await store.add_messages("u1", said("a", "b", "c", "d"))
    assert texts(await store.archive_oldest_messages("u1", 1)) == ["a"]
    assert texts(await store.archive_oldest_messages("u1", 2)) == ["b", "c"]
    assert texts(await store.get_messages("u1", ACTIVE)) == ["d"]
    assert texts(await store.get_messages("u1", ARCHIVED)) == ["a", "b", "c"]
    assert texts(await store.get_messages("u1", None)) == ["a", "b", "c", "d"]
    assert texts(await store.archive_oldest_messages("u1", 5)) == ["d"]
    assert await store.archive_oldest_messages("u1", 5) == []
    assert await store.archive_oldest_messages("nobody", 0) == []


@pytest.mark.parametrize(
    ("limit", "offset", "found"),
    [
        (2, None, "ab"), (None, 2, "cde"), (2, 1, "bc"), (0, None, ""), (9, 4, "e"),
        (None, 9, ""), (None, None, "abcde"), (None, 0, "abcde"),
    ],
)  # fmt: skip
async def test_limit_and_offset(
    store: MimirChatStore, limit: int | None, offset: int | None, found: str
) -> None:
    """Pages are cut from the oldest on, within one status."""
    await store.add_messages("u1", said("0", *"abcde"))
    await store.archive_oldest_messages("u1", 1)
    assert texts(await store.get_messages("u1", ACTIVE, limit, offset)) == list(found)


async def test_keys(store: MimirChatStore) -> None:
    """Every session that holds a message is named, archived ones included; deleted ones not."""
    for key in ("u1", "u 2", "ü/3"):
        await store.add_messages(key, said("a"))
    await store.archive_oldest_messages("u1", 1)
    assert sorted(await store.get_keys()) == ["u 2", "u1", "ü/3"]
    await store.delete_messages("u1", ARCHIVED)
    await store.delete_oldest_messages("u 2", 1)
    assert await store.get_keys() == ["ü/3"]


# Against the SQL store itself


class AsSQL(RuleBasedStateMachine):
    """Whatever is done to both, this store and LlamaIndex's SQL store hold the same."""

    KEYS = st.sampled_from(["u1", "u2"])
    STATUS = st.sampled_from([ACTIVE, ACTIVE, ARCHIVED])
    FEW = st.integers(0, 4)
    MESSAGES = st.lists(
        st.sampled_from(["a", "b"]).map(ChatMessage)
        | st.just(ChatMessage(blocks=[ToolCallBlock(tool_name="f", tool_kwargs={})])),
        min_size=1,
        max_size=4,
    )

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.mimir, self.close = temporary_vault()
        self.ours = MimirChatStore(self.mimir)
        self.theirs = SQLAlchemyChatStore(table_name="messages")

    def both(self, name: str, *arguments: Any) -> None:
        results = [self.call(store, name, *arguments) for store in (self.ours, self.theirs)]
        assert results[0] == results[1]

    def call(self, store: AsyncDBChatStore, name: str, *arguments: Any) -> Any:
        return self.loop.run_until_complete(getattr(store, name)(*arguments))

    @rule(key=KEYS, messages=MESSAGES, status=STATUS)
    def add(self, key: str, messages: list[ChatMessage], status: MessageStatus) -> None:
        self.both("add_messages", key, messages, status)

    @rule(key=KEYS, messages=MESSAGES, status=STATUS)
    def set(self, key: str, messages: list[ChatMessage], status: MessageStatus) -> None:
        self.both("set_messages", key, messages, status)

    @rule(key=KEYS, n=FEW)
    def archive(self, key: str, n: int) -> None:
        self.both("archive_oldest_messages", key, n)

    @rule(key=KEYS, n=FEW)
    def delete_oldest(self, key: str, n: int) -> None:
        self.both("delete_oldest_messages", key, n)

    @rule(key=KEYS, status=STATUS | st.none())
    def delete(self, key: str, status: MessageStatus | None) -> None:
        self.both("delete_messages", key, status)

    @rule(key=KEYS, limit=FEW | st.none(), offset=FEW | st.none())
    def page(self, key: str, limit: int | None, offset: int | None) -> None:
        self.both("get_messages", key, ACTIVE, limit, offset)

    @invariant()
    def same(self) -> None:
        for key in ("u1", "u2"):
            for status in (ACTIVE, ARCHIVED, None):
                self.both("get_messages", key, status)
                self.both("count_messages", key, status)
        keys = [sorted(self.call(store, "get_keys")) for store in (self.ours, self.theirs)]
        assert keys[0] == keys[1]

    def teardown(self) -> None:
        self.close()
        self.loop.close()


TestAsSQL = AsSQL.TestCase
TestAsSQL.settings = settings(max_examples=12, stateful_step_count=12)


def temporary_vault() -> tuple[Mimir, Callable[[], None]]:
    """An open vault and what removes it."""
    folder = TemporaryDirectory(dir=MEMORY_FOLDER)
    mimir = create(Path(folder.name) / "vault.mimir")

    def close() -> None:
        mimir.close()
        folder.cleanup()

    return mimir, close


# What only this store promises


async def test_a_long_session_is_read_from_its_end(store: MimirChatStore, mimir: Mimir) -> None:
    """With hundreds archived, the active queue is what it would be if all were read."""
    for start in range(0, 600, 100):
        await store.add_messages("u1", said(*map(str, range(start, start + 100))))
        await store.archive_oldest_messages("u1", 95 if start else 99)
    active = await store.get_messages("u1")
    everything = await store.get_messages("u1", None)
    archived = await store.get_messages("u1", ARCHIVED)
    assert texts(everything) == [str(number) for number in range(600)]
    assert archived + active == everything
    assert len(active) == await store.count_messages("u1") == 26


async def test_archiving_counts_from_what_its_task_saw(store: MimirChatStore) -> None:
    """Of two tasks that read the same queue and archive its oldest two, the second does nothing."""
    await store.add_messages("u1", said("a", "b", "c", "d", "e"))
    both_read = asyncio.Barrier(2)

    async def read_then_archive() -> list[ChatMessage]:
        await store.get_messages("u1")
        await both_read.wait()
        return await store.archive_oldest_messages("u1", 2)

    results = await asyncio.gather(read_then_archive(), read_then_archive())
    assert sorted(map(len, results)) == [0, 2]
    assert texts(await store.get_messages("u1")) == ["c", "d", "e"]
    assert texts(await store.archive_oldest_messages("u1", 2)) == ["c", "d"]


async def test_archiving_never_reaches_what_came_after_a_set(store: MimirChatStore) -> None:
    """A queue that another task replaced meanwhile is not archived in the old one's place."""
    await store.add_messages("u1", said("a", "b"))
    await store.get_messages("u1")
    await asyncio.create_task(store.set_messages("u1", said("c", "d")))
    assert await store.archive_oldest_messages("u1", 2) == []
    assert texts(await store.get_messages("u1")) == ["c", "d"]


async def test_what_is_added_first_comes_first(store: MimirChatStore) -> None:
    """Of many tasks that add at once, the messages stand in the order of the calls."""
    turns = said(*map(str, range(40)))
    await asyncio.gather(*(store.add_message("u1", turn) for turn in turns))
    assert await store.get_messages("u1") == turns


async def test_two_tasks_delete_different_messages(store: MimirChatStore) -> None:
    """Concurrent deletes of the oldest give back each message once."""
    await store.add_messages("u1", said(*"abcdefgh"))
    results = await asyncio.gather(*(store.delete_oldest_messages("u1", 1) for _ in range(8)))
    assert sorted(result[0].content or "" for result in results) == list("abcdefgh")


async def test_what_was_forgotten_elsewhere_leaves_the_rest_as_it_was(
    store: MimirChatStore, mimir: Mimir
) -> None:
    """A message erased through the vault itself is gone; the others keep their status."""
    await store.add_messages("u1", said(*"abcd"))
    await store.archive_oldest_messages("u1", 2)
    (first, second, *_rest) = mimir.thread("u1", namespace=PLACE)
    mimir.forget(second.id)
    assert texts(await store.get_messages("u1", ARCHIVED)) == ["a"]
    mimir.forget(first.id)
    assert texts(await store.get_messages("u1", ARCHIVED)) == []
    assert texts(await store.get_messages("u1")) == ["c", "d"]


async def test_messages_given_out_are_copies(store: MimirChatStore) -> None:
    """Changing a message that was read changes nothing that is kept."""
    await store.add_messages("u1", said("a"))
    (message,) = await store.get_messages("u1")
    message.content = "b"
    assert texts(await store.get_messages("u1")) == ["a"]


async def test_stores_of_two_namespaces_are_apart(mimir: Mimir) -> None:
    """The same session in another namespace is another session, below it too."""
    one, other = MimirChatStore(mimir), MimirChatStore(mimir, namespace=(*PLACE, "ada"))
    await one.add_messages("u1", said("a"))
    await other.add_messages("u1", said("b"))
    await one.delete_messages("u1")
    assert texts(await other.get_messages("u1")) == ["b"]
    assert (await one.get_keys(), await other.get_keys()) == ([], ["u1"])


async def test_everything_is_there_after_a_restart(path: Path) -> None:
    """Closed and opened again, every message has its place and status."""
    with create(path) as mimir:
        store = MimirChatStore(mimir)
        await store.add_messages("u1", said(*"abcd"))
        await store.add_message("u1", ChatMessage(blocks=[ImageBlock(image=b"\x89PNG" * 9)]))
        await store.archive_oldest_messages("u1", 2)
        before = [await store.get_messages("u1", status) for status in (ACTIVE, ARCHIVED, None)]
    with reopen(path) as mimir:
        store = MimirChatStore(mimir)
        after = [await store.get_messages("u1", status) for status in (ACTIVE, ARCHIVED, None)]
    assert after == before


async def test_no_word_is_in_any_byte(folder: Path, path: Path) -> None:
    """Neither words, session, names nor arguments stand in a file, open, deleted or closed."""
    words = ("Quetzalcoatlus", "zirconiumfactory", "wednesdaysession", "rumpelstiltskin")
    needles = {word: text_forms(word) for word in words}
    message = ChatMessage(words[0], additional_kwargs={"name": words[3], "note": words[1]})
    with create(path) as mimir:
        store = MimirChatStore(mimir)
        await store.add_messages(words[2], [message] * 4)
        await store.archive_oldest_messages(words[2], 2)
        assert scan(folder, needles) == {}
        await store.delete_messages(words[2], ARCHIVED)
        assert scan(folder, needles) == {}
    assert scan(folder, needles) == {}


async def test_set_messages_is_all_or_nothing(store: MimirChatStore) -> None:
    """A set with one message that cannot be kept leaves the session as it was."""
    await store.add_messages("u1", said("a", "b"))
    bad = [*said("c"), ChatMessage("x", additional_kwargs={"thing": object()})]
    for write in (store.set_messages, store.add_messages):
        with pytest.raises(InputError):
            await write("u1", bad)
    assert texts(await store.get_messages("u1")) == ["a", "b"]


BAD: dict[str, Call] = {
    "empty session": lambda store: store.add_message("", ChatMessage("a")),
    "long session": lambda store: store.add_message("x" * 1025, ChatMessage("a")),
    "session of another type": lambda store: store.delete_messages(7),  # type: ignore[arg-type]
    "negative limit": lambda store: store.get_messages("u1", limit=-1),
    "negative offset": lambda store: store.get_messages("u1", offset=-1),
    "negative count": lambda store: store.delete_oldest_messages("u1", -1),
    "count of another type": lambda store: store.archive_oldest_messages("u1", 1.5),  # type: ignore[arg-type]
    "bool": lambda store: store.archive_oldest_messages("u1", True),
    "negative position": lambda store: store.delete_message("u1", -1),
    "status": lambda store: store.delete_messages("u1", "old"),  # type: ignore[arg-type]
    "no status to write": lambda store: store.add_message("u1", ChatMessage("b"), None),  # type: ignore[arg-type]
    "text as message": lambda store: store.add_message("u1", "b"),  # type: ignore[arg-type]
    "one message as list": lambda store: store.set_messages("u1", ChatMessage("b")),  # type: ignore[arg-type]
    "text as list": lambda store: store.add_messages("u1", "bc"),  # type: ignore[arg-type]
    "text too long": lambda store: store.add_message("u1", ChatMessage("x" * (9 << 20))),
}


@pytest.mark.parametrize("call", BAD.values(), ids=BAD)
async def test_bad_input_is_told_and_nothing_is_lost(store: MimirChatStore, call: Call) -> None:
    """A typed error, and the session is as it was."""
    await store.add_messages("u1", said("a"))
    with pytest.raises(InputError):
        await call(store)
    assert texts(await store.get_messages("u1", None)) == ["a"]


def test_a_store_needs_a_vault_and_a_namespace(mimir: Mimir) -> None:
    """What it is made with is checked at once."""
    with pytest.raises(InputError):
        MimirChatStore("agent.mimir")  # type: ignore[arg-type]
    with pytest.raises(InvalidNamespace):
        MimirChatStore(mimir, namespace=("a.b",))


async def test_a_store_shows_nothing(store: MimirChatStore) -> None:
    """Neither its repr nor its dump holds anything; it cannot be pickled or copied deeply."""
    await store.add_messages("secretsession", said("secretword"))
    shown = repr(store) + str(store) + store.model_dump_json() + str(store.model_json_schema())
    assert "secret" not in shown
    assert store.model_dump() == {}
    for copying in (pickle.dumps, copy.deepcopy):
        with pytest.raises(NotSerializable):
            copying(store)


def test_what_it_is(store: MimirChatStore) -> None:
    """It is an AsyncDBChatStore with a name of its own, and true even while empty."""
    assert isinstance(store, AsyncDBChatStore)
    assert MimirChatStore.class_name() == "MimirChatStore"
    assert store


async def test_the_work_is_done_off_the_event_loop(path: Path) -> None:
    """Embedding, and so writing, happens in another thread."""
    threads: set[int] = set()

    def embed(texts: list[str]) -> Any:
        threads.add(threading.get_ident())
        return np.ones((len(texts), 4), np.float32)

    embedder = FunctionEmbedder("ones", embed, dimension=4)
    fast = KdfProfile.INSECURE_FOR_TESTS
    with Mimir.create(path, "a passphrase", embedder=embedder, profile=fast) as mimir:
        store = MimirChatStore(mimir)
        await store.add_messages("u1", said("a"))
        await store.set_messages("u1", said("b"))
    assert threads
    assert threading.get_ident() not in threads


# Under LlamaIndex's Memory


@pytest.fixture
def memory(store: MimirChatStore) -> Iterator[Memory]:
    """A memory that flushes early, on the chat store."""
    return Memory.from_defaults(
        session_id="u1", chat_store=store, token_limit=1000, token_flush_size=700,
        chat_history_token_ratio=0.9,
    )  # fmt: skip


async def test_memory_takes_the_store(store: MimirChatStore) -> None:
    """Memory uses it instead of making an SQL store, and seeds it with a history."""
    memory = Memory.from_defaults(session_id="u1", chat_history=said("seed"), chat_store=store)
    assert memory.sql_store is store
    assert await memory.aget() == said("seed")
    direct = Memory(token_limit=1000, session_id="u1", sql_store=store)
    await direct.aput_messages(said("more"))
    assert texts(await memory.aget_all()) == ["seed", "more"]


async def test_memory_puts_sets_and_resets(memory: Memory) -> None:
    """aput, aput_messages, aset, aget_all and areset do what they do on an SQL store."""
    await memory.aput(ChatMessage("a"))
    await memory.aput_messages(said("b", "c"))
    assert texts(await memory.aget()) == ["a", "b", "c"]
    await memory.aset(said("d", "e"))
    assert texts(await memory.aget_all(status=ACTIVE)) == ["d", "e"]
    await memory.areset(status=ACTIVE)
    assert await memory.aget() == []


async def test_memory_archives_what_does_not_fit(memory: Memory, store: MimirChatStore) -> None:
    """What is flushed from the queue is archived, and the newest stays."""
    await memory.aput_messages(said("x " * 500, "y " * 500, "z " * 500))
    assert texts(await memory.aget()) == ["z " * 500]
    assert texts(await store.get_messages("u1", ARCHIVED)) == ["x " * 500, "y " * 500]


@pytest.mark.parametrize("sizes", [(100, 1), (40, 20, 20, 20), (50, 1, 1), (50, 50, 50, 50)])
async def test_a_queue_begins_with_the_user(store: MimirChatStore, sizes: tuple[int, ...]) -> None:
    """After a flush whole turns are left, the first of them the user's, as with an SQL store."""
    roles = ("user", "assistant", "tool", "assistant")
    if len(set(sizes)) == 1:
        roles = ("user", "assistant", "user", "assistant")
    turns = [ChatMessage("w " * n, role=role) for n, role in zip(sizes, roles, strict=False)]
    queues = []
    for chat_store in (store, SQLAlchemyChatStore(table_name="messages")):
        memory = Memory.from_defaults(
            session_id="u1", chat_store=chat_store, token_limit=100, token_flush_size=50,
            chat_history_token_ratio=0.5,
        )  # fmt: skip
        await memory.aput_messages(turns)
        queues.append(await memory.aget())
    assert queues[0] == queues[1]
    assert queues[0][0].role.value == "user"


def test_memory_works_without_a_loop_and_across_loops(memory: Memory) -> None:
    """The sync methods, each of which runs a loop of its own, see one session."""
    memory.put(ChatMessage("one"))
    memory.put_messages(said("two"))
    assert texts(memory.get_all()) == texts(memory.get()) == ["one", "two"]
    memory.set(said("three"))
    assert texts(memory.get()) == ["three"]
    memory.reset()
    assert memory.get_all() == []


def small_memory(store: MimirChatStore, session: str) -> Memory:
    """A memory whose queue holds four or five short turns."""
    return Memory.from_defaults(
        session_id=session, chat_store=store, token_limit=60, token_flush_size=40,
        chat_history_token_ratio=1.0,
    )  # fmt: skip


async def test_concurrent_puts_archive_no_more_than_sequential_ones(store: MimirChatStore) -> None:
    """Two puts at once into one session leave the queue that two puts in turn leave."""
    seed = [ChatMessage(f"seed{number} " + "word " * 12) for number in range(6)]
    new = [ChatMessage(f"new{letter} " + "word " * 12) for letter in "AB"]
    for session in ("sequential", "concurrent"):
        await store.add_messages(session, seed)
    for message in new:
        await small_memory(store, "sequential").aput(message)
    expected = texts(await store.get_messages("sequential"))
    assert 0 < len(expected) < 8
    slow = SlowArchive.of(store)
    memory = small_memory(slow, "concurrent")
    await asyncio.gather(*(memory.aput(message) for message in new))
    assert texts(await store.get_messages("concurrent")) == expected


class SlowArchive(MimirChatStore):
    """Lets every other task read before one archives."""

    @classmethod
    def of(cls, store: MimirChatStore) -> SlowArchive:
        """The same store, slowed down."""
        return cls(store._mimir)

    async def archive_oldest_messages(self, key: str, n: int) -> list[ChatMessage]:
        """Waits until other tasks had their turn."""
        await asyncio.sleep(0.05)
        return await super().archive_oldest_messages(key, n)


async def test_fifty_sessions_at_once_equal_fifty_in_turn(store: MimirChatStore) -> None:
    """Puts and gets of many concurrent sessions give what they give one after the other."""

    async def talk(session: str) -> list[str | None]:
        memory = small_memory(store, session)
        for number in range(4):
            await memory.aput(ChatMessage(f"{session[4:]} {number} " + "word " * 14))
        return texts(await memory.aget())

    in_turn = [await talk(f"seq {number}") for number in range(50)]
    at_once = await asyncio.gather(*(talk(f"con {number}") for number in range(50)))
    assert at_once == in_turn
    for number in (0, 49):
        for status in (ACTIVE, ARCHIVED, None):
            pair = [await store.get_messages(f"{kind} {number}", status) for kind in ("seq", "con")]
            assert pair[0] == pair[1]


def test_a_memory_gives_nothing_away(memory: Memory) -> None:
    """A memory's dump and repr hold no message; a deep copy is refused with a clear error."""
    memory.put(ChatMessage("secretword"))
    assert "secretword" not in repr(memory) + str(memory.to_dict()) + memory.model_dump_json()
    with pytest.raises(NotSerializable):
        copy.deepcopy(memory)
