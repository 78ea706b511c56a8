"""Exact search: scan every row in int8, then score the few that can win in float32.

The query is rounded to int8 too, `query = step * codes + rest`, so that one SIMD pass over the
codes gives each row's score up to an error of at most |rest|, since stored vectors have unit
length (Cauchy-Schwarz). A row more than 2 |rest| below the k-th best of that pass cannot be among
the k best; all others are scored in full. The result is therefore exact, at a quarter of the
memory traffic of a float32 scan, which is what a scan costs.
"""

from __future__ import annotations

import math

import numpy as np
import simsimd
from numpy.typing import ArrayLike

from mimir_core.errors import InvalidArgument
from mimir_core.index.columns import ERASED, Codes, Floats, Mask, Rows, VectorColumn, unit

_ROUNDING = 1e-5  # above the float32 rounding of a score
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

    def scores(self, query: ArrayLike, rows: ArrayLike) -> Floats:
        """See `VectorIndex.scores`."""
        direction = unit(query, self._column.dimension)
        return self._column.scores(direction, np.asarray(rows, np.int64))

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
    wanted = _wanted(column, allowed, start)
    rows = None if wanted is None else np.flatnonzero(wanted)
    if rows is not None and 2 * len(rows) < len(codes):  # a gathered row costs two scanned ones
        return start + rows[_near(*_rough(codes[rows], scales[rows], direction), k)]
    rough, error = _rough(codes, scales, direction)
    if wanted is not None:
        rough[~wanted] = _NEVER
    return start + _near(rough, error, k)


def best(column: VectorColumn, direction: Floats, k: int, rows: Rows) -> tuple[Rows, Floats]:
    """Score the rows in full and keep the k best, best first, ties by row."""
    scores = column.scores(direction, rows)
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]


def _wanted(column: VectorColumn, allowed: Mask | None, start: int) -> Mask | None:
    """Live and allowed rows from `start` on; None if that is all of them."""
    if not column.erased:
        return None if allowed is None else allowed[start:]
    live: Mask = column.owners[start:] != ERASED
    return live if allowed is None else live & allowed[start:]


def _rough(codes: Codes, scales: Floats, direction: Floats) -> tuple[Floats, float]:
    """Scores of the rounded query, and by how much at most they miss those of the query itself."""
    if not len(codes):
        return np.empty(0, np.float32), 0.0
    step = np.abs(direction).max() / np.float32(127)
    rounded = np.rint(direction / step).astype(np.int8)
    rest = direction - step * rounded
    rough = np.asarray(simsimd.cdist(rounded[None], codes, "inner", out_dtype="float32"))[0]
    rough *= step * scales
    return rough, math.sqrt(rest.dot(rest)) + _ROUNDING


def _near(rough: Floats, error: float, k: int) -> Rows:
    """Positions whose true score can be among the k best."""
    bar = -2.0
    if k < len(rough):
        bar = max(bar, float(np.partition(rough, -k)[-k]) - 2 * error)
    return np.flatnonzero(rough >= bar)
