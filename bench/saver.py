"""What a turn of a graph costs as its thread grows, with `MimirSaver` as the checkpointer.

A turn's state does not grow here, but the thread does, so that what differs is the saver's work.
Beside it an agent's messages, which do grow: LangGraph writes all of them anew at every turn, with
whatever saver, so that a turn is set against the same with `InMemorySaver`.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from tqdm.auto import tqdm
from typing_extensions import TypedDict

from bench.adapters import compare
from bench.latency import PROFILE
from bench.sides import in_turn, timed
from bench.turns import PASSPHRASE, read_turns
from mimir_core import Mimir
from mimir_langchain import MimirSaver

SHORT = 10
ROUNDS = 60


class Heard(TypedDict):
    """A state of one turn."""

    said: str
    answered: str


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fills a long thread and many short ones, then takes turns in both alternately.

    Returns medians in milliseconds: `long_ms` of a turn in the long thread, `short_ms` of one in a
    thread of 10 turns; `growth`, the ratio of both; and of a turn of an agent whose messages are as
    many as the long thread's turns, with this saver and in memory.
    """
    texts = [turn["text"] for turn in read_turns(arguments.turns, arguments.count, SHORT)]
    with (
        tempfile.TemporaryDirectory() as folder,
        Mimir.create(Path(folder) / "bench.mimir", PASSPHRASE, profile=PROFILE) as mimir,
    ):
        graph = answering(MimirSaver(mimir))
        fill(graph, texts)
        found = in_turn(
            "turn",
            range(ROUNDS),
            timed(lambda number: say(graph, "long", texts[number % len(texts)])),
            timed(lambda number: say(graph, f"short {number}", texts[number % len(texts)])),
        )
        both = [talking(saver, texts) for saver in (MimirSaver(mimir), InMemorySaver())]
        agent = compare(
            "agent", texts[:ROUNDS], *(lambda text, each=each: chat(each, text) for each in both)
        )
    growth = found.ours_ms / found.theirs_ms
    figures = {"growth": growth, "long_ms": found.ours_ms, "short_ms": found.theirs_ms}
    return {"count": len(texts)} | figures | renamed(agent)


def renamed(agent: dict[str, float]) -> dict[str, float]:
    """The figures of two savers, where `compare` speaks of an adapter and the core."""
    return {"agent_ms": agent["agent_adapter_ms"], "agent_in_memory_ms": agent["agent_core_ms"]}


def answering(saver: Any) -> Any:
    """A graph of one step, whose state holds one turn."""
    builder = StateGraph(Heard)
    builder.add_node("answer", lambda state: {"answered": f"you say {state['said']}"})
    builder.add_edge(START, "answer")
    builder.add_edge("answer", END)
    return builder.compile(checkpointer=saver)


def talking(saver: Any, texts: list[str]) -> Any:
    """A graph whose state holds all messages, begun with an exchange for each text."""
    builder = StateGraph(MessagesState)
    builder.add_node("answer", lambda state: {"messages": [AIMessage("I see")]})
    builder.add_edge(START, "answer")
    builder.add_edge("answer", END)
    graph = builder.compile(checkpointer=saver)
    messages = [kind(text) for text in texts for kind in (HumanMessage, AIMessage)]
    graph.update_state(of("talk"), {"messages": messages})
    return graph


def fill(graph: Any, texts: list[str]) -> None:
    """Takes a turn for each text in one thread, and the first ten in many others."""
    threads = [("long", texts), *((f"short {number}", texts[:SHORT]) for number in range(ROUNDS))]
    for thread, said in tqdm(threads, desc="fill", disable=None):
        for text in said:
            say(graph, thread, text)


def say(graph: Any, thread: str, text: str) -> None:
    """A turn."""
    graph.invoke({"said": text}, of(thread))


def chat(graph: Any, text: str) -> None:
    """A turn of the graph that holds all messages."""
    graph.invoke({"messages": [HumanMessage(text)]}, of("talk"))


def of(thread: str) -> Any:
    """The config of a thread."""
    return {"configurable": {"thread_id": thread}}
