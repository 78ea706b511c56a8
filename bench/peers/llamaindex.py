"""LlamaIndex's SimpleVectorStore, which keeps no texts, with its SimpleDocumentStore for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llama_index.core.schema import TextNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores import SimpleVectorStore, VectorStoreQuery

from bench.peers.protocol import Found, Turn, metadata
from mimir_core.embedding import Embedder, Vectors


class LlamaIndex:
    @classmethod
    def fill(cls, folder: Path, turns: Sequence[Turn], vectors: Vectors) -> None:
        nodes = [
            TextNode(id_=str(row), text=turn["text"], metadata=metadata(turn))
            for row, turn in enumerate(turns)
        ]
        documents = SimpleDocumentStore()
        documents.add_documents(nodes)
        documents.persist(str(_documents(folder)))
        for node, vector in zip(nodes, vectors, strict=True):
            node.embedding = vector.tolist()
        store = SimpleVectorStore()
        store.add(nodes)
        store.persist(str(_vectors(folder)))

    def __init__(self, folder: Path, embedder: Embedder) -> None:
        self._store = SimpleVectorStore.from_persist_path(str(_vectors(folder)))
        self._documents = SimpleDocumentStore.from_persist_path(str(_documents(folder)))
        self._embedder = embedder

    def search(self, text: str, k: int) -> list[Found]:
        vector = self._embedder.embed_query(text).tolist()
        query = VectorStoreQuery(query_embedding=vector, similarity_top_k=k)
        nodes = self._documents.get_nodes(self._store.query(query).ids or [])
        return [Found(node.get_content(), node.metadata) for node in nodes]

    def close(self) -> None:
        """Nothing is held open."""


def _vectors(folder: Path) -> Path:
    return folder / "vectors.json"


def _documents(folder: Path) -> Path:
    return folder / "documents.json"
