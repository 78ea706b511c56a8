"""Root, map and stream numbers of the vault (FORMAT.md, sections 5, 6 and 9)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np

from mimir_core.crypto.aead import TAG_SIZE
from mimir_core.crypto.blocks import CONTENT_SIZE
from mimir_core.index.columns import MAX_DIMENSION

GROWTH = 64
MAP_ENTRY = np.dtype([("tag", f"V{TAG_SIZE}"), ("stream", "<u4"), ("index", "<u4")])
MAP_ENTRIES = CONTENT_SIZE // MAP_ENTRY.itemsize
KEY_ENTRIES = CONTENT_SIZE // 32
MAX_SPACES = 16
MAX_VECTORS = 64
SLOTS = 8

_HEAD = struct.Struct("<32sQ8sQQIIII8sII")
_SPACE = struct.Struct("<32sIBB2xIII32s12x")
_PAGE = struct.Struct("<I16s")
_SPACES_AT = 96
_PAGES_AT = _SPACES_AT + MAX_SPACES * _SPACE.size
MAX_MAP_PAGES = (CONTENT_SIZE - _PAGES_AT) // _PAGE.size
_COSINE, _INT8 = 1, 1
NO_KEY = bytes(32)


class Stream(IntEnum):
    """What a block is for."""

    FREE = 0
    ROOT = 1
    MAP = 2
    LOG = 3
    KEYBOOK = 4
    SEGMENTS = 5
    VECTORS = 256
    GRAPH = 512


def vector_rows(dimension: int) -> int:
    """Rows of a vector column in one block."""
    return CONTENT_SIZE // (dimension + 8)


@dataclass(frozen=True, slots=True)
class Space:
    """A vector space of the vault: the model's digest (32 bytes), its dimension, its rows.

    `graph_rows`, `graph_size` and `graph_key` describe the stored graph; all zero where none is.
    """

    digest: bytes
    dimension: int
    rows: int = 0
    graph_rows: int = 0
    graph_size: int = 0
    graph_key: bytes = field(default=NO_KEY, repr=False)

    def continues(self, old: Space) -> bool:
        """Whether this may be a later state of the same space."""
        same = (self.digest, self.dimension) == (old.digest, old.dimension)
        return same and self.rows >= old.rows

    def encode(self) -> bytes:
        graph = (self.graph_rows, self.graph_size, self.graph_key)
        return _SPACE.pack(self.digest, self.dimension, _COSINE, _INT8, self.rows, *graph)

    @classmethod
    def decode(cls, data: bytes) -> Space:
        digest, dimension, metric, dtype, *rest = _SPACE.unpack(data)
        if (metric, dtype) != (_COSINE, _INT8):
            raise ValueError("unknown metric or dtype")
        if not 1 <= dimension <= MAX_DIMENSION:
            raise ValueError("a dimension beyond its bounds")
        return cls(digest, dimension, *rest)


@dataclass(frozen=True, slots=True)
class MapPage:
    """Where a map page lies and the tag it must carry."""

    number: int
    tag: bytes


@dataclass(frozen=True, slots=True)
class Root:
    """The root block's content: what one commit made true."""

    preamble_digest: bytes
    commits: int
    device: bytes
    lamport: int = 0
    log_size: int = 0
    nodes: int = 0
    erased: int = 0
    covered: int = 0
    blocks: int = 0
    slot_kinds: bytes = bytes(SLOTS)
    spaces: tuple[Space, ...] = ()
    pages: tuple[MapPage, ...] = ()

    def continues(self, old: Root) -> bool:
        """Whether this may be a later state than `old`: what only grows has not shrunk."""
        kept = zip(old.spaces, self.spaces, strict=False)
        return (
            self.commits > old.commits
            and self.log_size >= old.log_size
            and self.nodes >= old.nodes
            and self.erased >= old.erased
            and len(self.spaces) >= len(old.spaces)
            and all(now.continues(was) for was, now in kept)
        )

    def encode(self) -> bytes:
        head = _HEAD.pack(
            self.preamble_digest,
            self.commits,
            self.device,
            self.lamport,
            self.log_size,
            self.nodes,
            self.erased,
            self.covered,
            self.blocks,
            self.slot_kinds,
            len(self.spaces),
            len(self.pages),
        )
        spaces = b"".join(space.encode() for space in self.spaces)
        pages = b"".join(_PAGE.pack(page.number, page.tag) for page in self.pages)
        return head + spaces.ljust(MAX_SPACES * _SPACE.size, b"\0") + pages

    @classmethod
    def decode(cls, data: bytes) -> Root:
        """Raises ValueError or struct.error if `data` is not a root."""
        *fields, spaces, pages = _HEAD.unpack_from(data)
        if spaces > MAX_SPACES or len(data) != _PAGES_AT + pages * _PAGE.size:
            raise ValueError("root of the wrong shape")
        pieces = [_SPACES_AT + number * _SPACE.size for number in range(spaces)]
        return replace(
            cls(*fields),
            spaces=tuple(Space.decode(data[at : at + _SPACE.size]) for at in pieces),
            pages=tuple(MapPage(*page) for page in _PAGE.iter_unpack(data[_PAGES_AT:])),
        )
