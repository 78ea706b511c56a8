"""What a config of LangGraph names: a thread, a checkpoint namespace, perhaps a checkpoint."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple

from mimir_core.errors import InvalidArgument


def thread_of(config: RunnableConfig) -> Any:
    """The thread id, as the caller writes it. Raises InvalidArgument if there is none."""
    thread_id = config.get("configurable", {}).get("thread_id")
    if thread_id is None:
        raise InvalidArgument("the config names no thread: give configurable.thread_id")
    return thread_id


def place_of(config: RunnableConfig) -> str:
    """The checkpoint namespace of a config; the root graph's is empty."""
    return str(config["configurable"].get("checkpoint_ns") or "")


def config_of(thread_id: Any, place: str, checkpoint_id: str) -> RunnableConfig:
    """A config that names a checkpoint."""
    return {
        "configurable": {
            "thread_id": thread_id,
            "checkpoint_ns": place,
            "checkpoint_id": checkpoint_id,
        }
    }


def renamed(found: CheckpointTuple, thread_id: Any) -> CheckpointTuple:
    """With the thread id as the caller writes it: a number stays one."""
    for config in (found.config, found.parent_config or config_of(None, "", "")):
        config["configurable"]["thread_id"] = thread_id
    return found
