"""The changes of one commit: blocks copied on first write, then handed to the container at once."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

from mimir_core.crypto.blocks import CONTENT_SIZE
from mimir_core.errors import LimitExceeded, VaultDamaged
from mimir_core.vault.container import Address, Container
from mimir_core.vault.layout import KEY_ENTRIES, Root, Stream, vector_rows

_LENGTH = struct.Struct("<I")
ERASED_OWNER = 0xFFFFFFFF
LOST_OWNER = 0xFFFFFFFE
"""Stands where a damaged block was overwritten by a forget: a node that no vault has, so that all
readers report the block until its vectors are there again (FORMAT.md, section 9)."""


class Edit:
    """Collects writes to streams; nothing is stored before `commit`."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._blocks: dict[Address, bytearray] = {}
        self._drops: set[Address] = set()
        self.log_end: bytes | None = None
        """What the log's last block will hold, if the log grows."""
        self.replaces = False
        """Whether a damaged block goes, in which what was forgotten may stand."""

    def write(self, stream: int, index: int, offset: int, data: bytes) -> None:
        """Writes into a block, which grows with zeros as far as it must."""
        block = self._block(stream, index)
        if len(block) < offset + len(data):
            block.extend(bytes(offset + len(data) - len(block)))
        block[offset : offset + len(data)] = data

    def start(self, stream: int, index: int, content: bytes) -> None:
        """Starts a block, unless it is changed already, from what it holds, without reading it."""
        self._blocks.setdefault((stream, index), bytearray(content))

    def replace(self, stream: int, index: int) -> None:
        """Starts a block afresh, without reading what it held."""
        self._blocks[stream, index] = bytearray()
        self.replaces = True

    def append_log(self, size: int, data: bytes) -> int:
        """Appends to a log of `size` bytes; returns its new size."""
        position = 0
        while position < len(data):
            index, offset = divmod(size + position, CONTENT_SIZE)
            piece = data[position : position + CONTENT_SIZE - offset]
            self.write(Stream.LOG, index, offset, piece)
            self.log_end = bytes(self._block(Stream.LOG, index))
            position += len(piece)
        return size + len(data)

    def set_key(self, ordinal: int, entry: bytes) -> None:
        """Sets a node's keybook entry, 32 bytes."""
        index, row = divmod(ordinal, KEY_ENTRIES)
        self.write(Stream.KEYBOOK, index, 32 * row, entry)

    def set_rows(
        self,
        space: int,
        first: int,
        codes: npt.NDArray[np.int8],
        scales: npt.NDArray[np.float32],
        owners: npt.NDArray[np.uint32],
    ) -> None:
        """Writes consecutive vector rows, codes [n, dim], from row `first` on."""
        per_block = vector_rows(codes.shape[1])
        done = 0
        while done < len(codes):
            index, row = divmod(first + done, per_block)
            until = min(len(codes), done + per_block - row)
            piece = slice(done, until)
            self._set_block_rows(space, index, row, codes[piece], scales[piece], owners[piece])
            done = until

    def erase_row(self, space: int, dimension: int, row: int) -> None:
        """Zeroes one vector row and marks it as nobody's."""
        self.set_rows(
            space,
            row,
            np.zeros((1, dimension), np.int8),
            np.zeros(1, np.float32),
            np.full(1, ERASED_OWNER, np.uint32),
        )

    def put_blob(self, stream: int, first: int, last: int, data: bytes) -> None:
        """Stores a blob in parts from index `first`; stale parts up to `last` become free.

        Raises:
            LimitExceeded: if the parts do not fit below `last`.
        """
        parts = range(first, first + -(-len(data) // CONTENT_SIZE))
        if parts.stop > last:
            raise LimitExceeded("a view is larger than the format allows")
        for number, index in enumerate(parts):
            at = number * CONTENT_SIZE
            self._blocks[stream, index] = bytearray(data[at : at + CONTENT_SIZE])
            self._drops.discard((stream, index))
        self.drop(stream, parts.stop, last)

    def drop(self, stream: int, first: int, last: int) -> None:
        """Frees a stream's blocks from index `first` up to the first absent one, below `last`."""
        for index in range(first, last):
            if not self._container.has(stream, index):
                return
            self._drops.add((stream, index))

    def drop_all(self, stream: int) -> None:
        """Frees every block of a stream, but for those that are put afterwards."""
        self._drops.update((stream, index) for index in self._container.indexes(stream))

    def commit(self, root: Root, preamble: bytes | None = None) -> None:
        """Commits everything with `root`; see `Container.commit`."""
        puts = {address: bytes(block) for address, block in self._blocks.items()}
        self._container.commit(root, puts, self._drops, preamble)

    def _block(self, stream: int, index: int) -> bytearray:
        block = self._blocks.get((stream, index))
        if block is None:
            held = self._container.has(stream, index)
            block = bytearray(self._container.read(stream, index) if held else b"")
            self._blocks[stream, index] = block
        return block

    def _set_block_rows(
        self,
        space: int,
        index: int,
        row: int,
        codes: npt.NDArray[np.int8],
        scales: npt.NDArray[np.float32],
        owners: npt.NDArray[np.uint32],
    ) -> None:
        dimension = codes.shape[1]
        rows, stream = vector_rows(dimension), Stream.VECTORS + space
        self.write(stream, index, row * dimension, codes.tobytes())
        at = rows * dimension
        self.write(stream, index, at + 4 * row, scales.astype("<f4").tobytes())
        self.write(stream, index, at + 4 * (rows + row), owners.astype("<u4").tobytes())


def read_blob(container: Container, stream: int, first: int) -> bytes:
    """Reads a blob that starts with its own length (`u32`, without itself).

    Raises:
        VaultDamaged: if a part is missing or not authentic.
    """
    head = container.read(stream, first)
    if len(head) < _LENGTH.size:
        raise VaultDamaged("a view is truncated")
    size = _LENGTH.size + _LENGTH.unpack_from(head)[0]
    rest = range(first + 1, first + -(-size // CONTENT_SIZE))
    data = head + b"".join(container.read_many(stream, rest))
    if len(data) != size:
        raise VaultDamaged("a view has the wrong length")
    return data[_LENGTH.size :]


def with_length(data: bytes) -> bytes:
    """A blob as `read_blob` reads it."""
    return _LENGTH.pack(len(data)) + data
