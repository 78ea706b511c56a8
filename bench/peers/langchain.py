"""LangChain's InMemoryVectorStore, kept between runs by its own dump."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore

from bench.peers.precomputed import Precomputed
from bench.peers.protocol import Found, Turn, metadata
from mimir_core.embedding import Embedder, Vectors


class LangChain:
    @classmethod
    def fill(cls, folder: Path, turns: Sequence[Turn], vectors: Vectors) -> None:
        embedder = Precomputed([turn["text"] for turn in turns], vectors)
        store = InMemoryVectorStore(_Adapter(embedder))
        store.add_documents(
            [Document(page_content=turn["text"], metadata=metadata(turn)) for turn in turns]
        )
        store.dump(str(_file(folder)))

    def __init__(self, folder: Path, embedder: Embedder) -> None:
        self._store = InMemoryVectorStore.load(str(_file(folder)), _Adapter(embedder))

    def search(self, text: str, k: int) -> list[Found]:
        documents = self._store.similarity_search(text, k)
        return [Found(each.page_content, each.metadata) for each in documents]

    def close(self) -> None:
        """Nothing is held open."""


class _Adapter(Embeddings):
    """The embedder as LangChain calls it."""

    def __init__(self, inner: Embedder) -> None:
        self._inner = inner

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self._inner.embed_documents(texts).tolist()

    def embed_query(self, text: str) -> list[float]:
        return self._inner.embed_query(text).tolist()


def _file(folder: Path) -> Path:
    return folder / "turns.json"
