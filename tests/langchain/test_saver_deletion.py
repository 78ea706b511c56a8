"""MimirSaver: deletion that deletes and stays, runs, copies, pruning, delta channels."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import pytest
from langgraph.channels import DeltaChannel
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.types import ERROR
from langgraph.graph import END, START, StateGraph
from typing_extensions import TypedDict

from mimir_core import Mimir
from mimir_core.errors import InvalidArgument, ScrubPending
from mimir_langchain import MimirSaver, blobs
from mimir_langchain.vaults import digest

from ..vault.vaults import create
from ..vault.worker import start_worker
from .graphs import checkpoint, config, counting_graph, put

ROOT = ("langgraph", "checkpoints")


@pytest.fixture
def saver(mimir: Mimir) -> MimirSaver:
    """A saver over an empty vault."""
    return MimirSaver(mimir)


def stored(mimir: Mimir) -> int:
    """How many records threads hold; the trace that a deleted thread leaves is none of them."""
    keys = mimir.keys(namespace=ROOT, descendants=True)
    return sum(not key.startswith("deleted ") for key in keys)


def steps(saver: MimirSaver, thread: str = "t", place: str = "") -> list[Any]:
    """The steps of a thread's checkpoints, newest first."""
    return [found.metadata["step"] for found in saver.list(config(thread, place))]


# Threads


def test_deleting_leaves_only_a_trace_without_content(mimir: Mimir, saver: MimirSaver) -> None:
    """Nothing of a deleted thread is left but a digest of its name and the time; twice is fine."""
    put(saver, put(saver, config("gone"), {"step": 0}, a=1), {"step": 1}, a=2)
    put(saver, config("gone", "child:1"), {"step": 0}, a=3)
    put(saver, config("kept"), {"step": 0}, a=4)
    saver.delete_thread("gone")
    saver.delete_thread("gone")
    saver.delete_thread("never there")
    assert list(saver.list(config("gone"))) == []
    assert steps(saver, "kept") == [0]
    assert stored(mimir) == 2
    (trace,) = mimir.memories(namespace=ROOT)
    assert b"gone" not in bytes(trace.content)  # type: ignore[arg-type]
    assert trace.key == f"deleted {digest('gone')}"


def test_late_writes_do_not_revive_a_deleted_thread(
    mimir: Mimir, saver: MimirSaver, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that goes on after the deletion stores nothing, however it goes on, and is told so."""
    where = put(saver, config(), {"step": 0}, a=1)
    saver.delete_thread("t")
    with caplog.at_level(logging.WARNING):
        late = put(saver, where, {"step": 1}, a=2)
        saver.put_writes(late, [("a", 3)], "task")
        saver.put_writes(where, [("a", 3)], "task")
        later = put(saver, late, {"step": 2}, a=4)
        put(saver, later, {"step": 3}, a=5)
    assert caplog.text.count("dropped") == 5
    assert where["configurable"]["checkpoint_id"] not in caplog.text
    assert saver.get_tuple(config()) is None
    assert stored(mimir) == 0


def test_a_deleted_thread_can_begin_anew(mimir: Mimir, saver: MimirSaver) -> None:
    """A run that begins after the deletion works, also while the old one still tries to write."""
    old = put(saver, config(), {"step": 0}, a="old")
    saver.delete_thread("t")
    made = checkpoint(a="new")
    early = config(checkpoint=made["id"])
    saver.put_writes(early, [("w", "early")], "task")
    old = put(saver, old, {"step": 1}, a="late")
    new = saver.put(config(), made, {"step": 0}, made["channel_versions"])
    put(saver, old, {"step": 2}, a="late")
    newer = put(saver, new, {"step": 1}, a="newer")
    assert steps(saver) == [1, 0]
    found = saver.get_tuple(new)
    assert found is not None
    assert found.pending_writes == [("task", "w", "early")]
    saver.delete_thread("t")
    put(saver, newer, {"step": 2}, a="late")
    assert stored(mimir) == 0


def test_a_graph_goes_on_after_deletion(saver: MimirSaver) -> None:
    """The same thread id serves a new conversation."""
    graph = counting_graph(saver)
    for _ in range(2):
        assert graph.invoke({"said": [], "fixed": "w"}, config())["said"] == ["w 0", "w 1", "w 2"]
        saver.delete_thread("t")
    assert graph.get_state(config()).values == {}


def test_a_deletion_during_a_put(mimir: Mimir, saver: MimirSaver) -> None:
    """A deletion by another process, between the check and the commit of a put, holds."""
    where = put(saver, config(), {"step": 0}, a=1)
    inner = blobs.store

    def deleting(*args: Any, **options: Any) -> None:
        with patch.object(blobs, "store", inner):
            MimirSaver(mimir).delete_thread("t")
        inner(*args, **options)

    with patch.object(blobs, "store", deleting):
        late = put(saver, where, {"step": 1}, a=2)
    put(saver, late, {"step": 2}, a=3)
    assert stored(mimir) == 0


@pytest.mark.parametrize("call", ["put", "writes", "copy", "delete"])
def test_a_pending_scrub_reaches_the_caller(mimir: Mimir, saver: MimirSaver, call: str) -> None:
    """Where old pages await scrubbing, each call does all of its work, and then says so."""
    where, made = put(saver, config(), {"step": 0}, a=1), checkpoint(a=2)
    inner = Mimir.replace

    def pending(self: Mimir, *args: Any, **options: Any) -> Any:
        inner(self, *args, **options)
        raise ScrubPending("pending")

    calls: dict[str, Callable[[], object]] = {
        "put": lambda: saver.put(where, made, {"step": 1}, made["channel_versions"]),
        "writes": lambda: saver.put_writes(where, [(ERROR, "e"), ("w", 1)], "task"),
        "copy": lambda: saver.copy_thread("t", "copy"),
        "delete": lambda: saver.delete_thread("t"),
    }
    with patch.object(Mimir, "replace", pending), pytest.raises(ScrubPending):
        calls[call]()
    if call == "put":
        assert steps(saver) == [1, 0]
    elif call == "writes":
        found = saver.get_tuple(where)
        assert found is not None
        assert found.pending_writes == [("task", ERROR, "e"), ("task", "w", 1)]
    elif call == "copy":
        assert steps(saver, "copy") == [0]
    else:
        assert stored(mimir) == 0


def test_a_late_run_leaves_nothing_although_a_scrub_is_pending(
    mimir: Mimir, saver: MimirSaver, caplog: pytest.LogCaptureFixture
) -> None:
    """The note that a checkpoint came late and the erasure of its writes are both made."""
    where = put(saver, config(), {"step": 0}, a=1)
    saver.delete_thread("t")
    made = checkpoint(a=2)
    early = config(checkpoint=made["id"])
    saver.put_writes(early, [("w", 1)], "task")
    assert stored(mimir) == 1
    inner = Mimir.replace

    def pending(self: Mimir, *args: Any, **options: Any) -> Any:
        inner(self, *args, **options)
        raise ScrubPending("pending")

    with patch.object(Mimir, "replace", pending), pytest.raises(ScrubPending):
        saver.put(where, made, {"step": 1}, made["channel_versions"])
    assert "dropped" in caplog.text
    assert stored(mimir) == 0
    put(saver, early, {"step": 2}, a=3)
    assert stored(mimir) == 0


def test_a_real_reader_in_the_way(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process holds a snapshot, replacing a write says so, and has replaced it."""
    monkeypatch.setattr("mimir_core.vault.vault.SCRUB_TIMEOUT", 0.2)
    with create(path) as mimir:
        saver = MimirSaver(mimir)
        where = put(saver, config(), {"step": 0}, a=1)
        saver.put_writes(where, [(ERROR, "old")], "task")
        with start_worker("hold_snapshot", path) as holder:
            assert holder.stdout is not None
            assert holder.stdin is not None
            holder.stdout.readline()
            later = put(saver, where, {"step": 1}, a=2)  # replaces nothing, so nothing is to tell
            with pytest.raises(ScrubPending):
                saver.put_writes(where, [(ERROR, "new")], "task")
            found = saver.get_tuple(where)
            assert found is not None
            assert found.pending_writes == [("task", ERROR, "new")]
            with pytest.raises(ScrubPending):
                saver.prune(["t"])
            assert steps(saver) == [1]
            holder.stdin.close()
            holder.wait(30)
        put(saver, later, {"step": 2}, a=3)
    assert not path.with_name(path.name + "-wal").exists()


# Runs


def test_delete_for_runs(mimir: Mimir, saver: MimirSaver) -> None:
    """Checkpoints of runs go with their writes and values, in every thread; shared values stay."""
    for thread in ("one", "two"):
        first = put(saver, config(thread), {"step": 0, "run_id": "r1"}, a="shared", b="alone")
        saver.put_writes(first, [("w", "gone")], "task")
        heir = checkpoint(a="shared")
        saver.put(first, heir, {"step": 1, "run_id": "r2"}, {})
    assert stored(mimir) == 2 * 5
    saver.delete_for_runs(["r1", "nobody"])
    saver.delete_for_runs([])
    for thread in ("one", "two"):
        (only,) = saver.list(config(thread))
        assert only.metadata["run_id"] == "r2"
        assert only.checkpoint["channel_values"] == {"a": "shared"}
    assert stored(mimir) == 2 * 2


def test_runs_of_a_real_graph(saver: MimirSaver) -> None:
    """The run id that a caller puts in the config's metadata is what its checkpoints go by."""
    graph = counting_graph(saver)
    for run in ("r1", "r2"):
        graph.invoke({"said": [], "fixed": run}, {**config(), "metadata": {"run_id": run}})
    saver.delete_for_runs(["r1"])
    runs = {found.metadata["run_id"] for found in saver.list(config())}
    assert runs == {"r2"}
    assert graph.get_state(config()).values["fixed"] == "r2"


# Copies


def test_a_copy_is_its_own(mimir: Mimir, saver: MimirSaver) -> None:
    """A copied thread reads as its source and lives on when the source is deleted."""
    graph = counting_graph(saver)
    graph.invoke({"said": [], "fixed": "w"}, config("source"))
    saver.put_writes(put(saver, config("source", "child:1"), a=1), [("w", 2)], "task")
    saver.copy_thread("source", "target")
    saver.copy_thread("source", "source")
    before = list(saver.list({"configurable": {"thread_id": "source"}}))
    saver.delete_thread("source")
    after = list(saver.list({"configurable": {"thread_id": "target"}}))
    assert [(f.checkpoint, f.metadata, f.pending_writes) for f in after] == [
        (f.checkpoint, f.metadata, f.pending_writes) for f in before
    ]
    assert {f.config["configurable"]["thread_id"] for f in after} == {"target"}
    assert {f.parent_config["configurable"]["thread_id"] for f in after if f.parent_config} == {
        "target"
    }
    assert graph.invoke({"said": [], "fixed": "x"}, config("target"))["fixed"] == "x"
    saver.delete_thread("target")
    assert stored(mimir) == 0


def test_runs_of_a_copy_are_deleted_too(mimir: Mimir, saver: MimirSaver) -> None:
    """A copy keeps its checkpoints' run ids."""
    put(saver, config("source"), {"run_id": "r"}, a=1)
    saver.copy_thread("source", "target")
    saver.delete_for_runs(["r"])
    assert stored(mimir) == 0


# Pruning


def test_keep_latest(mimir: Mimir, saver: MimirSaver) -> None:
    """Each namespace keeps its newest checkpoint whole, and the thread goes on from it."""
    graph = counting_graph(saver)
    graph.invoke({"said": [], "fixed": "w"}, config())
    for step in range(3):
        put(saver, config(place="child:1"), {"step": step}, a=step)
    before = stored(mimir)
    saver.prune(["t", "nobody"])
    assert len(list(saver.list(config()))) == 1
    assert steps(saver, place="child:1") == [2]
    assert stored(mimir) < before / 2
    assert graph.get_state(config()).values["said"] == ["w 0", "w 1", "w 2"]
    assert graph.invoke({"said": ["x"], "fixed": "v"}, config())["said"][-2:] == ["x", "v 4"]
    saver.prune(["t"], strategy="delete")
    assert stored(mimir) == 0


def test_writes_that_come_after_pruning_go_with_the_next(mimir: Mimir, saver: MimirSaver) -> None:
    """Late writes of a pruned checkpoint are never seen, and erased by the next pruning."""
    old = put(saver, config(), {"step": 0})
    put(saver, old, {"step": 1})
    saver.prune(["t"])
    saver.put_writes(old, [("w", 1)], "task")
    assert saver.get_tuple(old) is None
    assert stored(mimir) == 2
    saver.prune(["t"])
    assert stored(mimir) == 1


def test_an_unknown_strategy_is_refused(saver: MimirSaver) -> None:
    """A strategy nobody knows prunes nothing."""
    put(saver, put(saver, config(), {"step": 0}), {"step": 1})
    with pytest.raises(InvalidArgument):
        saver.prune(["t"], strategy="keep_some")
    assert steps(saver) == [1, 0]


@pytest.mark.parametrize("erase", ["prune", "runs"])
def test_every_thread_is_erased_although_scrubs_are_pending(
    mimir: Mimir, saver: MimirSaver, erase: str
) -> None:
    """A pending scrub of one thread does not keep the others from being erased; it is told last."""
    for thread in ("one", "two"):
        put(saver, put(saver, config(thread), {"step": 0, "run_id": "r"}), {"step": 1})
    inner = Mimir.replace

    def pending(self: Mimir, *args: Any, **options: Any) -> Any:
        inner(self, *args, **options)
        raise ScrubPending("pending")

    with patch.object(Mimir, "replace", pending), pytest.raises(ScrubPending):
        saver.prune(["one", "two"]) if erase == "prune" else saver.delete_for_runs(["r"])
    assert steps(saver, "one") == steps(saver, "two") == [1]


def test_large_values_go_whole(
    mimir: Mimir, saver: MimirSaver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values, writes and checkpoints in parts come back, are copied, and go with every part."""
    monkeypatch.setattr(blobs, "PART_BYTES", 500)
    for step in range(2):
        where = put(saver, config(), {"step": step, "note": "n" * 2_000}, a=f"{step}" * 3_000)
        saver.put_writes(where, [("w", "w" * 1_600)], "task")
    saver.copy_thread("t", "copy")
    whole = stored(mimir)
    saver.prune(["t", "copy"])
    assert stored(mimir) == whole / 2
    for thread in ("t", "copy"):
        (found,) = saver.list(config(thread))
        assert found.checkpoint["channel_values"] == {"a": "1" * 3_000}
        assert found.metadata["note"] == "n" * 2_000
        assert found.pending_writes == [("task", "w", "w" * 1_600)]
    saver.prune(["t", "copy"], strategy="delete")
    assert stored(mimir) == 0


# Delta channels


def _extend(state: list[str], writes: list[list[str]]) -> list[str]:
    return [*state, *(word for write in writes for word in write)]


class Deltas(TypedDict):
    """A channel of which only changes are stored between snapshots."""

    words: Annotated[list[str], DeltaChannel(_extend, snapshot_frequency=4)]


def _delta_graph(saver: MimirSaver) -> Any:
    builder = StateGraph(Deltas)
    builder.add_node("step", lambda state: {"words": [f"w{len(state['words'])}"]})
    builder.add_edge(START, "step")
    builder.add_edge("step", END)
    return builder.compile(checkpointer=saver)


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_pruning_keeps_what_delta_channels_are_built_on(
    saver: MimirSaver, durability: Any
) -> None:
    """After pruning, copying and going on, a delta channel reads as if nothing had been pruned."""
    graph = _delta_graph(saver)
    expected: list[str] = []
    for turn in range(7):
        expected += [f"in{turn}", f"w{len(expected) + 1}"]
        said = graph.invoke({"words": [f"in{turn}"]}, config(), durability=durability)
        assert said["words"] == expected
        saver.prune(["t"])
        assert graph.get_state(config()).values["words"] == expected
        wanted = {"config": config(), "channels": ["words", "nobody"]}
        walked = BaseCheckpointSaver.get_delta_channel_history(saver, **wanted)
        assert saver.get_delta_channel_history(**wanted) == walked
    assert len(list(saver.list(config()))) < 10
    saver.copy_thread("t", "copy")
    assert graph.get_state(config("copy")).values["words"] == expected


# Beside a running graph


def test_pruning_beside_a_running_graph(mimir: Mimir, saver: MimirSaver) -> None:
    """Pruning while graphs run takes nothing that a checkpoint still needs."""
    graph = counting_graph(saver, steps=12)
    done = threading.Event()

    def prune() -> None:
        while not done.is_set():
            saver.prune(["t0", "t1"])

    pruner = threading.Thread(target=prune)
    pruner.start()
    try:
        for turn in range(4):
            for thread in ("t0", "t1"):
                said = graph.invoke({"said": [], "fixed": f"{turn}"}, config(thread))["said"]
                assert len(said) >= 12
    finally:
        done.set()
        pruner.join()
    for found in saver.list(None):
        assert len(found.checkpoint["channel_values"]["said"]) >= 12
    assert mimir.verify().ok


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_thread_deleted_while_its_graph_runs(
    mimir: Mimir, saver: MimirSaver, durability: Any
) -> None:
    """A run ends although its thread is deleted under it, and leaves nothing."""
    working, deleted = threading.Event(), threading.Event()

    def node(state: Deltas) -> dict[str, Any]:
        if state["words"][-1] == "wait":
            working.set()
            assert deleted.wait(20)
        return {"words": ["done"]}

    def last(state: Deltas) -> dict[str, Any]:
        return {"words": ["last"]}

    builder = StateGraph(Deltas)
    builder.add_node("node", node)
    builder.add_node("last", last)
    builder.add_edge(START, "node")
    builder.add_edge("node", "last")
    builder.add_edge("last", END)
    graph = builder.compile(checkpointer=saver)
    graph.invoke({"words": ["first"]}, config(), durability=durability)
    found: list[Any] = []
    run = threading.Thread(
        target=lambda: found.append(
            graph.invoke({"words": ["wait"]}, config(), durability=durability)
        )
    )
    run.start()
    assert working.wait(20)
    saver.delete_thread("t")
    deleted.set()
    run.join()
    assert found[0]["words"] == ["first", "done", "last", "wait", "done", "last"]
    assert graph.get_state(config()).values == {}
    assert stored(mimir) == 0


@pytest.mark.parametrize("call", ["prune", "delete_for_runs"])
def test_a_single_id_is_no_list(saver: MimirSaver, call: str) -> None:
    """A string where a list of ids is asked for is refused instead of read letter by letter."""
    with pytest.raises(InvalidArgument):
        getattr(saver, call)("t")
