"""One vector space of an open vault: its column in memory, its index, and what was lost."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mimir_core.crypto.aead import OpenFailed
from mimir_core.crypto.graph import open_graph, seal_graph
from mimir_core.errors import VaultDamaged
from mimir_core.index.columns import ERASED, VectorColumn
from mimir_core.index.graph import GraphState
from mimir_core.index.vectors import VectorView
from mimir_core.vault.container import Address, Container
from mimir_core.vault.layout import Space, Stream, vector_rows

Rows = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int8]
Scales = npt.NDArray[np.float32]
Owners = npt.NDArray[np.uint32]
VectorRows = tuple[Codes, Scales, Owners]


class SpaceState:
    """Vectors of one model. The vault's lock guards it."""

    def __init__(self, number: int, dimension: int) -> None:
        self.number = number
        self.dimension = dimension
        self.column = VectorColumn(dimension)
        self.view = VectorView(self.column)
        self.lost_blocks: list[int] = []
        """Indexes of vector blocks that are not authentic; their rows count as erased."""
        self.graph_lost = False
        """Whether the stored graph cannot be used, so that the next checkpoint replaces it."""

    def follow(self, container: Container, space: Space) -> None:
        """Reads the rows that the root has and this column has not."""
        first = len(self.column)
        if first >= space.rows:
            return
        per_block = vector_rows(self.dimension)
        indexes = range(first // per_block, -(-space.rows // per_block))
        room = len(indexes) * per_block
        codes = np.empty((room, self.dimension), np.int8)
        scales, owners = np.empty(room, np.float32), np.empty(room, np.uint32)
        for number, index in enumerate(indexes):
            at = slice(number * per_block, (number + 1) * per_block)
            codes[at], scales[at], owners[at] = self._rows(container, index)
        start = indexes.start * per_block
        wanted = slice(first - start, space.rows - start)
        self.column.append(codes[wanted], scales[wanted], owners[wanted])

    def mended(self, changed: set[Address]) -> None:
        """Takes note that another process wrote these blocks."""
        stream = Stream.VECTORS + self.number
        self.lost_blocks = [i for i in self.lost_blocks if (stream, i) not in changed]

    def erase(self, ordinals: Rows) -> None:
        """Takes the rows of these nodes out of column and index."""
        rows = self.rows_of(ordinals)
        if len(rows):
            self.column.zero(rows)
            self.view.removed(rows)

    def owns_any(self, mask: npt.NDArray[np.bool_]) -> bool:
        """Whether any of the nodes in a mask, bool [nodes], has a vector here."""
        owners = self.column.owners
        return bool(mask[owners[owners < len(mask)]].any())  # an erased row has no owner

    def rows_of(self, ordinals: Rows) -> Rows:
        """The rows that these nodes own."""
        return self.column.rows_of(ordinals)

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

    def _rows(self, container: Container, index: int) -> VectorRows:
        rows, dimension = vector_rows(self.dimension), self.dimension
        try:
            block = container.read(Stream.VECTORS + self.number, index)
        except VaultDamaged:
            self.lost_blocks.append(index)
            block = bytes(rows * (dimension + 4)) + np.full(rows, ERASED, "<u4").tobytes()
        block = block.ljust(rows * (dimension + 8), b"\0")
        return (
            np.frombuffer(block, np.int8, rows * dimension).reshape(rows, dimension),
            np.frombuffer(block, "<f4", rows, rows * dimension),
            np.frombuffer(block, "<u4", rows, rows * (dimension + 4)),
        )
