"""Any model as an `Embedder`: functions of the caller's own, under a name that stands for it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mimir_core.embedding.space import Vectors, VectorSpace
from mimir_core.errors import EmbeddingError, InvalidArgument, InvalidVector

Numbers = NDArray[np.float64]


class FunctionEmbedder:
    """Embeds by functions, for models that have an interface of their own.

    Args:
        name: Names the model, its version included: vectors of different names do not mix.
        documents: Turns texts to be stored into as many rows of numbers, of any length above zero.
        query: Turns one text to search with into a row; `documents` does so if not given.
        dimension: Numbers in a vector; learnt by embedding one word when first needed if not given.

    Raises:
        InvalidArgument: The name is empty, or the dimension below 1.
    """

    def __init__(
        self,
        name: str,
        documents: Callable[[list[str]], ArrayLike],
        query: Callable[[str], ArrayLike] | None = None,
        dimension: int | None = None,
    ) -> None:
        if not isinstance(name, str) or not name:
            raise InvalidArgument("a model has a name")
        if dimension is not None and dimension < 1:
            raise InvalidArgument("the dimension must be at least 1")
        self._name = name
        self._documents = documents
        self._query = query
        self._dimension = dimension

    @cached_property
    def space(self) -> VectorSpace:
        """The space that name and dimension stand for.

        Raises:
            EmbeddingError: The dimension is not given, and the function returned no row.
        """
        dimension = self._dimension or len(self._row("dimension"))
        text = f"mimir function embedder 1, {dimension}, {self._name}"
        return VectorSpace(hashlib.sha256(text.encode()).hexdigest(), dimension)

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Embed texts to be stored: float32 [len(texts), dimension].

        Raises:
            EmbeddingError: The function returned something else than a row for each text.
            InvalidVector: A row has another size, is not finite, or is zero.
        """
        return self._units(self._documents(list(texts)), len(texts))

    def embed_query(self, text: str) -> Vectors:
        """Embed one text to search with: float32 [dimension]. Raises as `embed_documents`."""
        vector: Vectors = self._units(self._row(text)[None], 1)[0]
        return vector

    def _row(self, text: str) -> Numbers:
        row = self._documents([text]) if self._query is None else [self._query(text)]
        numbers: Numbers = _rows(row, 1)[0]
        return numbers

    def _units(self, rows: ArrayLike, count: int) -> Vectors:
        found = _rows(rows, count)
        if found.shape[1] != self.space.dimension:
            raise InvalidVector(f"a vector of this space has {self.space.dimension} components")
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        bad = ~np.isfinite(lengths) | (lengths == 0)
        if bad.any():
            raise InvalidVector(f"vector {int(np.argmax(bad))} is not finite, or is zero")
        units: Vectors = (found / lengths).astype(np.float32)
        return units


def _rows(rows: ArrayLike | list[ArrayLike], count: int) -> Numbers:
    """What a function returned, as so many rows of numbers. Raises EmbeddingError."""
    try:
        found = np.asarray(rows, np.float64)
    except (TypeError, ValueError):
        raise EmbeddingError("the embedding function returned no rows of numbers") from None
    if found.ndim != 2 or len(found) != count or not found.shape[1]:
        raise EmbeddingError("the embedding function returned another number of rows")
    return found
