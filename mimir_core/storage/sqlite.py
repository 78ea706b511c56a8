"""The default engine: one SQLite file in WAL mode, one page a block.

SQLite's own pages: https://www.sqlite.org/wal.html, https://www.sqlite.org/fileformat2.html.
WAL needs shared memory, so the file must lie on a local disk, never on a network file system.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from typing import Any, Final

from mimir_core.errors import InvalidArgument, ScrubPending, VaultClosed, VaultDamaged
from mimir_core.storage import sqlite_file
from mimir_core.storage.handle import PATIENCE, BlockStoreHandle
from mimir_core.storage.protocol import BLOCK_SIZE, TAG_SIZE, check_blocks, check_preamble

_ROOT_TAG: Final = f"SELECT substr(data, -{TAG_SIZE}) FROM block WHERE no = 0"

_RETRY_SECONDS: Final = 0.005

_inherited: dict[str, sqlite3.Connection] = {}
"""In a forked child: connections that were busy at the fork, by real path; never to be closed."""


class SqliteBlockStore(BlockStoreHandle):
    """A handle on a vault file; made by `create` or `open`."""

    def __init__(self, path: str, connection: sqlite3.Connection) -> None:
        super().__init__()
        self._path = path
        self._connection = connection
        self._cursor = connection.cursor()

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], preamble: bytes, blocks: Sequence[bytes]
    ) -> SqliteBlockStore:
        """Make a vault file, readable by its owner alone, in one transaction.

        A create that fails removes what it made; one that is killed leaves a file that `open`
        refuses as NotAVault.

        Raises VaultExists if there is a file at `path` or at a journal's name beside it;
        InvalidArgument for a wrong size or no block at all; StorageFailed, DiskFull, VaultReadOnly.
        """
        check_preamble(preamble)
        check_blocks(blocks)
        if not blocks:
            raise InvalidArgument("a vault has at least its root block")
        real = _real_path(path)
        return cls(real, sqlite_file.create(real, preamble, blocks))

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> SqliteBlockStore:
        """Open a vault file, finishing or undoing what a killed process left in its journal.

        Raises NotAVault if there is no vault at `path`; VaultDamaged if SQLite finds it broken or
        its schema is not exactly a vault's; VaultReadOnly if file or folder cannot be written (WAL
        readers write too); VaultBusy, StorageFailed, DiskFull.
        """
        real = _real_path(path)
        return cls(real, sqlite_file.open_existing(real))

    def _begin_reading(self) -> None:
        self._run("BEGIN")

    def _begin_writing(self, timeout: float) -> None:
        self._set_patience(timeout)
        try:
            self._run("BEGIN IMMEDIATE")
        finally:
            self._set_patience(PATIENCE)

    def _end(self) -> None:
        if not self._closed and self._connection.in_transaction:
            self._run("ROLLBACK")

    def _commit(self) -> None:
        self._run("COMMIT")

    def _root_tag(self) -> bytes:
        return self._only_value(_ROOT_TAG, (), TAG_SIZE)

    def _count(self) -> int:
        ((last,),) = self._run("SELECT max(no) FROM block")
        return 0 if last is None else int(last) + 1

    def _preamble(self) -> bytes:
        return self._only_value("SELECT data FROM preamble", (), None)

    def _get(self, number: int) -> bytes:
        return self._only_value("SELECT data FROM block WHERE no = ?", (number,), BLOCK_SIZE)

    def _put(self, number: int, block: bytes) -> None:
        self._run("UPDATE block SET data = ? WHERE no = ?", (block, number))
        if self._cursor.rowcount != 1:
            raise VaultDamaged("a block is missing")

    def _append(self, number: int, block: bytes) -> None:
        self._run("INSERT INTO block(no, data) VALUES (?, ?)", (number, block))

    def _put_preamble(self, preamble: bytes) -> None:
        self._run("UPDATE preamble SET data = ?", (preamble,))

    def _scrub(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not self._emptied(deadline - time.monotonic()):
            if time.monotonic() >= deadline:
                raise ScrubPending("another reader or writer is active")
            time.sleep(_RETRY_SECONDS)
        sqlite_file.sync(self._path + "-wal")

    def _emptied(self, patience: float) -> bool:
        """Tries once; SQLite does not wait at all for another handle's checkpoint to end."""
        self._set_patience(max(patience, 0.0))
        try:
            ((busy, _, _),) = self._run("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self._set_patience(PATIENCE)
        return not busy

    def _close(self) -> None:
        self._connection.close()

    def _abandon(self, idle: bool) -> None:
        if idle:  # no lock of the parent's is touched, and its own lock forbids a checkpoint here
            self._connection.close()
        else:
            _inherited[self._path] = self._connection

    def _set_patience(self, seconds: float) -> None:
        self._run(f"PRAGMA busy_timeout = {int(seconds * 1000)}")

    def _run(self, sql: str, parameters: tuple[int | bytes, ...] = ()) -> list[Any]:
        return sqlite_file.run(self._cursor, sql, parameters)

    def _only_value(self, sql: str, parameters: tuple[int, ...], size: int | None) -> bytes:
        rows = self._run(sql, parameters)
        if len(rows) != 1:
            raise VaultDamaged("a block or the preamble is missing")
        value = rows[0][0]
        if not isinstance(value, bytes) or (size is not None and len(value) != size):
            raise VaultDamaged("a block or the preamble has the wrong size")
        return value


def _real_path(path: str | os.PathLike[str]) -> str:
    """The path as SQLite resolves it, links included, so that the journal's name is known."""
    try:
        real = os.path.realpath(path)
        os.fsencode(real)
    except (ValueError, OSError) as error:
        raise InvalidArgument("the path cannot be a file's name") from error
    if "\0" in real:
        raise InvalidArgument("the path cannot be a file's name")
    if real in _inherited:
        raise VaultClosed(
            "this process was forked while the vault was in use",
            hint="open it in a process of its own: use multiprocessing's spawn",
        )
    return real
