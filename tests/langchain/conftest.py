"""What the adapters' tests share: a user's Embeddings that note how they are called."""

from __future__ import annotations

import threading

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from mimir_core import Mimir
from mimir_core.embedding import HashEmbedder
from mimir_langchain import MimirVectorStore


class WordEmbeddings(Embeddings):
    """Texts that share words are near; notes what was embedded, and on which thread."""

    def __init__(self, size: int = 48, model: str = "words-1") -> None:
        self.model = model
        self.texts: list[str] = []
        self.threads: set[int] = set()
        self._inner = HashEmbedder(size)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.texts += texts
        self.threads.add(threading.get_ident())
        vectors: list[list[float]] = (3.0 * self._inner.embed_documents(texts)).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


ANIMALS = [
    Document(id="cat", page_content="the cat is called Pixel", metadata={"legs": 4, "pet": True}),
    Document(id="dog", page_content="the dog is called Rex", metadata={"legs": 4, "pet": True}),
    Document(id="crow", page_content="a crow sits on the roof", metadata={"legs": 2}),
    Document(id="eel", page_content="eels swim in the harbour at night", metadata={"legs": 0}),
]


@pytest.fixture
def words() -> WordEmbeddings:
    """A user's Embeddings."""
    return WordEmbeddings()


@pytest.fixture
def store(mimir: Mimir) -> MimirVectorStore:
    """A store of four animals, embedded by the vault's own embedder."""
    return MimirVectorStore.from_documents(ANIMALS, mimir=mimir)
