"""The DAG's edges by ordinal: parents, children, and the `follows` chain as arrays."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mimir_core.errors import InvalidArgument
from mimir_core.index.catalog_columns import UNKNOWN_PARENT, CatalogColumns
from mimir_core.index.catalog_tables import Bools, Codes, Column, Lookup, Ordinals
from mimir_core.types import EdgeKind

_FOLLOWS: Final = int(EdgeKind.FOLLOWS)  # numpy compares a plain int several times faster


class Edges:
    """Edges of all memories, erased ones included: erasing content leaves the DAG as it is."""

    def __init__(self) -> None:
        self._offsets: Column[np.int64] = Column(np.int64)
        self._offsets.grow(1, 0)
        self._kinds: Column[np.uint8] = Column(np.uint8)
        self._parents: Column[np.uint32] = Column(np.uint32)
        self._previous: Column[np.int32] = Column(np.int32)
        self._next: Column[np.int32] = Column(np.int32)
        self._inverse = Lookup(self._parents)

    @property
    def previous(self) -> Codes:
        """The first parent that each row follows, -1 none, int32 [n]."""
        return self._previous.view

    @property
    def next(self) -> Codes:
        """The first row that follows each row, -1 none, int32 [n]."""
        return self._next.view

    def check(self, columns: CatalogColumns) -> tuple[Ordinals, Ordinals]:
        """Returns child and parent of each edge to come whose parent is in this vault.

        Raises InvalidArgument if a parent would not lie before its child.
        """
        counts = columns.parent_offsets[1:] - columns.parent_offsets[:-1]
        inside = columns.parent_ordinal != UNKNOWN_PARENT
        first = len(self._previous)
        children = np.arange(first, first + len(columns)).repeat(counts)[inside]
        parents = columns.parent_ordinal[inside].astype(np.int64)
        if (parents >= children).any():
            raise InvalidArgument("a parent comes after its child")
        return children, parents

    def extend(self, columns: CatalogColumns) -> tuple[Ordinals, Ordinals]:
        """Appends the edges of rows; returns child and parent of each `follows` edge."""
        first, total = len(self._previous), len(self._previous) + len(columns)
        counts = columns.parent_offsets[1:] - columns.parent_offsets[:-1]
        self._offsets.append(columns.parent_offsets[1:] + self._offsets.view[-1])
        self._kinds.append(columns.parent_kind)
        self._parents.append(columns.parent_ordinal)
        self._previous.grow(total, -1)
        self._next.grow(total, -1)
        follows = _follows(columns)
        children = np.arange(first, total).repeat(counts)[follows]
        parents = columns.parent_ordinal[follows].astype(np.int64)
        self._link(children, parents)
        return children, parents

    def _link(self, children: Ordinals, parents: Ordinals) -> None:
        # of several edges of one row the first wins: reversed, it is the last one assigned
        self.previous[children[::-1]] = parents[::-1]
        free = self.next[parents] < 0
        self.next[parents[free][::-1]] = children[free][::-1]

    def parents(self, ordinal: int) -> list[tuple[EdgeKind, int | None]]:
        """Returns (kind, ordinal) of each parent in the order given; None if not in this vault."""
        low, high = self._offsets.view[ordinal : ordinal + 2].tolist()
        edges = zip(
            self._kinds.view[low:high].tolist(), self._parents.view[low:high].tolist(), strict=True
        )
        return [(EdgeKind(kind), None if to == UNKNOWN_PARENT else to) for kind, to in edges]

    def children(self, ordinal: int) -> list[tuple[EdgeKind, int]]:
        """Returns (kind, ordinal) of each child, oldest ordinal first."""
        places = self._inverse.positions(ordinal)
        rows = self._offsets.view.searchsorted(places, "right") - 1
        kinds = self._kinds.view[places].tolist()
        return [(EdgeKind(kind), row) for kind, row in zip(kinds, rows.tolist(), strict=True)]

    def columns(
        self, start: int, stop: int
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint8], NDArray[np.uint32]]:
        """Returns offsets from 0, kinds and parents of rows `start` to `stop`."""
        offsets = self._offsets.view[start : stop + 1]
        low, high = int(offsets[0]), int(offsets[-1])
        return (
            (offsets - low).astype(np.uint32),
            self._kinds.view[low:high].copy(),
            self._parents.view[low:high].copy(),
        )


def _follows(columns: CatalogColumns) -> Bools:
    kinds, parents = columns.parent_kind, columns.parent_ordinal
    follows: Bools = np.logical_and(kinds == _FOLLOWS, parents != UNKNOWN_PARENT)
    return follows
