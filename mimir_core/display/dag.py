"""`Mimir.plot_dag`: threads as lines, with what was derived and superseded among them."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mimir_core.display.figures import (
    PALETTE,
    annotate,
    legend,
    new_axes,
    note,
    plain,
    short,
    spread_out,
)
from mimir_core.display.markup import GREY
from mimir_core.intake import DEFAULT_NAMESPACE
from mimir_core.types import EdgeKind

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from mimir_core.graph import Edge, Graph
    from mimir_core.lookup import Lookup

Floats = npt.NDArray[np.float64]

_STROKES = {
    EdgeKind.FOLLOWS: (GREY, "-", "follows"),
    EdgeKind.DERIVES: (PALETTE[2], "-", "derives"),
    EdgeKind.SUPERSEDES: (PALETTE[1], "--", "supersedes"),
}
_MAX_NAMED = 30
_LINE = 130  # characters that fit beside each other
_BEND = 0.45  # of the distance between two threads
_STEPS = np.linspace(0, 1, 24)[:, None]


def plot_dag(
    mimir: Lookup, *, labels: int = 0, ax: Axes | None = None, **selection: Any
) -> Axes:
    """Draws memories in the order stored, a row for each thread, and the edges among them.

    Every edge leads from the older on the left to the newer on the right. What was erased stands
    as a hollow dot. Shows no text of a memory unless asked for labels.

    Args:
        labels: How many memories, spread evenly, to write the beginning of the text beside.
        ax: Matplotlib axes to draw on; new ones if not given.
        selection: As in `Mimir.graph`; the default namespace if none is given.

    Raises:
        MissingExtra: matplotlib is missing; names the extra.
    """
    graph = mimir.graph(**{"namespace": DEFAULT_NAMESPACE, **selection})
    rows = _rows(graph)
    axes = new_axes(9, min(1.4 + 0.6 * len(rows), 9)) if ax is None else plain(ax)
    axes.set_title(f"{len(graph.nodes):,} memories, {len(graph.edges):,} edges")
    if not graph.nodes:
        return note(axes, "no memories")
    places = np.array([(at, -rows[node.thread]) for at, node in enumerate(graph.nodes)], float)
    _draw_edges(axes, graph, places)
    _draw_nodes(axes, graph, places)
    _name_rows(axes, rows)
    _label(axes, mimir, graph, places, labels)
    legend(axes)
    return axes


def _rows(graph: Graph) -> dict[str | None, int]:
    """The row of each thread by its name, in the order they begin."""
    threads = dict.fromkeys(node.thread for node in graph.nodes)
    return {thread: row for row, thread in enumerate(threads)}


def _draw_edges(axes: Axes, graph: Graph, places: Floats) -> None:
    from matplotlib.collections import LineCollection  # noqa: PLC0415  # an extra

    for kind, (colour, style, name) in _STROKES.items():
        edges = [edge for edge in graph.edges if edge.kind is kind]
        if edges:
            lines = LineCollection(
                list(_curves(edges, places)), colors=colour, linestyles=style, linewidths=1.1,
                alpha=0.8, label=name, zorder=1,
            )  # fmt: skip
            axes.add_collection(lines)


def _curves(edges: list[Edge], places: Floats) -> Floats:
    """Quadratic Bézier curves, [edges, 24, 2]; only what follows runs straight."""
    bend = 0 if edges[0].kind is EdgeKind.FOLLOWS else _BEND
    start = places[[edge.parent for edge in edges]][:, None]
    end = places[[edge.child for edge in edges]][:, None]
    middle = (start + end) / 2 + (0, 2 * bend)
    left = 1 - _STEPS
    curves: Floats = left**2 * start + 2 * _STEPS * left * middle + _STEPS**2 * end
    return curves


def _draw_nodes(axes: Axes, graph: Graph, places: Floats) -> None:
    size = float(np.clip((330 / len(places)) ** 2, 2, 42))  # square points; side by side, no closer
    erased = np.array([node.erased for node in graph.nodes])
    looks: dict[str, dict[str, Any]] = {
        "memory": {"color": PALETTE[0]},
        "erased": {"facecolors": "none", "edgecolors": GREY},
    }
    for (name, look), chosen in zip(looks.items(), (~erased, erased), strict=True):
        if chosen.any():
            axes.scatter(places[chosen, 0], places[chosen, 1], s=size, zorder=2, label=name, **look)
    axes.margins(x=0.06)
    axes.set_ylim(places[:, 1].min() - 0.7, 0.7)


def _name_rows(axes: Axes, rows: dict[str | None, int]) -> None:
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel("order stored →", color=GREY, fontsize=8)
    if len(rows) > _MAX_NAMED:
        axes.set_ylabel(f"{len(rows):,} threads", color=GREY, fontsize=8)
        return
    for name, row in rows.items():  # no ticks: by their colour notebooks would choose a ground
        axes.text(
            -0.01, -row, "no thread" if name is None else short(name, 24), ha="right", va="center",
            fontsize=8, color=GREY, parse_math=False, transform=axes.get_yaxis_transform(),
        )  # fmt: skip


def _label(axes: Axes, mimir: Lookup, graph: Graph, places: Floats, labels: int) -> None:
    alive = [at for at, node in enumerate(graph.nodes) if not node.erased]
    chosen = [alive[at] for at in spread_out(len(alive), labels)]
    opened = mimir.get_many([graph.nodes[at].id for at in chosen])
    width = max(12, _LINE // max(len(chosen), 1))
    for (x, y), memory in zip(places[chosen].tolist(), opened, strict=True):
        if memory is not None:
            lines = wrap(memory.text, width, max_lines=3, placeholder="…")
            annotate(axes, (x, y), "\n".join(lines), (0, -5), "center")
