"""What a node may hold (FORMAT.md, sections 7 and 13).

What is read from a log is held to the limits that writers keep to: a record may come from another
writer. All checks raise ValueError, which the errors for bad input are as well.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from mimir_core.types import check_metadata, check_namespace, from_micros

if TYPE_CHECKING:
    from mimir_core.dag.node import Link, Metadata, Payload

MAX_CLOCK = (1 << 63) - 1
MAX_PARENTS = 1024
MAX_CONTENT_BYTES = 8 << 20
MAX_NAME_BYTES = 1024


def check_clock(lamport: int) -> None:
    """Raises ValueError unless it is a Lamport clock, 1 to 2^63 - 1."""
    if not 1 <= lamport <= MAX_CLOCK:
        raise ValueError("a clock beyond its bounds")


def check_link(link: Link) -> None:
    """Raises ValueError for a clock out of bounds, or parents that are too many or out of order."""
    check_clock(link.lamport)
    if len(link.parents) > MAX_PARENTS:
        raise ValueError("too many parents")
    if any(one >= other for one, other in pairwise(link.parents)):
        raise ValueError("parents out of order, or named twice")


def check_described(metadata: Metadata) -> None:
    """Raises ValueError for what no writer would have taken as a memory's metadata."""
    if not _is_integer(metadata.time):
        raise ValueError("a time that is no number")
    from_micros(metadata.time)
    if check_namespace(metadata.namespace) != metadata.namespace:
        raise ValueError("a namespace that is not in normal form")
    for name in (metadata.thread_name, metadata.key):
        if name is not None and not _is_name(name):
            raise ValueError("a name beyond its bounds")
    check_metadata(metadata.fields)


def check_payload(payload: Payload) -> None:
    """Raises ValueError for content that is too long, or a text that says nothing."""
    content, attachment = payload.content, payload.attachment
    if isinstance(content, str) and not content.strip():
        raise ValueError("an empty text")
    size = len(content.encode()) if isinstance(content, str) else len(content)
    if max(size, len(attachment or b"")) > MAX_CONTENT_BYTES:
        raise ValueError("content too long")


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_name(name: object) -> bool:
    return isinstance(name, str) and 1 <= len(name.encode()) <= MAX_NAME_BYTES
