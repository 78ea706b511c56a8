"""One vector space of an open vault: its column in memory, its index, and what was lost."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress

import numpy as np
import numpy.typing as npt

from mimir_core.crypto.aead import OpenFailed
from mimir_core.crypto.graph import open_graph, seal_graph
from mimir_core.errors import SpaceMismatch, VaultDamaged, VectorsLost
from mimir_core.index.columns import ERASED, VectorColumn
from mimir_core.index.graph import GraphState
from mimir_core.index.vectors import VectorView
from mimir_core.vault.container import Address, Container
from mimir_core.vault.edit import LOST_OWNER
from mimir_core.vault.layout import MAX_VECTORS, Space, Stream, vector_rows

Rows = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int8]
Scales = npt.NDArray[np.float32]
Owners = npt.NDArray[np.uint32]
Mask = npt.NDArray[np.bool_]
VectorRows = tuple[Codes, Scales, Owners]


class SpaceState:
    """Vectors of one model. The vault's lock guards it."""

    def __init__(self, number: int, dimension: int) -> None:
        self.number = number
        self.dimension = dimension
        self.column = VectorColumn(dimension)
        self.view = VectorView(self.column)
        self.lost_blocks: list[int] = []
        """Indexes of vector blocks that are not authentic, or hold rows that nobody may own; what
        cannot be read and what nobody may own counts as erased."""
        self.graph_lost = False
        """Whether the stored graph cannot be used, so that the next checkpoint replaces it."""

    def follow(
        self, container: Container, space: Space, live: Mask, changed: Collection[Address] = ()
    ) -> SpaceState:
        """The space with the rows that the root has and this column has not.

        All of it is read anew where another process wrote a block that is lost here, or gave new
        rows to memories that have some here: damage was repaired that one of the two never saw.

        Args:
            live: Which nodes may own vectors, bool [nodes].
            changed: What other processes wrote since.
        """
        first = len(self.column)
        if any((self._stream, index) in changed for index in self.lost_blocks):
            return self.anew(container, space, live)
        if first < space.rows and self._append(container, space, live) and first:
            return self.anew(container, space, live)
        return self

    def anew(self, container: Container, space: Space, live: Mask) -> SpaceState:
        """The same space, read from its first row."""
        return SpaceState(self.number, self.dimension).follow(container, space, live)

    def reread(self, container: Container, space: Space, live: Mask) -> SpaceState:
        """The space read anew if a lost block opens now; else itself, with all that do not open."""
        blocks = range(-(-space.rows // vector_rows(self.dimension)))
        unreadable = set(self.unreadable(container, blocks))
        if not unreadable.issuperset(self.lost_blocks):
            return self.anew(container, space, live)
        self.lost_blocks = sorted(unreadable)
        return self

    def unreadable(self, container: Container, indexes: Iterable[int]) -> list[int]:
        """Which of these vector blocks cannot be read now, ascending."""
        found = []
        for index in sorted(indexes):
            try:
                self._read(container, index)
            except VaultDamaged:
                found.append(index)
        return found

    def erase(self, ordinals: Rows) -> None:
        """Takes the rows of these nodes out of column and index."""
        rows = self.rows_of(ordinals)
        if len(rows):
            self.column.zero(rows)
            self.view.removed(rows)

    def owns_any(self, mask: Mask) -> bool:
        """Whether any of the nodes in a mask, bool [nodes], has a vector here."""
        owners = self.column.owners
        return bool(mask[owners[owners < len(mask)]].any())  # an erased row has no owner

    def rows_of(self, ordinals: Rows) -> Rows:
        """The rows that these nodes own."""
        return self.column.rows_of(ordinals)

    def lost_rows(self, container: Container, staying: Mask) -> Rows:
        """Rows of lost blocks whose memories do not stay, as far as they can be read by now."""
        found = [np.empty(0, np.int64)]
        for index in self.lost_blocks:
            with suppress(VaultDamaged):
                _, _, owners = self._read(container, index)
                known = owners[: len(self.column) - index * len(owners)]
                doomed = (known < LOST_OWNER) & ~_among(known, staying)
                found.append(index * len(owners) + np.flatnonzero(doomed))
        return np.concatenate(found)

    def sealed_graph(self) -> tuple[bytes, bytes, int] | None:
        """The index's graph as (key, sealed bytes, rows covered); None while there is none."""
        graph = self.view.state()
        if graph is None:
            return None
        key, sealed = seal_graph(self.number, graph.to_bytes())
        return key, sealed, graph.rows

    def stored_graph(self, container: Container, space: Space) -> bytes | None:
        """The graph the vault holds, opened; None if there is none, or it is to be rebuilt."""
        if not space.graph_size:
            return None
        stream = Stream.GRAPH + self.number
        try:
            parts = container.read_many(stream, container.indexes(stream))
            sealed = b"".join(parts)[: space.graph_size]
            return open_graph(space.graph_key, self.number, sealed)
        except (VaultDamaged, OpenFailed):
            self.graph_lost = True
            return None

    def attach(self, graph: bytes) -> None:
        """Takes an opened graph into use; searches are exact until then, and if it is damaged."""
        try:
            self.view.attach(GraphState.from_bytes(graph))
        except VaultDamaged:
            self.graph_lost = True

    @property
    def _stream(self) -> int:
        return Stream.VECTORS + self.number

    def _append(self, container: Container, space: Space, live: Mask) -> bool:
        """Reads the rows from the column's end on; returns whether some contradict the others."""
        first, per_block = len(self.column), vector_rows(self.dimension)
        blocks = range(first // per_block, -(-space.rows // per_block))
        start = blocks.start * per_block
        wanted = slice(first - start, space.rows - start)
        codes, scales, owners = self._blocks(container, blocks)
        codes, scales, owners = codes[wanted], scales[wanted], owners[wanted]
        strays = self._strays(owners, live)
        codes[strays], scales[strays], owners[strays] = 0, 0, ERASED
        self.column.append(codes, scales, owners)
        blocks_of_strays = ((first + strays) // per_block).tolist()
        self.lost_blocks = sorted({*self.lost_blocks, *blocks_of_strays})
        return len(strays) > 0

    def _blocks(self, container: Container, blocks: range) -> VectorRows:
        """The rows of these blocks, one after the other."""
        per_block = vector_rows(self.dimension)
        room = len(blocks) * per_block
        codes = np.empty((room, self.dimension), np.int8)
        scales, owners = np.empty(room, np.float32), np.empty(room, np.uint32)
        for number, index in enumerate(blocks):
            at = slice(number * per_block, (number + 1) * per_block)
            codes[at], scales[at], owners[at] = self._found(container, index)
        return codes, scales, owners

    def _strays(self, owners: Owners, live: Mask) -> Rows:
        """Which rows nobody may own: their memory is gone, has others before them, or too many.

        Args:
            owners: Of rows that follow the column's last.
        """
        begins = np.ones(len(owners), np.bool_)
        begins[1:] = owners[1:] != owners[:-1]
        heads = np.flatnonzero(begins & _among(owners, live))
        heads = heads[np.unique(owners[heads], return_index=True)[1]]
        heads = heads[self.column.first_rows(owners[heads].astype(np.int64)) < 0]
        run = np.cumsum(begins) - 1
        heads = heads[np.bincount(run)[run[heads]] <= MAX_VECTORS]
        proper = np.zeros(len(owners), np.bool_)
        proper[heads] = True
        return np.flatnonzero((owners != ERASED) & ~proper[begins][run])

    def _found(self, container: Container, index: int) -> VectorRows:
        """A block's rows; those of a lost one are nobody's."""
        try:
            return self._read(container, index)
        except VaultDamaged:
            self.lost_blocks.append(index)
            rows, dimension = vector_rows(self.dimension), self.dimension
            nobody = np.full(rows, ERASED, np.uint32)
            return np.zeros((rows, dimension), np.int8), np.zeros(rows, np.float32), nobody

    def _read(self, container: Container, index: int) -> VectorRows:
        """A block's rows as they are stored. Raises VaultDamaged."""
        rows, dimension = vector_rows(self.dimension), self.dimension
        block = container.read(self._stream, index).ljust(rows * (dimension + 8), b"\0")
        return (
            np.frombuffer(block, np.int8, rows * dimension).reshape(rows, dimension),
            np.frombuffer(block, "<f4", rows, rows * dimension),
            np.frombuffer(block, "<u4", rows, rows * (dimension + 4)),
        )


def without_vectors(spaces: Iterable[SpaceState], nodes: Mask) -> Mask:
    """Which of the nodes, bool [nodes], have a vector in none of the spaces."""
    bare = nodes.copy()
    for held in spaces:
        owners = held.column.owners
        bare[owners[owners < len(bare)]] = False  # an erased row has no owner
    return bare


def check_model(
    spaces: Iterable[SpaceState], others: Collection[SpaceState], nodes: Mask
) -> None:
    """Checks that no vector of the nodes, bool [nodes], is in one of the others among the spaces.

    Raises:
        SpaceMismatch: some are.
        VectorsLost: some may have been.
    """
    if any(other.owns_any(nodes) for other in others):
        raise SpaceMismatch("the vectors of these memories were made by another model")
    lost = any(other.lost_blocks for other in others)
    if lost and without_vectors(spaces, nodes).any():
        raise VectorsLost(
            "vectors of another model are damaged, and may be those of these memories",
            hint="call `Mimir.reembed()` with the embedder that made them",
        )


def _among(owners: Owners, nodes: Mask) -> Mask:
    """Which rows are those of the nodes, bool [nodes]."""
    found = owners < len(nodes)
    found[found] = nodes[owners[found]]
    return found
