"""A node's three parts, their plaintext layout, and sealing (FORMAT.md, section 7)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mimir_core.crypto import nodes
from mimir_core.dag.limits import MAX_CLOCK, MAX_PARENTS, check_described, check_link, check_payload
from mimir_core.dag.record import NodeRecord
from mimir_core.encoding import pack, unpack
from mimir_core.errors import LimitExceeded
from mimir_core.types import EdgeKind, Namespace

THREAD_SIZE = 16
DEVICE_SIZE = 8
_NO_THREAD = bytes(THREAD_SIZE)
_HEAD = struct.Struct(f"<{THREAD_SIZE}s{DEVICE_SIZE}sQH")
_PARENT = struct.Struct("<B32s")
_TEXT, _BYTES, _ATTACHED = b"\x00", b"\x01", b"\x02"
_TEXT_SIZE = struct.Struct("<I")


@dataclass(frozen=True, slots=True, order=True)
class Parent:
    """An edge to an older node: its kind and the node's id (32 bytes)."""

    kind: EdgeKind
    id: bytes


@dataclass(frozen=True, slots=True)
class Link:
    """What stays readable after erasure: thread (16 bytes or None), device, clock, parents."""

    thread: bytes | None
    device: bytes
    lamport: int
    parents: tuple[Parent, ...] = ()

    def encode(self) -> bytes:
        """Raises LimitExceeded for more than 1,024 parents, or a clock that has run out."""
        if not 1 <= self.lamport <= MAX_CLOCK:
            raise LimitExceeded("the vault's clock has run out")
        parents = sorted(set(self.parents))
        if len(parents) > MAX_PARENTS:
            raise LimitExceeded(f"a memory has at most {MAX_PARENTS} parents")
        head = _HEAD.pack(self.thread or _NO_THREAD, self.device, self.lamport, len(parents))
        return head + b"".join(_PARENT.pack(parent.kind, parent.id) for parent in parents)

    @classmethod
    def decode(cls, data: bytes) -> Link:
        """Raises ValueError if `data` is not a canonical link within the format's limits."""
        if len(data) < _HEAD.size:
            raise ValueError("link too short")
        thread, device, lamport, count = _HEAD.unpack_from(data)
        if len(data) != _HEAD.size + count * _PARENT.size:
            raise ValueError("link of the wrong length")
        parents = tuple(
            Parent(EdgeKind(kind), id_) for kind, id_ in _PARENT.iter_unpack(data[_HEAD.size :])
        )
        link = cls(None if thread == _NO_THREAD else thread, device, lamport, parents)
        check_link(link)
        return link


@dataclass(frozen=True, slots=True, repr=False)
class Metadata:
    """What describes a memory: time (microseconds UTC), namespace, thread name, key, fields."""

    time: int
    namespace: Namespace
    thread_name: str | None
    key: str | None
    fields: Mapping[str, Any]

    def encode(self) -> bytes:
        return pack([self.time, self.namespace, self.thread_name, self.key, self.fields])

    @classmethod
    def decode(cls, data: bytes) -> Metadata:
        """Raises ValueError if `data` is not a metadata part as writers encode it."""
        value = unpack(data)
        if not isinstance(value, list) or len(value) != 5 or not isinstance(value[1], list):
            raise ValueError("metadata of the wrong shape")
        time, namespace, thread_name, key, fields = value
        metadata = cls(time, tuple(namespace), thread_name, key, fields)
        check_described(metadata)
        if metadata.encode() != data:
            raise ValueError("metadata in another encoding than the canonical one")
        return metadata


@dataclass(frozen=True, slots=True, repr=False)
class Payload:
    """What a memory says: text or bytes, and what is kept beside a text without being indexed."""

    content: str | bytes
    attachment: bytes | None = None

    def encode(self) -> bytes:
        """One byte of type, then the bytes. Raises ValueError for an attachment to bytes."""
        if isinstance(self.content, bytes):
            if self.attachment is not None:
                raise ValueError("only a text has an attachment")
            return _BYTES + self.content
        text = self.content.encode("utf-8")
        if self.attachment is None:
            return _TEXT + text
        return _ATTACHED + _TEXT_SIZE.pack(len(text)) + text + self.attachment

    @classmethod
    def decode(cls, data: bytes) -> Payload:
        """Raises ValueError if `data` is not an encoded payload within the format's limits."""
        payload = cls._decoded(data[:1], data[1:])
        check_payload(payload)
        return payload

    @classmethod
    def _decoded(cls, kind: bytes, body: bytes) -> Payload:
        if kind == _TEXT:
            return cls(body.decode("utf-8"))
        if kind == _BYTES:
            return cls(body)
        if kind != _ATTACHED or len(body) < _TEXT_SIZE.size:
            raise ValueError("payload of an unknown type")
        end = _TEXT_SIZE.size + _TEXT_SIZE.unpack_from(body)[0]
        if end > len(body):
            raise ValueError("payload of the wrong length")
        return cls(body[_TEXT_SIZE.size : end].decode("utf-8"), body[end:])


@dataclass(frozen=True, slots=True, repr=False)
class Draft:
    """A node before it is sealed."""

    link: Link
    metadata: Metadata
    payload: Payload


@dataclass(frozen=True, slots=True)
class SealedNode:
    """A sealed node: its id, its log record, and the secret that goes to the keybook alone."""

    id: bytes
    record: bytes
    secret: bytes

    def __repr__(self) -> str:
        return f"SealedNode(id={self.id.hex()})"


def seal(draft: Draft) -> SealedNode:
    """Seals a draft under a fresh secret."""
    link, metadata, payload = draft.link, draft.metadata, draft.payload
    parts, secret = nodes.seal_node(link.encode(), metadata.encode(), payload.encode())
    record = NodeRecord(parts)
    return SealedNode(record.id, record.encode(), secret)
