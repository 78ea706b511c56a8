"""File and log of a vault seen apart, before SQLite may join them; neither is touched.

SQLite merges whatever log lies beside a file as soon as it opens it. So what a log would change is
looked at first: the file alone through an immutable connection, which takes no lock and reads no
log, and the log by its own layout. Each call looks anew: other processes may be at work.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final, NoReturn

from mimir_core.errors import JournalRefused, NotAVault, VaultDamaged
from mimir_core.storage import log, place, sqlite_file
from mimir_core.storage.protocol import BLOCK_SIZE
from mimir_core.storage.varint import varint

PREAMBLE: Final = -1
"""Stands for the preamble among numbers of blocks."""

_HEADER_PAGE: Final = 1
_PREAMBLE_PAGE: Final = 2
_LEAF: Final = 0x0D
_INTERIOR: Final = 0x05
_APPLICATION_ID: Final = slice(68, 72)


@dataclass(frozen=True, slots=True)
class Sight:
    """A vault's path, to look at it from outside."""

    path: str

    def preamble(self) -> bytes:
        """The plaintext head: the log's where it holds one, else the file's; not authenticated.

        Raises NotAVault, VaultDamaged, JournalRefused, StorageFailed.
        """
        with place.typed(), log.opened(self.path + "-wal") as journal:
            found, pages = log.Committed(), dict[int, bytes]()
            if journal is not None:
                found = log.committed(journal)
                heads = found.offsets.keys() & {_HEADER_PAGE, _PREAMBLE_PAGE}
                pages = {number: log.page(journal, found, number) for number in heads}
        with self._file() as cursor:
            if not found.pages:
                sqlite_file.check_identity(cursor)
            elif _HEADER_PAGE in pages:
                _check_application(pages[_HEADER_PAGE])
            if _PREAMBLE_PAGE in pages:
                return _row(pages[_PREAMBLE_PAGE])[1]
            return _one(sqlite_file.run(cursor, "SELECT data FROM preamble"))

    def root(self) -> bytes | None:
        """Block 0 of the file alone; None if it has none, as when moving the log stopped midway."""
        with suppress(NotAVault, VaultDamaged), self._file() as cursor:
            return _one(sqlite_file.run(cursor, "SELECT data FROM block WHERE no = 0"))
        return None

    def pages(self) -> int:
        """Pages of the file alone."""
        with place.typed():
            return os.stat(self.path).st_size // log.PAGE_SIZE

    def logged(self, pages: int) -> Iterator[tuple[int, bytes]]:
        """What the log would change: a block's number, or PREAMBLE, and its newest version.

        Raises JournalRefused if the log would leave fewer than `pages` pages, or change what no
        commit changes.
        """
        with place.typed(), log.opened(self.path + "-wal") as journal:
            found = log.Committed() if journal is None else log.committed(journal)
            if found.pages and found.pages < pages:
                raise JournalRefused("the journal beside the vault is older than the file")
            for number in found.offsets:
                assert journal is not None
                page = log.page(journal, found, number)
                if number == _HEADER_PAGE:
                    _check_application(page)
                elif number == _PREAMBLE_PAGE:
                    yield PREAMBLE, _row(page)[1]
                elif page[0] != _INTERIOR:
                    yield _row(page)

    @contextmanager
    def _file(self) -> Iterator[sqlite3.Cursor]:
        connection = sqlite_file.look(self.path)
        try:
            yield connection.cursor()
        finally:
            connection.close()


def _check_application(page: bytes) -> None:
    if int.from_bytes(page[_APPLICATION_ID], "big") != sqlite_file.APPLICATION_ID:
        _refuse()


def _one(rows: list[tuple[object]]) -> bytes:
    if len(rows) != 1 or not isinstance(rows[0][0], bytes):
        raise VaultDamaged("a block or the preamble is missing")
    return rows[0][0]


def _row(page: bytes) -> tuple[int, bytes]:
    """Number and bytes of the one row of a leaf page: (payload size, number, header, blob)."""
    if page[0] != _LEAF or page[3:5] != b"\0\1":
        _refuse()
    try:
        size, at = varint(page, int.from_bytes(page[5:7], "big"))
        number, start = varint(page, at)
        head, at = varint(page, start)
        key, at = varint(page, at)
        kind, at = varint(page, at)
    except ValueError:
        _refuse()
    data = page[at : start + size]
    if key or at != start + head or kind != 12 + 2 * len(data) or len(data) > BLOCK_SIZE:
        _refuse()
    return number, data


def _refuse() -> NoReturn:
    raise JournalRefused("the journal beside the vault does not belong to it")
