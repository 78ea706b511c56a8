"""Agents and chat engines work as before with one changed line, and remember."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, ToolCallBlock
from llama_index.core.chat_engine import (
    CondensePlusContextChatEngine,
    ContextChatEngine,
    SimpleChatEngine,
)
from llama_index.core.chat_engine.types import BaseChatEngine
from llama_index.core.llms.mock import MockFunctionCallingLLM, MockLLM
from llama_index.core.memory import Memory
from llama_index.core.workflow import Context

from mimir_core import Mimir
from mimir_llamaindex import MimirChatStore, MimirMemoryBlock, MimirRetriever

from ..vault.scan import scan, text_forms
from ..vault.vaults import create, reopen
from .chat_worker import agent, dump, memory_of, reply, run, start, weather

DATA = Path(__file__).parents[3] / "shared" / "data" / "locomo_dev_turns.jsonl.gz"
TURNS = ("my cat is called Pixel", "how is the weather?", "what is my cat called?")


def plain(session: str = "u1") -> Memory:
    """The memory an application had before."""
    return Memory.from_defaults(session_id=session)


def sealed(mimir: Mimir, session: str = "u1") -> Memory:
    """The same, with the one changed line."""
    return Memory.from_defaults(session_id=session, chat_store=MimirChatStore(mimir))


# Agents


async def test_a_function_agent_does_what_it_did(mimir: Mimir) -> None:
    """Answers and history, tool calls included, equal those with LlamaIndex's own store."""
    outcomes = []
    for memory in (plain(), sealed(mimir)):
        answers = [str(await agent().run(turn, memory=memory)) for turn in TURNS]
        outcomes.append((answers, dump(memory)))
    assert outcomes[0] == outcomes[1]
    answers, messages = outcomes[1]
    assert "rain in Bergen" in answers[1]
    assert "Pixel" in answers[2]
    assert len(messages) == 8


async def test_a_workflow_of_agents_does_what_it_did(mimir: Mimir) -> None:
    """Agents that hand over to one another share one sealed history."""

    def hand_over(messages: list[ChatMessage], **options: Any) -> ChatMessage:
        if any("handing off" in (message.content or "").lower() for message in messages):
            return ChatMessage("done by the second", role="assistant")
        call = ToolCallBlock(
            tool_call_id="h1",
            tool_name="handoff",
            tool_kwargs={"to_agent": "second", "reason": "it knows"},
        )
        return ChatMessage(role="assistant", blocks=[call])

    outcomes = []
    for memory in (plain(), sealed(mimir)):
        model = MockFunctionCallingLLM(response_generator=hand_over, is_chat_model=True)
        second = MockFunctionCallingLLM(response_generator=reply, is_chat_model=True)
        workflow = AgentWorkflow(
            agents=[
                FunctionAgent(
                    name="first", description="a", llm=model, tools=[weather], streaming=False
                ),
                FunctionAgent(
                    name="second", description="b", llm=second, tools=[weather], streaming=False
                ),
            ],
            root_agent="first",
        )
        answers = [str(await workflow.run(user_msg=turn, memory=memory)) for turn in TURNS]
        outcomes.append((answers, dump(memory)))
    assert outcomes[0] == outcomes[1]
    assert "handoff" in str(outcomes[1])


async def test_a_streaming_agent_remembers_too(mimir: Mimir) -> None:
    """An agent that streams its answers leaves the same history."""
    outcomes = []
    for memory in (plain(), sealed(mimir)):
        model = MockFunctionCallingLLM()
        answer = await FunctionAgent(llm=model, tools=[]).run("hello", memory=memory)
        outcomes.append((str(answer), dump(memory)))
    assert outcomes[0] == outcomes[1]


async def test_an_agents_context_holds_no_history(mimir: Mimir) -> None:
    """A saved context has no memory in it; given again, the memory goes on where it was."""
    memory = memory_of(mimir, "u1")
    first = agent()
    context = Context(first)
    await first.run(TURNS[0], memory=memory, ctx=context)
    await first.run(TURNS[2], memory=memory, ctx=context)
    with pytest.warns(Warning, match="memory"):
        saved = json.dumps(context.to_dict())
    assert "Pixel" not in saved
    again = agent()
    restored = Context.from_dict(again, json.loads(saved))
    answer = str(await again.run("and my cat?", memory=memory_of(mimir, "u1"), ctx=restored))
    assert "Pixel" in answer


async def test_many_agents_at_once_answer_as_in_turn(mimir: Mimir) -> None:
    """Concurrent sessions of one vault neither mix nor miss anything."""

    async def answers(kind: str, number: int) -> list[str]:
        memory = sealed(mimir, f"{kind}{number}")
        turns = (f"my cat is called Pixel{number}", "how is the weather?")
        return [str(await agent().run(turn, memory=memory)) for turn in turns]

    in_turn = [await answers("a", number) for number in range(20)]
    at_once = await asyncio.gather(*(answers("b", number) for number in range(20)))
    assert at_once == in_turn
    assert all(f"Pixel{number}" in found[1] for number, found in enumerate(at_once))


# Chat engines


def simple(mimir: Mimir, memory: Memory, model: Any) -> BaseChatEngine:
    """A chat engine without retrieval."""
    return SimpleChatEngine.from_defaults(llm=model, memory=memory, system_prompt="be kind")


def context(mimir: Mimir, memory: Memory, model: Any) -> BaseChatEngine:
    """A chat engine that shows what it retrieves."""
    retriever = MimirRetriever(mimir, ("docs",))
    return ContextChatEngine.from_defaults(retriever=retriever, llm=model, memory=memory)


def condensing(mimir: Mimir, memory: Memory, model: Any) -> BaseChatEngine:
    """A chat engine that condenses the conversation into a question."""
    retriever = MimirRetriever(mimir, ("docs",))
    return CondensePlusContextChatEngine.from_defaults(retriever, llm=model, memory=memory)


ENGINES = (simple, context, condensing)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_chat_engine_does_what_it_did(
    mimir: Mimir, engine: Callable[[Mimir, Memory, Any], BaseChatEngine]
) -> None:
    """A model that repeats what it is shown answers as it does with LlamaIndex's own store."""
    mimir.remember("Pixel is a tabby", namespace=("docs",))
    outcomes = []
    for memory in (plain(), sealed(mimir)):
        chat = engine(mimir, memory, MockLLM())
        answers = [chat.chat(turn).response for turn in TURNS]
        answers.append("".join(chat.stream_chat("and now?").response_gen))
        outcomes.append((answers, dump(memory)))
        chat.reset()
        assert chat.chat_history == []
    assert outcomes[0] == outcomes[1]
    answers, messages = outcomes[1]
    assert "my cat is called Pixel" in answers[2]
    assert len(messages) == 8


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_chat_engine_does_what_it_did_async(
    mimir: Mimir, engine: Callable[[Mimir, Memory, Any], BaseChatEngine]
) -> None:
    """The async methods, streaming included, leave the same history too."""
    mimir.remember("Pixel is a tabby", namespace=("docs",))
    outcomes = []
    for memory in (plain(), sealed(mimir)):
        chat = engine(mimir, memory, MockLLM())
        answers = [(await chat.achat(turn)).response for turn in TURNS]
        streamed = await chat.astream_chat("and now?")
        answers.append("".join([token async for token in streamed.async_response_gen()]))
        outcomes.append((answers, dump(memory)))
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[1][1]) == 8


def test_a_history_given_to_an_engine_replaces_the_session(mimir: Mimir) -> None:
    """`chat_history` sets the session, archived messages included."""
    memory = sealed(mimir)
    chat = SimpleChatEngine.from_defaults(llm=MockLLM(), memory=memory)
    chat.chat("one")
    chat.chat("two", chat_history=[ChatMessage("zero")])
    assert [message.content for message in memory.get_all()][:2] == ["zero", "two"]


# Restart, other processes, real conversations


async def test_an_agent_goes_on_after_a_restart(path: Path) -> None:
    """Another process, another day: the agent knows what was said, and another session does not."""
    with create(path) as mimir:
        await agent().run(TURNS[0], memory=memory_of(mimir, "u1"))
    same, other = run("talk", path, f"u1: {TURNS[2]}", f"u2: {TURNS[2]}")
    assert ("Pixel" in same, "Pixel" in other) == (True, False)


def test_two_processes_talk_at_once(path: Path) -> None:
    """Two agents on one vault, each with a session of its own and one of both, lose nothing."""
    create(path).close()
    talks = []
    for who in ("ann", "bob"):
        turns = (f"{session}: {who} turn {n}" for n in range(4) for session in (who, "both"))
        talks.append(start("talk", path, *turns))
    for process in talks:
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output
    with reopen(path) as mimir:
        for session, speakers in (("ann", ["ann"]), ("bob", ["bob"]), ("both", ["ann", "bob"])):
            messages = memory_of(mimir, session).get_all()
            said = [str(message.content) for message in messages if message.role == "user"]
            assert len(said) == 4 * len(speakers)
            for who in speakers:
                own = [text for text in said if text.startswith(who)]
                assert own == [f"{who} turn {n}" for n in range(4)]
        assert mimir.verify().ok


def real_conversation() -> list[ChatMessage]:
    """The turns of one long conversation between two people, as user and assistant."""
    if not DATA.exists():
        pytest.skip("no ../shared/data: a real conversation is not at hand")
    with gzip.open(DATA, "rt") as lines:
        turns = [turn for turn in map(json.loads, lines) if turn["conversation"] == "conv-26"]
    speakers = dict.fromkeys(turn["speaker"] for turn in turns)
    roles = dict(zip(speakers, ("user", "assistant"), strict=True))
    return [
        ChatMessage(
            turn["text"], role=roles[turn["speaker"]], additional_kwargs={"name": turn["speaker"]}
        )
        for turn in turns
    ]


async def test_a_real_conversation_survives(folder: Path, path: Path) -> None:
    """Hundreds of turns, most of them archived: another process finds all, the files no word."""
    turns = real_conversation()
    with create(path) as mimir:
        memory = memory_of(mimir, "wednesdaysession", 3000)
        for start_ in range(0, len(turns), 12):
            await memory.aput_messages(turns[start_ : start_ + 12])
        active = await memory.aget_all(status="active")  # type: ignore[arg-type]
        assert len(active) < len(turns) / 4
        assert await memory.aget_all() == turns
    question = "What did Caroline research?"
    kept, found, other = run("look", path, "wednesdaysession", "another", question)
    assert [ChatMessage.model_validate_json(line) for line in kept] == turns
    assert "adoption agencies" in found
    assert other == ""
    counts = Counter(word for turn in turns for word in re.findall("[a-z]{9,}", str(turn.content)))
    rare = [word for word, count in counts.items() if count == 1][::16]
    assert len(rare) > 9
    needles = {word: text_forms(word) for word in [*rare, "wednesdaysession", "Caroline"]}
    assert scan(folder, needles) == {}


async def test_a_block_tells_the_agent_what_left_the_queue(mimir: Mimir) -> None:
    """Long after the queue let go of it, the agent is shown the turn that answers."""
    memory = memory_of(mimir, "u1", 200)
    await agent().run(TURNS[0], memory=memory)
    for number in range(12):
        await agent().run(f"question {number} about something else", memory=memory)
    assert "Pixel" not in str(await memory.aget_all(status="active"))  # type: ignore[arg-type]
    shown = str((await memory.aget(input="what is my cat called?"))[0].content)
    assert "my cat is called Pixel" in shown
    assert isinstance(memory.memory_blocks[0], MimirMemoryBlock)
