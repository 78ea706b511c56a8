"""An embedder for tests: no model, any dimension, the same vectors on every machine."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from mimir_core.embedding.checks import check_texts
from mimir_core.embedding.space import Vectors, VectorSpace
from mimir_core.errors import InvalidArgument


class HashEmbedder:
    """For tests only: a text's vector is the sum of pseudo-random vectors of its words.

    Texts that share words are similar; nothing else about their meaning is known.

    Args:
        dimension: Numbers in a vector, at least 1.

    Raises:
        InvalidArgument: The dimension is below 1.
    """

    def __init__(self, dimension: int = 64) -> None:
        if dimension < 1:
            raise InvalidArgument("the dimension must be at least 1")
        digest = hashlib.sha256(f"mimir hash embedder 1, {dimension}".encode()).hexdigest()
        self.space = VectorSpace(digest, dimension)

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Embed each text: float32 [len(texts), dimension]. Raises InvalidText."""
        check_texts(texts)
        vectors = np.empty((len(texts), self.space.dimension), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            row[:] = self._vector(text)
        return vectors

    def embed_query(self, text: str) -> Vectors:
        """Embed one text: float32 [dimension]. Raises InvalidText."""
        vector: Vectors = self.embed_documents([text])[0]
        return vector

    def _vector(self, text: str) -> Vectors:
        total = np.sum([self._of_word(word) for word in _words(text)], axis=0)
        length = np.linalg.norm(total)
        # Opposite words can cancel out, in one dimension above all.
        return self._vector(text + "\N{BULLET}") if length == 0 else total / length

    def _of_word(self, word: str) -> Vectors:
        raw = hashlib.shake_256(word.encode()).digest(self.space.dimension)
        return np.frombuffer(raw, np.uint8).astype(np.float32) - np.float32(127.5)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower()) or [text]
