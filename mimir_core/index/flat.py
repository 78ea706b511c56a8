"""Exact search: scan every row in int8, then score the few that can win in float32.

The query is rounded to int8 too, which gives each row's score up to a known error. A row more than
twice that below the k-th best cannot be among the k best; all others are scored in full. The
result is therefore exact, at a quarter of the memory traffic of a float32 scan, which is what a
scan costs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mimir_core.errors import InvalidArgument
from mimir_core.index.columns import ERASED, Floats, Mask, Rows, VectorColumn, unit
from mimir_core.index.rounding import rough, rounded

_NEVER = -9.0  # below every score


class FlatIndex:
    """Exact index over a column; it keeps nothing of its own. The oracle of every recall test."""

    def __init__(self, column: VectorColumn) -> None:
        self._column = column

    def search(self, query: ArrayLike, k: int, allowed: Mask | None = None) -> tuple[Rows, Floats]:
        """See `VectorIndex.search`."""
        direction = unit(query, self._column.dimension)
        check_request(self._column, k, allowed)
        return best(self._column, direction, k, contenders(self._column, direction, k, allowed))

    def removed(self, rows: ArrayLike) -> None:
        """Nothing to release: erased rows are recognised in the column."""


def check_request(column: VectorColumn, k: int, allowed: Mask | None) -> None:
    """Raise InvalidArgument for a k below 1 or a mask of another size than the column."""
    if k < 1:
        raise InvalidArgument("k is at least 1")
    if allowed is not None and allowed.shape != (len(column),):
        raise InvalidArgument("the mask has one entry for each vector row")


def contenders(
    column: VectorColumn, direction: Floats, k: int, allowed: Mask | None, start: int = 0
) -> Rows:
    """Every live, allowed row from `start` on that can be among the k best, ascending."""
    codes, scales = column.codes[start:], column.scales[start:]
    wanted = live_rows(column, allowed, start)
    rows = None if wanted is None else np.flatnonzero(wanted)
    query = rounded(direction)
    if rows is not None and 2 * len(rows) < len(codes):  # a gathered row costs two scanned ones
        return start + rows[likely(rough(query, codes[rows], scales[rows]), query.error, k)]
    scores = rough(query, codes, scales)
    if wanted is not None:
        scores[~wanted] = _NEVER
    return start + likely(scores, query.error, k)


def best(column: VectorColumn, direction: Floats, k: int, rows: Rows) -> tuple[Rows, Floats]:
    """Score the rows in full and keep the k best, best first, ties by row."""
    scores = column.scores(direction, rows)
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]


def live_rows(column: VectorColumn, allowed: Mask | None, start: int = 0) -> Mask | None:
    """Live and allowed rows from `start` on; None if that is all of them."""
    if not column.erased:
        return None if allowed is None else allowed[start:]
    live: Mask = column.owners[start:] != ERASED
    return live if allowed is None else live & allowed[start:]


def likely(rough: Floats, error: float, k: int) -> Rows:
    """Positions of the rows whose scores can be among the k best, by rough ones."""
    bar = -2.0
    if k < len(rough):
        bar = max(bar, float(np.partition(rough, -k)[-k]) - 2 * error)
    return np.flatnonzero(rough >= bar)
