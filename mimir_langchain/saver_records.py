"""How a thread's checkpoints, channel values and writes become keys and bytes, and back.

A record is the length of its header (4 bytes, big-endian), the header as JSON, and payloads made
by the serializer, whose lengths the header tells. Keys hold digests where a name may be of any
length; a channel value's key is the digest of the value, so that a value which several checkpoints
share is stored once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from langgraph.checkpoint.base import Checkpoint
from langgraph.checkpoint.serde.base import SerializerProtocol

from mimir_core.errors import VaultDamaged
from mimir_langchain.vaults import digest

_DELTA = "counters_since_delta_snapshot"
CHECKPOINT, VALUE, WRITE = "checkpoint", "value", "write"


def pack(header: dict[str, Any], *payloads: bytes) -> bytes:
    """A record of a header and payloads."""
    sized = json.dumps({**header, "sizes": [len(payload) for payload in payloads]}).encode()
    return b"".join((len(sized).to_bytes(4, "big"), sized, *payloads))


def unpack(data: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """A record's header and payloads. Raises VaultDamaged if it is none."""
    start = 4 + int.from_bytes(data[:4], "big")
    with _readable():
        header = json.loads(data[4:start])
        sizes = list(map(int, header.pop("sizes")))
    if start + sum(sizes) != len(data):
        raise VaultDamaged("a stored record has another length than it says")
    payloads = []
    for size in sizes:
        payloads.append(data[start : start + size])
        start += size
    return header, payloads


@contextmanager
def _readable() -> Iterator[None]:
    """Raises VaultDamaged for what lacks a part or has one of another kind."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError):
        raise VaultDamaged("a stored record cannot be read") from None


def sealed_value(serde: SerializerProtocol, value: Any) -> tuple[str, bytes]:
    """A channel value as (key, record)."""
    kind, data = serde.dumps_typed(value)
    record = pack({"type": kind}, bytes(data))
    return f"{VALUE} {hashlib.blake2b(record, digest_size=20).hexdigest()}", record


def opened_value(serde: SerializerProtocol, record: bytes) -> Any:
    """The channel value of a record. Raises VaultDamaged if it is none."""
    with _readable():
        header, (data,) = unpack(record)
        typed = (header["type"], data)
    return serde.loads_typed(typed)


def opened_fields(serde: SerializerProtocol, typed: tuple[str, bytes]) -> dict[str, Any]:
    """What the serializer made of a checkpoint or its metadata. Raises VaultDamaged."""
    found = serde.loads_typed(typed)
    if not isinstance(found, dict):
        raise VaultDamaged("a stored checkpoint has no fields")
    return found


@dataclass(frozen=True, slots=True, repr=False)
class Write:
    """One pending write of a task; `index` is negative for special channels, as upstream maps."""

    task: str
    index: int
    channel: str
    path: str
    kind: str
    data: bytes

    def key(self, checkpoint: str) -> str:
        """Its key, given its checkpoint's."""
        return f"{write_prefix(checkpoint)}{digest(json.dumps([self.task, self.index]))}"

    def record(self) -> bytes:
        """Its bytes."""
        return pack(
            {
                "task": self.task,
                "index": self.index,
                "channel": self.channel,
                "path": self.path,
                "type": self.kind,
            },
            self.data,
        )

    @classmethod
    def opened(cls, record: bytes) -> Write:
        """The write of a record. Raises VaultDamaged if it is none."""
        with _readable():
            header, (data,) = unpack(record)
            return cls(
                task=header["task"],
                index=header["index"],
                channel=header["channel"],
                path=header["path"],
                kind=header["type"],
                data=data,
            )


@dataclass(frozen=True, slots=True, repr=False)
class Stored:
    """A checkpoint without its channel values.

    Attributes:
        values: The channels that have one, with the version and the key of the value's record.
        unseeded: Delta channels whose value is not here: ancestors hold a snapshot and writes.
        checkpoint, metadata: (type, bytes) as the serializer made them.
    """

    thread: str
    place: str
    id: str
    parent: str | None
    run: str | None
    values: dict[str, tuple[str | int | float | None, str]]
    unseeded: list[str]
    checkpoint: tuple[str, bytes]
    metadata: tuple[str, bytes]

    @property
    def key(self) -> str:
        """Its key."""
        return checkpoint_key(self.place, self.id)

    @property
    def fields(self) -> dict[str, str]:
        """What a selection of memories can ask for."""
        return {} if self.run is None else {"run": self.run}

    def record(self) -> bytes:
        """Its bytes."""
        header = {
            "thread": self.thread,
            "ns": self.place,
            "id": self.id,
            "parent": self.parent,
            "run": self.run,
            "values": self.values,
            "unseeded": self.unseeded,
            "types": [self.checkpoint[0], self.metadata[0]],
        }
        return pack(header, self.checkpoint[1], self.metadata[1])

    @classmethod
    def opened(cls, record: bytes) -> Stored:
        """The checkpoint of a record. Raises VaultDamaged if it is none."""
        with _readable():
            header, (checkpoint, metadata) = unpack(record)
            kinds = header["types"]
            return cls(
                thread=header["thread"],
                place=header["ns"],
                id=header["id"],
                parent=header["parent"],
                run=header["run"],
                values={channel: tuple(where) for channel, where in header["values"].items()},
                unseeded=header["unseeded"],
                checkpoint=(kinds[0], checkpoint),
                metadata=(kinds[1], metadata),
            )


def unseeded_of(checkpoint: Checkpoint, metadata: dict[str, Any]) -> list[str]:
    """The delta channels that were written but whose value is not in this checkpoint."""
    return sorted(
        channel
        for channel in metadata.get(_DELTA) or {}
        if channel in (checkpoint.get("channel_versions") or {})
        and channel not in checkpoint["channel_values"]
    )


def checkpoint_key(place: str, checkpoint_id: str) -> str:
    """The key of a checkpoint in a checkpoint namespace."""
    return f"{checkpoint_prefix(place)}{checkpoint_id}"


def checkpoint_prefix(place: str) -> str:
    """How the keys of all checkpoints of a checkpoint namespace begin."""
    return f"{CHECKPOINT} {digest(place)} "


def write_prefix(checkpoint: str) -> str:
    """How the keys of all writes of a checkpoint begin, given its key."""
    return f"{WRITE} {checkpoint.partition(' ')[2]} "


def owner_of(write: str) -> str:
    """The key of the checkpoint that a write belongs to, given the write's key."""
    return f"{CHECKPOINT} {write.partition(' ')[2].rpartition(' ')[0]}"


def prefix_of(checkpoint: str) -> str:
    """How the keys of all checkpoints of its namespace begin, given one of them."""
    kind, place, _ = checkpoint.split(" ", 2)
    return f"{kind} {place} "


def id_of(checkpoint: str) -> str:
    """The id of a checkpoint, given its key."""
    return checkpoint.split(" ", 2)[2]
