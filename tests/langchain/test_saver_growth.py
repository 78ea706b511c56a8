"""MimirSaver: what a turn costs does not grow with its thread, and every walk ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt
from typing_extensions import TypedDict

from mimir_core import Mimir, lookup
from mimir_core.index.catalog import Catalog
from mimir_langchain import MimirSaver

from .graphs import checkpoint, config, put


class Heard(TypedDict):
    """What was said last, and how often anything was."""

    said: str
    turns: int


def turns(saver: MimirSaver) -> Any:
    """A graph that asks back once in each turn, and whose state does not grow."""

    def ask(state: Heard) -> dict[str, Any]:
        return {"said": f"{state['said']}? {interrupt('sure?')}", "turns": state["turns"] + 1}

    builder = StateGraph(Heard)
    builder.add_node("ask", ask)
    builder.add_edge(START, "ask")
    builder.add_edge("ask", END)
    return builder.compile(checkpointer=saver)


def turn(graph: Any) -> None:
    """A turn: what is said, what is asked back, the answer."""
    graph.invoke({"said": "word", "turns": 0}, config())
    graph.invoke(Command(resume="yes"), config())


class Work:
    """What a vault is asked for: records opened, keys listed, masks over all its rows."""

    def __init__(self) -> None:
        self.opened = self.listed = self.masks = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """While this lasts, it is counted."""
        opening, mask = lookup.open_memory, Catalog.mask
        with (
            patch.object(lookup, "open_memory", lambda *a: self._note("opened", opening(*a))),
            patch.object(Catalog, "mask", lambda *a, **o: self._note("masks", mask(*a, **o))),
            patch.object(Mimir, "keys", self._listing(Mimir.keys)),
            patch.object(Mimir, "sorted_keys", self._listing(Mimir.sorted_keys)),
        ):
            yield

    def _note(self, what: str, result: Any, count: int = 1) -> Any:
        setattr(self, what, getattr(self, what) + count)
        return result

    def _listing(self, method: Any) -> Any:
        def listed(*args: Any, **options: Any) -> Any:
            found = method(*args, **options)
            return self._note("listed", found, len(found))

        return listed


def test_a_turn_costs_the_same_in_a_long_thread(mimir: Mimir) -> None:
    """A turn after sixty others opens and lists what one after six does, and no more than that."""
    graph, found = turns(MimirSaver(mimir)), []
    for _ in range(61):
        work = Work()
        with work.counted():
            turn(graph)
        found.append((work.opened, work.listed, work.masks))
    assert found[60] == found[6]
    opened, listed, masks = found[60]
    assert opened < 60
    assert listed < 30
    assert masks == 0


def test_a_turn_with_pruning_costs_the_same_in_a_long_thread(mimir: Mimir) -> None:
    """Where each turn ends with a pruning, the next one finds no more than the first did."""
    saver = MimirSaver(mimir)
    graph, found = turns(saver), []
    for _ in range(40):
        work = Work()
        with work.counted():
            turn(graph)
            saver.prune(["t"])
        found.append((work.opened, work.listed))
    assert found[39] == found[5]


def test_a_late_run_costs_the_same_in_a_long_thread(mimir: Mimir) -> None:
    """To drop what comes late for a deleted thread opens nothing of the one that began anew."""
    saver, found = MimirSaver(mimir), []
    old = put(saver, config(), a=1)
    saver.delete_thread("t")
    where: RunnableConfig = config()
    for number in range(60):
        where = put(saver, where, a=number)
        work = Work()
        with work.counted():
            saver.put_writes(old, [("w", 1)], "task")
        found.append((work.opened, work.listed, work.masks))
    assert found[59] == found[1]
    assert len(list(saver.list(config()))) == 60


def test_reading_one_checkpoint_lists_only_its_own(mimir: Mimir) -> None:
    """Writes of other checkpoints, whose ids begin alike or differ in a space, are not its own."""
    saver = MimirSaver(mimir)
    wheres = []
    for id_ in ("a", "a b", "a b c", "ab"):
        made = checkpoint(x=id_)
        made["id"] = id_
        wheres.append(saver.put(config(), made, {}, made["channel_versions"]))
        saver.put_writes(wheres[-1], [("w", id_)], "task")
    for where in wheres:
        found = saver.get_tuple(where)
        assert found is not None
        assert found.pending_writes == [("task", "w", where["configurable"]["checkpoint_id"])]
    newest = saver.get_tuple(config())
    assert newest is not None
    assert newest.config == wheres[-1]
    assert saver.get_tuple(config(place="x")) is None


# Parents


def rings(saver: MimirSaver, size: int) -> list[RunnableConfig]:
    """Checkpoints each of which has the next one as its parent, the last the first."""
    made = [checkpoint() for _ in range(size)]
    for number, each in enumerate(made):
        where = config(checkpoint=made[(number + 1) % size]["id"])
        each["channel_versions"] = {"a": "1.0"}
        counters: Any = {"counters_since_delta_snapshot": {"a": (1, 1)}}
        stored = saver.put(where, each, counters, {})
        saver.put_writes(stored, [("a", number)], "task")
    return [config(checkpoint=each["id"]) for each in made]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_every_walk_ends(mimir: Mimir, size: int) -> None:
    """Checkpoints that are their own ancestors are read, listed, walked, copied and pruned."""
    saver = MimirSaver(mimir)
    wheres = rings(saver, size)
    for where in wheres:
        found = saver.get_tuple(where)
        assert found is not None
        assert found.parent_config is not None
        history = saver.get_delta_channel_history(config=where, channels=["a"])
        assert len(history["a"]["writes"]) == size - 1
    saver.copy_thread("t", "copy")
    saver.prune(["t", "copy"])
    for thread in ("t", "copy"):
        assert len(list(saver.list(config(thread)))) == size  # the newest is built on all of them
    saver.prune(["t", "copy"], strategy="delete")
    assert list(saver.list(None)) == []


def test_a_walk_ends_where_upstream_walks(mimir: Mimir) -> None:
    """What a checkpoint's own history says is what LangGraph's walk says, where that one ends."""
    saver = MimirSaver(mimir)
    where: RunnableConfig = config()
    for number in range(3):
        where = put(saver, where)
        saver.put_writes(where, [("a", number)], "task")
    mine = saver.get_delta_channel_history(config=where, channels=["a"])
    assert mine == BaseCheckpointSaver.get_delta_channel_history(
        saver, config=where, channels=["a"]
    )
