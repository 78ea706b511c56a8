"""FAISS, exact and HNSW, with the texts in SQLite beside it: what its users build around it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss

from bench.peers.naive import Texts
from bench.peers.protocol import Found, Turn
from mimir_core.embedding import Embedder, Vectors
from mimir_core.index.hnsw import EF, EF_CONSTRUCTION, M


class FaissFlat:
    @staticmethod
    def empty(dimension: int) -> Any:
        """An index without vectors."""
        return faiss.IndexFlatIP(dimension)

    @classmethod
    def fill(cls, folder: Path, turns: Sequence[Turn], vectors: Vectors) -> None:
        index = cls.empty(vectors.shape[1])
        index.add(vectors)
        faiss.write_index(index, str(_file(folder)))
        Texts.fill(folder, turns)

    def __init__(self, folder: Path, embedder: Embedder) -> None:
        self._index = faiss.read_index(str(_file(folder)))
        self._texts = Texts(folder)
        self._embedder = embedder

    def search(self, text: str, k: int) -> list[Found]:
        _, rows = self._index.search(self._embedder.embed_query(text)[None], k)
        return self._texts.at(rows[0].tolist())

    def close(self) -> None:
        self._texts.close()


class FaissHnsw(FaissFlat):
    @staticmethod
    def empty(dimension: int) -> Any:
        """A graph with the parameters of Mimir's."""
        index = faiss.IndexHNSWFlat(dimension, M, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = EF_CONSTRUCTION
        index.hnsw.efSearch = EF
        return index


def _file(folder: Path) -> Path:
    return folder / "turns.faiss"
