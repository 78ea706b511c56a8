"""Chroma: HNSW beside SQLite, with its own defaults and no telemetry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import chromadb
from chromadb.config import Settings

from bench.peers.protocol import Found, Turn, metadata
from mimir_core.embedding import Embedder, Vectors


class Chroma:
    @classmethod
    def fill(cls, folder: Path, turns: Sequence[Turn], vectors: Vectors) -> None:
        client = _client(folder)
        collection = client.create_collection(
            "turns", embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
        )
        step = client.get_max_batch_size()
        for at in range(0, len(turns), step):
            batch = turns[at : at + step]
            collection.add(
                ids=[str(at + row) for row in range(len(batch))],
                embeddings=vectors[at : at + step],
                documents=[turn["text"] for turn in batch],
                metadatas=[metadata(turn) for turn in batch],
            )
        client.close()

    def __init__(self, folder: Path, embedder: Embedder) -> None:
        self._client = _client(folder)
        self._collection = self._client.get_collection("turns", embedding_function=None)
        self._embedder = embedder

    def search(self, text: str, k: int) -> list[Found]:
        found = self._collection.query(
            query_embeddings=[self._embedder.embed_query(text)],
            n_results=k,
            include=["documents", "metadatas"],
        )
        pairs = zip(found["documents"][0], found["metadatas"][0], strict=True)
        return [Found(document, dict(fields)) for document, fields in pairs]

    def close(self) -> None:
        self._client.close()


def _client(folder: Path) -> chromadb.ClientAPI:
    return chromadb.PersistentClient(folder, Settings(anonymized_telemetry=False))
