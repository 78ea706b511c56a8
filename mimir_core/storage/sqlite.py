"""The default engine: one SQLite file in WAL mode, one page a block.

SQLite's own pages: https://www.sqlite.org/wal.html, https://www.sqlite.org/fileformat2.html.
WAL needs shared memory, so the file must lie on a local disk, never on a network file system.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, Final

from mimir_core.errors import (
    InvalidArgument,
    ScrubPending,
    StorageFailed,
    VaultClosed,
    VaultDamaged,
    VaultError,
    VaultReplaced,
)
from mimir_core.storage import log, place, sqlite_file, unpinned
from mimir_core.storage.handle import PATIENCE, BlockStoreHandle
from mimir_core.storage.protocol import BLOCK_SIZE, TAG_SIZE, check_blocks, check_preamble
from mimir_core.storage.sight import Sight

_ROOT_TAG: Final = f"SELECT substr(data, -{TAG_SIZE}) FROM block WHERE no = 0"

_RETRY_SECONDS: Final = 0.005
_HOLD_SECONDS: Final = 1.0
"""How long a scrub that waits for readers keeps writers out at a stretch."""

_YIELD_SECONDS: Final = 0.15
"""How long it lets them in then; they ask every tenth of a second."""

_inherited: dict[str, sqlite3.Connection] = {}
"""In a forked child: connections that were busy at the fork, by real path; never to be closed."""


_stranded: list[sqlite3.Connection] = []
"""Connections to files that are not at their path any more; they end with the process."""


class SqliteBlockStore(BlockStoreHandle):
    """A handle on a vault file; made by `create` or `open`."""

    def __init__(
        self, path: str, connection: sqlite3.Connection, identity: place.Identity
    ) -> None:
        super().__init__()
        self._path = path
        self._log = path + "-wal"
        self._connection = connection
        self._cursor = connection.cursor()
        self._identity = identity

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
        connection = sqlite_file.create(real, preamble, blocks)
        return cls(real, connection, place.identity(real))

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> SqliteBlockStore:
        """Open a vault file, finishing or undoing what a killed process left in its journal.

        Whatever journal lies there is merged: who cares whose it is looks at it first (`look`).

        Raises NotAVault if there is no vault at `path`; VaultDamaged if SQLite finds it broken or
        its schema is not exactly a vault's; VaultReadOnly if file or folder cannot be written (WAL
        readers write too); SeveralNames; JournalRefused beside a rollback journal; VaultBusy,
        StorageFailed, DiskFull.
        """
        real = _real_path(path)
        identity = place.check(real)
        return cls(real, sqlite_file.open_existing(real), identity)

    @staticmethod
    def look(path: str | os.PathLike[str]) -> Sight:
        """Look at a vault's file and log from outside, touching neither; raises nothing yet."""
        return Sight(_real_path(path))

    def _begin_reading(self) -> None:
        place.check_same(self._path, self._identity)
        self._run("BEGIN")

    def _begin_writing(self, timeout: float) -> None:
        place.check_same(self._path, self._identity)
        self._set_patience(timeout)
        try:
            self._run("BEGIN IMMEDIATE")
        finally:
            self._set_patience(PATIENCE)

    def _end(self) -> None:
        if not self._closed and self._connection.in_transaction:
            self._run("ROLLBACK")

    def _commit(self) -> None:
        sqlite_file.commit(self._cursor)
        place.check_same(self._path, self._identity)

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
        place.check_same(self._path, self._identity)
        deadline = time.monotonic() + timeout
        with place.typed(), log.opened(self._log) as journal:
            if journal is None:
                self._check_open()  # a signal's handler may have closed it
                raise StorageFailed("the journal is not where it must be")
            begun = time.monotonic()
            while not self._emptied(journal, deadline):
                if time.monotonic() >= deadline:
                    raise ScrubPending("another reader or writer is active")
                waited = time.monotonic() - begun >= _HOLD_SECONDS
                time.sleep(min(_YIELD_SECONDS if waited else _RETRY_SECONDS, _left(deadline)))
                begun = time.monotonic()

    def _emptied(self, journal: int, deadline: float) -> bool:
        """Tries once to empty the journal; why in this order stands in FORMAT.md, section 9."""
        if log.is_bare(journal):
            return True
        run = log.salts(journal)
        if not self._moved(min(deadline, time.monotonic() + _HOLD_SECONDS)):
            return False
        self._write_header(deadline)
        try:
            self._begin_writing(_left(deadline))
            if log.salts(journal) == run:  # a reader came in between, and the journal goes on
                return False
            log.wipe_dead(journal)
            return True
        finally:
            self._end()

    def _moved(self, deadline: float) -> bool:
        """Whether all of the journal is in the file, durably, and no reader needs it.

        SQLite does not wait at all for another handle's checkpoint to end.
        """
        self._set_patience(_left(deadline))
        try:
            ((busy, _, _),) = self._run("PRAGMA wal_checkpoint(RESTART)")
        finally:
            self._set_patience(PATIENCE)
        return not busy

    def _write_header(self, deadline: float) -> None:
        """Commit page 1 as it is, so that the journal begins anew with a page without content."""
        try:
            self._begin_writing(_left(deadline))
            self._run(f"PRAGMA application_id = {sqlite_file.APPLICATION_ID}")
            self._run("COMMIT")
        finally:
            self._end()

    def _make_room(self) -> bool:
        with suppress(VaultError):
            return self._moved(time.monotonic() + PATIENCE)
        return False

    def _close(self) -> None:
        """Close; SQLite removes the journal with the last handle, which frees its blocks.

        A file that was replaced is not closed: SQLite would remove the journal of the other one.
        """
        try:
            place.check_same(self._path, self._identity)
        except VaultReplaced:
            _stranded.append(self._connection)
            raise
        try:
            with place.typed(), _kept(self._log) as journal:
                self._connection.close()
                if journal is not None:
                    log.wipe_unlinked(journal)
        finally:
            self._connection.close()  # if there is no looking at the journal

    def _unpinned(self) -> Callable[[], list[str]]:
        ((below,),) = self._run("SELECT count(*) FROM block WHERE no < 0")
        ((strange,),) = self._run("SELECT count(*) FROM preamble WHERE no <> 0")
        ((pages,),) = self._run("PRAGMA page_count")
        rows = ["a row is neither preamble nor block"] if below or strange else []
        blocks = self._count()
        return lambda: rows + unpinned.problems(self._identity, pages, blocks)

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


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.0)


def _kept(path: str) -> AbstractContextManager[int | None]:
    """A descriptor that keeps a removed file's blocks; not on Windows, where it keeps the file."""
    return log.opened(path) if os.name == "posix" else nullcontext()


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
