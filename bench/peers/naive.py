"""What one writes in ten minutes: a SQLite table, and a scan of all its vectors a query."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from bench.peers.protocol import Found, Turn, metadata
from mimir_core.embedding import Embedder, Vectors

DIMENSION = 384


class NaiveSqlite:
    @classmethod
    def fill(cls, folder: Path, turns: Sequence[Turn], vectors: Vectors) -> None:
        blobs = (vector.tobytes() for vector in vectors)
        rows = zip(map(_text, turns), map(_metadata, turns), blobs, strict=True)
        connection = sqlite3.connect(_file(folder))
        with connection:
            connection.execute(
                "CREATE TABLE turn (id INTEGER PRIMARY KEY, text TEXT, metadata TEXT, vector BLOB)"
            )
            connection.executemany(
                "INSERT INTO turn (text, metadata, vector) VALUES (?, ?, ?)", rows
            )
        connection.close()

    def __init__(self, folder: Path, embedder: Embedder) -> None:
        self._connection = sqlite3.connect(_file(folder))
        self._embedder = embedder

    def search(self, text: str, k: int) -> list[Found]:
        query = self._embedder.embed_query(text)
        ids, blobs = zip(*self._connection.execute("SELECT id, vector FROM turn"), strict=True)
        vectors = np.frombuffer(b"".join(blobs), np.float32).reshape(-1, DIMENSION)
        best = np.argsort(-(vectors @ query))[:k]
        return texts_of(self._connection, (ids[row] for row in best))

    def close(self) -> None:
        self._connection.close()


class Texts:
    """Texts and metadata in SQLite, beside an index that keeps vectors only."""

    def __init__(self, folder: Path) -> None:
        self._connection = sqlite3.connect(_file(folder))

    @classmethod
    def fill(cls, folder: Path, turns: Sequence[Turn]) -> None:
        connection = sqlite3.connect(_file(folder))
        with connection:
            connection.execute("CREATE TABLE turn (id INTEGER PRIMARY KEY, text, metadata)")
            rows = zip(range(len(turns)), map(_text, turns), map(_metadata, turns), strict=True)
            connection.executemany("INSERT INTO turn VALUES (?, ?, ?)", rows)
        connection.close()

    def at(self, ids: Iterable[int]) -> list[Found]:
        """The turns at these positions, in this order."""
        return texts_of(self._connection, ids)

    def close(self) -> None:
        self._connection.close()


def texts_of(connection: sqlite3.Connection, ids: Iterable[int]) -> list[Found]:
    """Reads turns by id, one by one, in the order given."""
    sql = "SELECT text, metadata FROM turn WHERE id = ?"
    rows = [connection.execute(sql, (int(each),)).fetchone() for each in ids]
    return [Found(text, json.loads(fields)) for text, fields in rows]


def _text(turn: Turn) -> str:
    text: str = turn["text"]
    return text


def _metadata(turn: Turn) -> str:
    return json.dumps(metadata(turn))


def _file(folder: Path) -> Path:
    return folder / "turns.sqlite"
