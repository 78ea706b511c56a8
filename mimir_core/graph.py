"""The DAG as a value: nodes in the order stored, and the edges between them. Opens no content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mimir_core.dag import walk
from mimir_core.types import EdgeKind
from mimir_core.vault.state import State


class Edge(NamedTuple):
    """An edge between two nodes, by their positions in `Graph.nodes`; a parent comes first."""

    kind: EdgeKind
    parent: int
    child: int


@dataclass(frozen=True, slots=True, repr=False)
class GraphNode:
    """A node: its id, its thread's name if a live memory still bears it, whether it is erased."""

    id: str
    thread: str | None
    erased: bool

    def __repr__(self) -> str:
        return f"<GraphNode {self.id[:12]}>"


@dataclass(frozen=True, slots=True)
class Graph:
    """Memories and the edges among them, in the order stored."""

    nodes: tuple[GraphNode, ...]
    edges: tuple[Edge, ...]

    def __repr__(self) -> str:
        return f"<Graph {len(self.nodes)} nodes, {len(self.edges)} edges>"


def graph_of(state: State, mask: npt.NDArray[np.bool_]) -> Graph:
    """The graph of the live memories of a mask, bool [nodes], and of what is erased beside them.

    An erased node has lost its namespace: it belongs here if a live one reaches it through
    erased ones alone, along edges of either direction.
    """
    inside = mask.tolist()

    def erased_beside(ordinal: int) -> list[int]:
        edges = [*state.catalog.parents(ordinal), *state.catalog.children(ordinal)]
        return [other for _, other in edges if other is not None and state.is_erased(other)]

    ordinals = sorted(walk([o for o, chosen in enumerate(inside) if chosen], erased_beside))
    places = {ordinal: place for place, ordinal in enumerate(ordinals)}
    edges = (
        Edge(kind, places[parent], places[child])
        for child in ordinals
        for kind, parent in state.catalog.parents(child)
        if parent in places
    )
    return Graph(tuple(_node(state, ordinal) for ordinal in ordinals), tuple(edges))


def _node(state: State, ordinal: int) -> GraphNode:
    thread = state.catalog.thread(ordinal)
    name = None if thread is None else thread[1]
    return GraphNode(state.node_id(ordinal).hex(), name, state.is_erased(ordinal))
