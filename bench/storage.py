"""Bytes a turn on disk, against a naive SQLite table with the texts and float32 vectors."""

from __future__ import annotations

import argparse
import json
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from bench.latency import import_turns
from bench.turns import read_turns
from mimir_core import MiniLM


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Imports the same turns into both, closes both, and compares the files."""
    turns = read_turns(arguments.turns, arguments.count)
    with tempfile.TemporaryDirectory() as folder:
        vault, naive = Path(folder) / "bench.mimir", Path(folder) / "naive.sqlite"
        import_turns(vault, turns)
        naive_table(naive, turns)
        ours = vault.stat().st_size / len(turns)
        theirs = naive.stat().st_size / len(turns)
    return {
        "count": len(turns),
        "bytes_per_turn": ours,
        "naive_sqlite_bytes_per_turn": theirs,
        "ratio": ours / theirs,
    }


def naive_table(path: Path, turns: list[dict[str, Any]]) -> None:
    """One row a turn: id, text, metadata as JSON, vector as 384 float32."""
    vectors = MiniLM().embed_documents([turn["text"] for turn in turns])
    fields = [{name: turn[name] for name in turn if name != "text"} for turn in turns]
    rows = zip((turn["text"] for turn in turns), map(json.dumps, fields),
               (vector.tobytes() for vector in vectors), strict=True)
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE turn (id INTEGER PRIMARY KEY, text TEXT, metadata TEXT, vector BLOB)"
        )
        connection.executemany("INSERT INTO turn (text, metadata, vector) VALUES (?, ?, ?)", rows)
    connection.close()
