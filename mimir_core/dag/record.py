"""Log records: self-describing frames of sealed nodes and erasures (FORMAT.md, section 8)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from mimir_core.crypto.nodes import SealedParts

_LENGTH = struct.Struct("<I")
_NODE = struct.Struct("<B16s32sHII")
_ERASURE = struct.Struct("<BQ8sI")
_TYPE_NODE, _TYPE_ERASURE = 1, 2


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node as the log holds it."""

    parts: SealedParts

    @property
    def id(self) -> bytes:
        """SHA-256 over the sealed parts, 32 bytes."""
        return self.parts.node_id

    def encode(self) -> bytes:
        parts = self.parts
        sizes = len(parts.link), len(parts.metadata), len(parts.payload)
        head = _NODE.pack(_TYPE_NODE, parts.uid, parts.commitment, *sizes)
        length = _LENGTH.pack(len(head) + sum(sizes))
        return b"".join((length, head, parts.link, parts.metadata, parts.payload))


@dataclass(frozen=True, slots=True)
class ErasureRecord:
    """Which ordinals one forget erased."""

    lamport: int
    device: bytes
    ordinals: tuple[int, ...]

    def encode(self) -> bytes:
        head = _ERASURE.pack(_TYPE_ERASURE, self.lamport, self.device, len(self.ordinals))
        body = head + struct.pack(f"<{len(self.ordinals)}I", *self.ordinals)
        return _LENGTH.pack(len(body)) + body


Record = NodeRecord | ErasureRecord


def read_record(data: bytes) -> Record:
    """Decodes one complete frame.

    Raises:
        ValueError: if `data` is not exactly one record.
    """
    try:
        (length,) = _LENGTH.unpack_from(data)
        if length != len(data) - _LENGTH.size:
            raise ValueError("record of the wrong length")
        return _decode(data[_LENGTH.size :])
    except (struct.error, IndexError) as error:
        raise ValueError("truncated record") from error


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


def _decode(body: bytes) -> Record:
    if body[0] == _TYPE_NODE:
        return _decode_node(body)
    if body[0] == _TYPE_ERASURE:
        _, lamport, device, count = _ERASURE.unpack_from(body)
        if len(body) != _ERASURE.size + 4 * count:
            raise ValueError("erasure record of the wrong length")
        return ErasureRecord(
            lamport, device, struct.unpack_from(f"<{count}I", body, _ERASURE.size)
        )
    raise ValueError("record of an unknown type")


def _decode_node(body: bytes) -> NodeRecord:
    _, uid, commitment, link, metadata, payload = _NODE.unpack_from(body)
    first, second = _NODE.size + link, _NODE.size + link + metadata
    if len(body) != second + payload:
        raise ValueError("node record of the wrong length")
    return NodeRecord(
        SealedParts(
            uid=uid,
            commitment=commitment,
            link=body[_NODE.size : first],
            metadata=body[first:second],
            payload=body[second:],
        )
    )
