"""The vector index of a vault: sketches up to a hundred thousand and more, an HNSW graph above.

A short vector is scanned instead of sketched, which is exact, and gets its graph earlier.
"""

from __future__ import annotations

from threading import Lock

import numpy as np
from numpy.typing import ArrayLike

from mimir_core.index.columns import ERASED, Floats, Mask, Rows, VectorColumn
from mimir_core.index.graph import GraphState
from mimir_core.index.hnsw import MAX_HOLES, HnswIndex, Progress
from mimir_core.index.sketch import LEAST_DIMENSION, SketchIndex

__all__ = ["GraphState", "VectorView"]

GRAPH_FROM = 10_000  # live rows of short vectors; below, a scan costs no more than the graph
SKETCHED_UP_TO = 150_000
"""Live rows of others. At 100,000 sketches are the quicker still and find more (`bench nearest`);
a graph besides costs a quarter of an import, 300 MB, and its rebuilding after a forget."""

_TAIL = 5_000  # scanned rows that are worth taking into the graph,
_TAIL_SHARE = 0.1  # or this share of those in it, if that is more


class VectorView:
    """Implements `VectorIndex` over a column, with a graph when there are enough rows.

    `attach` or `extend`, in any thread, give it the graph; until they are done it answers without.
    """

    def __init__(self, column: VectorColumn) -> None:
        self._column = column
        self._index = HnswIndex(column)
        self._sketches = SketchIndex(column) if column.dimension >= LEAST_DIMENSION else None
        self._lock = Lock()  # held while the index is replaced or told of erasures
        self._work = Lock()  # held while a graph is made: one at a time

    def __repr__(self) -> str:
        return f"VectorView({self._index!r})"

    @property
    def wants_graph(self) -> bool:
        """Whether `extend` has work to do: too many rows are scanned, or the graph has holes."""
        rows, covered = len(self._column), self._index.covered
        least = GRAPH_FROM if self._sketches is None else SKETCHED_UP_TO
        if rows - self._column.erased < least:
            return False
        tail_is_long = rows - covered > max(_TAIL, _TAIL_SHARE * covered)
        return tail_is_long or self._index.removed_share > MAX_HOLES

    @property
    def graph_rows(self) -> int:
        """How many rows, from the first, the graph covers."""
        return self._index.covered

    def search(self, query: ArrayLike, k: int, allowed: Mask | None = None) -> tuple[Rows, Floats]:
        """See `VectorIndex.search`."""
        few = len(self._column) - self._column.erased < SKETCHED_UP_TO
        if self._sketches is not None and (few or not self._index.covered):
            return self._sketches.search(query, k, allowed)
        return self._index.search(query, k, allowed)

    def removed(self, rows: ArrayLike) -> None:
        """See `VectorIndex.removed`."""
        with self._lock:
            self._index.removed(rows)
            if self._sketches is not None:
                self._sketches.removed(rows)

    def extend(self, progress: Progress | None = None) -> None:
        """Take all rows into the graph if `wants_graph`; searches go on meanwhile.

        A graph with many holes is built anew beside the old one.

        Args:
            progress: called with (rows done, rows to do) every few milliseconds.
        """
        with self._work:
            if not self.wants_graph:
                return
            if self._index.removed_share <= MAX_HOLES:
                self._index.extend(progress)
                return
            fresh = HnswIndex(self._column)
            fresh.extend(progress)
            self._replace(fresh)

    def state(self) -> GraphState | None:
        """The graph's links, for keeping; None if there is none to keep. See `HnswIndex.state`."""
        return self._index.state()

    def attach(self, state: GraphState) -> None:
        """Take over a kept graph.

        Raises:
            VaultDamaged: it is not one of this column; the view goes on without.
        """
        with self._work:
            self._replace(HnswIndex.attach(self._column, state))

    def _replace(self, index: HnswIndex) -> None:
        """Put an index in place, with what was erased while it was made."""
        with self._lock:
            index.removed(np.flatnonzero(self._column.owners == ERASED))
            self._index = index
