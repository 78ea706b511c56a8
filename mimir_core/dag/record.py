"""Log records: self-describing frames of sealed nodes and erasures (FORMAT.md, section 8)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from mimir_core.crypto.nodes import SealedParts
from mimir_core.dag.limits import MAX_CLOCK, check_clock
from mimir_core.errors import LimitExceeded

_LENGTH = struct.Struct("<I")  # of what follows it
_HEAD = struct.Struct("<IB")
_NODE = struct.Struct("<IB16s32sHII")
_ERASURE = struct.Struct("<IBQ8sI")
_TYPE_NODE, _TYPE_ERASURE = 1, 2
HEAD_SIZE = _NODE.size
"""Bytes of a node's record before its sealed parts."""


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node as the log holds it."""

    parts: SealedParts

    @property
    def id(self) -> bytes:
        """SHA-256 over the sealed parts, 32 bytes."""
        return self.parts.node_id

    @classmethod
    def decode(cls, data: bytes) -> NodeRecord:
        """Raises ValueError if `data` is not exactly one record of a node."""
        if len(data) < _NODE.size:
            raise ValueError("truncated record")
        length, kind, uid, commitment, link, metadata, payload = _NODE.unpack_from(data)
        first = _NODE.size + link
        second = first + metadata
        if kind != _TYPE_NODE or not len(data) == _LENGTH.size + length == second + payload:
            raise ValueError("not a record of a node, or of the wrong length")
        sealed = data[_NODE.size : first], data[first:second], data[second:]
        return cls(SealedParts(uid, commitment, *sealed))

    def encode(self) -> bytes:
        parts = self.parts
        sizes = len(parts.link), len(parts.metadata), len(parts.payload)
        length = _NODE.size - _LENGTH.size + sum(sizes)
        head = _NODE.pack(length, _TYPE_NODE, parts.uid, parts.commitment, *sizes)
        return b"".join((head, parts.link, parts.metadata, parts.payload))


@dataclass(frozen=True, slots=True)
class ErasureRecord:
    """Which ordinals one forget erased, ascending."""

    lamport: int
    device: bytes
    ordinals: tuple[int, ...]

    def encode(self) -> bytes:
        """Raises LimitExceeded for a clock that has run out."""
        if not 1 <= self.lamport <= MAX_CLOCK:
            raise LimitExceeded("the vault's clock has run out")
        count = len(self.ordinals)
        length = _ERASURE.size - _LENGTH.size + 4 * count
        head = _ERASURE.pack(length, _TYPE_ERASURE, self.lamport, self.device, count)
        return head + struct.pack(f"<{count}I", *self.ordinals)


Record = NodeRecord | ErasureRecord


def read_record(data: bytes) -> Record:
    """Decodes one complete frame.

    Raises:
        ValueError: if `data` is not exactly one record.
    """
    try:
        length, kind = _HEAD.unpack_from(data)
        if length != len(data) - _LENGTH.size:
            raise ValueError("record of the wrong length")
        if kind == _TYPE_NODE:
            return NodeRecord.decode(data)
        if kind == _TYPE_ERASURE:
            return _decode_erasure(data)
    except struct.error as error:
        raise ValueError("truncated record") from error
    raise ValueError("record of an unknown type")


def read_uid(head: bytes, size: int) -> bytes:
    """The uid, 16 bytes, of a node whose record of `size` bytes begins with `head`.

    Raises:
        ValueError: if no such record begins so.
    """
    if len(head) != HEAD_SIZE:
        raise ValueError("truncated record")
    length, kind, uid, *_ = _NODE.unpack(head)
    if kind != _TYPE_NODE or _LENGTH.size + length != size:
        raise ValueError("not a record of a node, or of the wrong length")
    return bytes(uid)


def read_records(data: bytes) -> Iterator[tuple[int, Record]]:
    """Yields (size, record) for each frame of a piece of log that starts and ends on a frame.

    Raises:
        ValueError: if the piece is not a sequence of complete records.
    """
    position = 0
    while position < len(data):
        if position + _LENGTH.size > len(data):
            raise ValueError("truncated record")
        size = _LENGTH.size + _LENGTH.unpack_from(data, position)[0]
        yield size, read_record(data[position : position + size])
        position += size


def _decode_erasure(data: bytes) -> ErasureRecord:
    _, _, lamport, device, count = _ERASURE.unpack_from(data)
    if len(data) != _ERASURE.size + 4 * count:
        raise ValueError("erasure record of the wrong length")
    ordinals = struct.unpack_from(f"<{count}I", data, _ERASURE.size)
    check_clock(lamport)
    if any(one >= other for one, other in pairwise(ordinals)):
        raise ValueError("erased ordinals out of order")
    return ErasureRecord(lamport, device, ordinals)
