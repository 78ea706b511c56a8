"""MimirSaver: LangGraph's conformance suite, graphs that stop and go on, reading and listing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.capabilities import Capability
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT, RESUME
from langgraph.types import Command

from mimir_core import Mimir
from mimir_core.errors import InvalidArgument, InvalidNamespace
from mimir_langchain import MimirSaver

from ..vault.vaults import create, reopen
from .graphs import asking_graph, checkpoint, config, counting_graph, put

TESTS = {
    "put": 17,
    "put_writes": 10,
    "get_tuple": 10,
    "list": 16,
    "delete_thread": 5,
    "delete_for_runs": 7,
    "copy_thread": 8,
    "prune": 8,
}


@pytest.fixture
def saver(mimir: Mimir) -> MimirSaver:
    """A saver over an empty vault."""
    return MimirSaver(mimir)


@pytest.mark.parametrize("capability", [capability.value for capability in Capability])
async def test_conformance(folder: Path, capability: str) -> None:
    """Every test of every capability passes, the extended ones included."""

    @checkpointer_test(name="MimirSaver")
    async def made() -> AsyncGenerator[BaseCheckpointSaver[str], None]:
        with create(folder / "v.mimir") as mimir:
            yield MimirSaver(mimir)

    report = await validate(made, capabilities={capability})
    result = report.results[capability]
    assert result.failures == []
    assert result.tests_passed >= TESTS[capability]


def test_every_method_has_its_own_async_twin() -> None:
    """No method of the base that only raises is left."""
    for name, method in vars(BaseCheckpointSaver).items():
        if callable(method) and not name.startswith("_") and "NotImpl" in str(method.__doc__):
            assert getattr(MimirSaver, name) is not method, name


# Graphs


def test_a_graph_goes_on_where_it_was_interrupted(path: Path) -> None:
    """The vault is closed while a graph waits; reopened, the graph takes the answer and ends."""
    with create(path) as mimir:
        waiting = asking_graph(MimirSaver(mimir)).invoke({"said": [], "fixed": "f"}, config())
        assert [each.value for each in waiting["__interrupt__"]] == ["well?"]
    with reopen(path) as mimir:
        graph = asking_graph(MimirSaver(mimir))
        assert graph.get_state(config()).next == ("ask",)
        done = graph.invoke(Command(resume="yes"), config())
        assert done == {"said": ["hello", "you say yes"], "fixed": "f"}
        assert graph.get_state(config()).next == ()


def test_time_travel(saver: MimirSaver) -> None:
    """An older checkpoint can be answered otherwise; both futures stay readable."""
    graph = asking_graph(saver)
    graph.invoke({"said": [], "fixed": "f"}, config())
    first = graph.invoke(Command(resume="yes"), config())
    asked = next(s for s in graph.get_state_history(config()) if s.next == ("ask",))
    other = graph.invoke(None, graph.update_state(asked.config, {"said": ["(edited)"]}))
    assert "__interrupt__" in other
    second = graph.invoke(Command(resume="no"), config())
    assert first["said"] == ["hello", "you say yes"]
    assert second["said"] == ["hello", "(edited)", "you say no"]
    histories = [state.values["said"] for state in graph.get_state_history(config())]
    assert first["said"] in histories
    assert second["said"] in histories


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_history_equals_that_of_memory(saver: MimirSaver, durability: Any) -> None:
    """After the same runs, the history reads as with LangGraph's in-memory saver."""
    histories = []
    for each in (saver, InMemorySaver()):
        graph = counting_graph(each)  # type: ignore[arg-type]
        for word in ("a", "b"):
            graph.invoke({"said": [], "fixed": word}, config(), durability=durability)
        histories.append(
            [
                (s.values, s.next, s.metadata, [(t.name, t.result) for t in s.tasks])
                for s in graph.get_state_history(config())
            ]
        )
    assert histories[0] == histories[1]


async def test_twenty_graphs_at_once(mimir: Mimir) -> None:
    """Concurrent runs equal sequential ones, and the vault is not touched on the loop's thread."""
    saver, seen = MimirSaver(mimir), set[int]()
    graph = counting_graph(saver)
    inner = Mimir.known

    def noting(self: Mimir, *args: Any, **options: Any) -> Any:
        seen.add(threading.get_ident())
        return inner(self, *args, **options)

    with patch.object(Mimir, "known", noting):
        found = await asyncio.gather(
            *(
                graph.ainvoke({"said": [], "fixed": f"word{n}"}, config(f"thread {n}"))
                for n in range(20)
            )
        )
    assert threading.get_ident() not in seen
    for number, state in enumerate(found):
        assert state["said"] == [f"word{number} {step}" for step in range(3)]
        kept = saver.get_tuple(config(f"thread {number}"))
        assert kept is not None
        assert kept.checkpoint["channel_values"]["said"] == state["said"]
    assert mimir.verify().ok


# Reading


def test_values_come_back_as_they_were(saver: MimirSaver) -> None:
    """Values, metadata, versions and the parent are what was put, NUL characters removed."""
    noted = {"source": "input", "step": -1, "s": "a\0b"}
    first = put(saver, config(), noted, a=1, b=b"\0", c=None)
    second = put(saver, first, {"source": "loop", "step": 0}, a=[1, {"x": {2}}], b=bytearray(b"q"))
    found = saver.get_tuple(config())
    assert found is not None
    assert found.config == second
    assert found.parent_config == first
    assert found.checkpoint["channel_values"] == {"a": [1, {"x": {2}}], "b": bytearray(b"q")}
    assert found.checkpoint["channel_versions"] == {"a": "1.0", "b": "1.0"}
    assert found.metadata == {"source": "loop", "step": 0}
    older = saver.get_tuple(first)
    assert older is not None
    assert older.checkpoint["channel_values"] == {"a": 1, "b": b"\0", "c": None}
    assert older.metadata == {"source": "input", "step": -1, "s": "ab"}
    assert older.parent_config is None


def test_an_unchanged_value_is_stored_once(mimir: Mimir, saver: MimirSaver) -> None:
    """A channel that no step writes to costs its bytes once, not at each step."""
    counting_graph(saver, steps=30).invoke({"said": [], "fixed": "x" * 100_000}, config())
    assert len(list(saver.list(config()))) > 30
    assert mimir.stats().log_bytes < 600_000  # 30 copies would be 3 million


def test_same_version_other_value(saver: MimirSaver) -> None:
    """Forks that give one version number to two values keep both."""
    root = put(saver, config(), a="root")
    forks = [put(saver, root, a=value) for value in ("left", "right")]
    heirs = []
    for fork in forks:
        heir = checkpoint(a="not looked at: the channel did not change")
        heirs.append(saver.put(fork, heir, {}, {}))
    for where, value in zip([*forks, *heirs], ["left", "right"] * 2, strict=True):
        found = saver.get_tuple(where)
        assert found is not None
        assert found.checkpoint["channel_values"] == {"a": value}


def test_putting_again_replaces(saver: MimirSaver) -> None:
    """A checkpoint that is put a second time is stored once, as put last."""
    made = checkpoint(a=1)
    for step in (1, 2):
        saver.put(config(), made, {"step": step}, made["channel_versions"])
    (only,) = saver.list(config())
    assert only.metadata == {"step": 2}


def test_writes_before_their_checkpoint(saver: MimirSaver) -> None:
    """LangGraph saves writes beside checkpoints, in any order: early ones are not lost."""
    made = checkpoint()
    where = config(checkpoint=made["id"])
    saver.put_writes(where, [("a", 1)], "task")
    assert saver.get_tuple(where) is None
    saver.put(config(), made, {}, {})
    found = saver.get_tuple(where)
    assert found is not None
    assert found.pending_writes == [("task", "a", 1)]


def test_writes_by_task_and_index(saver: MimirSaver) -> None:
    """A regular write stays as first stored, a special one as last; order is a superstep's."""
    where = put(saver, config())
    saver.put_writes(where, [("a", 1), (ERROR, "old")], "t2", "path b")
    saver.put_writes(where, [("a", 2), (ERROR, "new"), ("c", 3)], "t2", "path b")
    saver.put_writes(where, [(INTERRUPT, "i"), (RESUME, "r")], "t1", "path c")
    saver.put_writes(where, [("a", 4)], "t9", "path a")
    found = saver.get_tuple(where)
    assert found is not None
    assert found.pending_writes == [
        ("t9", "a", 4),
        ("t2", ERROR, "new"),
        ("t2", "a", 1),
        ("t2", "c", 3),
        ("t1", RESUME, "r"),
        ("t1", INTERRUPT, "i"),
    ]


@pytest.mark.parametrize(
    ("thread", "place", "id_"),
    [
        ("", "", "1"),
        (7, "", "2"),
        (uuid4(), "a:1|b:2", "an id with spaces"),
        ("x" * 5_000, "|".join(["node:" + "f" * 36] * 60), "3"),
        ("\ud800 \0 lone", "é.:|", "4"),
    ],
)
def test_odd_names(saver: MimirSaver, thread: Any, place: str, id_: str) -> None:
    """Threads, namespaces and ids of any form are told apart and come back as they were given."""
    for where in (config(thread, place), config(thread, place + "x"), config("other", place)):
        made = checkpoint(a=1)
        made["id"] = id_
        stored = saver.put(where, made, {}, made["channel_versions"])
        saver.put_writes(stored, [("c", where["configurable"]["checkpoint_ns"])], "task")
    found = saver.get_tuple(config(thread, place))
    assert found is not None
    assert found.config == config(thread, place, id_)
    assert found.pending_writes == [("task", "c", place)]
    assert len(list(saver.list(config(thread, place)))) == 1
    assert len(list(saver.list({"configurable": {"thread_id": thread}}))) == 2


def test_list_of_everything(saver: MimirSaver) -> None:
    """Without a config all threads are listed, newest first; filter, before and limit narrow."""
    wheres = [
        put(saver, config(thread), {"step": step, "tags": ["x"]}, a=step)
        for step in range(3)
        for thread in ("one", "two")
    ]
    wheres.reverse()
    assert [found.config for found in saver.list(None)] == wheres
    assert [found.config for found in saver.list(None, limit=2)] == wheres[:2]
    assert list(saver.list(None, limit=0)) == []
    assert [found.config for found in saver.list(None, before=wheres[3])] == wheres[4:]
    assert [f.config for f in saver.list(None, filter={"step": 1, "tags": ["x"]})] == wheres[2:4]
    assert list(saver.list(None, filter={"step": 1, "nobody": 2})) == []
    assert [found.config for found in saver.list(wheres[0])] == wheres[:1]


def test_versions_grow() -> None:
    """Versions follow each other as text, also after the integers of another saver."""
    saver = MimirSaver.__new__(MimirSaver)
    versions = [saver.get_next_version(None, None)]
    for _ in range(12):
        versions.append(saver.get_next_version(versions[-1], None))
    assert versions == sorted(set(versions))
    assert saver.get_next_version(41, None).startswith(f"{42:032}.")


@pytest.mark.parametrize("bad", [{}, {"configurable": {}}, {"configurable": {"thread_id": None}}])
def test_a_config_without_a_thread_is_refused(saver: MimirSaver, bad: Any) -> None:
    """Every call says that the thread is missing, and nothing is stored."""
    for call in (
        lambda: saver.get_tuple(bad),
        lambda: list(saver.list(bad or {"configurable": {}})),
        lambda: saver.put(bad, checkpoint(), {}, {}),
        lambda: saver.put_writes(bad, [("a", 1)], "task"),
    ):
        with pytest.raises(InvalidArgument):
            call()
    assert list(saver.list(None)) == []


def test_bad_arguments(mimir: Mimir, saver: MimirSaver) -> None:
    """Writes of no checkpoint, values no serializer takes, bad places: refused, nothing stored."""
    with pytest.raises(InvalidArgument):
        saver.put_writes(config(), [("a", 1)], "task")
    with pytest.raises(TypeError):
        put(saver, config(), a=1, b=lambda: None)
    with pytest.raises(InvalidArgument):
        MimirSaver("vault.mimir")  # type: ignore[arg-type]
    with pytest.raises(InvalidNamespace):
        MimirSaver(mimir, namespace="with.dot")
    assert mimir.stats().memories == 0
