"""Two processes, an agent each, work on one vault; nothing may be lost and nothing mixed.

    python -m tests.langchain.agents_processes FOLDER SECONDS [ROUNDS]

Each agent talks in threads of its own, two at a time, and its tool notes what it is told in the
store; now and then it deletes or prunes a thread or opens the vault anew. What was acknowledged is
told in a shared file, by which each process checks the other's threads while they grow. It ends
after so many seconds or, if given, rounds; SECONDS may be "inf".
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain.tools import ToolRuntime, tool
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.graph.state import CompiledStateGraph

from mimir_core.errors import ScrubPending
from mimir_langchain import MimirSaver, MimirStore

from ..vault.kill import in_child, in_child_value
from ..vault.vaults import create, reopen
from .graphs import config

AGENTS, THREADS = 2, 3


class Parrot(BaseChatModel):
    """A model that has everything it is told noted, and then says so."""

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        said = next(str(m.text) for m in reversed(messages) if isinstance(m, HumanMessage))
        call = {"name": "note", "args": {"said": said}, "id": f"call {said}"}
        if isinstance(messages[-1], HumanMessage):
            answer = AIMessage("", tool_calls=[call])  # type: ignore[list-item]
        else:
            answer = AIMessage(f"noted {said}")
        return ChatResult(generations=[ChatGeneration(message=answer)])

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> Any:
        return self

    @property
    def _llm_type(self) -> str:
        return "parrot"


@tool
def note(said: str, runtime: ToolRuntime) -> str:
    """Notes what was said."""
    assert runtime.store is not None
    runtime.store.put(("notes", said.split(maxsplit=1)[0]), said, {"said": said})
    return f"noted: {said}"


class Told:
    """A file in which all processes tell what they did, and from which each reads on."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_RDWR)
        self._read = 0
        self.threads: dict[str, list[str]] = {}
        self.deletions: dict[str, int] = {}
        self.noted: dict[str, set[str]] = {}
        self.counts = {"said": 0, "deleting": 0, "pruned": 0, "opened": 0, "pending": 0}

    def tell(self, verb: str, thread: str = "", said: str = "") -> None:
        """Appends a line, at once."""
        os.write(self._file, f"{verb}|{thread}|{said}\n".encode())

    def update(self) -> None:
        """Reads on."""
        data = os.pread(self._file, 1 << 24, self._read)
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.decode().splitlines():
            verb, thread, said = line.split("|")
            self.counts[verb] += 1
            if verb == "said":
                self.threads.setdefault(thread, []).append(said)
                self.noted.setdefault(said.split()[0], set()).add(said)
            elif verb == "deleting":
                self.threads[thread] = []
                self.deletions[thread] = self.deletions.get(thread, 0) + 1


class Talker:
    """One agent with its vault, as one process has it."""

    def __init__(self, path: Path, told: Told, seed: int) -> None:
        self._path, self._told, self._seed = path, told, seed
        self._random = random.Random(seed)
        self._threads: dict[str, list[str]] = {f"a{seed}-{n}": [] for n in range(THREADS)}
        self._turn = 0
        self._open()

    def _open(self) -> None:
        self._mimir = reopen(self._path)
        self._saver, self._store = MimirSaver(self._mimir), MimirStore(self._mimir)
        self._agent: CompiledStateGraph[Any, Any, Any, Any] = create_agent(
            Parrot(), [note], checkpointer=self._saver, store=self._store
        )
        self._told.tell("opened")

    def close(self) -> None:
        """Closes the vault; a scrub that is still pending was told by the deletion."""
        with suppress(ScrubPending):
            self._mimir.close()

    async def round(self, number: int) -> None:
        """Talks in two threads at once, then does something else, then looks at the other's."""
        await asyncio.gather(*map(self._talk, self._random.sample(sorted(self._threads), 2)))
        thread = self._random.choice(sorted(self._threads))
        if number % 5 == 4:
            self._told.tell("deleting", thread)
            self._threads[thread] = []
            await self._although_pending(self._saver.adelete_thread(thread))
        if number % 3 == 2:
            self._told.tell("pruned", thread)
            await self._although_pending(self._saver.aprune([thread]))
        if number % 11 == 10:
            self.close()
            self._open()
        for other in range(AGENTS):
            check_notes(self._store, self._told, other)
            for n in range(THREADS):
                check_thread(self._saver, self._told, f"a{other}-{n}")

    async def _talk(self, thread: str) -> None:
        self._turn += 1
        said = f"agent{self._seed} {thread} turn{self._turn}"
        self._threads[thread].append(said)
        state = await self._agent.ainvoke({"messages": [HumanMessage(said)]}, config(thread))
        assert texts(state["messages"]) == conversation(self._threads[thread])
        self._told.tell("said", thread, said)

    async def _although_pending(self, work: Any) -> None:
        try:
            await work
        except ScrubPending:  # done and invisible all the same
            self._told.tell("pending")


def texts(messages: Sequence[BaseMessage]) -> list[str]:
    """What was said in a conversation."""
    return [str(message.text) for message in messages]


def conversation(turns: Sequence[str]) -> list[str]:
    """What is said in a conversation of these turns."""
    return [text for said in turns for text in (said, "", f"noted: {said}", f"noted {said}")]


def check_thread(saver: MimirSaver, told: Told, thread: str) -> None:
    """A thread holds all its acknowledged turns, in order, and no other thread's."""
    told.update()
    known, deletions = list(told.threads.get(thread, [])), told.deletions.get(thread, 0)
    found = saver.get_tuple(config(thread))
    said = [] if found is None else texts(found.checkpoint["channel_values"].get("messages", []))
    assert all(thread in text for text in said if text), "another thread's words"
    told.update()
    if told.deletions.get(thread, 0) == deletions:
        expected = conversation(known)
        assert said[: len(expected)] == expected, "an acknowledged turn is missing"


def check_notes(store: MimirStore, told: Told, agent: int) -> None:
    """An agent's notes are there, and only its own."""
    told.update()
    known = set(told.noted.get(f"agent{agent}", ()))
    found = {item.key: item for item in store.search(("notes", f"agent{agent}"), limit=100_000)}
    assert known <= set(found), "an acknowledged note is missing"
    assert all(item.value == {"said": key} for key, item in found.items())
    assert all(key.startswith(f"agent{agent} ") for key in found), "another agent's notes"


def work(path: Path, told: Told, seed: int, until: float, rounds: float) -> None:
    """Talks for so long or so often."""

    async def talk() -> None:
        talker, number = Talker(path, told, seed), 0
        while time.monotonic() < until and number < rounds:
            await talker.round(number)
            number += 1
        talker.close()

    asyncio.run(talk())


def check_all(path: Path, told: Told) -> bool:
    """Afterwards, the vault holds what was told and nothing else, and is whole."""
    told.update()
    with reopen(path) as mimir:
        saver, store = MimirSaver(mimir), MimirStore(mimir)
        for agent in range(AGENTS):
            check_notes(store, told, agent)
            assert len(store.search(("notes", f"agent{agent}"), limit=100_000)) == len(
                told.noted[f"agent{agent}"]
            )
        for thread, turns in told.threads.items():
            found = saver.get_tuple(config(thread))
            messages = [] if found is None else found.checkpoint["channel_values"]["messages"]
            assert texts(messages) == conversation(turns)
        threads = {found.config["configurable"]["thread_id"] for found in saver.list(None)}
        assert threads == {thread for thread, turns in told.threads.items() if turns}
        return mimir.verify().ok


def run(folder: str, seconds: str, rounds: str = "inf") -> None:
    """Lets the processes work, then compares; prints what was done."""
    path, told = Path(folder, "v.mimir"), Path(folder, "told")
    assert in_child(lambda: create(path).close()) == 0
    until = time.monotonic() + float(seconds)
    children = [_start(path, told, seed, until, float(rounds)) for seed in range(AGENTS)]
    codes = [os.waitpid(child, 0)[1] for child in children]
    assert codes == [0] * AGENTS, codes
    assert in_child_value(lambda: check_all(path, Told(told)))
    assert sorted(os.listdir(folder)) == ["told", "v.mimir"]
    assert not any(word in path.read_bytes() for word in (b"agent0", b"agent1", b"noted"))
    every = Told(told)
    every.update()
    print(every.counts)


def _start(path: Path, told: Path, seed: int, until: float, rounds: float) -> int:
    child = os.fork()
    if child == 0:
        try:
            work(path, Told(told), seed, until, rounds)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
    return child


if __name__ == "__main__":
    run(*sys.argv[1:])
