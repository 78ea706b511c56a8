"""MimirSaver beside LangGraph's InMemorySaver: the same calls leave the same state."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple, copy_checkpoint
from langgraph.checkpoint.base.id import uuid6
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT

from mimir_core import Mimir
from mimir_langchain import MimirSaver

from .graphs import checkpoint, config

THREADS, PLACES, CHANNELS = ("a", "b"), ("", "child:1"), ("x", "y", "z")


class Pair:
    """Both savers, and the calls that a run would make of them."""

    def __init__(self, mimir: Mimir) -> None:
        self.savers: tuple[BaseCheckpointSaver[Any], ...] = (MimirSaver(mimir), InMemorySaver())
        self.put: list[RunnableConfig] = []

    def step(self, choice: random.Random) -> None:
        """Puts a checkpoint: a first one, or on top of any earlier one, some channels changed."""
        where = config(choice.choice(THREADS), choice.choice(PLACES))
        made = checkpoint()
        if self.put and choice.random() < 0.8:
            where = choice.choice(self.put)
            parent = self.savers[1].get_tuple(where)
            assert parent is not None
            made = copy_checkpoint(parent.checkpoint)
            made["id"] = str(uuid6())
        changed = choice.sample(CHANNELS, choice.randrange(3))
        for channel in changed:
            current = made["channel_versions"].get(channel)
            made["channel_versions"][channel] = self.savers[0].get_next_version(current, None)
            made["channel_values"][channel] = choice.choice([None, "same", choice.random()])
            if choice.random() < 0.2:
                del made["channel_values"][channel]
        new = {channel: made["channel_versions"][channel] for channel in changed}
        metadata: Any = {"step": choice.randrange(3), "source": choice.choice(["loop", "fork"])}
        stored = [each.put(where, copy_checkpoint(made), metadata, new) for each in self.savers]
        assert stored[0] == stored[1]
        self.put.append(stored[0])

    def write(self, choice: random.Random) -> None:
        """Puts writes of a task beside an earlier checkpoint, perhaps again."""
        if self.put:
            where, task = choice.choice(self.put), choice.choice(["t1", "t2"])
            channels = choice.choices(["x", "y", ERROR, INTERRUPT], k=choice.randrange(4))
            writes = [(channel, choice.random()) for channel in channels]
            for each in self.savers:
                each.put_writes(where, writes, task, f"path of {task}")

    def delete(self, choice: random.Random) -> None:
        """Deletes a thread."""
        thread = choice.choice(THREADS)
        for each in self.savers:
            each.delete_thread(thread)
        self.put = [each for each in self.put if each["configurable"]["thread_id"] != thread]

    def compare(self, choice: random.Random) -> None:
        """Reads in every way."""
        for thread in THREADS:
            for place in PLACES:
                where = config(thread, place)
                assert self.savers[0].get_tuple(where) == self.savers[1].get_tuple(where)
        for where in self.put:
            assert self.savers[0].get_tuple(where) == self.savers[1].get_tuple(where)
        options: dict[str, Any] = {"filter": {"step": choice.randrange(3)}}
        if self.put:
            options["before"] = choice.choice(self.put)
        for where in (None, config(choice.choice(THREADS)), {"configurable": {"thread_id": "a"}}):
            for each in ({}, options):
                mine, memory = (_sorted(s.list(where, **each)) for s in self.savers)
                assert mine == memory


def _sorted(found: Iterator[CheckpointTuple]) -> list[CheckpointTuple]:
    return sorted(found, key=lambda each: each.checkpoint["id"])


def test_a_long_run(mimir: Mimir) -> None:
    """Calls that build long histories leave both in the same state, compared now and then."""
    pair, choice = Pair(mimir), random.Random(0)
    for number in range(150):
        call = choice.choices([pair.step, pair.write, pair.delete], weights=[10, 6, 1])[0]
        call(choice)
        if number % 10 == 0:
            pair.compare(choice)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(calls=st.lists(st.sampled_from(["step", "step", "write", "delete"]), max_size=12),
       choice=st.randoms(use_true_random=False))  # fmt: skip
def test_any_short_run(mimir: Mimir, calls: list[str], choice: random.Random) -> None:
    """Whatever is called, both are in the same state afterwards."""
    mimir.forget(namespace=("langgraph", "checkpoints"), descendants=True)
    pair = Pair(mimir)
    for call in calls:
        getattr(pair, call)(choice)
    pair.compare(choice)
