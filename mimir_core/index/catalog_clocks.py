"""Lamport clocks and the order that they give: by (clock, node id), FORMAT.md, section 7."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mimir_core.errors import InvalidArgument
from mimir_core.index.catalog_columns import CatalogColumns
from mimir_core.index.catalog_tables import Column, Ordinals

NodeId: TypeAlias = Callable[[int], bytes]
Clock: TypeAlias = tuple[int, int]

LEAP: Final = 1 << 32
"""How far a clock may lie beyond every clock before it. No vault has as many records, so that no
device is ever so far ahead of another, and no chain of leaps reaches the end of 64 bits."""


class Clocks:
    """Clocks of all memories, erased ones included, beside the prefixes of their ids."""

    def __init__(self, prefix: Column[np.uint64], node_id: NodeId | None) -> None:
        self.column: Column[np.uint64] = Column(np.uint64)
        self.latest = 0
        self._prefix = prefix
        self._node_id = node_id

    def check(self, columns: CatalogColumns, children: Ordinals, parents: Ordinals) -> None:
        """Checks the clocks of rows to come; 0 stands for an erased row's that is not known.

        Args:
            children, parents: Ordinals at the ends of the rows' edges.

        Raises:
            InvalidArgument: if one is not above its parents' clocks, or leaps ahead of all others.
        """
        clocks = columns.lamport
        before = np.maximum.accumulate(np.append(np.uint64(self.latest), clocks[:-1]))
        if ((clocks == 0) & (columns.erased == 0)).any() or (clocks > before + LEAP).any():
            raise InvalidArgument("a clock is ahead of every other")
        first = len(self.column)
        old, own = parents < first, clocks[children - first]
        known = np.empty(len(parents), np.uint64)
        known[old] = self.column.view[parents[old]]
        known[~old] = clocks[parents[~old] - first]
        if ((own <= known) & (own > 0)).any():
            raise InvalidArgument("a clock is not above a parent's")

    def extend(self, columns: CatalogColumns) -> None:
        """Appends checked clocks."""
        self.column.append(columns.lamport)
        self.latest = max(self.latest, int(columns.lamport.max(initial=0)))

    def sorted(self, rows: Ordinals) -> Ordinals:
        """Returns rows by (clock, node id)."""
        clocks = self.column.view[rows]
        if (clocks[1:] > clocks[:-1]).all():
            return rows
        prefixes = _in_order(self._prefix.view[rows])
        order = np.lexsort((prefixes, clocks))
        clocks, prefixes = clocks[order], prefixes[order]
        tied = (clocks[1:] == clocks[:-1]) & (prefixes[1:] == prefixes[:-1])
        found: Ordinals = rows[order]
        return np.array(sorted(found.tolist(), key=self._whole)) if tied.any() else found

    def last(self, rows: Iterable[int]) -> int | None:
        """Returns the last of rows by (clock, node id), None of no rows."""
        best = list(rows)
        if len(best) > 1:
            clocks = [self._clock(row) for row in best]
            latest = max(clocks)
            best = [row for row, clock in zip(best, clocks, strict=True) if clock == latest]
        return max(best, key=self._whole) if len(best) > 1 else next(iter(best), None)

    def _clock(self, row: int) -> Clock:
        prefix = self._prefix.view.item(row).to_bytes(8, "little")
        return self.column.view.item(row), int.from_bytes(prefix, "big")

    def _whole(self, row: int) -> tuple[Clock, bytes]:
        """What orders a row for good, where others have its clock and prefix."""
        return self._clock(row), b"" if self._node_id is None else self._node_id(row)


def _in_order(prefixes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The prefixes as numbers that order as their bytes do."""
    return np.frombuffer(prefixes.astype("<u8").tobytes(), ">u8").astype(np.uint64)
