"""A memory block keeps the turns that leave the queue, and recalls them to their session only."""

from __future__ import annotations

import asyncio
import copy
import gzip
import json
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock, ToolCallBlock
from llama_index.core.memory import BaseMemoryBlock, InsertMethod, Memory, StaticMemoryBlock
from pydantic import ValidationError

from mimir_core import FunctionEmbedder, KdfProfile, Mimir
from mimir_core.errors import InputError, InvalidNamespace, NotSerializable
from mimir_llamaindex import MimirChatStore, MimirMemoryBlock

from ..vault.scan import scan, text_forms
from ..vault.vaults import create, reopen

DATA = Path(__file__).parents[3] / "shared" / "data"
PLACE = ("llamaindex", "memory")
FRANCE = [
    ChatMessage("What's the capital of France?"),
    ChatMessage("The capital of France is Paris.", role="assistant"),
    ChatMessage("And where does the harbour master of Bergen live?"),
    ChatMessage("He lives beside the ferry pier.", role="assistant"),
]


def words(text: str) -> list[str]:
    """A tokenizer of words."""
    return text.split()


def asked(*texts: str) -> list[ChatMessage]:
    """Messages of the user."""
    return [ChatMessage(text) for text in texts]


@pytest.fixture
def block(mimir: Mimir) -> MimirMemoryBlock:
    """A block on an empty vault."""
    return MimirMemoryBlock(mimir)


# What the tests of LlamaIndex's own blocks ask for


async def test_every_message_is_remembered_by_itself(
    block: MimirMemoryBlock, mimir: Mimir
) -> None:
    """Each turn is a memory of the session's thread, with who said it."""
    await block.aput(FRANCE, session_id="u1")
    kept = mimir.thread("u1", namespace=PLACE)
    assert [memory.text for memory in kept] == [message.content for message in FRANCE]
    speakers = [memory.metadata["speaker"] for memory in kept]
    assert speakers == ["user", "assistant", "user", "assistant"]


async def test_what_was_said_is_recalled(block: MimirMemoryBlock) -> None:
    """The turns about the question come first, each with its day and speaker."""
    await block.aput(FRANCE)
    recalled = await block.aget(asked("Tell me about Paris."))
    first, *_rest = recalled.split("\n")
    assert first.endswith("] assistant: The capital of France is Paris.")


async def test_nothing_comes_of_nothing(block: MimirMemoryBlock, mimir: Mimir) -> None:
    """No messages, none with text, or an empty memory: nothing is recalled or kept."""
    assert await block.aget([]) == await block.aget() == await block.aget(asked("x")) == ""
    await block.aput([])
    call = ToolCallBlock(tool_name="f", tool_kwargs={})
    await block.aput([ChatMessage(), ChatMessage(" "), ChatMessage(blocks=[call])])
    assert mimir.stats().memories == 0
    await block.aput(FRANCE)
    assert await block.aget([ChatMessage(blocks=[ImageBlock(url="http://x.org/a.png")])]) == ""


async def test_the_last_message_is_the_query(mimir: Mimir) -> None:
    """What user or assistant said last is asked for, not what was talked of before."""
    block = MimirMemoryBlock(mimir, k=1)
    await block.aput(FRANCE)
    history = [
        *asked("The capital of France, Paris", "harbour master"),
        ChatMessage("France Paris capital", role="tool"),
        ChatMessage("France Paris capital", role="system"),
    ]
    assert "harbour master" in await block.aget(history)
    assert "Paris" in await block.aget(history[:1])


async def test_text_blocks_are_joined(block: MimirMemoryBlock) -> None:
    """A message of several texts is one memory; its further lines are indented."""
    await block.aput([ChatMessage(blocks=[TextBlock(text="apples"), TextBlock(text="pears")])])
    assert (await block.aget(asked("apples"))).endswith("] user: apples\n  pears")


async def test_messages_stay_as_they_are(block: MimirMemoryBlock) -> None:
    """The session's id is not written into the messages that are put."""
    before = copy.deepcopy(FRANCE)
    await block.aput(FRANCE, session_id="u1")
    assert before == FRANCE


async def test_short_term_memory_may_be_declined(mimir: Mimir) -> None:
    """A block that does not accept the queue's overflow still takes what is put directly."""
    block = MimirMemoryBlock(mimir, accept_short_term_memory=False)
    await block.aput(FRANCE, from_short_term_memory=True)
    assert mimir.stats().memories == 0
    await block.aput(FRANCE)
    assert mimir.stats().memories == len(FRANCE)


# Sessions


async def test_sessions_stay_apart(block: MimirMemoryBlock) -> None:
    """One block serves two sessions in turn, and neither ever sees the other's turns."""
    await block.aput(asked("my secret is the blue door"), session_id="first")
    await block.aput(asked("my secret is the red door"), session_id="second")
    for _ in range(2):
        first = await block.aget(asked("secret door"), session_id="first")
        second = await block.aget(asked("secret door"), session_id="second")
        alone = await block.aget(asked("secret door"))
        assert ("blue" in first, "red" in first) == (True, False)
        assert ("blue" in second, "red" in second) == (False, True)
        assert alone == ""


async def test_a_users_memory_over_sessions_is_asked_for(mimir: Mimir) -> None:
    """Across sessions, a user's namespace is recalled whole, and no other user's."""
    blocks = {
        user: MimirMemoryBlock(mimir, namespace=(*PLACE, user), across_sessions=True)
        for user in ("ada", "bob")
    }
    await blocks["ada"].aput(asked("the blue door is mine"), session_id="monday")
    await blocks["bob"].aput(asked("the red door is mine"), session_id="monday")
    recalled = await blocks["ada"].aget(asked("door"), session_id="tuesday")
    assert ("blue" in recalled, "red" in recalled) == (True, False)
    with pytest.raises(InputError, match="namespace of its own"):
        MimirMemoryBlock(mimir, across_sessions=True)


async def test_a_block_reads_a_namespace_that_others_wrote(mimir: Mimir) -> None:
    """As static recall a block takes nothing in, and shows what the application remembered."""
    mimir.remember("Rooms open at nine", namespace=("handbook",), time="2024-05-06")
    block = MimirMemoryBlock(
        mimir, namespace="handbook", across_sessions=True, accept_short_term_memory=False
    )
    memory = Memory.from_defaults(
        session_id="u1", chat_store=MimirChatStore(mimir), memory_blocks=[block]
    )
    await memory.aput(ChatMessage("when do rooms open?"))
    system, user = await memory.aget()
    assert "[2024-05-06] Rooms open at nine" in (system.content or "")
    assert user.content == "when do rooms open?"
    assert mimir.namespaces()[("handbook",)] == 1


# Budget and truncation


async def test_the_budget_holds(mimir: Mimir) -> None:
    """The recalled text never has more tokens than allowed; what is too long makes room."""
    turns = [f"door number {number} " + "word " * number for number in range(40)]
    for budget in (1, 7, 30, 200):
        block = MimirMemoryBlock(mimir, k=40, token_budget=budget, tokenizer_fn=words)
        await block.aput(asked(*turns), session_id=str(budget))
        recalled = await block.aget(asked("door number"), session_id=str(budget))
        assert len(words(recalled)) <= budget
        assert bool(recalled) == (budget >= 7)
    few = await MimirMemoryBlock(mimir, k=3).aget(asked("x"), session_id="7")
    assert len(few.split("\n")) == 3


async def test_truncation_drops_the_least_relevant(mimir: Mimir) -> None:
    """At least so many tokens go, from the end; a memory of several lines goes whole."""
    block = MimirMemoryBlock(mimir, tokenizer_fn=words)
    content = "[d] a: one two\n  three four\n[d] b: five six\n  \n  seven\n[d] c: eight"
    assert await block.atruncate(content, 1) == content.removesuffix("\n[d] c: eight")
    assert await block.atruncate(content, 4) == "[d] a: one two\n  three four"
    assert await block.atruncate(content, 9) is None
    assert await block.atruncate(content, 99) is None


async def test_memory_truncates_a_block_of_some_priority(mimir: Mimir) -> None:
    """Where all does not fit, a block with a priority gives way in part, one of 0 not at all."""
    turns = asked(*(f"door {number} " + "word " * 12 for number in range(20)))
    sizes = {}
    for priority in (0, 1):
        block = MimirMemoryBlock(mimir, priority=priority, tokenizer_fn=words, name="past")
        memory = Memory.from_defaults(
            session_id=str(priority), chat_store=MimirChatStore(mimir), token_limit=100,
            memory_blocks=[block], tokenizer_fn=words,
        )  # fmt: skip
        await block.aput(turns, session_id=str(priority))
        await memory.aput(ChatMessage("door"))
        sizes[priority] = len(words((await memory.aget())[0].content or ""))
    assert 0 < sizes[1] <= 104 < sizes[0]


async def test_memory_truncates_a_block_that_recalled_nothing(mimir: Mimir) -> None:
    """A queue that is too long by itself does not trip over an empty block."""
    memory = Memory.from_defaults(
        session_id="u1", chat_store=MimirChatStore(mimir), token_limit=10,
        memory_blocks=[MimirMemoryBlock(mimir, priority=1)],
    )  # fmt: skip
    await memory.aput(ChatMessage("word " * 50))
    assert [message.role.value for message in await memory.aget()] == ["user"]


async def test_blocks_of_all_kinds_stand_together(mimir: Mimir) -> None:
    """Beside another block, in the system message or the user's, both are shown by name."""
    block = MimirMemoryBlock(mimir, name="past", priority=2)
    await block.aput(asked("the blue door"), session_id="u1")
    static = StaticMemoryBlock(name="rules", static_content="be kind", priority=1)
    for method, role in ((InsertMethod.SYSTEM, "system"), (InsertMethod.USER, "user")):
        memory = Memory.from_defaults(
            session_id="u1", chat_store=MimirChatStore(mimir), memory_blocks=[block, static],
            insert_method=method,
        )  # fmt: skip
        await memory.aset([ChatMessage("which door?")])
        first = (await memory.aget())[0]
        assert first.role.value == role
        for part in ("<past>", "the blue door", "<rules>", "be kind"):
            assert part in (first.content or "")


# The waterfall


def with_block(mimir: Mimir, session: str, block: MimirMemoryBlock) -> Memory:
    """A memory of a few turns, whose overflow the block takes."""
    return Memory.from_defaults(
        session_id=session, chat_store=MimirChatStore(mimir), memory_blocks=[block],
        token_limit=200, token_flush_size=40, chat_history_token_ratio=0.5,
    )  # fmt: skip


async def test_what_leaves_the_queue_is_recalled(block: MimirMemoryBlock, mimir: Mimir) -> None:
    """Every archived turn is in the block once, and comes back when it matters."""
    memory = with_block(mimir, "u1", block)
    await memory.aput(ChatMessage("my cat is called Pixel"))
    for number in range(20):
        await memory.aput(ChatMessage(f"turn {number} of something else"))
    archived = await memory.aget_all(status="archived")  # type: ignore[arg-type]
    kept = [memory.text for memory in mimir.thread("u1", namespace=PLACE)]
    assert kept == [message.content for message in archived]
    assert kept[0] == "my cat is called Pixel"
    await memory.aput(ChatMessage("what is the cat called?"))
    assert "Pixel" in ((await memory.aget())[0].content or "")


async def test_concurrent_puts_hand_each_turn_over_once(
    block: MimirMemoryBlock, mimir: Mimir
) -> None:
    """Two tasks that flush the same turns leave one memory of each."""
    memory = with_block(mimir, "u1", block)
    turns = [ChatMessage(f"turn {number} " + "word " * 9) for number in range(12)]
    await asyncio.gather(*(memory.aput(turn) for turn in turns))
    kept = [memory.text for memory in mimir.thread("u1", namespace=PLACE)]
    archived = await memory.aget_all(status="archived")  # type: ignore[arg-type]
    assert sorted(kept) == sorted(str(message.content) for message in archived)
    assert len(kept) == len(set(kept)) > 0


async def test_the_same_words_twice_are_two_turns(block: MimirMemoryBlock, mimir: Mimir) -> None:
    """Only the same turn is passed over, not another that says the same."""
    store = MimirChatStore(mimir)
    await store.add_messages("u1", asked("yes", "yes"))
    turns = await store.get_messages("u1")
    await block.aput([*turns, *turns], session_id="u1")
    await block.aput(turns, session_id="u1")
    assert len(mimir.thread("u1", namespace=PLACE)) == 2
    await block.aput(turns, session_id="u2")
    assert len(mimir.thread("u2", namespace=PLACE)) == 2


async def test_many_sessions_at_once_equal_as_many_in_turn(mimir: Mimir) -> None:
    """With one block for all, concurrent sessions recall what they recall one by one."""
    block = MimirMemoryBlock(mimir)

    async def talk(session: str) -> list[str | None]:
        memory = with_block(mimir, session, block)
        for number in range(6):
            await memory.aput(ChatMessage(f"{session[4:]} {number} " + "word " * 20))
        return [message.content for message in await memory.aget()]

    in_turn = [await talk(f"seq {number}") for number in range(20)]
    at_once = await asyncio.gather(*(talk(f"con {number}") for number in range(20)))
    assert at_once == in_turn
    assert all("LongTermMemory" in (found[0] or "") for found in at_once)


# At rest, and at the edges


async def test_it_is_there_after_a_restart(path: Path) -> None:
    """Closed and opened again, the session recalls the same."""
    with create(path) as mimir:
        block = MimirMemoryBlock(mimir)
        await block.aput(FRANCE, session_id="u1")
        before = await block.aget(asked("Paris"), session_id="u1")
    with reopen(path) as mimir:
        after = await MimirMemoryBlock(mimir).aget(asked("Paris"), session_id="u1")
    assert after == before != ""


async def test_forgetting_a_session_is_one_call(block: MimirMemoryBlock, mimir: Mimir) -> None:
    """What is erased from the thread is recalled no more."""
    await block.aput(FRANCE, session_id="u1")
    mimir.forget(namespace=PLACE, thread="u1")
    assert await block.aget(asked("Paris"), session_id="u1") == ""


async def test_no_word_is_in_any_byte(folder: Path, path: Path) -> None:
    """Neither words, names nor sessions stand in a file, open or closed."""
    names = ("Quetzalcoatlus", "wednesdaysession", "rumpelstiltskin")
    needles = {name: text_forms(name) for name in names}
    message = ChatMessage(names[0], additional_kwargs={"name": names[2]})
    with create(path) as mimir:
        block = MimirMemoryBlock(mimir)
        await block.aput([message], session_id=names[1])
        assert names[0] in await block.aget([message], session_id=names[1])
        assert scan(folder, needles) == {}
    assert scan(folder, needles) == {}


class Counting:
    """An embedding function that notes which queries it saw, and in which threads."""

    def __init__(self) -> None:
        self.queries: list[str] = []
        self.threads: set[int] = set()

    def documents(self, texts: list[str]) -> Any:
        """One vector a text."""
        self.threads.add(threading.get_ident())
        return np.ones((len(texts), 4), np.float32)

    def query(self, text: str) -> Any:
        """The query's vector."""
        self.queries.append(text)
        return self.documents([text])[0]


async def test_a_query_is_embedded_once_and_off_the_loop(path: Path) -> None:
    """A turn asks twice for the same messages; the model works once, in another thread."""
    counting = Counting()
    embedder = FunctionEmbedder("ones", counting.documents, counting.query, dimension=4)
    fast = KdfProfile.INSECURE_FOR_TESTS
    with Mimir.create(path, "a passphrase", embedder=embedder, profile=fast) as mimir:
        block = MimirMemoryBlock(mimir)
        await block.aput(FRANCE)
        first = await block.aget(asked("Paris"))
        assert await block.aget(asked("Paris")) == first
        await block.aget(asked("Bergen"))
    assert counting.queries == ["Paris", "Bergen"]
    assert threading.get_ident() not in counting.threads


async def test_messages_before_the_last_lend_it_direction(path: Path) -> None:
    """So many of the last messages are embedded, each once however often it is shown."""
    counting = Counting()
    embedder = FunctionEmbedder("ones", counting.documents, counting.query, dimension=4)
    fast = KdfProfile.INSECURE_FOR_TESTS
    with Mimir.create(path, "a passphrase", embedder=embedder, profile=fast) as mimir:
        block = MimirMemoryBlock(mimir, recent_messages=2)
        await block.aput(FRANCE)
        await block.aget(asked("a", "b", "c"))
        await block.aget(asked("a", "b", "c", "d"))
    assert counting.queries == ["c", "b", "d"]


async def test_a_follow_up_is_understood(path: Path) -> None:
    """A question that names nobody finds, by the message before it, what it is about."""
    axes = {"ferry": [1.0, 0, 0], "dentist": [0, 1.0, 0]}

    def embed(texts: list[str]) -> Any:
        return [next((axes[w] for w in axes if w in text), [0, 0, 1.0]) for text in texts]

    fast = KdfProfile.INSECURE_FOR_TESTS
    embedder = FunctionEmbedder("axes", embed)
    with Mimir.create(path, "a passphrase", embedder=embedder, profile=fast) as mimir:
        await MimirMemoryBlock(mimir).aput(asked("the dentist at ten", "the ferry at nine"))
        block = MimirMemoryBlock(mimir, k=1)
        assert "ferry" in await block.aget(asked("my ferry", "and on Sundays?"))
        assert "dentist" in await block.aget(asked("my dentist", "and on Sundays?"))


def real(name: str, conversation: str) -> list[dict[str, Any]]:
    """Lines of a real conversation."""
    file = DATA / name
    if not file.exists():
        pytest.skip(f"../shared/data/{name} is absent")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        return [line for line in map(json.loads, lines) if line["conversation"] == conversation]


async def test_small_talk_does_not_drown_the_question(path: Path) -> None:
    """With the built-in model, most real questions are answered, whatever was said before them."""
    turns = real("locomo_dev_turns.jsonl.gz", "conv-26")
    talk = asked(*(turn["text"] for turn in real("locomo_dev_turns.jsonl.gz", "conv-30")[:2]))
    questions = real("locomo_dev_queries.jsonl.gz", "conv-26")[:120:6]
    texts = {turn["id"]: turn["text"] for turn in turns}
    with Mimir.create(path, "a passphrase", profile=KdfProfile.INSECURE_FOR_TESTS) as mimir:
        block = MimirMemoryBlock(mimir)
        await block.aput(
            [ChatMessage(t["text"], additional_kwargs={"name": t["speaker"]}) for t in turns]
        )
        found = 0
        for question in questions:
            recalled = await block.aget([*talk, ChatMessage(question["question"])])
            found += any(texts[id_] in recalled for id_ in question["gold"] if id_ in texts)
    assert found >= 0.7 * len(questions)


async def test_bad_input_is_told_and_nothing_is_kept(
    block: MimirMemoryBlock, mimir: Mimir
) -> None:
    """What cannot be remembered or asked raises a typed error."""
    for messages, session in (
        ([*FRANCE, "text"], "u1"), (FRANCE, ""), (FRANCE, "\0"), (FRANCE, "x" * 1025),
        ([*FRANCE, ChatMessage("x" * (9 << 20))], "u1"),
    ):  # fmt: skip
        with pytest.raises(InputError):
            await block.aput(messages, session_id=session)  # type: ignore[arg-type]
    with pytest.raises(InputError):
        await block.aget(FRANCE, session_id=7)  # type: ignore[arg-type]
    assert mimir.stats().memories == 0


@pytest.mark.parametrize("name", ["k", "token_budget", "recent_messages"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "3", None])
def test_numbers_are_checked(mimir: Mimir, name: str, value: object) -> None:
    """Options out of their range are told when the block is made."""
    with pytest.raises(InputError, match=name):
        MimirMemoryBlock(mimir, **{name: value})  # type: ignore[arg-type]


def test_a_block_needs_a_vault_a_namespace_and_known_options(mimir: Mimir) -> None:
    """What it is made with is checked at once; a misspelt option is not passed over."""
    with pytest.raises(InputError):
        MimirMemoryBlock("agent.mimir")  # type: ignore[arg-type]
    with pytest.raises(InvalidNamespace):
        MimirMemoryBlock(mimir, namespace=("a.b",))
    with pytest.raises(ValidationError) as caught:
        MimirMemoryBlock(mimir, description=["secret"])
    assert "secret" not in str(caught.value)
    with pytest.raises(ValidationError):
        MimirMemoryBlock(mimir, similarity_top_k=3)


async def test_a_block_shows_nothing(block: MimirMemoryBlock) -> None:
    """Neither repr nor dump holds what it remembers; it cannot be pickled or copied deeply."""
    await block.aput(asked("secretword"), session_id="secretsession")
    await block.aget(asked("secretword"), session_id="secretsession")
    assert "secret" not in repr(block) + str(block) + block.model_dump_json()
    for copying in (pickle.dumps, copy.deepcopy):
        with pytest.raises(NotSerializable):
            copying(block)


def test_what_it_is(block: MimirMemoryBlock) -> None:
    """It is a BaseMemoryBlock with a name of its own."""
    assert isinstance(block, BaseMemoryBlock)
    assert MimirMemoryBlock.class_name() == "MimirMemoryBlock"
    assert (block.name, block.priority) == ("LongTermMemory", 0)
