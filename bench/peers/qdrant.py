"""Qdrant's local mode: points in SQLite, searched exactly by numpy in this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qdrant_client import QdrantClient
from qdrant_client.models import Distance, PointStruct, VectorParams

from bench.peers.protocol import Found, Turn, metadata
from mimir_core.embedding import Embedder, Vectors


class Qdrant:
    @classmethod
    def fill(cls, folder: Path, turns: Sequence[Turn], vectors: Vectors) -> None:
        client = QdrantClient(path=str(folder))
        client.create_collection(
            "turns", VectorParams(size=vectors.shape[1], distance=Distance.COSINE)
        )
        client.upload_points(
            "turns",
            (
                PointStruct(id=row, vector=vector.tolist(), payload=_payload(turn))
                for row, (turn, vector) in enumerate(zip(turns, vectors, strict=True))
            ),
        )
        client.close()

    def __init__(self, folder: Path, embedder: Embedder) -> None:
        self._client = QdrantClient(path=str(folder))
        self._embedder = embedder

    def search(self, text: str, k: int) -> list[Found]:
        query = self._embedder.embed_query(text)
        points = self._client.query_points("turns", query, limit=k, with_payload=True).points
        payloads = [point.payload or {} for point in points]
        return [Found(payload["text"], payload["metadata"]) for payload in payloads]

    def close(self) -> None:
        self._client.close()


def _payload(turn: Turn) -> dict[str, object]:
    return {"text": turn["text"], "metadata": metadata(turn)}
