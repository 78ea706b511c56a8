"""What a vault's file holds beside preamble and blocks, which no tag pins: SQLite's own bytes.

Layout: https://www.sqlite.org/fileformat2.html. What may differ between versions of SQLite, or with
the history of the tree, passes: counters, its version, and the room within inner pages.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Final

from mimir_core.storage.log import PAGE_SIZE
from mimir_core.storage.place import Identity

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
"""Seconds before a page with a fault is read again: another process may be writing it."""


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
        found = set(_settled(descriptor, 0, _header))
        size = os.fstat(descriptor).st_size
        if size > pages * PAGE_SIZE or size % PAGE_SIZE:
            found.add("the file goes on behind its last page")
        found.update(_pages(descriptor, pages, blocks))
        return sorted(found)
    return []


def _header(page: bytes) -> Iterator[str]:
    if any(page[where] != value for where, value in _FIXED):
        yield "SQLite's header holds what no vault's does"
    if page[_COUNTER] != page[_VALID_FOR]:
        yield "SQLite's header holds two counts of changes"
    if _gap(page, _SCHEMA_AT).strip(b"\0"):
        yield "unused bytes of the schema's page are in use"


def _pages(descriptor: int, pages: int, blocks: int) -> Iterator[str]:
    """What is wrong with the pages behind the schema's: preamble, blocks, inner pages."""
    seen: dict[int, int] = {}
    for number in range(1, pages):
        yield from _settled(descriptor, number, partial(_page, number, blocks, seen))


def _settled(
    descriptor: int, number: int, faults: Callable[[bytes], Iterable[str]]
) -> list[str]:
    """What is wrong with a page at every reading."""
    found: list[str] = []
    for wait in _SETTLES:
        time.sleep(wait)
        page = os.pread(descriptor, PAGE_SIZE, number * PAGE_SIZE)
        found = list(faults(page)) if len(page) == PAGE_SIZE else []  # else still in the journal
        if not found:
            break
    return found


def _page(number: int, blocks: int, seen: dict[int, int], page: bytes) -> Iterator[str]:
    if page[0] == _LEAF and page[1:5] == b"\0\0\0\1":
        if _gap(page, 0).strip(b"\0"):
            yield "unused bytes of a page are in use"
        row = _row(page)
        if number > 1 and not (0 <= row < blocks and seen.setdefault(row, number) == number):
            yield "a page holds a block that is none of the vault's"
    elif page[0] != _INTERIOR and page.strip(b"\0"):
        yield "a page is none of the vault's"


def _gap(page: bytes, at: int) -> bytes:
    """The room between a page's cell pointers and its cells."""
    cells = int.from_bytes(page[at + 3 : at + 5], "big")
    return page[at + 8 + 2 * cells : int.from_bytes(page[at + 5 : at + 7], "big")]


def _row(page: bytes) -> int:
    """The row's number, behind the size of its bytes; both of 7 bits a byte, highest first."""
    at = int.from_bytes(page[8:10], "big")
    while page[at] >= 0x80 and at < PAGE_SIZE - 16:
        at += 1
    value = 0
    for byte in page[at + 1 : at + 9]:
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            break
    return value


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
