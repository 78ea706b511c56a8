"""LanceDB: one columnar table, searched exactly, which is its default below an index."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import lancedb
import pyarrow as pa

from bench.peers.protocol import Found, Turn, metadata
from mimir_core.embedding import Embedder, Vectors


class Lance:
    @classmethod
    def fill(cls, folder: Path, turns: Sequence[Turn], vectors: Vectors) -> None:
        width = vectors.shape[1]
        table = pa.table(
            {
                "text": [turn["text"] for turn in turns],
                "metadata": [json.dumps(metadata(turn)) for turn in turns],
                "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), width),
            }
        )
        lancedb.connect(folder).create_table("turns", table)

    def __init__(self, folder: Path, embedder: Embedder) -> None:
        self._table = lancedb.connect(folder).open_table("turns")
        self._embedder = embedder

    def search(self, text: str, k: int) -> list[Found]:
        query = self._table.search(self._embedder.embed_query(text)).distance_type("cosine")
        rows = query.select(["text", "metadata", "_distance"]).limit(k).to_list()
        return [Found(row["text"], json.loads(row["metadata"])) for row in rows]

    def close(self) -> None:
        """Nothing is held open."""
