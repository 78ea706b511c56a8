"""Verification compares what is in memory with what the log says."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mimir_core import Item, Mimir
from mimir_core.intake import check_items
from mimir_core.storage.handle import owns
from mimir_core.vault import verify
from mimir_core.vault.container import Container
from mimir_core.vault.state import State
from mimir_core.vault.vault import Vault

from .raw import flip, read_blocks, write_blocks
from .vaults import EMBEDDER, create, reopen, state_of


def test_metadata_of_the_catalog_is_that_of_the_log(mimir: Mimir) -> None:
    """A catalog that holds other metadata than the log is reported, memory by memory."""
    mimir.remember("a cat", metadata={"n": 1, "tags": ["x", {"y": None}]}, thread="t", key="k")
    mimir.remember("a dog", metadata={"n": True})
    assert mimir.verify().ok
    with mimir._vault.view() as state:
        state.catalog._time.view[0] += 1
    assert [problem.split(": ")[1] for problem in mimir.verify().problems] == [
        "the catalog holds other metadata than the log"
    ]


def test_metadata_handed_out_is_the_callers_own(mimir: Mimir) -> None:
    """Changing what a memory carries changes neither the vault nor the next answer."""
    id_ = mimir.remember("a cat", metadata={"tags": ["x"]})
    mimir.get(id_).metadata["tags"].append("y")
    assert mimir.get(id_).metadata == {"tags": ["x"]}


def test_many_fields_are_read_from_the_record(mimir: Mimir) -> None:
    """A memory's metadata is the same whether few or many fields are known."""
    first = mimir.remember("a cat", metadata={"n": 1.5, "when": None})
    before = mimir.get(first)
    mimir.remember("a dog", metadata={f"field{n}": n for n in np.arange(40).tolist()})
    assert mimir.get(first) == before
    assert mimir.verify().ok


def test_a_text_without_a_vector_is_reported(mimir: Mimir) -> None:
    """Texts that no dense recall can find are counted until they are embedded; bytes need none."""
    mimir.remember(b"bytes")
    mimir._vault.append(check_items([Item("a cat"), Item("!"), Item(b"")], EMBEDDER), None)
    assert mimir.verify().problems == ("texts without a vector: 2",)
    assert mimir.reembed() == 2
    assert mimir.verify().ok
    assert len(mimir.recall("cat", mode="dense")) == 2


@pytest.fixture
def _small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """One piece of work at a time, and as little of the log as there can be."""
    monkeypatch.setattr(verify, "SLICE_SECONDS", 0.0)
    monkeypatch.setattr(verify, "BREATH_SECONDS", 0.0)
    monkeypatch.setattr(verify, "WINDOW_BLOCKS", 1)


def long_vault(path: Path) -> Mimir:
    """A vault of many blocks; records lie across them, one across four."""
    mimir = create(path)
    mimir.remember_many([Item(f"turn {n} " + "x" * 900, thread="t") for n in range(100)])
    mimir.remember("y" * 50_000, thread="t", key="k")
    mimir.remember(b"bytes")
    mimir.checkpoint()
    return mimir


@pytest.mark.usefixtures("_small_slices")
def test_verify_lets_others_in_between_pieces(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is held for one piece at a time: one block, one record to compare, one window."""
    work: list[int] = []
    view, check = Vault.view, Container.check_block
    compare, read = verify.Found.compare, State.read_log

    @contextmanager
    def watched(self: Vault) -> Iterator[State]:
        work.append(0)
        with view(self) as state:
            yield state

    def counted(function: Callable[..., Any], weight: Callable[..., int]) -> Callable[..., Any]:
        def count(*arguments: Any) -> Any:
            work[-1] += weight(*arguments)
            return function(*arguments)

        return count

    opened = verify.verify_node

    def outside(*arguments: Any, **named: Any) -> Any:
        assert not owns(mimir._vault._lock)
        return opened(*arguments, **named)

    with long_vault(path) as mimir:
        monkeypatch.setattr(Vault, "view", watched)
        monkeypatch.setattr(Container, "check_block", counted(check, lambda *_: 1))
        monkeypatch.setattr(verify.Found, "compare", counted(compare, lambda *_: 1))
        blocks = counted(read, lambda _, at, size: -(-size // 16_256))
        monkeypatch.setattr(State, "read_log", blocks)
        monkeypatch.setattr(verify, "verify_node", outside)
        report = mimir.verify()
        assert report.ok
        assert max(work) == 1
        assert sum(work) >= report.blocks + report.nodes


MEANWHILE: dict[str, Callable[[Mimir, int], object]] = {
    "remember": lambda mimir, n: mimir.remember(f"meanwhile {n}", thread="t"),
    "supersede": lambda mimir, n: mimir.remember(f"meanwhile {n}", key="k"),
    "much": lambda mimir, n: mimir.remember("z" * 100_000) if n < 20 else None,
    "forget": lambda mimir, n: mimir.forget(next(mimir.memories()).id) if n < 60 else None,
    "forget all": lambda mimir, n: mimir.forget(namespace="default") if n == 150 else None,
    "checkpoint": lambda mimir, n: (mimir.remember(f"more {n}"), mimir.checkpoint()),
    "bytes": lambda mimir, n: mimir.remember(b"bytes"),
}


@pytest.mark.usefixtures("_small_slices")
@pytest.mark.parametrize("elsewhere", [True, False])
@pytest.mark.parametrize("name", MEANWHILE)
def test_changes_meanwhile_are_no_damage(path: Path, name: str, elsewhere: bool) -> None:
    """Whatever is committed between two pieces, by this process or another, verify stays quiet."""
    with long_vault(path) as mimir, reopen(path) as other:
        rounds = 0

        def meanwhile(done: int, total: int) -> None:
            nonlocal rounds
            assert 0 <= done <= total
            if rounds < 300 and rounds % 5 == 0:
                MEANWHILE[name](other if elsewhere else mimir, rounds)
            rounds += 1

        assert mimir.verify(meanwhile).problems == ()
        assert rounds > 20
    with reopen(path) as mimir:
        assert mimir.verify().ok


@pytest.mark.usefixtures("_small_slices")
def test_an_older_vault_put_back_meanwhile(path: Path) -> None:
    """Where an older file takes the vault's place amid the log, verify is about that one."""
    long_vault(path).close()
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    with reopen(path) as mimir:
        mimir.remember_many([Item(f"later {n} " + "w" * 700) for n in range(50)])
        mimir._vault._try_scrub()
        done: list[int] = []

        def put_back(number: int, total: int) -> None:
            if total > 140 and number > 120 and not done and total < 200:
                done.append(number)
                write_blocks(path, read_blocks(copy))

        report = mimir.verify(put_back)
        assert done
        assert report.nodes == 102


def test_a_log_that_ends_early_is_reported(path: Path) -> None:
    """A damaged block in the log is named, and so is what cannot be read behind it."""
    with long_vault(path) as mimir:
        number = state_of(mimir).container._numbers[3, 2]
        flip(path, number)
        assert set(mimir.verify().problems) == {
            f"block {number} is not authentic", "the log cannot be read from end to end"
        }  # fmt: skip


def test_what_no_tag_reaches_is_reported(path: Path) -> None:
    """Bytes around the blocks that no vault has are a problem, although every tag is right."""
    with create(path) as mimir:
        mimir.remember("tea")
    with path.open("r+b") as file:
        file.seek(60)  # SQLite's user version
        file.write(b"\0\0\0\7")
    with reopen(path) as mimir:
        assert not mimir.verify().ok
        assert mimir.recall("tea", mode="lexical")
