"""The links of an HNSW graph as bytes, and into hnswlib and back. No vector is among them.

A graph has nodes; a node stands for one distinct vector and names one live row that holds it.
Nodes are numbered by ascending row. Erased rows have no node, so nothing links from or to them.

Layout, version 1, little-endian, no padding:

    header, 32 bytes
        u16 version = 1
        u16 dimension
        u16 M                 links of a node on an upper level; 2 M on level 0 (2 <= M <= 64)
        u16 ef_construction   candidates looked at when the links were made (>= M)
        u32 rows              rows 0 .. rows-1 of the column are in the graph
        u32 nodes             how many
        u32 entry             the node where a search begins; 0 if there are none
        u32 removed           nodes taken out since the graph was last built anew
        u32 upper             how many link lists lie above level 0: the sum of all levels
        u32 links             how many links there are in all lists
    present   ceil(rows / 8) bytes; bit r % 8 (from the lowest) of byte r // 8 is set if row r
              is that of a node; bits past the last row are zero
    levels    u8 for each node: its highest level, at most 31
    sizes     u8 for each list: how many links it has; first the lists of level 0 in node order,
              then, node by node, those of levels 1 .. its highest
    links     for each list in that order the linked nodes, ascending: the first as it is, every
              other as the difference to the one before, less 1; each number as LEB128 (seven bits
              a byte, lowest first, the high bit set on all bytes but the last; at most 4 bytes)

A list never holds its own node, and a list of level l holds only nodes of at least that level. The
entry is a node of the highest level.

The graph is that of Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search
using Hierarchical Navigable Small World graphs" (arXiv:1603.09320).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import hnswlib
import numpy as np
from numpy.typing import NDArray

from mimir_core.errors import VaultDamaged
from mimir_core.index.columns import ERASED, Rows, VectorColumn, slices

VERSION = 1
_HEADER = struct.Struct("<4H6I")
_MAX_M = 64
_MAX_LEVEL = 31
_MAX_LEB = 4
_SEED = 100
_HINT = "it is a view: delete it and it is rebuilt from the vectors"

Bytes = NDArray[np.uint8]
Nodes = NDArray[np.int64]
Links = NDArray[np.uint32]


@dataclass(frozen=True, repr=False)
class GraphState:
    """The links of a graph, in the order of the byte layout above; checked when made.

    Raises:
        VaultDamaged: the parts contradict each other, so that hnswlib must not see them.
    """

    dimension: int
    m: int
    ef_construction: int
    rows: int  # of the column, that the graph covers
    entry: int
    removed: int
    node_rows: Rows  # [nodes], ascending
    levels: Bytes  # [nodes]
    sizes: Bytes  # [nodes + sum of levels]
    links: Links  # [sum of sizes], ascending within a list

    def __post_init__(self) -> None:
        _require(2 <= self.m <= _MAX_M and self.ef_construction >= self.m, "parameters")
        _require(len(self.node_rows) == 0 or bool(self.node_rows[-1] < self.rows), "rows")
        _require(int(self.levels.max(initial=0)) <= _MAX_LEVEL, "levels")
        _require(
            len(self.sizes) == len(self.node_rows) + int(self.levels.sum(dtype=np.int64)), "lists"
        )
        _require(len(self.links) == int(self.sizes.sum(dtype=np.int64)), "links")
        self._check_entry()
        self._check_links()

    def __repr__(self) -> str:
        return f"GraphState(nodes={len(self.node_rows)}, rows={self.rows})"

    def lists(self) -> tuple[Links, Bytes]:
        """For each list, in the order of `sizes`: the node it belongs to, and its level."""
        nodes = np.arange(len(self.node_rows), dtype=np.uint32)
        upper = np.repeat(nodes, self.levels)
        ranks = 1 + _ranges(np.zeros(len(nodes), np.int64), self.levels)
        levels = np.concatenate([np.zeros(len(nodes), np.uint8), ranks.astype(np.uint8)])
        return np.concatenate([nodes, upper]), levels

    def to_bytes(self) -> bytes:
        """The byte layout of the module's docstring."""
        nodes = len(self.node_rows)
        upper = len(self.sizes) - nodes
        header = _HEADER.pack(
            VERSION, self.dimension, self.m, self.ef_construction,
            self.rows, nodes, self.entry, self.removed, upper, len(self.links),
        )  # fmt: skip
        present = np.zeros(self.rows, np.bool_)
        present[self.node_rows] = True
        fixed = [np.packbits(present, bitorder="little"), self.levels, self.sizes]
        parts = [
            header,
            *(part.tobytes() for part in fixed),
            _to_leb(_gaps(self.links, self.sizes)),
        ]
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> GraphState:
        """Read what `to_bytes` wrote.

        Raises:
            VaultDamaged: the bytes are anything else.
        """
        _require(len(data) >= _HEADER.size, "header")
        version, dimension, m, ef, covered, nodes, entry, removed, upper, links = _HEADER.unpack(
            data[: _HEADER.size]
        )
        _require(version == VERSION, "version")
        sizes = [(covered + 7) // 8, nodes, nodes + upper]
        _require(_HEADER.size + sum(sizes) + links <= len(data), "length")
        body = np.frombuffer(data, np.uint8, offset=_HEADER.size)
        present, levels, counts, rest = np.split(body, np.cumsum(sizes))
        rows = np.flatnonzero(np.unpackbits(present, count=covered, bitorder="little"))
        _require(len(rows) == nodes and int(counts.sum(dtype=np.int64)) == links, "counts")
        numbers = _links(_from_leb(rest, links), counts)
        return cls(dimension, m, ef, covered, entry, removed, rows, levels, counts, numbers)

    def _check_entry(self) -> None:
        if len(self.node_rows):
            _require(0 <= self.entry < len(self.node_rows), "entry")
            _require(bool(self.levels[self.entry] == self.levels.max()), "entry level")
        else:
            _require(self.entry == 0, "entry")

    def _check_links(self) -> None:
        owners, ranks = self.lists()
        _require(bool((self.sizes <= np.where(ranks > 0, self.m, 2 * self.m)).all()), "list size")
        _require(not len(self.links) or bool(self.links.max() < len(self.node_rows)), "link")
        _require(bool((self.links != np.repeat(owners, self.sizes)).all()), "link to itself")
        _require(bool((self.levels[self.links] >= np.repeat(ranks, self.sizes)).all()), "level")


def empty(dimension: int, m: int, ef_construction: int, room: int) -> Any:
    """A new hnswlib index for `room` unit vectors; its distance is 1 - cosine."""
    index = hnswlib.Index(space="ip", dim=dimension)
    index.init_index(max_elements=room, M=m, ef_construction=ef_construction, random_seed=_SEED)
    return index


def load(state: GraphState, column: VectorColumn) -> Any:
    """An hnswlib index with the links of `state` and the vectors of `column`.

    Labels are node numbers. A state is consistent once it exists; hnswlib itself checks nothing.

    Raises:
        VaultDamaged: the state is not one of this column.
    """
    nodes = len(state.node_rows)
    _require(state.dimension == column.dimension and state.rows <= len(column), "column")
    _require(nodes > 0 and bool((column.owners[state.node_rows] != ERASED).all()), "rows")
    level0 = np.zeros(nodes, _level0_record(state.m, state.dimension))
    upper = np.zeros(len(state.sizes) - nodes, _upper_record(state.m))
    cut = int(state.sizes[:nodes].sum(dtype=np.int64))
    _fill(level0, state.sizes[:nodes], state.links[:cut])
    _fill(upper, state.sizes[nodes:], state.links[cut:])
    level0["label"] = np.arange(nodes)
    for part in slices(nodes):
        rows = state.node_rows[part]
        np.multiply(column.codes[rows], column.scales[rows, None], out=level0["vector"][part])
    return hnswlib.Index(params=_params(state, level0, upper))


def save(params: dict[str, Any], live: Rows, covered: int, removed: int) -> GraphState:
    """Take the links out of an hnswlib index, without those from and to dead nodes.

    Args:
        params: of `index.__getstate__()`; labels are node numbers, 0 .. n-1.
        live: for each node a live row that holds its vector, or -1.
        covered: how many rows of the column the index covers.
        removed: how many nodes were taken out before.
    """
    level0 = params["data_level0"].view(_level0_record(params["M"], params["dim"]))
    upper = params["link_lists"].view(_upper_record(params["M"]))
    levels = params["element_levels"][: len(level0)]
    rows = live[level0["label"].astype(np.int64)]  # hnswlib numbers nodes its own way
    kept = np.argsort(rows)[np.count_nonzero(rows < 0) :]
    numbers = np.full(len(rows), -1, np.int32)
    numbers[kept] = np.arange(len(kept))
    kept_upper = _ranges((np.cumsum(levels) - levels)[kept], levels[kept])
    sizes0, links0 = _renumbered(level0, kept, numbers)
    sizes1, links1 = _renumbered(upper, kept_upper, numbers)
    levels = levels[kept].astype(np.uint8)
    return GraphState(
        dimension=params["dim"],
        m=params["M"],
        ef_construction=params["ef_construction"],
        rows=covered,
        entry=int(levels.argmax()) if len(levels) else 0,
        removed=removed + len(rows) - len(kept),
        node_rows=rows[kept],
        levels=levels,
        sizes=np.concatenate([sizes0, sizes1]),
        links=np.concatenate([links0, links1]),
    )


def _level0_record(m: int, dimension: int) -> np.dtype[np.void]:
    """How hnswlib lays out a node in memory, in the machine's byte order."""
    return np.dtype(
        [*_links_fields(2 * m), ("vector", np.float32, dimension), ("label", np.uint64)]
    )


def _upper_record(m: int) -> np.dtype[np.void]:
    """How hnswlib lays out a link list above level 0."""
    return np.dtype(_links_fields(m))


def _links_fields(room: int) -> list[Any]:
    return [("size", np.uint16), ("deleted", np.uint16), ("links", np.uint32, room)]


def _params(state: GraphState, level0: NDArray[np.void], upper: NDArray[np.void]) -> dict[str, Any]:
    """What `hnswlib.Index(params=...)` wants; layout constants come from hnswlib itself."""
    nodes = len(level0)
    params: dict[str, Any] = empty(
        state.dimension, state.m, state.ef_construction, nodes
    ).__getstate__()[0]
    if params["size_data_per_element"] != level0.itemsize:
        raise RuntimeError("this hnswlib lays out its memory in another way")
    return params | {
        "ep_added": True,
        "cur_element_count": nodes,
        "max_level": int(state.levels.max()),
        "enterpoint_node": state.entry,
        "has_deletions": False,
        "label_lookup_external": np.arange(nodes, dtype=np.uint64),
        "label_lookup_internal": np.arange(nodes, dtype=np.uint32),
        "element_levels": state.levels.astype(np.int32),
        "data_level0": level0.view(np.int8),
        "link_lists": upper.view(np.int8),
    }


def _fill(records: NDArray[np.void], sizes: Bytes, links: Links) -> None:
    """Write link lists into records."""
    records["size"] = sizes
    room = np.arange(records.dtype["links"].shape[0])
    records["links"][room < sizes[:, None]] = links


def _renumbered(
    records: NDArray[np.void], chosen: Nodes, numbers: NDArray[np.int32]
) -> tuple[Bytes, Links]:
    """Sizes and links of the chosen records in new numbers, ascending, without those below 0."""
    links = numbers[records["links"][chosen]]
    room = np.arange(links.shape[1])
    links[room >= records["size"][chosen][:, None]] = -1
    links.sort(axis=1)
    kept = links >= 0
    return kept.sum(axis=1).astype(np.uint8), links[kept].astype(np.uint32)


def _ranges(starts: Nodes, lengths: NDArray[Any]) -> Nodes:
    """Concatenate range(start, start + length) of each pair."""
    lengths = lengths.astype(np.int64)
    ends = np.cumsum(lengths)
    offsets: Nodes = np.repeat(starts - (ends - lengths), lengths)
    return np.arange(len(offsets)) + offsets


def _heads(sizes: Bytes) -> Nodes:
    """Where each list that is not empty begins."""
    heads: Nodes = (np.cumsum(sizes, dtype=np.int64) - sizes)[sizes > 0]
    return heads


def _gaps(links: Links, sizes: Bytes) -> Links:
    """Ascending lists as differences, less 1; the first of a list as it is."""
    gaps = links.copy()
    gaps[1:] -= links[:-1] + np.uint32(1)
    heads = _heads(sizes)
    gaps[heads] = links[heads]
    return gaps


def _links(gaps: Links, sizes: Bytes) -> Links:
    """The inverse of `_gaps`, modulo 2^32."""
    heads, sums = _heads(sizes), gaps + np.uint32(1)
    sums[heads] -= np.uint32(1)
    np.cumsum(sums, out=sums)
    before = sums[heads] - gaps[heads]
    sums -= np.repeat(before, sizes[sizes > 0])
    return sums


def _to_leb(numbers: Links) -> bytes:
    """LEB128 of each number below 2^28."""
    _require(not len(numbers) or bool(numbers.max() < 1 << 7 * _MAX_LEB), "nodes")
    used = numbers[:, None] >= np.array([0, 1 << 7, 1 << 14, 1 << 21], np.uint32)
    septets = (numbers[:, None] >> np.arange(0, 28, 7, dtype=np.uint32)).astype(np.uint8) & 0x7F
    septets[:, :-1] |= used[:, 1:].astype(np.uint8) << 7
    return septets[used].tobytes()


def _from_leb(data: Bytes, count: int) -> Links:
    """The inverse of `_to_leb`; the bytes must hold exactly `count` numbers."""
    ends = np.flatnonzero(data < 0x80)
    _require(len(ends) == count and len(data) == (ends[-1] + 1 if count else 0), "links")
    lengths = np.diff(ends, prepend=-1)
    _require(bool((lengths <= _MAX_LEB).all()), "link length")
    numbers = np.zeros(count, np.uint32)
    for back in range(_MAX_LEB):  # from the last byte of a number, its highest, to the first
        long = lengths > back
        numbers[long] = numbers[long] << 7 | data[ends[long] - back] & 0x7F
    return numbers


def _require(holds: bool, part: str) -> None:
    if not holds:
        raise VaultDamaged(f"the vector graph is not consistent ({part})", hint=_HINT)
