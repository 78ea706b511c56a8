"""The SQLite file of a vault: how it is made, what is refused, and SQLite's errors in our terms.

Within a process only SQLite opens the vault and its shared-memory file: closing any other
descriptor of them would drop the process's POSIX locks. The `-wal` file carries no locks.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from mimir_core.errors import (
    DiskFull,
    NotAVault,
    StorageFailed,
    VaultBusy,
    VaultClosed,
    VaultDamaged,
    VaultError,
    VaultExists,
    VaultReadOnly,
)
from mimir_core.storage.handle import PATIENCE

if sys.platform == "darwin":
    import fcntl

APPLICATION_ID: Final = 0x4D494D52  # "MIMR"
PAGE_SIZE: Final = 16_384
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
    f"journal_size_limit = {JOURNAL_PAGES * (PAGE_SIZE + 24) + 32}",
)
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
        connection = _connect(path)
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
    _check_reachable(path)
    connection = _connect(path)
    try:
        cursor = connection.cursor()
        _check_identity(cursor)
        _make_durable(cursor)
        return connection
    except BaseException:
        connection.close()
        raise


def sync(journal: str) -> None:
    """Make the journal's truncation durable. Raises StorageFailed."""
    try:
        descriptor = os.open(journal, os.O_RDWR)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _from_os(error) from error
    try:
        _full_sync(descriptor)
    except OSError as error:
        raise _from_os(error) from error
    finally:
        os.close(descriptor)


def _full_sync(descriptor: int) -> None:
    if sys.platform == "darwin":
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def _connect(path: str) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(
            f"{Path(path).as_uri()}?mode=rw", uri=True, isolation_level=None,
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


def _check_identity(cursor: sqlite3.Cursor) -> None:
    run(cursor, "BEGIN")
    if run(cursor, "PRAGMA application_id") != [(APPLICATION_ID,)]:
        raise NotAVault("the file is not a Mimir vault, or its creation was interrupted")
    header = {name: run(cursor, f"PRAGMA {name}")[0][0] for name in _HEADER}
    schema = run(cursor, "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema")
    if header != _HEADER or schema != _SCHEMA:
        raise VaultDamaged("the file's schema is not that of a vault")
    run(cursor, "COMMIT")


def _check_reachable(path: str) -> None:
    """Raise what SQLite would report as one and the same failure to open; opens nothing."""
    if not os.path.lexists(path):
        raise NotAVault("there is no file at this path")
    if not os.path.isfile(path):
        raise NotAVault("the path is not a regular file")
    if not (os.access(path, os.R_OK | os.W_OK) and os.access(os.path.dirname(path), os.W_OK)):
        raise VaultReadOnly("the file or its folder cannot be written")


def _make_private_file(path: str) -> None:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except OSError as error:
        raise _from_os(error) from error


def _from_os(error: OSError) -> VaultError:
    if error.errno == errno.EEXIST:
        return VaultExists("there is a file at this path")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull("the disk is full")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return VaultReadOnly("the folder cannot be written")
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return StorageFailed("the folder does not exist", hint="create the folder first")
    return StorageFailed(f"the operating system refused ({errno.errorcode.get(error.errno or 0)})")


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
