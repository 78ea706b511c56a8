"""The SQLite file of a vault: how it is made, what is refused, and SQLite's errors in our terms.

Within a process only SQLite opens the vault and its shared-memory file: closing any other
descriptor of them would drop the process's POSIX locks. SQLite itself keeps a descriptor open as
long as another connection of the process holds a lock, an immutable connection's too.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from mimir_core.errors import (
    DiskFull,
    NotAVault,
    OutcomeUnknown,
    StorageFailed,
    VaultBusy,
    VaultClosed,
    VaultDamaged,
    VaultError,
    VaultExists,
    VaultReadOnly,
)
from mimir_core.storage import place
from mimir_core.storage.handle import PATIENCE
from mimir_core.storage.log import PAGE_SIZE

APPLICATION_ID: Final = 0x4D494D52  # "MIMR"
JOURNAL_PAGES: Final = 256
"""Pages in the journal after which a commit also moves them to the file: a stall of 5 to 10 ms
every 50 commits or so, where SQLite's default of 1,000 stalls 20 ms and keeps 16 MB."""

ROW_LIMIT: Final = 1 << 20
"""Bytes; a damaged length cannot ask for more."""

_TABLES: Final = (
    "CREATE TABLE preamble(no INTEGER PRIMARY KEY, data BLOB)",
    "CREATE TABLE block(no INTEGER PRIMARY KEY, data BLOB)",
)
_SCHEMA: Final = [
    (b"table", b"preamble", b"preamble", 2, _TABLES[0].encode()),
    (b"table", b"block", b"block", 3, _TABLES[1].encode()),
]
_HEADER: Final = {"page_size": PAGE_SIZE, "auto_vacuum": 0, "encoding": b"UTF-8",
                  "freelist_count": 0}  # fmt: skip
_DEFENCES: Final = (
    "trusted_schema = OFF",
    "cell_size_check = ON",
    "mmap_size = 0",
    "temp_store = MEMORY",
    f"busy_timeout = {int(PATIENCE * 1000)}",
)
_DURABILITY: Final = (
    "synchronous = FULL",
    "fullfsync = ON",
    "checkpoint_fullfsync = ON",
    "secure_delete = ON",
    f"wal_autocheckpoint = {JOURNAL_PAGES}",
    "journal_size_limit = -1",  # SQLite would free blocks as they are: `log.wipe_dead` does it
)
_HARMLESS: Final = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY)
_FAILURES: Final = (sqlite3.Error, sqlite3.Warning, UnicodeError, OverflowError, MemoryError)


def run(
    cursor: sqlite3.Cursor, sql: str, parameters: Sequence[int | bytes] = ()
) -> list[Any]:
    """Every row of one statement, which is left reset. Raises VaultError, never sqlite3.Error."""
    try:
        return cursor.execute(sql, parameters).fetchall()
    except _FAILURES as error:
        failure = _typed(error)
        if isinstance(failure, VaultDamaged):
            _forget_pages(cursor)
        raise failure from error
    except BaseException:  # a signal's handler raised: rows left unread would hold a snapshot
        with contextlib.suppress(*_FAILURES):
            cursor.fetchall()
        raise


def commit(cursor: sqlite3.Cursor) -> None:
    """COMMIT. Raises OutcomeUnknown where what was written may be found after a crash.

    SQLite writes the last frame, syncs, and enters it in the shared index; it can fail at each.
    Without that frame, and without the right to write it, nothing has happened.
    """
    try:
        run(cursor, "COMMIT")
    except VaultError as error:
        code = getattr(error.__cause__, "sqlite_errorcode", None)
        if code is None or code == sqlite3.SQLITE_IOERR_WRITE or code & 0xFF in _HARMLESS:
            raise
        raise OutcomeUnknown(error.args[0]) from error


def _forget_pages(cursor: sqlite3.Cursor) -> None:
    """Empty SQLite's page cache: it checks a page's cells once, and a page that failed stays there.

    Without this the second reading of a damaged page would say that nothing is wrong.
    """
    with contextlib.suppress(*_FAILURES):
        cursor.execute("PRAGMA shrink_memory").fetchall()


def create(path: str, preamble: bytes, blocks: Sequence[bytes]) -> sqlite3.Connection:
    """Make the file in one transaction; on failure remove it again. Raises as the store does."""
    siblings = [path + suffix for suffix in ("-journal", "-wal", "-shm")]
    if any(os.path.lexists(sibling) for sibling in siblings):
        raise VaultExists("a journal of that name lies there")
    _make_private_file(path)
    connection = None
    try:
        connection = _connected(path, "mode=rw")
        _fill(connection.cursor(), preamble, blocks)
        return connection
    except BaseException:
        if connection is not None:
            connection.close()
        for made in (path, *siblings):
            with contextlib.suppress(OSError):
                os.unlink(made)
        raise


def open_existing(path: str) -> sqlite3.Connection:
    """Connect to a vault whose header and schema are as they must be. Raises as the store does."""
    connection = _connected(path, "mode=rw")
    try:
        cursor = connection.cursor()
        check_identity(cursor)
        _make_durable(cursor)
        return connection
    except BaseException:
        connection.close()
        raise


def look(path: str) -> sqlite3.Connection:
    """Connect to the file alone, whatever log lies beside it; neither is locked nor changed.

    Killed while the log moves to it, a file can be shorter than its header says: SQLite reads it
    all the same where the schema counts as writable, which a read-only connection cannot use.
    """
    place.check(path)
    connection = _connected(path, "mode=ro&immutable=1")
    try:
        run(connection.cursor(), "PRAGMA writable_schema = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _connected(path: str, query: str) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(
            f"{Path(path).as_uri()}?{query}", uri=True, isolation_level=None,
            check_same_thread=False,
        )  # fmt: skip
    except _FAILURES as error:
        raise _typed(error) from error
    connection.text_factory = bytes
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, ROW_LIMIT)
    # A trigger planted while the vault is open would run: with no depth allowed, it fails instead.
    connection.setlimit(sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH, 0)
    try:
        for setting in _DEFENCES:
            run(connection.cursor(), f"PRAGMA {setting}")
    except BaseException:
        connection.close()
        raise
    return connection


def _make_durable(cursor: sqlite3.Cursor) -> None:
    if run(cursor, "PRAGMA journal_mode = WAL") != [(b"wal",)]:
        raise StorageFailed("this file system cannot hold a write-ahead journal")
    for setting in _DURABILITY:
        run(cursor, f"PRAGMA {setting}")


def _fill(cursor: sqlite3.Cursor, preamble: bytes, blocks: Sequence[bytes]) -> None:
    run(cursor, f"PRAGMA page_size = {PAGE_SIZE}")
    run(cursor, "PRAGMA auto_vacuum = NONE")
    _make_durable(cursor)
    run(cursor, "BEGIN IMMEDIATE")
    run(cursor, f"PRAGMA application_id = {APPLICATION_ID}")
    for table in _TABLES:
        run(cursor, table)
    run(cursor, "INSERT INTO preamble(no, data) VALUES (0, ?)", (preamble,))
    for number, block in enumerate(blocks):
        run(cursor, "INSERT INTO block(no, data) VALUES (?, ?)", (number, block))
    run(cursor, "COMMIT")


def check_identity(cursor: sqlite3.Cursor) -> None:
    """Raise NotAVault or VaultDamaged unless header and schema are those of a vault."""
    run(cursor, "BEGIN")
    if run(cursor, "PRAGMA application_id") != [(APPLICATION_ID,)]:
        raise NotAVault("the file is not a Mimir vault, or its creation was interrupted")
    header = {name: run(cursor, f"PRAGMA {name}")[0][0] for name in _HEADER}
    schema = run(cursor, "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema")
    if header != _HEADER or schema != _SCHEMA:
        raise VaultDamaged("the file's schema is not that of a vault")
    run(cursor, "COMMIT")


def _make_private_file(path: str) -> None:
    with place.typed():
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


# By primary result code, https://www.sqlite.org/rescode.html. The statements are fixed and
# correct, so a generic error, a broken constraint or an oversized row comes from the file.
_BY_CODE: Final[dict[int, tuple[type[VaultError], str]]] = {
    sqlite3.SQLITE_BUSY: (VaultBusy, "another process is using the vault"),
    sqlite3.SQLITE_LOCKED: (VaultBusy, "another handle is using the vault"),
    sqlite3.SQLITE_PROTOCOL: (VaultBusy, "another process is using the vault"),
    sqlite3.SQLITE_FULL: (DiskFull, "the disk is full"),
    sqlite3.SQLITE_READONLY: (VaultReadOnly, "the file or its folder cannot be written"),
    sqlite3.SQLITE_CANTOPEN: (VaultReadOnly, "the file or its journal cannot be opened"),
    sqlite3.SQLITE_PERM: (VaultReadOnly, "the file or its folder cannot be written"),
    sqlite3.SQLITE_NOTADB: (NotAVault, "the file is not a database"),
} | dict.fromkeys(
    (
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_FORMAT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_SCHEMA,
        sqlite3.SQLITE_TOOBIG,
    ),
    (VaultDamaged, "the file's structure is damaged"),
)


def _typed(error: Exception) -> VaultError:
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_IOERR_SHMSIZE:  # the shared-memory file could not grow
        return DiskFull("the disk is full")
    if code is not None:
        kind, message = _BY_CODE.get(code & 0xFF, (StorageFailed, "reading or writing failed"))
        return kind(f"{message} ({getattr(error, 'sqlite_errorname', code)})")
    if isinstance(error, sqlite3.ProgrammingError):  # a signal's handler closed it meanwhile
        return VaultClosed("the block store is closed")
    if isinstance(error, UnicodeError | OverflowError):
        return VaultDamaged("the file's structure is damaged")
    return StorageFailed("reading or writing failed")
