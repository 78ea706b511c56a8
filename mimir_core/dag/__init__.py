"""The DAG of memories: what a node is, how it is recorded, how edges are walked. No I/O."""

from mimir_core.dag.node import Draft, Link, Metadata, Parent, Payload, SealedNode, seal
from mimir_core.dag.opening import (
    open_erased_link,
    open_link,
    open_metadata,
    open_payload,
    verify_node,
)
from mimir_core.dag.record import ErasureRecord, NodeRecord, Record, read_record, read_records
from mimir_core.dag.walk import walk

__all__ = [
    "Draft",
    "ErasureRecord",
    "Link",
    "Metadata",
    "NodeRecord",
    "Parent",
    "Payload",
    "Record",
    "SealedNode",
    "open_erased_link",
    "open_link",
    "open_metadata",
    "open_payload",
    "read_record",
    "read_records",
    "seal",
    "verify_node",
    "walk",
]
