"""Several processes on one vault: one writes at a time, all others follow."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from mimir_core import Item, Mimir
from mimir_core.embedding import MiniLM
from mimir_core.errors import DuplicateKey, NotFound, VaultClosed

from .kill import in_child
from .vaults import contents, everything, reopen
from .worker import run_worker

SECONDS = os.environ.get("MIMIR_TEST_SECONDS", "10")
"""How long the processes run; a minute or more before a release."""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_two_write_and_four_read(folder: Path) -> None:
    """No false alarm, no lost write, nothing forgotten in a call that began after the forget."""
    (line,) = run_worker("run", folder, SECONDS, module="processes")
    added, forgotten, _ = map(int, line.split())
    assert added > 30
    assert forgotten > 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_child_of_a_busy_parent_is_refused_at_once(mimir: Mimir) -> None:
    """A forked child does not wait for the parent's threads, which it has not: it is told so."""
    handle = mimir.with_embedder(MiniLM())
    held, done = threading.Event(), threading.Event()

    def work() -> None:
        checkpointer = mimir._vault._checkpointer
        with handle._turn, checkpointer._running, checkpointer._attaching:
            held.set()
            done.wait(60)

    def every_call() -> None:
        signal.alarm(20)  # a child that hangs dies of it
        for call in (
            lambda: handle.recall("a cat"),
            lambda: handle.get("0" * 64),
            lambda: handle.forget("0" * 64),
            handle.checkpoint,
        ):
            with pytest.raises(VaultClosed):
                call()
        handle.close()

    thread = threading.Thread(target=work)
    thread.start()
    assert held.wait(20)
    try:
        assert in_child(every_call) == 0
    finally:
        done.set()
        thread.join()


def test_handles_follow_each_other(mimir: Mimir, path: Path) -> None:
    """What one handle writes, erases or names the other sees in its next call."""
    with reopen(path) as other:
        first = mimir.remember("one", thread="t", key="k")
        second = other.remember("two", thread="t")
        third = mimir.remember("three", thread="t", derived_from=[second])
        assert [m.id for m in other.thread("t")] == [m.id for m in mimir.thread("t")]
        assert [m.id for m in other.thread("t")] == [first, second, third]
        other.remember("new", key="k")
        with pytest.raises(NotFound):
            mimir.get(first)
        assert mimir.get(key="k").text == "new"
        other.forget(second, cascade=True)
        assert [hit.text for hit in mimir.recall("three two", mode="lexical")] == []
        with pytest.raises(NotFound):
            mimir.remember("four", derived_from=[third])
        mimir.checkpoint()
        other.remember("five", thread="t")
        other.checkpoint()
        assert everything(mimir) == everything(other)
        assert mimir.verify().ok
        assert other.verify().ok


def test_kept_blocks_are_those_of_the_newest_commit(mimir: Mimir, path: Path) -> None:
    """A block of the log that was kept in memory is read anew once any handle has changed it."""
    with reopen(path) as other:
        ids: list[str] = []
        for number in range(6):
            writer, reader = (mimir, other) if number % 2 else (other, mimir)
            ids.append(writer.remember(f"turn {number} " + "x" * 5_000 * (number % 3)))
            for handle in (writer, reader):  # both keep the last block, which the next turn changes
                found = handle.get_many(ids)
                assert [turn and int(turn.text.split()[1]) for turn in found] == [*range(len(ids))]


def test_a_follower_takes_many_changes_at_once(mimir: Mimir, path: Path) -> None:
    """A handle that slept through batches, forgets, checkpoints and growth wakes up right."""
    with reopen(path) as sleeper:
        mimir.remember("early", thread="t")
        assert sleeper.stats().memories == 1
        ids = mimir.remember_many([Item(f"n {n} {n % 9}", thread=f"t{n & 3}") for n in range(1500)])
        mimir.forget(ids[::3])
        mimir.checkpoint()
        mimir.remember_many([Item("x" * 5_000, key=f"k{n % 20}") for n in range(20)])
        mimir.remember_many([Item("y" * 5_000, key=f"k{n % 20}") for n in range(20)])
        mimir.forget(thread="t2")
        assert contents(sleeper) == contents(mimir)
        assert everything(sleeper) == everything(mimir)
        assert sleeper.verify().ok
        sleeper.remember("late", thread="t")
        assert mimir.thread("t") == sleeper.thread("t")
    assert mimir.verify().ok


def test_a_batch_is_checked_against_the_newest_state(mimir: Mimir, path: Path) -> None:
    """Keys are unique across handles, and a batch that repeats one writes nothing."""
    with reopen(path) as other:
        mimir.remember("one", key="k")
        other.remember("two", key="k")
        mimir.remember("three", key="k")
        assert [m.text for m in other.memories()] == ["three"]
        with pytest.raises(DuplicateKey):
            other.remember_many([Item("a", key="j"), Item("b", key="j")])
        assert mimir.stats().memories == 1
