"""What the chat tests run in a process of its own: talking to an agent whose vault others use too.

`python -m tests.llamaindex.chat_worker NAME ARGUMENTS...` calls the function of that name.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.base.llms.types import ChatMessage, ToolCallBlock
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.memory import Memory

from mimir_core import Mimir
from mimir_llamaindex import MimirChatStore, MimirMemoryBlock

from ..vault.vaults import reopen

ROOT = Path(__file__).parents[2]


def start(name: str, *arguments: object) -> subprocess.Popen[str]:
    """Starts a function below in another process."""
    command = [sys.executable, "-m", "tests.llamaindex.chat_worker", name, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE)


def run(name: str, *arguments: object) -> Any:
    """What a function below prints in another process."""
    with start(name, *arguments) as process:
        output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return json.loads(output)


def reply(messages: Sequence[ChatMessage], **options: Any) -> ChatMessage:
    """A model that calls its first tool for "weather", and else says what it was shown."""
    last = messages[-1]
    if last.role.value == "user" and "weather" in (last.content or "") and options.get("tools"):
        name = options["tools"][0].metadata.name
        call = ToolCallBlock(tool_call_id="c1", tool_name=name, tool_kwargs={"city": "Bergen"})
        return ChatMessage(role="assistant", blocks=[call])
    seen = " | ".join(f"{m.role.value}: {m.content}" for m in messages if m.content)
    return ChatMessage(f"{len(messages)} <{seen[-200:]}>", role="assistant")


def weather(city: str) -> str:
    """The weather of a city."""
    return f"rain in {city}"


def agent(**options: Any) -> FunctionAgent:
    """An agent on LlamaIndex's mock model, with one tool."""
    model = MockFunctionCallingLLM(response_generator=reply, is_chat_model=True)
    return FunctionAgent(tools=[weather], llm=model, streaming=False, **options)


def memory_of(mimir: Mimir, session: str, limit: int = 30_000) -> Memory:
    """A session's memory, all of it in the vault."""
    return Memory.from_defaults(
        session_id=session, chat_store=MimirChatStore(mimir), token_limit=limit,
        memory_blocks=[MimirMemoryBlock(mimir)], token_flush_size=limit // 10,
    )  # fmt: skip


def dump(memory: Memory) -> list[str]:
    """All messages of a memory as JSON."""
    return [message.model_dump_json() for message in memory.get_all()]


def talk(path: str, *turns: str) -> None:
    """Talks to the agent, each turn "SESSION: TEXT"; prints its answers."""
    with reopen(Path(path)) as mimir:

        async def answer(turn: str) -> str:
            session, text = turn.split(": ")
            return str(await agent().run(text, memory=memory_of(mimir, session, 200)))

        async def answers() -> list[str]:
            return [await answer(turn) for turn in turns]

        print(json.dumps(asyncio.run(answers())))


def look(path: str, session: str, other: str, question: str) -> None:
    """Prints a session's messages, and what it and another one recall about a question."""
    with reopen(Path(path)) as mimir:
        block = MimirMemoryBlock(mimir)

        async def found() -> list[str]:
            asked = [ChatMessage(question)]
            return [await block.aget(asked, session_id=name) for name in (session, other)]

        print(json.dumps([dump(memory_of(mimir, session)), *asyncio.run(found())]))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
