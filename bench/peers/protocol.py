"""What a peer is to the benchmark, and which peers there are."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mimir_core.embedding import Embedder, Vectors

Turn = dict[str, Any]


@dataclass(frozen=True)
class Found:
    """A turn that a search returned."""

    text: str
    metadata: dict[str, Any]


class Peer(Protocol):
    """Texts, metadata and vectors in a folder: filled once, then opened and searched."""

    @classmethod
    def fill(cls, folder: Path, turns: Sequence[Turn], vectors: Vectors) -> None:
        """Stores the turns durably in an empty folder, indexed as the peer does by default.

        Args:
            vectors: float32 [turns, 384], L2-normalised, one a turn.
        """

    def __init__(self, folder: Path, embedder: Embedder) -> None:
        """Opens what `fill` stored."""

    def search(self, text: str, k: int) -> list[Found]:
        """Embeds a text and returns the k nearest turns, best first."""

    def close(self) -> None:
        """Lets go of files and threads."""


@dataclass(frozen=True)
class Source:
    """Where a peer's class is.

    Attributes:
        requires: The module that must be installed for it, if any.
        encrypted: Whether what it keeps on disk is sealed.
    """

    module: str
    name: str
    requires: str | None = None
    encrypted: bool = False

    def installed(self) -> bool:
        """Whether the peer can be imported here; imports no more than a namespace package."""
        try:
            return self.requires is None or importlib.util.find_spec(self.requires) is not None
        except ModuleNotFoundError:
            return False

    def load(self) -> type[Peer]:
        """The peer's class."""
        peer: type[Peer] = getattr(importlib.import_module(self.module), self.name)
        return peer


PEERS = {
    "mimir": Source("bench.peers.mimir", "SealedMimir", encrypted=True),
    "naive_sqlite": Source("bench.peers.naive", "NaiveSqlite"),
    "chroma": Source("bench.peers.chroma", "Chroma", "chromadb"),
    "lancedb": Source("bench.peers.lance", "Lance", "lancedb"),
    "qdrant": Source("bench.peers.qdrant", "Qdrant", "qdrant_client"),
    "faiss_flat": Source("bench.peers.faiss", "FaissFlat", "faiss"),
    "faiss_hnsw": Source("bench.peers.faiss", "FaissHnsw", "faiss"),
    "langchain": Source("bench.peers.langchain", "LangChain", "langchain_core"),
    "llamaindex": Source("bench.peers.llamaindex", "LlamaIndex", "llama_index.core"),
}


def metadata(turn: Turn) -> dict[str, Any]:
    """A turn's metadata: everything known of it but its text."""
    return {name: turn[name] for name in turn if name != "text" and turn[name] is not None}
