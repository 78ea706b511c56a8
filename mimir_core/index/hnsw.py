"""Approximate search: an hnswlib graph over the older rows, an exact scan over the newer.

- Rows before `covered` are in the graph. Each distinct vector is one node; rows that share it are
  its twins, found through it. (Equal vectors, entered one by one, link to each other only and
  cut the graph apart: hnswlib then misses them or gives up.)
- Rows from `covered` on are scanned, until `extend` takes them in.
- Candidates of both are scored in full from the column, so scores and order are those of the
  exact index. Whenever the graph cannot answer, the exact index does.

hnswlib is not safe to search while it grows. `extend` therefore takes a few rows at a time under a
lock, and lets a waiting search go first. Extending a copy instead needs three graphs in memory for
a moment, 480 MB at 100,000 rows of 384 dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Lock
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mimir_core.errors import VaultDamaged
from mimir_core.index import graph
from mimir_core.index.columns import ERASED, Floats, Mask, Rows, VectorColumn, slices, unit
from mimir_core.index.flat import best, check_request, scan
from mimir_core.index.graph import GraphState

Progress = Callable[[int, int], object]

M = 16
EF_CONSTRUCTION = 200
EF = 112
_BATCH = 32  # rows a step of `extend`: a waiting search waits for at most some milliseconds
_THREADS = 2
_ROWS_A_CANDIDATE = 36  # to gather and scan so many rows costs as much as one graph candidate
_OVERFETCH = 1.3
_NO_NODE = -1
MAX_HOLES = 0.1  # share of erased nodes above which what is left may fall apart


class HnswIndex:
    """Approximate index over a column; it implements `VectorIndex`.

    Safe for one thread that extends beside others that search. Changes of the column itself
    (append, zero) and calls of `removed` are the caller's to order.
    """

    def __init__(self, column: VectorColumn) -> None:
        self._column = column
        self._lock = FairLock()
        self._reset()

    def __repr__(self) -> str:
        return f"HnswIndex(covered={self._covered}, rows={len(self._column)})"

    @property
    def covered(self) -> int:
        """Rows 0 .. covered-1 are in the graph, all later ones are scanned."""
        return self._covered

    @property
    def removed_share(self) -> float:
        """Share of the nodes that were erased since the graph was built: its holes."""
        holes = self._removed + self._nodes - self._living
        return holes / (self._removed + self._nodes) if holes else 0.0

    def search(self, query: ArrayLike, k: int, allowed: Mask | None = None) -> tuple[Rows, Floats]:
        """See `VectorIndex.search`; the k rows are the best found, with exact scores."""
        direction = unit(query, self._column.dimension)
        check_request(self._column, k, allowed)
        with self._lock:
            found = self._from_graph(direction, k, allowed)
            covered = 0 if found is None else self._covered
        scanned = scan(self._column, direction, k, allowed, covered)
        if found is None:
            return scanned
        return best(self._column, direction, k, np.concatenate([found, scanned[0]]))

    def removed(self, rows: ArrayLike) -> None:
        """See `VectorIndex.removed`; again, or for rows never taken in, it does nothing."""
        numbers = np.asarray(rows, np.int64)
        with self._lock:
            covered = numbers[numbers < self._covered]
            nodes = self._node_of[covered]
            self._node_of[covered] = _NO_NODE
            for node in nodes[nodes != _NO_NODE].tolist():
                self._alive[node] -= 1
                if not self._alive[node]:
                    self._living -= 1
                    self._index.mark_deleted(node)

    def extend(self, progress: Progress | None = None) -> None:
        """Take all rows that the column has now into the graph; searches go on meanwhile.

        Args:
            progress: called with (rows done, rows to do) after each step.
        """
        first, stop = self._covered, len(self._column)
        try:
            with self._lock:
                known = self._prepare(stop)
            for start in range(first, stop, _BATCH):
                with self._lock:
                    self._absorb(min(start + _BATCH, stop), known)
                if progress is not None:
                    progress(self._covered - first, stop - first)
        except BaseException:  # a half-linked graph is worse than none
            with self._lock:
                self._reset()
            raise

    def state(self) -> GraphState | None:
        """The links, for keeping; None if they are not worth it and should be made anew.

        That is so when no live vector is in the graph, or more than MAX_HOLES of its nodes are
        erased: as their links are left out, the rest might no longer be reached.

        Nothing in it stems from a row that is erased now, links least of all. Searches wait for
        about 0.1 s at 100,000 rows.
        """
        with self._lock:
            if not self._living or self.removed_share > MAX_HOLES:
                return None
            params, covered = self._index.__getstate__()[0], self._covered
            rows = self._live_rows(0, covered)
            live = np.full(self._nodes, -1, np.int64)
            live[self._node_of[rows[::-1]]] = rows[::-1]  # the first row of a node is written last
        return graph.save(params, live, covered, self._removed)

    @classmethod
    def attach(cls, column: VectorColumn, state: GraphState) -> HnswIndex:
        """An index from kept links and the column they were made from.

        Raises:
            VaultDamaged: the links are not those of the column's rows 0 .. covered-1.
        """
        index = cls(column)
        index._index = graph.load(state, column)
        index._index.set_ef(EF)
        index._covered, index._removed = state.rows, state.removed
        index._nodes = index._living = len(state.node_rows)
        index._first = state.node_rows.copy()
        index._node_of = np.full(state.rows, _NO_NODE, np.int32)
        index._alive = np.zeros(len(state.node_rows), np.int32)
        index._find_twins()
        return index

    def _reset(self) -> None:
        """An empty graph: all rows are scanned."""
        self._index: Any = None
        self._covered = 0
        self._nodes = 0  # all that the graph ever took in, labels 0 .. nodes-1
        self._living = 0  # those with a live row
        self._removed = 0  # those that `state` left out before
        self._node_of: NDArray[np.int32] = np.empty(0, np.int32)  # of each covered row
        self._first: Rows = np.empty(0, np.int64)  # of each node, its first row
        self._alive: NDArray[np.int32] = np.empty(0, np.int32)  # of each node, its live rows
        self._twins: dict[int, list[int]] = {}  # of a node, its rows after the first

    def _from_graph(self, direction: Floats, k: int, allowed: Mask | None) -> Rows | None:
        """Live, allowed rows of the graph, at least the k nearest; None if scanning is better."""
        passing = self._covered if allowed is None else np.count_nonzero(allowed[: self._covered])
        limit = passing // _ROWS_A_CANDIDATE
        fetch = k + int(_OVERFETCH * k * (self._covered / max(passing, 1) - 1))
        while self._living and max(EF, fetch) <= limit:
            rows = self._nearest(direction, min(fetch, self._living))
            if allowed is not None:
                rows = rows[allowed[rows]]
            if len(rows) >= k:
                return rows
            fetch *= 4
        return None

    def _nearest(self, direction: Floats, count: int) -> Rows:
        """The live rows of the `count` nearest nodes; none if the graph does not reach so many."""
        try:
            labels, _ = self._index.knn_query(direction, k=count, num_threads=1)
        except RuntimeError:  # hnswlib found fewer
            return np.empty(0, np.int64)
        nodes: Rows = labels[0].astype(np.int64)
        twins = [self._twins[node] for node in nodes.tolist() if node in self._twins]
        rows: Rows = np.concatenate([self._first[nodes], *(np.array(more) for more in twins)])
        live: Mask = self._column.owners[rows] != ERASED
        return rows[live]

    def _prepare(self, stop: int) -> dict[int, int]:
        """Make room for the rows up to `stop`; return the nodes by fingerprint of their vector."""
        rows = self._live_rows(0, self._covered)
        known = dict(zip(self._fingerprints(rows), self._node_of[rows].tolist(), strict=True))
        room = self._nodes + len(self._live_rows(self._covered, stop))
        if self._index is None:
            self._index = graph.empty(self._column.dimension, M, EF_CONSTRUCTION, room)
            self._index.set_ef(EF)
        elif room > self._index.get_max_elements():
            self._index.resize_index(room)
        unknown = np.full(stop - self._covered, _NO_NODE, np.int32)
        self._node_of = np.concatenate([self._node_of, unknown])
        self._first = np.concatenate([self._first, np.zeros(room - self._nodes, np.int64)])
        self._alive = np.concatenate([self._alive, np.zeros(room - self._nodes, np.int32)])
        return known

    def _absorb(self, stop: int, known: dict[int, int]) -> None:
        """Take the rows up to `stop` in: new vectors as nodes, the others as twins."""
        rows = self._live_rows(self._covered, stop)
        fresh: list[int] = []
        for row, mark in zip(rows.tolist(), self._fingerprints(rows), strict=True):
            node = known.get(mark)
            if node is None or not self._alive[node]:
                node = known[mark] = self._nodes + len(fresh)
                self._first[node] = row
                fresh.append(row)
            else:
                self._twins.setdefault(node, []).append(row)
            self._node_of[row] = node
            self._alive[node] += 1
        if fresh:
            labels = np.arange(self._nodes, self._nodes + len(fresh))
            self._index.add_items(self._column.vectors(fresh), labels, num_threads=_THREADS)
        self._nodes += len(fresh)
        self._living += len(fresh)
        self._covered = stop

    def _find_twins(self) -> None:
        """Assign every covered row to the node that has its vector."""
        known = dict(zip(self._fingerprints(self._first), range(self._nodes), strict=True))
        rows = self._live_rows(0, self._covered)
        nodes = np.array([known.get(mark, _NO_NODE) for mark in self._fingerprints(rows)], np.int32)
        if len(known) != self._nodes or (nodes == _NO_NODE).any():
            raise VaultDamaged("the vector graph is not that of these vectors")
        self._node_of[rows] = nodes
        self._alive += np.bincount(nodes, minlength=self._nodes).astype(np.int32)
        later = rows != self._first[nodes]
        for row, node in zip(rows[later].tolist(), nodes[later].tolist(), strict=True):
            self._twins.setdefault(node, []).append(row)

    def _live_rows(self, start: int, stop: int) -> Rows:
        return start + np.flatnonzero(self._column.owners[start:stop] != ERASED)

    def _fingerprints(self, rows: Rows) -> Iterator[int]:
        """A keyed 64-bit hash of each row's codes (SipHash, as Python hashes bytes).

        Were two vectors ever to share one, a row would be looked for in the wrong place, and
        still be scored as what it is.
        """
        for part in slices(len(rows)):
            codes = self._column.codes[rows[part]]
            yield from map(hash, codes.view(f"V{self._column.dimension}").ravel().tolist())


class FairLock:
    """A lock that a thread which takes it again and again cannot keep from the others."""

    def __init__(self) -> None:
        self._queue = Lock()
        self._lock = Lock()

    def __enter__(self) -> None:
        with self._queue:
            self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()
