"""Failures at every step of a commit and a scrub, and the wrapper that makes them."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from mimir_core.storage import BlockStore, SqliteBlockStore

from .blocks import PREAMBLE, block
from .faults import Countdown, FaultError, fail, steps_of
from .memory import MemoryBlockStore
from .worker import NEW, OLD, operate, run_worker

STEPS = [
    "before begin", "after begin", "before commit", "before write", "after write",
    "before write", "after write", "before seal", "after seal", "after commit",
    "before scrub", "after scrub",
]  # fmt: skip


def state(store: BlockStore) -> list[bytes]:
    """Every block, after checking that the preamble belongs to them."""
    blocks = store.read(range(store.count()))
    assert store.preamble() == (b"new" if len(blocks) == 3 else PREAMBLE)
    return blocks


def expected(step: int) -> list[bytes]:
    """The state after a fault at the given hook call: new once the transaction is sealed."""
    return NEW if step >= STEPS.index("after seal") else OLD


def test_the_steps_are_these() -> None:
    """The wrapper reports begin, each block, the sealing, the commit and the scrub, in order."""
    store = MemoryBlockStore.create(PREAMBLE, OLD)
    assert steps_of(lambda hook: operate(store, hook)) == STEPS
    assert state(store) == NEW


@pytest.mark.parametrize("step", range(len(STEPS)), ids=STEPS)
@pytest.mark.parametrize("engine", ["memory", "sqlite"])
def test_an_exception_at_any_step(engine: str, step: int, tmp_path: Path) -> None:
    """A failure before the sealing leaves the old state, later the new, and the handle works."""
    store: BlockStore
    if engine == "sqlite":
        store = SqliteBlockStore.create(tmp_path / "v.mimir", PREAMBLE, OLD)
    else:
        store = MemoryBlockStore.create(PREAMBLE, OLD)
    with pytest.raises(FaultError):
        operate(store, Countdown(step, fail))
    assert state(store) == expected(step)
    with store.writing(0):
        store.commit({0: block(20)}, expected_root_tag=store.root_tag())
    store.scrub(0)
    store.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the worker forks")
def test_a_kill_at_any_step(tmp_path: Path) -> None:
    """Killed before the sealing, the file opens in the old state; after it, in the new."""
    for step in range(len(STEPS)):
        SqliteBlockStore.create(tmp_path / f"{step}.mimir", PREAMBLE, OLD).close()
    run_worker("be_killed_at_each_step", tmp_path, len(STEPS))
    for step in range(len(STEPS)):
        with closing(SqliteBlockStore.open(tmp_path / f"{step}.mimir")) as store:
            assert state(store) == expected(step), STEPS[step]
            store.scrub(1)
