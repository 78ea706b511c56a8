"""Ctrl-C anywhere inside a store's call: the handle and everyone else go on as if nothing was."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from types import FrameType

import pytest

from mimir_core.storage import SqliteBlockStore
from mimir_core.storage.handle import owns

from .blocks import PREAMBLE, block
from .interrupts import interrupted
from .worker import numbered, state_of


def read(store: SqliteBlockStore) -> None:
    """Two reads of one snapshot."""
    with store.reading():
        store.root_tag()
        store.read([0, 1])


def commit(store: SqliteBlockStore) -> None:
    """A transaction that writes."""
    with store.writing(0):
        store.commit({1: block(77)}, expected_root_tag=store.root_tag())


def commit_alone(store: SqliteBlockStore) -> None:
    """A commit that takes the right to it by itself."""
    store.commit({1: block(77)}, expected_root_tag=store.root_tag())


def give_up(store: SqliteBlockStore) -> None:
    """A transaction that writes nothing."""
    with store.writing(0):
        store.count()


def scrub(store: SqliteBlockStore) -> None:
    """A scrub."""
    store.scrub(0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed vault of four blocks."""
    path = tmp_path / "v.mimir"
    SqliteBlockStore.create(path, PREAMBLE, list(numbered(0).values())).close()
    return path


@pytest.mark.parametrize("work", [read, commit, commit_alone, give_up, scrub])
def test_an_interrupt_leaves_nothing_behind(
    path: Path, work: Callable[[SqliteBlockStore], None]
) -> None:
    """Wherever it strikes, no lock and no transaction stays, and both handles read and write."""
    with closing(SqliteBlockStore.open(path)) as store, closing(SqliteBlockStore.open(path)) as two:
        for place in count():
            came = interrupted(lambda: work(store), place)
            assert not owns(store._lock), place
            assert not store._connection.in_transaction, place
            two.commit(numbered(place), expected_root_tag=two.root_tag())
            two.scrub(0)
            assert state_of(store) == place
            with store.writing(0):
                pass
            if not came:
                break
        assert place > 15


def test_a_transaction_left_open_ends_with_the_next(path: Path) -> None:
    """Whatever was left open, the handle's next transaction begins, and at the newest state."""
    with closing(SqliteBlockStore.open(path)) as store, closing(SqliteBlockStore.open(path)) as two:
        for statement in ("BEGIN", "BEGIN IMMEDIATE"):
            for work in (read, commit):
                store._run(statement)
                store.root_tag()
                work(store)
                two.commit(numbered(5), expected_root_tag=two.root_tag())
                two.scrub(0)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers on this system")
def test_real_signals(path: Path) -> None:
    """A second of real interrupts breaks nothing: another thread and another handle still write."""

    def strike(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    randomness, struck, end = random.Random(4), 0, time.monotonic() + 1
    before = signal.signal(signal.SIGALRM, strike)
    try:
        with (
            closing(SqliteBlockStore.open(path)) as store,
            closing(SqliteBlockStore.open(path)) as two,
        ):
            while time.monotonic() < end:
                try:
                    signal.setitimer(signal.ITIMER_REAL, randomness.uniform(0.0001, 0.002))
                    while True:
                        (read, give_up, scrub)[struck % 3](store)
                except KeyboardInterrupt:
                    struck += 1
                assert not owns(store._lock)
                with two.writing(0):
                    pass
            thread = threading.Thread(target=commit, args=(store,), daemon=True)
            thread.start()
            thread.join(20)
            assert not thread.is_alive()
            assert two.read([1]) == [block(77)]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert struck > 20
    assert os.listdir(path.parent) == [path.name]
