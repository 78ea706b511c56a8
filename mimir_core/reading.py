"""From a node in the vault to a `Memory` in the caller's hands, and along its edges."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from mimir_core.dag import open_payload, walk
from mimir_core.results import Memory, Relative
from mimir_core.types import EdgeKind, from_micros
from mimir_core.vault.state import State

Edges = Callable[[int], Sequence[tuple[EdgeKind, int | None]]]


def open_memory(state: State, ordinal: int) -> Memory:
    """Opens a live node, authenticated. Raises VaultDamaged."""
    record = state.record(ordinal)
    time, namespace, thread, key, metadata = state.described(ordinal, record)
    payload = open_payload(record, state.entry(ordinal))
    return Memory(
        state.node_id(ordinal, record).hex(),
        payload.content,
        from_micros(time),
        namespace,
        thread,
        key,
        metadata,
        payload.attachment,
    )


def relatives(state: State, start: int, edges: Edges) -> tuple[Relative, ...]:
    """Every node reachable along `edges`, nearest first, `start` left out."""
    kinds: dict[int, set[EdgeKind]] = {}

    def neighbours(ordinal: int) -> list[int]:
        found = [(kind, other) for kind, other in edges(ordinal) if other is not None]
        for kind, other in found:
            kinds.setdefault(other, set()).add(kind)
        return [other for _, other in found]

    distances = walk([start], neighbours)
    del distances[start]
    return tuple(
        Relative(
            state.node_id(ordinal).hex(),
            distance,
            tuple(sorted(kinds[ordinal])),
            state.is_erased(ordinal),
        )
        for ordinal, distance in distances.items()
    )


def with_derived(state: State, ordinals: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The nodes and every live one derived from them, directly or through others."""

    def derived(ordinal: int) -> list[int]:
        children = state.catalog.children(ordinal)
        return [child for kind, child in children if kind is EdgeKind.DERIVES]

    reached = walk([int(ordinal) for ordinal in ordinals], derived)
    return np.array(sorted(o for o in reached if not state.is_erased(o)), np.int64)


def around(
    state: State, ordinal: int, count: int
) -> tuple[tuple[Memory, ...], tuple[Memory, ...]]:
    """Up to `count` live turns before a node and after it, along `follows` edges, in order."""
    catalog = state.catalog
    before = _along(state, ordinal, catalog.follows_previous, count)
    after = _along(state, ordinal, catalog.follows_next, count)
    return (
        tuple(open_memory(state, other) for other in reversed(before)),
        tuple(open_memory(state, other) for other in after),
    )


def _along(state: State, ordinal: int, steps: npt.NDArray[np.int32], count: int) -> list[int]:
    found: list[int] = []
    current = int(steps[ordinal])
    while current >= 0 and len(found) < count:
        if not state.is_erased(current):
            found.append(current)
        current = int(steps[current])
    return found
