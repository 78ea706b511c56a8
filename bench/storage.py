"""Bytes a turn on disk, against a naive SQLite table with the texts and float32 vectors."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from bench.latency import import_turns
from bench.peers.naive import NaiveSqlite
from bench.turns import read_turns
from mimir_core import MiniLM


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Imports the same turns into both, closes both, and compares the files."""
    turns = read_turns(arguments.turns, arguments.count)
    with tempfile.TemporaryDirectory() as folder:
        vault, naive = Path(folder) / "bench.mimir", Path(folder) / "naive"
        import_turns(vault, turns)
        naive.mkdir()
        vectors = MiniLM().embed_documents([turn["text"] for turn in turns])
        NaiveSqlite.fill(naive, turns, vectors)
        ours = vault.stat().st_size / len(turns)
        theirs = sum(file.stat().st_size for file in naive.iterdir()) / len(turns)
    return {
        "count": len(turns),
        "bytes_per_turn": ours,
        "naive_sqlite_bytes_per_turn": theirs,
        "ratio": ours / theirs,
    }
