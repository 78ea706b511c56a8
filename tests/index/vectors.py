"""Vectors for the tests of the vector indexes, and what is true of them by plain numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mimir_core.index.columns import ERASED, Mask, VectorColumn, quantize


def clustered(count: int, dimension: int = 48, seed: int = 1) -> NDArray[np.float32]:
    """Vectors in clusters, of about the intrinsic dimension of sentence embeddings."""
    random = np.random.default_rng(seed)
    space = random.normal(size=(12, dimension))
    centres = random.normal(size=(30, 12))
    inner = centres[random.integers(0, 30, count)] + 0.6 * random.normal(size=(count, 12))
    return (inner @ space + 0.3 * random.normal(size=(count, dimension))).astype(np.float32)


def filled(vectors: NDArray[np.float32]) -> VectorColumn:
    """A column that holds the vectors, row r owned by ordinal r."""
    column = VectorColumn(vectors.shape[1])
    column.append(*quantize(vectors), np.arange(len(vectors)))
    return column


def append(column: VectorColumn, rows: NDArray[np.float32]) -> None:
    """Add vectors with owners of their own."""
    column.append(*quantize(rows), np.arange(len(column), len(column) + len(rows)))


def truth(
    column: VectorColumn, query: NDArray[np.float32], allowed: Mask | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """All live, allowed rows with their cosine in float64, best first, ties by row."""
    live = column.owners != ERASED
    rows = np.flatnonzero(live if allowed is None else live & allowed)
    stored = column.codes[rows].astype(np.float64) * column.scales[rows, None]
    scores = stored @ (query.astype(np.float64) / np.linalg.norm(query.astype(np.float64)))
    order = np.lexsort((rows, -scores))
    return rows[order], scores[order]
