"""A change costs what it changes: arrays stay where they are, maps are patched, not rebuilt."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mimir_core import Item, Mimir
from mimir_core.errors import StorageFailed
from mimir_core.index.catalog_tables import Column, Lookup
from mimir_core.storage import SqliteBlockStore
from mimir_core.vault.change import Change, FreeBlocks
from mimir_core.vault.container import Container
from mimir_core.vault.layout import MAP_ENTRIES
from mimir_core.vault.state import State

from .raw import read_blocks, write_blocks
from .vaults import create, reopen, state_of

MANY = 2_000


@pytest.fixture(params=["views", "log"])
def many(path: Path, request: pytest.FixtureRequest) -> Path:
    """A vault of many memories, to be opened from its segments, or from its log alone."""
    with create(path) as mimir:
        texts = (f"turn {n} " + "x" * 400 for n in range(MANY))
        mimir.remember_many([Item(text, thread="t", metadata={"n": 1}) for text in texts])
        if request.param == "log":
            mimir._vault._checkpointer._write = lambda: None  # type: ignore[method-assign]
    return path


def arrays(item: object, seen: dict[int, Any]) -> dict[int, Any]:
    """Every array that columns and vectors reachable from an object hold, by its identity."""
    if isinstance(item, (Column, dict, list)) or hasattr(item, "__dict__"):
        if id(item) in seen:
            return seen
        seen[id(item)] = None
        inner = item if isinstance(item, list) else getattr(item, "__dict__", {}).values()
        inner = item.values() if isinstance(item, dict) else inner
        for part in [item._data] if isinstance(item, Column) else inner:
            if isinstance(part, np.ndarray):
                seen[id(part)] = part
            else:
                arrays(part, seen)
    return seen


def held(state: State) -> dict[int, int]:
    """The large arrays of catalog, vectors and map, with where their bytes are."""
    found: dict[int, Any] = {id(state.container._map): state.container._map}
    for view in (state.catalog, *(space.column for space in state.spaces)):
        arrays(view, found)
    large = [part for part in found.values() if part is not None and part.size >= MANY // 2]
    assert len(large) > 10
    return {id(part): part.ctypes.data for part in large}


def test_remembering_after_an_open_copies_no_column(many: Path) -> None:
    """The first memories after an open go where there is room; nothing that is there moves."""
    with reopen(many) as mimir:
        state = state_of(mimir)
        before, pieces = held(state), list(map(id, state.keybook._pieces))
        for number in range(5):
            mimir.remember(f"more {number}", thread="t", metadata={"n": 1})
        assert state_of(mimir) is state
        assert before.items() <= held(state).items()
        assert list(map(id, state.keybook._pieces))[: len(pieces)] == pieces


@pytest.fixture
def touched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many entries of the map each patch touches, and how many rows each sort sorts."""
    found: list[int] = []
    patch, sort, page = Container._patch, Lookup.sort, Change._page

    def counted(function: Callable[..., Any], weight: Callable[..., int]) -> Callable[..., Any]:
        def count(*arguments: Any) -> Any:
            found.append(weight(*arguments))
            return function(*arguments)

        return count

    monkeypatch.setattr(Container, "_patch", counted(patch, lambda _, numbers, *__: len(numbers)))
    monkeypatch.setattr(Lookup, "sort", counted(sort, lambda lookup: len(lookup._column)))
    monkeypatch.setattr(Change, "_page", counted(page, lambda *_: 0))
    return found


def test_following_touches_what_changed(many: Path, touched: list[int]) -> None:
    """A commit of another handle changes a few entries of map, addresses and free blocks."""
    with reopen(many) as mimir, reopen(many) as other:
        container = state_of(mimir).container
        before = held(state_of(mimir)), id(container._numbers), id(container._free)
        assert len(container._numbers) > 60
        touched.clear()
        for number in range(3):
            other.remember(f"more {number}", thread="t")
            mimir.remember(f"mine {number}", thread="t")
        assert 0 < sum(touched) < 60
        assert (before[0].items() <= held(state_of(mimir)).items(), *before[1:]) == (
            True, id(container._numbers), id(container._free)
        )  # fmt: skip
        assert mimir.verify().ok


def as_stored(container: Container) -> tuple[bytes, dict[Any, int], set[int]]:
    """Map, addresses and free blocks of a container."""
    return container._map.tobytes(), dict(container._numbers), {*container._free}


def check_as_fresh(mimir: Mimir, container: Container) -> None:
    """Checks that a container is as one that reads all of the vault."""
    fresh = Container(mimir._vault._store, mimir._vault._keys)
    with mimir._vault._store.reading():
        fresh.refresh()
    assert as_stored(container) == as_stored(fresh)


def test_a_patched_container_is_as_one_read_anew(path: Path) -> None:
    """After any commits, followed or made, growth included, a container equals a fresh one."""
    seed = random.randrange(1 << 30)  # any seed must do
    chance = random.Random(seed)
    with create(path) as one, reopen(path) as two:
        one.remember_many([Item("z" * 1_000_000) for _ in range(9)])
        for number in range(40):
            writer = chance.choice((one, two))
            work = chance.randrange(6)
            if work < 3:
                writer.remember("z" * chance.choice((10, 20_000, 600_000)), key=f"k{work}")
            elif work == 3:
                writer.checkpoint()
            elif work == 4:
                writer.remember_many([Item(f"turn {number} {n}") for n in range(300)])
            else:
                writer.forget(namespace="default")
            mine, theirs = state_of(one).container, state_of(two).container
            assert as_stored(mine) == as_stored(theirs), seed
            check_as_fresh(one, mine)
        assert mine.root.blocks > MAP_ENTRIES


def test_an_older_file_shrinks_what_is_known(path: Path) -> None:
    """Where a vault of fewer blocks is put back, nothing of the larger one stays in memory."""
    with create(path) as mimir:
        mimir.remember("a cat")
    old = read_blocks(path)
    with reopen(path) as mimir:
        mimir.remember_many([Item("z" * 1_000_000) for _ in range(12)])
        assert state_of(mimir).container.root.blocks > MAP_ENTRIES
        mimir._vault._try_scrub()
        extra = len(read_blocks(path)) - len(old)
        write_blocks(path, old)
        remove(path, len(old), extra)
        assert [memory.content for memory in mimir.memories()] == ["a cat"]
        check_as_fresh(mimir, state_of(mimir).container)
        mimir.remember("a dog")
        assert [memory.content for memory in mimir.memories()] == ["a cat", "a dog"]
        check_as_fresh(mimir, state_of(mimir).container)


def remove(path: Path, first: int, count: int) -> None:
    """Takes blocks off the end."""
    import sqlite3  # noqa: PLC0415

    connection = sqlite3.connect(path)
    with connection:
        assert connection.execute("DELETE FROM block WHERE no >= ?", (first,)).rowcount == count
    connection.close()


def test_a_refused_commit_changes_nothing(mimir: Mimir, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the store refuses a commit, whatever it would have changed, the container is as it was.

    The next commit draws its blocks from the same free ones.
    """
    mimir.remember("a cat", key="k")
    mimir.checkpoint()
    before = as_stored(state_of(mimir).container)

    def refuse(*_: object, **__: object) -> None:
        raise StorageFailed("no")

    works: list[Callable[[], object]] = [
        lambda: mimir.remember("y" * 2_000_000, key="k"),
        lambda: mimir.forget(key="k"),
        lambda: mimir.remember_many([Item(f"turn {n}") for n in range(900)]),
    ]
    for work in works:
        with monkeypatch.context() as patch:
            patch.setattr(SqliteBlockStore, "_commit", refuse)
            with pytest.raises(StorageFailed):
                work()
        assert as_stored(state_of(mimir).container) == before
    for work in works[::2]:
        work()
    assert mimir.verify().ok


def test_free_blocks_are_a_set() -> None:
    """Through any additions and removals they are those of a plain set, each at one place."""
    chance, free, plain = random.Random(5), FreeBlocks(), set[int]()
    for _ in range(2_000):
        number = chance.randrange(40)
        if chance.random() < 0.5:
            free.add(number)
            plain.add(number)
        else:
            free.discard(number)
            plain.discard(number)
        assert sorted(free) == sorted(plain)
        assert len(free) == len(plain)


def test_a_change_draws_every_free_block_once() -> None:
    """Blocks taken and given back while a change is staged come from the free ones, each once."""
    chance = random.Random(6)
    free = FreeBlocks()
    for number in range(30):
        free.add(number)
    for _ in range(200):
        change = Change(np.zeros(0), 30, free, None)  # type: ignore[arg-type]  # nothing is sealed
        plain, used = set(range(30)), set[int]()
        for _ in range(60):
            if plain and chance.random() < 0.7:
                number = change.take()
                assert number in plain
                plain.remove(number)
                used.add(number)
            elif used:
                number = used.pop()
                change._moved[change._left] = number
                change._left += 1
                plain.add(number)
        assert sorted(free) == list(range(30))
