"""Near-exact search by sketches: one bit a dimension picks candidates, int8 and float32 rank them.

The sketch of a vector says of each dimension whether it lies above the column's mean there. Rows
whose sketches differ little from the query's are near it, mostly: of the true ten best, .994 are
among the 800 nearest sketches at 100,000 real chat turns (.997 at 10,000). To compare sketches
reads an eighth of what a scan of the codes reads. There is nothing to build, keep or mend: sketches
follow from the codes.

Charikar, Similarity Estimation Techniques from Rounding Algorithms, STOC 2002.
"""

from __future__ import annotations

import numpy as np
import simsimd
from numpy.typing import ArrayLike, NDArray

from mimir_core.index.columns import Codes, Floats, Mask, Rows, VectorColumn, unit
from mimir_core.index.flat import best, check_request, contenders, likely, live_rows
from mimir_core.index.rounding import rough, rounded

Bits = NDArray[np.uint8]

CANDIDATES = 800
A_HIT = 16
"""Candidates for each row asked for, where that is more."""

SKETCH_FROM = 2_048
"""Rows from which sketches pay; fewer are scanned."""

LEAST_DIMENSION = 256
"""Fewer bits say too little."""

_SAMPLE = 4_096
_FAR = 1e9


class SketchIndex:
    """Near-exact index over a column; it implements `VectorIndex`. Not safe for two threads."""

    def __init__(self, column: VectorColumn) -> None:
        self._column = column
        self._bits: Bits = np.empty((0, -(-column.dimension // 8)), np.uint8)
        self._covered = 0
        self._means: Codes = np.zeros(column.dimension, np.int8)

    def search(self, query: ArrayLike, k: int, allowed: Mask | None = None) -> tuple[Rows, Floats]:
        """See `VectorIndex.search`; the k rows are the best found, with exact scores."""
        direction = unit(query, self._column.dimension)
        check_request(self._column, k, allowed)
        rows = self._candidates(direction, k, allowed)
        return best(self._column, direction, k, rows)

    def removed(self, rows: ArrayLike) -> None:
        """See `VectorIndex.removed`: the sketch of an erased vector goes with it."""
        numbers = np.asarray(rows, np.int64)
        self._bits[numbers[numbers < self._covered]] = 0

    def _candidates(self, direction: Floats, k: int, allowed: Mask | None) -> Rows:
        column, count = self._column, max(CANDIDATES, A_HIT * k)
        wanted = live_rows(column, allowed)
        passing = len(column) if wanted is None else int(np.count_nonzero(wanted))
        if passing < max(SKETCH_FROM, 2 * count):
            return contenders(column, direction, k, allowed)
        self._follow()
        rounding = rounded(direction)
        differ = self._differences(rounding.codes, wanted)
        bar = np.partition(differ, count - 1)[count - 1]
        rows = np.flatnonzero(differ <= bar)
        scores = rough(rounding, column.codes[rows], column.scales[rows])
        return rows[likely(scores, rounding.error, k)]

    def _differences(self, codes: Codes, wanted: Mask | None) -> Floats:
        """In how many bits each row's sketch differs from the query's; unwanted rows are far."""
        sketch = np.packbits(codes > self._means)
        bits = self._bits[: self._covered]
        differ: Floats = np.asarray(
            simsimd.cdist(sketch[None], bits, "hamming", dtype="bin8", out_dtype="float32")
        )[0]
        if wanted is not None:
            differ[~wanted] = _FAR
        return differ

    def _follow(self) -> None:
        """Sketches the rows that came since; all of them anew, about new means, if they doubled."""
        codes = self._column.codes
        if len(codes) > len(self._bits):
            spread = codes[:: -(-len(codes) // _SAMPLE)]
            self._means = np.rint(spread.mean(axis=0)).astype(np.int8)
            self._bits = np.empty((2 * len(codes), self._bits.shape[1]), np.uint8)
            self._covered = 0
        fresh = slice(self._covered, len(codes))
        self._bits[fresh] = np.packbits(codes[fresh] > self._means, axis=1)
        self._covered = len(codes)
