"""What lies around preamble and blocks in a vault's file, where no tag of the vault reaches."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from mimir_core.errors import VaultError
from mimir_core.storage import BLOCK_SIZE, SqliteBlockStore
from mimir_core.storage.sqlite_file import PAGE_SIZE

from .test_sqlite import execute
from .worker import numbered

COUNT = 80


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed vault file of some growth."""
    path = tmp_path / "v.mimir"
    blocks = [bytes([n]) * BLOCK_SIZE for n in range(COUNT)]
    with closing(SqliteBlockStore.create(path, b"preamble", blocks[:64])) as store:
        grown = dict(enumerate(blocks[64:], 64))
        store.commit(grown | numbered(1), expected_root_tag=store.root_tag())
    return path


def problems(path: Path) -> list[str]:
    """What a handle of its own finds."""
    with closing(SqliteBlockStore.open(path)) as store:
        return store.unpinned()


def write(path: Path, at: int, data: bytes) -> None:
    """Writes into the closed file."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def test_a_vault_as_it_is_made_has_nothing_strange(path: Path) -> None:
    """Neither a closed file nor one in use, with its journal, shows anything."""
    assert problems(path) == []
    with closing(SqliteBlockStore.open(path)) as store:
        store.commit(
            numbered(2) | {COUNT: bytes(BLOCK_SIZE)}, expected_root_tag=store.root_tag()
        )
        assert store.unpinned() == []
        store.scrub(1)
        assert store.unpinned() == []


STRANGE: dict[str, Callable[[Path], None]] = {
    "user version": lambda path: write(path, 60, b"\0\0\0\7"),
    "cache size": lambda path: write(path, 48, b"\0\0\0\7"),
    "reserved for expansion": lambda path: write(path, 72, b"hidden"),
    "unused room of the schema's page": lambda path: write(path, 2_000, b"hidden"),
    "an appended page": lambda path: write(path, path.stat().st_size, b"h" * PAGE_SIZE),
    "a copied page": lambda path: write(
        path, path.stat().st_size, path.read_bytes()[-PAGE_SIZE:]
    ),
    "appended bytes": lambda path: write(path, path.stat().st_size, b"hidden"),
    "a row below the blocks": lambda path: execute(
        path, f"INSERT INTO block(no, data) VALUES (-5, randomblob({BLOCK_SIZE}))"
    ),
    "a second preamble": lambda path: execute(
        path, "INSERT INTO preamble(no, data) VALUES (7, x'00')"
    ),
}


@pytest.mark.parametrize("change", STRANGE.values(), ids=STRANGE)
def test_what_nothing_pins_is_reported(path: Path, change: Callable[[Path], None]) -> None:
    """A byte around the blocks that no vault has is named."""
    change(path)
    assert problems(path)


@pytest.mark.parametrize("at", [18, 21, 40, 64, 90, 95, 110, PAGE_SIZE + 20, 4 * PAGE_SIZE + 30])
def test_a_changed_byte_is_found_or_refused(path: Path, at: int) -> None:
    """One in SQLite's header, or in the free room of a page, is named, unless nothing opens."""
    data = bytearray(path.read_bytes())
    data[at] ^= 0x55
    path.write_bytes(data)
    with suppress(VaultError):
        assert problems(path)


def test_a_page_that_is_just_being_written_is_no_fault(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is seen half-way is read again before it is called wrong."""
    whole, reads = path.read_bytes(), iter([b"h" * PAGE_SIZE, b"h" * PAGE_SIZE])
    monkeypatch.setattr("mimir_core.storage.unpinned._SETTLES", (0.0, 0.0, 0.0))

    def torn(descriptor: int, size: int, at: int) -> bytes:
        page = whole[at : at + size]
        return next(reads, page) if at == 5 * PAGE_SIZE else page

    with closing(SqliteBlockStore.open(path)) as store:
        monkeypatch.setattr("mimir_core.storage.unpinned.os.pread", torn)
        assert store.unpinned() == []
    assert next(reads, None) is None


def test_any_bit_of_a_pages_head_is_found_or_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not a page's head any more ends in words, wherever its numbers point."""
    monkeypatch.setattr("mimir_core.storage.unpinned._SETTLES", (0.0,))
    with closing(SqliteBlockStore.open(path)) as store:
        page = path.read_bytes()[6 * PAGE_SIZE :][:PAGE_SIZE]
        at = int.from_bytes(page[8:10], "big")
        bits = [*range(8 * 10), *range(8 * at, 8 * (at + 3))]  # the row's size and number behind
        assert store.unpinned() == []
    for bit in bits:
        changed = bytearray(page)
        changed[bit // 8] ^= 1 << bit % 8
        write(path, 6 * PAGE_SIZE, bytes(changed))
        with suppress(VaultError):
            assert problems(path) or bit == 3, bit  # an inner page then, and reading misses a block
