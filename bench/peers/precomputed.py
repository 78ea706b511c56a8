"""An embedder that has embedded already."""

from __future__ import annotations

from collections.abc import Sequence

from mimir_core import MiniLM
from mimir_core.embedding import Vectors, VectorSpace


class Precomputed:
    """Looks up what the built-in embedder made before; KeyError for any other text.

    Args:
        texts: What will be asked for.
        vectors: float32 [len(texts), 384].
    """

    def __init__(self, texts: Sequence[str], vectors: Vectors) -> None:
        self._rows = {text: row for row, text in enumerate(texts)}
        self._vectors = vectors
        self.space: VectorSpace = MiniLM().space

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        return self._vectors[[self._rows[text] for text in texts]]

    def embed_query(self, text: str) -> Vectors:
        return self._vectors[self._rows[text]]
