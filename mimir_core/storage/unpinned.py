"""What a vault's file holds beside preamble and blocks, which no tag pins: SQLite's own bytes.

Layout: https://www.sqlite.org/fileformat2.html. What may differ between versions of SQLite, or with
the history of the tree, passes: counters, its version, and the room within inner pages.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Final

from mimir_core.storage.log import PAGE_SIZE
from mimir_core.storage.place import Identity
from mimir_core.storage.varint import varint

_FIXED: Final = (
    (slice(0, 24), b"SQLite format 3\0\x40\0\2\2\0\x40\x20\x20"),
    (slice(32, 40), bytes(8)),  # freelist
    (slice(40, 44), b"\0\0\0\2"),  # schema cookie: two tables were made
    (slice(44, 48), b"\0\0\0\4"),  # schema format
    (slice(48, 56), bytes(8)),  # cache size, auto-vacuum
    (slice(56, 60), b"\0\0\0\1"),  # UTF-8
    (slice(60, 68), bytes(8)),  # user version, incremental vacuum
    (slice(68, 72), b"MIMR"),
    (slice(72, 92), bytes(20)),  # reserved
)
_COUNTER, _VALID_FOR = slice(24, 28), slice(92, 96)
_SCHEMA_AT: Final = 100
_LEAF, _INTERIOR = 0x0D, 0x05
_MOST_DESCRIPTORS: Final = 4_096
_SETTLES: Final = (0.0, 0.01, 0.1, 1.0)
"""Seconds before pages with a fault are read again: another process may be writing them."""


def problems(identity: Identity, pages: int, blocks: int) -> list[str]:
    """What is wrong in the file of that identity, which this process has open.

    It takes no lock and no snapshot: pages keep their place as the vault grows.

    Args:
        pages: Pages of the database.
        blocks: Its blocks, numbered from 0.
    """
    descriptor = _descriptor(identity)
    if descriptor is None:  # a system whose SQLite opens files by other means
        return []
    with suppress(OSError):  # closed meanwhile: whoever closes a vault has no use for an answer
        found = set(_settled(descriptor, pages, blocks))
        size = os.fstat(descriptor).st_size
        if size > pages * PAGE_SIZE or size % PAGE_SIZE:
            found.add("the file goes on behind its last page")
        return sorted(found)
    return []


def _settled(descriptor: int, pages: int, blocks: int) -> list[str]:
    """What is wrong with pages at every reading."""
    seen: dict[int, int] = {}
    suspects: Iterable[int] = range(pages)
    found: dict[int, list[str]] = {}
    for wait in _SETTLES:
        time.sleep(wait)
        pairs = ((n, _faults(descriptor, n, blocks, seen)) for n in suspects)
        found = {number: faults for number, faults in pairs if faults}
        suspects = list(found)
        if not found:
            break
    return [fault for faults in found.values() for fault in faults]


def _faults(descriptor: int, number: int, blocks: int, seen: dict[int, int]) -> list[str]:
    page = os.pread(descriptor, PAGE_SIZE, number * PAGE_SIZE)
    if len(page) < PAGE_SIZE:  # still in the journal
        return []
    return list(_page(number, blocks, seen, page) if number else _header(page))


def _header(page: bytes) -> Iterator[str]:
    if any(page[where] != value for where, value in _FIXED):
        yield "SQLite's header holds what no vault's does"
    if page[_COUNTER] != page[_VALID_FOR]:
        yield "SQLite's header holds two counts of changes"
    if _gap(page, _SCHEMA_AT).strip(b"\0"):
        yield "unused bytes of the schema's page are in use"


def _page(number: int, blocks: int, seen: dict[int, int], page: bytes) -> Iterator[str]:
    """What is wrong with a page behind the schema's: preamble, a block, an inner page.

    Args:
        seen: Which page holds a block, by block.
    """
    if page[0] == _LEAF and page[1:5] == b"\0\0\0\1":
        if page[5:7] != page[8:10] or page[7] or _gap(page, 0).strip(b"\0"):
            yield "unused bytes of a page are in use"
        row = _row(page)
        proper = row == 0 if number == 1 else 0 <= row < blocks
        if not proper or (number > 1 and seen.setdefault(row, number) != number):
            yield "a page holds a row that is none of the vault's"
    elif page[0] != _INTERIOR and page.strip(b"\0"):
        yield "a page is none of the vault's"


def _gap(page: bytes, at: int) -> bytes:
    """The room between a page's cell pointers and its cells."""
    cells = int.from_bytes(page[at + 3 : at + 5], "big")
    return page[at + 8 + 2 * cells : int.from_bytes(page[at + 5 : at + 7], "big")]


def _row(page: bytes) -> int:
    """The number of the row that fills the page to its end; -1 if there is none."""
    try:
        size, at = varint(page, int.from_bytes(page[8:10], "big"))
        row, at = varint(page, at)
    except ValueError:
        return -1
    return row if at + size == PAGE_SIZE else -1


def _descriptor(identity: Identity) -> int | None:
    """SQLite's own descriptor of the file: closing one of ours would drop the process's locks."""
    if not hasattr(os, "pread"):
        return None
    for number in range(_MOST_DESCRIPTORS):
        with suppress(OSError):
            found = os.fstat(number)
            if stat.S_ISREG(found.st_mode) and (found.st_dev, found.st_ino) == identity:
                return number
    return None
