"""Raw rows of a closed vault, through SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def _cursor(path: Path) -> Iterator[sqlite3.Cursor]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        yield connection.cursor()
    finally:
        connection.close()


def read_blocks(path: Path) -> dict[int, bytes]:
    """Every block by its number."""
    with _cursor(path) as cursor:
        return dict(cursor.execute("SELECT no, data FROM block").fetchall())


def read_preamble(path: Path) -> bytes:
    """The preamble."""
    with _cursor(path) as cursor:
        ((data,),) = cursor.execute("SELECT data FROM preamble").fetchall()
        return bytes(data)


def write_blocks(path: Path, blocks: Mapping[int, bytes], preamble: bytes | None = None) -> None:
    """Puts blocks, and a preamble, in place of those that are there, in the file itself."""
    with _cursor(path) as cursor:
        for number, data in blocks.items():
            cursor.execute("UPDATE block SET data = ? WHERE no = ?", (data, number))
        if preamble is not None:
            cursor.execute("UPDATE preamble SET data = ?", (preamble,))
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def flip(path: Path, number: int, byte: int = 5_000) -> None:
    """Flips one bit of a block."""
    with _cursor(path) as cursor:
        ((data,),) = cursor.execute("SELECT data FROM block WHERE no = ?", (number,)).fetchall()
    changed = bytearray(data)
    changed[byte] ^= 4
    write_blocks(path, {number: bytes(changed)})


def flip_preamble(path: Path, byte: int) -> None:
    """Flips one bit of the preamble."""
    changed = bytearray(read_preamble(path))
    changed[byte] ^= 4
    write_blocks(path, {}, bytes(changed))
