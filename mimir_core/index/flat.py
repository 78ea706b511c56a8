"""Exact search: every row is scored. The oracle of every recall test, and what small vaults use."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mimir_core.errors import InvalidArgument
from mimir_core.index import _kernel
from mimir_core.index.columns import Floats, Mask, Rows, VectorColumn, unit


class FlatIndex:
    """Exact index over a column; it keeps nothing of its own."""

    def __init__(self, column: VectorColumn) -> None:
        self._column = column

    def search(self, query: ArrayLike, k: int, allowed: Mask | None = None) -> tuple[Rows, Floats]:
        """See `VectorIndex.search`."""
        direction = unit(query, self._column.dimension)
        check_request(self._column, k, allowed)
        return scan(self._column, direction, k, allowed)

    def removed(self, rows: ArrayLike) -> None:
        """Nothing to release: erased rows are recognised in the column."""


def check_request(column: VectorColumn, k: int, allowed: Mask | None) -> None:
    """Raise InvalidArgument for a k below 1 or a mask of another size than the column."""
    if k < 1:
        raise InvalidArgument("k is at least 1")
    if allowed is not None and allowed.shape != (len(column),):
        raise InvalidArgument("the mask has one entry for each vector row")


def scan(
    column: VectorColumn, direction: Floats, k: int, allowed: Mask | None, start: int = 0
) -> tuple[Rows, Floats]:
    """The k best live, allowed rows from `start` on, best first, ties by row."""
    owners = column.owners if column.erased else None
    return _kernel.nearest(
        direction, k, column.codes, column.scales, owners, allowed, start, None, None, 0
    )


def best(column: VectorColumn, direction: Floats, k: int, rows: Rows) -> tuple[Rows, Floats]:
    """Score the rows and keep the k best, best first, ties by row."""
    scores = column.scores(direction, rows)
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]
