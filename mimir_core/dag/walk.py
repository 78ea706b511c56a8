"""Walking edges of the DAG, given a function that names a node's neighbours."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

Node = TypeVar("Node", bound=Hashable)


def walk(start: Iterable[Node], neighbours: Callable[[Node], Iterable[Node]]) -> dict[Node, int]:
    """Every node reachable from `start`, with its distance in edges, nearest first.

    Breadth first; the start nodes have distance 0. Cycles end the walk rather than the program,
    although a DAG of hashes cannot hold one.
    """
    distance = dict.fromkeys(start, 0)
    queue = deque(distance)
    while queue:
        node = queue.popleft()
        for neighbour in neighbours(node):
            if neighbour not in distance:
                distance[neighbour] = distance[node] + 1
                queue.append(neighbour)
    return distance
