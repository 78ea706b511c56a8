"""Verification: every block, every node, and the views against what the log says."""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from mimir_core.dag import Link, Metadata, NodeRecord, open_metadata, read_records, verify_node
from mimir_core.errors import VaultDamaged
from mimir_core.vault.checkpoint import Progress
from mimir_core.vault.container import Container
from mimir_core.vault.space import without_vectors
from mimir_core.vault.state import State


def verify_blocks(container: Container, progress: Progress | None = None) -> list[str]:
    """Authenticates every block under its pinned tag; returns what is wrong."""
    problems = []
    for number in range(container.root.blocks):
        try:
            container.check_block(number)
        except VaultDamaged as error:
            problems.append(error.args[0])
        if progress is not None:
            progress(number + 1, container.root.blocks)
    return problems


def verify_nodes(state: State, progress: Progress | None = None) -> list[str]:
    """Checks every node against its key, its id and its parents; returns what is wrong.

    A node's parents come before it, unless they are not in this vault; erased parents are legal.
    """
    problems: list[str] = []
    seen: dict[bytes, int] = {}
    try:
        records = _records(state)
    except (VaultDamaged, ValueError):
        return ["the log cannot be read from end to end"]
    for record in records:
        ordinal = len(seen)
        try:
            erased = state.is_erased(ordinal)
            link = verify_node(record, state.entry(ordinal), erased=erased)
            _check_views(state, ordinal, record, link)
        except VaultDamaged as error:
            problems.append(f"memory {record.id.hex()[:12]}: {error.args[0]}")
        seen[record.id] = ordinal
        if progress is not None:
            progress(len(seen), state.root.nodes)
    if len(seen) != len(state.catalog):
        problems.append("the catalog does not hold as many memories as the log")
    return problems + _verify_vectors(state)


def _records(state: State) -> list[NodeRecord]:
    data = state.read_log(0, state.root.log_size)
    return [record for _, record in read_records(data) if isinstance(record, NodeRecord)]


def _check_views(state: State, ordinal: int, record: NodeRecord, link: Link) -> None:
    if state.record(ordinal).id != record.id:
        raise VaultDamaged("the catalog points at another record")
    if not state.is_erased(ordinal):
        metadata = open_metadata(record, state.entry(ordinal))
        if Metadata(*state.described(ordinal, record)) != metadata:
            raise VaultDamaged("the catalog holds other metadata than the log")
    parents = [(parent.kind, state.find(parent.id)) for parent in link.parents]
    if sorted(parents, key=str) != sorted(state.catalog.parents(ordinal), key=str):
        raise VaultDamaged("the catalog holds other parents than the log")
    if any(parent is not None and parent >= ordinal for _, parent in parents):
        raise VaultDamaged("a parent comes after its child")


def _verify_vectors(state: State) -> list[str]:
    """Checks who owns the vectors in memory, and that all of them are there."""
    problems = _verify_texts(state)
    for space in state.spaces:
        if space.lost_blocks:  # said even if the blocks read well now: recall lacks them
            problems.append("vectors could not be read, or contradict each other")
        owners = space.column.owners
        live = owners[owners != np.uint32(0xFFFFFFFF)]
        if len(live) and (live.max() >= state.root.nodes or not state.catalog.live[live].all()):
            problems.append("a vector belongs to a memory that does not exist")
    return problems


def _verify_texts(state: State) -> list[str]:
    """Checks that every text has a vector, unless it is known that some are lost."""
    if any(space.lost_blocks for space in state.spaces):
        return []
    lacking = 0
    for ordinal in np.flatnonzero(without_vectors(state.spaces, state.catalog.live)):
        with suppress(VaultDamaged):  # a record that does not open is reported for itself
            lacking += state.is_text(int(ordinal))
    return [f"texts without a vector: {lacking}"] if lacking else []
