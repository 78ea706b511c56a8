"""A session's messages: kept in order, whole and sealed, and erased for good."""

from __future__ import annotations

import asyncio
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain_classic.memory import (
    ConversationBufferMemory,
    ConversationBufferWindowMemory,
    ConversationSummaryMemory,
)
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import ConfigurableFieldSpec, RunnableLambda
from langchain_core.runnables.history import RunnableWithMessageHistory

from mimir_core import Mimir
from mimir_core.errors import InvalidArgument, InvalidNamespace, InvalidText, NotSerializable
from mimir_langchain import MimirChatMessageHistory

from ..vault.vaults import create, reopen
from .talking import Listener, WatchedThreads

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated")

PLACE = ("langchain", "history")
TALK: list[BaseMessage] = [
    HumanMessage("my cat is called Pixel", id="1"),
    AIMessage("", tool_calls=[{"name": "note", "args": {"cat": "Pixel"}, "id": "c"}], id="2"),
    ToolMessage("noted", tool_call_id="c", id="3"),
    AIMessage("I shall remember Pixel", id="4"),
]


@pytest.fixture
def history(mimir: Mimir) -> MimirChatMessageHistory:
    """An empty session."""
    return MimirChatMessageHistory(mimir, "monday")


def test_messages_stay_in_order_and_whole(history: MimirChatMessageHistory) -> None:
    """Calls of tools, silent messages and ids come back as they were given."""
    assert history.messages == []
    history.add_messages(TALK[:2])
    history.add_message(TALK[2])
    history.add_messages([])
    history.add_messages(TALK[3:])
    history.add_user_message("thanks")
    history.add_ai_message("welcome")
    assert history.messages == [*TALK, HumanMessage("thanks"), AIMessage("welcome")]


def test_the_same_message_twice_is_two_messages(history: MimirChatMessageHistory) -> None:
    """An id that returns replaces nothing: a history only grows."""
    history.add_messages([TALK[0], TALK[0]])
    history.add_messages([TALK[0]])
    assert history.messages == [TALK[0]] * 3


def test_sessions_and_users_are_apart(mimir: Mimir) -> None:
    """A session sees its own messages, and so does each namespace, down to the last letter."""
    ana = MimirChatMessageHistory(mimir, "s", namespace=("users", "ana"))
    ana.add_messages(TALK)
    for session, namespace in [("t", ("users", "ana")), ("s", ("users", "an")), ("s", ("users",))]:
        assert MimirChatMessageHistory(mimir, session, namespace=namespace).messages == []
    assert MimirChatMessageHistory(mimir, "s", namespace=("users", "ana")).messages == TALK


def test_clear_erases_this_session_alone(path: Path) -> None:
    """No message is left in the file, and the other session's are untouched."""
    with create(path) as mimir:
        monday, tuesday = (MimirChatMessageHistory(mimir, day) for day in ("monday", "tuesday"))
        monday.add_messages([*TALK, HumanMessage("canarymonday")])
        tuesday.add_messages(TALK[:1])
        monday.clear()
        monday.clear()
        assert monday.messages == []
        assert tuesday.messages == TALK[:1]
        assert mimir.recall("canarymonday", namespace=PLACE, mode="lexical") == []
        assert mimir.stats().memories == 1


def test_a_session_survives_a_restart(path: Path) -> None:
    """Closed and opened again, the messages are there; the file shows none of them."""
    with create(path) as mimir:
        MimirChatMessageHistory(mimir, "canarysession").add_messages(
            [HumanMessage("canaryword", name="canaryname"), *TALK]
        )
    raw = path.read_bytes()
    assert not any(word in raw for word in (b"canary", b"Pixel", b"tool_call"))
    with reopen(path) as mimir:
        found = MimirChatMessageHistory(mimir, "canarysession").messages
    assert found == [HumanMessage("canaryword", name="canaryname"), *TALK]


def test_assigning_replaces_the_session_at_once(history: MimirChatMessageHistory) -> None:
    """Trimming is one transaction; what cannot be stored leaves the session as it was."""
    history.add_messages(TALK)
    history.messages = history.messages[-1:]
    assert history.messages == TALK[-1:]
    with pytest.raises(InvalidText):
        history.messages = [HumanMessage("half \ud800")]
    assert history.messages == TALK[-1:]
    history.messages = []
    assert history.messages == []


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (["just a text"], InvalidArgument),
        ([TALK[0], ToolMessage("x", tool_call_id="1", artifact=object())], InvalidArgument),
        ([TALK[0], HumanMessage("x" * ((8 << 20) + 1))], InvalidText),
        ([TALK[0], HumanMessage([{"type": "image", "base64": "A" * (8 << 20)}])], InvalidText),
        ([TALK[0], HumanMessage("half \ud800")], InvalidText),
    ],
    ids=["text", "artifact", "huge", "huge image", "surrogate"],
)
def test_bad_messages_lose_nothing(
    history: MimirChatMessageHistory, wrong: Any, error: type[Exception]
) -> None:
    """A typed error, nothing of the batch stored, and what was there still there."""
    history.add_messages(TALK)
    with pytest.raises(error):
        history.add_messages(wrong)
    assert history.messages == TALK


@pytest.mark.parametrize("session", ["", None, 7, "x" * 1025, "half \ud800"])
def test_a_session_needs_a_name(mimir: Mimir, session: Any) -> None:
    """A missing or impossible name is an error, never a shared default; so is a path."""
    with pytest.raises(InvalidArgument):
        MimirChatMessageHistory(mimir, session)
    with pytest.raises(InvalidArgument):
        MimirChatMessageHistory("vault.mimir", "s")  # type: ignore[arg-type]  # is what is tested
    assert mimir.stats().memories == 0


def test_a_bad_namespace_is_an_error(mimir: Mimir) -> None:
    """A namespace that cannot be evaluated reads and writes nothing."""
    history = MimirChatMessageHistory(mimir, "s", namespace=("a", ""))
    with pytest.raises(InvalidNamespace):
        history.add_messages(TALK)
    with pytest.raises(InvalidNamespace):
        _ = history.messages


def test_nothing_shows_in_repr_or_pickle(history: MimirChatMessageHistory) -> None:
    """Neither repr nor str has content; the handle cannot be pickled."""
    history.add_messages(TALK)
    memory = ConversationBufferMemory(chat_memory=history)
    assert "Pixel" not in repr(history) + str(history) + repr(memory)
    with pytest.raises(NotSerializable):
        pickle.dumps(history)


def test_writers_at_once_keep_each_calls_order(mimir: Mimir) -> None:
    """Messages of one call stay together however many threads write to the session."""
    history = MimirChatMessageHistory(mimir, "busy")

    def write(number: int) -> None:
        history.add_messages([HumanMessage(f"{number} {part}") for part in "abc"])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(40)))
    texts = [str(message.content) for message in history.messages]
    calls = [texts[at : at + 3] for at in range(0, 120, 3)]
    assert sorted(calls) == sorted([f"{number} {part}" for part in "abc"] for number in range(40))


async def test_async_works_off_the_loops_thread(mimir: Mimir) -> None:
    """The async twins do what the sync ones do, elsewhere than on the event loop."""
    watched = WatchedThreads(mimir)
    history = MimirChatMessageHistory(watched.mimir, "s", namespace="watched")
    await history.aadd_messages(TALK)
    assert await history.aget_messages() == TALK == history.messages
    await history.aclear()
    assert await history.aget_messages() == []
    assert watched.threads
    assert threading.get_ident() not in watched.threads


def chat(mimir: Mimir, model: Listener) -> RunnableWithMessageHistory:
    """A chain with a history, apart by user and session."""
    prompt = ChatPromptTemplate.from_messages([MessagesPlaceholder("past"), ("human", "{said}")])
    return RunnableWithMessageHistory(
        prompt | model,
        lambda session_id: MimirChatMessageHistory(mimir, session_id),
        input_messages_key="said",
        history_messages_key="past",
    )


def of(session: str) -> Any:
    """The config that names a session."""
    return {"configurable": {"session_id": session}}


async def test_a_runnable_remembers(mimir: Mimir) -> None:
    """Sync, async and streamed runs see the earlier messages of their session and no other's."""
    model = Listener(responses=["hello Ana", "Pixel", "so you did", "who?"])
    chain = chat(mimir, model)
    chain.invoke({"said": "I am Ana, my cat is Pixel"}, of("a"))
    await chain.ainvoke({"said": "what is it called?"}, of("a"))
    assert "".join(part.content for part in chain.stream({"said": "I told you"}, of("a")))
    chain.invoke({"said": "what do you know?"}, of("b"))
    assert model.heard[1].splitlines() == [
        "I am Ana, my cat is Pixel", "hello Ana", "what is it called?",
    ]  # fmt: skip
    assert model.heard[-1] == "what do you know?"
    texts = [message.text for message in MimirChatMessageHistory(mimir, "a").messages]
    assert len(texts) == 6
    assert texts[-2:] == ["I told you", "so you did"]


def test_a_runnable_over_messages_remembers(mimir: Mimir) -> None:
    """The one-line form, a bare model with a history, adds each message once."""
    model = Listener(responses=["one", "two"])
    chain = RunnableWithMessageHistory(
        model, lambda session_id: MimirChatMessageHistory(mimir, session_id)
    )
    chain.invoke([HumanMessage("first")], of("s"))
    chain.invoke([HumanMessage("second")], of("s"))
    texts = [message.text for message in MimirChatMessageHistory(mimir, "s").messages]
    assert texts == ["first", "one", "second", "two"]


def said(given: Any) -> str:
    """What a human said in an input of any shape."""
    messages = [*given.get("past", []), given["said"]] if isinstance(given, dict) else given
    texts = [each if isinstance(each, str) else each.text for each in messages]
    return " ".join(text for text in texts if not text.startswith("I heard"))


SHAPES: list[tuple[Any, Any, dict[str, str]]] = [
    (lambda text: [HumanMessage(text)], lambda answer: answer, {}),
    (lambda text: [HumanMessage(text)], AIMessage, {}),
    (lambda text: {"said": text}, lambda answer: [AIMessage(answer)], {"history": "past"}),
    (
        lambda text: {"said": HumanMessage(text)},
        lambda answer: {"answer": AIMessage(answer), "cost": 3},
        {"history": "past", "output": "answer"},
    ),
]


@pytest.mark.parametrize(("given", "answered", "keys"), SHAPES)
def test_inputs_and_outputs_of_every_shape(
    mimir: Mimir, given: Any, answered: Any, keys: dict[str, str]
) -> None:
    """Lists, dicts, texts and messages go through a chain with a history as LangChain has it."""
    chain: Any = RunnableWithMessageHistory(
        RunnableLambda(lambda value: answered(f"I heard {said(value)}")),
        lambda user, talk: MimirChatMessageHistory(mimir, talk, namespace=("history", user)),
        input_messages_key="said" if keys else None,
        history_messages_key=keys.get("history"),
        output_messages_key=keys.get("output"),
        history_factory_config=[
            ConfigurableFieldSpec(id=name, annotation=str) for name in ("user", "talk")
        ],
    )
    for user in ("ana", "bo"):
        config = {"configurable": {"user": user, "talk": "t"}}
        chain.invoke(given("one"), config)
        chain.invoke(given("two"), config)
        history = MimirChatMessageHistory(mimir, "t", namespace=("history", user))
        assert [(message.type, message.text) for message in history.messages] == [
            ("human", "one"), ("ai", "I heard one"), ("human", "two"), ("ai", "I heard one two"),
        ]  # fmt: skip


def test_a_run_without_a_session_is_refused(mimir: Mimir) -> None:
    """A chain that does not say whose session it is gets an error, not somebody's messages."""
    MimirChatMessageHistory(mimir, "somebody").add_messages(TALK)
    chain = chat(mimir, Listener(responses=["hm"]))
    with pytest.raises(ValueError, match="session_id"):
        chain.invoke({"said": "hello"})
    with pytest.raises(InvalidArgument):
        chain.invoke({"said": "hello"}, of(""))


async def test_fifty_runs_at_once_equal_one_after_the_other(mimir: Mimir) -> None:
    """Concurrent sessions end up with the messages that sequential ones have."""
    chain = chat(mimir, Listener(responses=["noted"]))

    async def talk(session: str) -> None:
        for part in ("first", "second"):
            await chain.ainvoke({"said": f"{part} of {session}"}, of(session))

    await asyncio.gather(*(talk(f"at once {number}") for number in range(50)))
    for number in range(50):
        await talk(f"in turn {number}")
        pair = [
            [message.text for message in MimirChatMessageHistory(mimir, f"{how} {number}").messages]
            for how in ("at once", "in turn")
        ]
        assert [text.replace("at once", "in turn") for text in pair[0]] == pair[1]
        assert len(pair[1]) == 4


def test_langchains_own_memories_work_on_top(mimir: Mimir) -> None:
    """Buffer, window and summary memories read and write the sealed session."""
    history = MimirChatMessageHistory(mimir, "s")
    buffer = ConversationBufferMemory(chat_memory=history, return_messages=True)
    window = ConversationBufferWindowMemory(chat_memory=history, k=1)
    for number in range(3):
        buffer.save_context({"input": f"question {number}"}, {"output": f"answer {number}"})
    assert buffer.load_memory_variables({})["history"] == history.messages
    assert len(history.messages) == 6
    assert window.load_memory_variables({})["history"] == "Human: question 2\nAI: answer 2"
    summary = ConversationSummaryMemory.from_messages(
        Listener(responses=["a summary"]), history, return_messages=False
    )
    assert summary.load_memory_variables({}) == {"history": "a summary"}
    summary.save_context({"input": "question 3"}, {"output": "answer 3"})
    assert len(history.messages) == 8
    summary.clear()
    assert history.messages == []
