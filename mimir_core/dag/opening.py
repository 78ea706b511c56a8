"""Opening a node's parts with its keybook entry, and verifying a node."""

from __future__ import annotations

from mimir_core.crypto import nodes
from mimir_core.crypto.aead import OpenFailed
from mimir_core.dag.node import Link, Metadata, Payload
from mimir_core.dag.record import NodeRecord
from mimir_core.errors import VaultDamaged

_DAMAGED = "a memory's record does not open under its key"


def open_link(record: NodeRecord, entry: bytes, *, erased: bool) -> Link:
    """Opens the link; it stays readable after erasure.

    Args:
        entry: The node's keybook entry: its secret, or its link key once erased.

    Raises:
        VaultDamaged: if it does not open or is not a link.
    """
    parts = record.parts
    open_ = nodes.open_erased_link if erased else nodes.open_link
    try:
        return Link.decode(open_(entry, parts.uid, parts.link))
    except (OpenFailed, ValueError) as error:
        raise VaultDamaged(_DAMAGED) from error


def open_erased_link(record: NodeRecord, entry: bytes) -> Link | None:
    """An erased node's link; None if it was erased while its record could not be read.

    Its entry is random then, as its link key could not be derived.

    Raises:
        VaultDamaged: if what opens is not a link.
    """
    parts = record.parts
    try:
        return Link.decode(nodes.open_erased_link(entry, parts.uid, parts.link))
    except OpenFailed:
        return None
    except ValueError as error:
        raise VaultDamaged(_DAMAGED) from error


def open_metadata(record: NodeRecord, secret: bytes) -> Metadata:
    """Raises VaultDamaged if the metadata does not open."""
    try:
        parts = record.parts
        return Metadata.decode(nodes.open_metadata(secret, parts.uid, parts.metadata))
    except (OpenFailed, ValueError) as error:
        raise VaultDamaged(_DAMAGED) from error


def open_payload(record: NodeRecord, secret: bytes) -> Payload:
    """Raises VaultDamaged if the payload does not open."""
    try:
        parts = record.parts
        return Payload.decode(nodes.open_payload(secret, parts.uid, parts.payload))
    except (OpenFailed, ValueError) as error:
        raise VaultDamaged(_DAMAGED) from error


def verify_node(record: NodeRecord, entry: bytes, *, erased: bool) -> Link | None:
    """Checks that a node is what its id and its keybook entry say, and returns its link.

    A live node's entry matches the commitment and opens all three parts. An erased node's entry
    opens the link and nothing else, or nothing at all: then there is no link to return.

    Raises:
        VaultDamaged: if anything differs.
    """
    link = open_erased_link(record, entry) if erased else open_link(record, entry, erased=False)
    matches = nodes.commitment_matches(entry, record.parts.uid, record.parts.commitment)
    if matches == erased:
        raise VaultDamaged("a memory's key does not match its commitment")
    if not erased:
        open_metadata(record, entry)
        open_payload(record, entry)
    return link
