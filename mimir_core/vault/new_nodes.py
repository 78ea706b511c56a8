"""Nodes on their way from the log, or from a commit, into the catalog."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mimir_core.dag.node import Link, Metadata
from mimir_core.index.catalog_columns import CatalogColumns, CatalogRow
from mimir_core.types import EdgeKind

_PREFIX = struct.Struct("<Q")


@dataclass(frozen=True, slots=True, repr=False)
class NewNode:
    """A node on its way into the views. Metadata and terms are empty where it is erased.

    So is the link of an erased node that could not be read when it was erased.
    """

    id: bytes
    offset: int
    size: int
    link: Link | None
    metadata: Metadata | None
    terms: list[str]


def id_prefix(node_id: bytes) -> int:
    """The first 8 bytes of a node id as the catalog holds them."""
    prefix: int = _PREFIX.unpack_from(node_id)[0]
    return prefix


def columns_of(
    nodes: Sequence[NewNode], first: int, end: int, find: Callable[[bytes], int | None]
) -> CatalogColumns:
    """Lays nodes out as the catalog's columns.

    Args:
        first: The first one's ordinal.
        end: Where the record of the node before it ends in the log.
        find: Gives the ordinal of an older node by its id, None for one that is not there.

    Raises:
        InvalidArgument: if nodes of one thread differ in its namespace or name.
    """
    batch: dict[bytes, int] = {}
    rows = []
    for ordinal, node in enumerate(nodes, first):
        parents = [
            (parent.kind, batch[parent.id] if parent.id in batch else find(parent.id))
            for parent in (node.link.parents if node.link else ())
        ]
        rows.append(_row(node, node.offset - end, parents))
        end = node.offset + node.size
        batch[node.id] = ordinal
    return CatalogColumns.of(rows)


def _row(node: NewNode, gap: int, parents: Sequence[tuple[EdgeKind, int | None]]) -> CatalogRow:
    link, metadata = node.link, node.metadata
    return CatalogRow(
        prefix=id_prefix(node.id),
        size=node.size,
        lamport=link.lamport if link else 0,
        gap=gap,
        time=metadata.time if metadata else 0,
        namespace=metadata.namespace if metadata else None,
        key=metadata.key if metadata else None,
        thread=link.thread if link else None,
        thread_name=metadata.thread_name if metadata else None,
        parents=parents,
        metadata=metadata.fields if metadata else {},
    )
