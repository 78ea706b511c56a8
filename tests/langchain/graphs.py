"""Small LangGraph graphs and checkpoints that the saver's tests share."""

from __future__ import annotations

import operator
from typing import Annotated, Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint, empty_checkpoint
from langgraph.checkpoint.base.id import uuid6
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict

from mimir_langchain import MimirSaver


class State(TypedDict):
    """What the graph below works on; `fixed` never changes after the input."""

    said: Annotated[list[str], operator.add]
    fixed: str


def asking_graph(saver: MimirSaver) -> CompiledStateGraph[State, None, State, State]:
    """Greets, asks a human, and says what it was told."""

    def greet(state: State) -> dict[str, Any]:
        return {"said": ["hello"]}

    def ask(state: State) -> dict[str, Any]:
        return {"said": [f"you say {interrupt('well?')}"]}

    builder = StateGraph(State)
    builder.add_node("greet", greet)
    builder.add_node("ask", ask)
    builder.add_edge(START, "greet")
    builder.add_edge("greet", "ask")
    builder.add_edge("ask", END)
    return builder.compile(checkpointer=saver)


def counting_graph(saver: MimirSaver, steps: int = 3) -> CompiledStateGraph[Any, Any, Any, Any]:
    """Says its step's number, `steps` times."""

    def step(state: State) -> dict[str, Any]:
        return {"said": [f"{state['fixed'][:20]} {len(state['said'])}"]}

    def route(state: State) -> str:
        return "step" if len(state["said"]) < steps else END

    builder = StateGraph(State)
    builder.add_node("step", step)
    builder.add_edge(START, "step")
    builder.add_conditional_edges("step", route)
    return builder.compile(checkpointer=saver)


def config(
    thread: object = "t", place: str = "", checkpoint: str | None = None
) -> RunnableConfig:
    """A config that names a thread, a checkpoint namespace and perhaps a checkpoint."""
    named = {} if checkpoint is None else {"checkpoint_id": checkpoint}
    return {"configurable": {"thread_id": thread, "checkpoint_ns": place, **named}}


def checkpoint(**values: Any) -> Checkpoint:
    """A new checkpoint whose channels hold these values, each in its first version."""
    made = empty_checkpoint()
    made["id"] = str(uuid6())
    made["channel_values"] = values
    made["channel_versions"] = dict.fromkeys(values, "1.0")
    return made


def put(
    saver: MimirSaver, parent: RunnableConfig, metadata: dict[str, Any] | None = None, **values: Any
) -> RunnableConfig:
    """Stores a new checkpoint on top of the one that `parent` names."""
    made = checkpoint(**values)
    return saver.put(parent, made, metadata or {}, made["channel_versions"])  # type: ignore[arg-type]
