"""Bytes of any size under a key: what passes the core's limit for one memory is cut into parts.

The memory of the key is the head. Its content begins with 0 and then holds the bytes, or with 1,
the number of further parts (4 bytes), a tag (16 bytes) and the first part. A further part is a
memory whose key names its number and the head's; its content begins with the same tag, so that
parts of two values never join.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mimir_core import Item, Memory, Mimir, Namespace, Seen
from mimir_core.errors import VaultDamaged
from mimir_langchain.vaults import digest

PART_BYTES = (8 << 20) - 64
_PART = "part "
_TRIES = 5


def cut(
    key: str, data: bytes, namespace: Namespace, metadata: Mapping[str, Any] | None = None
) -> list[Item]:
    """The memories that hold these bytes under that key; the last of them is the head."""
    fields = {} if metadata is None else metadata
    if len(data) <= PART_BYTES:
        return [Item(b"\0" + data, namespace=namespace, key=key, metadata=fields)]
    pieces = [data[at : at + PART_BYTES] for at in range(0, len(data), PART_BYTES)]
    tag = secrets.token_bytes(16)
    further = [
        Item(tag + piece, namespace=namespace, key=_part_key(key, number))
        for number, piece in enumerate(pieces[1:], 1)
    ]
    head = b"\1" + len(further).to_bytes(4, "big") + tag + pieces[0]
    return [*further, Item(head, namespace=namespace, key=key, metadata=fields)]


def store(
    mimir: Mimir, items: Sequence[Item], namespace: Namespace, unchanged: Iterable[Seen] = ()
) -> None:
    """Stores what `cut` made in one transaction.

    An older value of the same keys goes with all its parts.

    Args:
        unchanged: What the values were made from, as `Mimir.seen` gave it.

    Raises:
        Conflict: others changed that, or the parts of an older value; nothing was written.
        ScrubPending: stored, but the older value is not yet scrubbed from the journal.
    """
    keys = {str(item.key) for item in items}
    parts = _further_parts(mimir, keys, namespace)
    stale = sorted(_keys(parts) - keys)
    mimir.replace(items, keys=stale, namespace=namespace, unchanged=[*unchanged, *parts])


def erase(
    mimir: Mimir, keys: Iterable[str], namespace: Namespace, unchanged: Iterable[Seen] = ()
) -> None:
    """Erases keys with all their parts, in one transaction; nobody's keys are passed over.

    Raises:
        Conflict: as `store`.
        ScrubPending: erased, but old journal pages are not yet scrubbed.
    """
    gone = list(keys)
    parts = _further_parts(mimir, gone, namespace)
    every = [*gone, *sorted(_keys(parts))]
    mimir.replace([], keys=every, namespace=namespace, unchanged=[*unchanged, *parts])


def _further_parts(mimir: Mimir, keys: Iterable[str], namespace: Namespace) -> list[Seen]:
    """The further parts that these keys have now, and for each the part after its last: none."""
    found: list[Seen] = []
    heads, number = list(keys), 1
    while heads:
        parts = mimir.seen([_part_key(head, number) for head in heads], namespace=namespace)
        found += parts
        heads = [head for head, part in zip(heads, parts, strict=True) if part.id is not None]
        number += 1
    return found


def _keys(parts: Iterable[Seen]) -> set[str]:
    return {str(part.key) for part in parts if part.id is not None}


def read(mimir: Mimir, keys: Sequence[str], namespace: Namespace) -> list[bytes | None]:
    """The bytes of each key, None where there are none.

    Raises:
        VaultDamaged: what stands there is not what `cut` made, or a part is missing.
    """
    for _ in range(_TRIES):  # a value that is replaced between two reads is read again
        heads = mimir.get_many(keys=keys, namespace=namespace)
        wanted = [
            _part_key(key, number)
            for key, head in zip(keys, heads, strict=True)
            for number in range(1, _further(head) + 1)
        ]
        parts = mimir.get_many(keys=wanted, namespace=namespace) if wanted else []
        pieces = dict(zip(wanted, parts, strict=True))
        joined = [_joined(key, head, pieces) for key, head in zip(keys, heads, strict=True)]
        if all((head is None) == (data is None) for head, data in zip(heads, joined, strict=True)):
            return joined
    raise VaultDamaged("a part of a stored value is missing")


def _part_key(key: str, number: int) -> str:
    return f"{_PART}{number} {digest(key)}"


def _content(memory: Memory) -> bytes:
    if isinstance(memory.content, bytes) and memory.content[:1] in (b"\0", b"\1"):
        return memory.content
    raise VaultDamaged("a stored value is not in the form this class writes")


def _further(head: Memory | None) -> int:
    if head is None or _content(head)[:1] == b"\0":
        return 0
    return int.from_bytes(_content(head)[1:5], "big")


def _joined(
    key: str, head: Memory | None, pieces: Mapping[str, Memory | None]
) -> bytes | None:
    """The whole value; None if a part is missing or belongs to another value of the key."""
    if head is None:
        return None
    content = _content(head)
    if content[:1] == b"\0":
        return content[1:]
    tag, whole = content[5:21], [content[21:]]
    for number in range(1, _further(head) + 1):
        piece = pieces[_part_key(key, number)]
        if piece is None or not isinstance(piece.content, bytes) or piece.content[:16] != tag:
            return None
        whole.append(piece.content[16:])
    return b"".join(whole)
