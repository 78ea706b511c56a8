"""`Mimir.plot_map`: memories in two dimensions, near each other where they mean alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mimir_core.display.figures import (
    PALETTE,
    gradient,
    legend,
    new_axes,
    note,
    plain,
    short,
    spread_out,
    write,
)
from mimir_core.display.layout import Floats, positions
from mimir_core.display.markup import GREY
from mimir_core.errors import InvalidArgument
from mimir_core.intake import DEFAULT_NAMESPACE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection

    from mimir_core.lookup import Lookup
    from mimir_core.results import Memory

_BY = ("thread", "time")


def plot_map(
    mimir: Lookup,
    *,
    by: str = "thread",
    labels: int = 0,
    ax: Axes | None = None,
    **selection: Any,
) -> Axes:
    """Draws memories on a plane, near each other where they mean alike.

    Shows no text of a memory unless asked for labels. Bytes have no vector and are left out.

    Args:
        by: What colours mean: "thread" (the ten longest are named) or "time".
        labels: How many memories, spread evenly, to write the beginning of the text beside.
        ax: Matplotlib axes to draw on; new ones if not given.
        selection: As in `Mimir.memories`; the default namespace if none is given.

    Raises:
        InvalidArgument: `by` is something else.
        MissingExtra: matplotlib or scikit-learn is missing; names the extra.
        NotFound: a memory among them has a vector of another model only.
    """
    if by not in _BY:
        raise InvalidArgument(f"by is one of {', '.join(_BY)}")
    axes = new_axes(8, 5) if ax is None else plain(ax)
    selection = {"namespace": DEFAULT_NAMESPACE, **selection}
    memories = [each for each in mimir.memories(**selection) if isinstance(each.content, str)]
    axes.set_title(f"{len(memories):,} memories by likeness")
    if not memories:
        return note(axes, "no memories")
    places = positions(mimir.vectors([each.id for each in memories]))
    (_by_time if by == "time" else _by_thread)(axes, places, memories)
    axes.set(xticks=[], yticks=[])
    axes.margins(0.08)
    chosen = spread_out(len(memories), labels)
    write(axes, places[chosen].tolist(), [memories[at].text for at in chosen])
    return axes


def _by_thread(axes: Axes, places: Floats, memories: Sequence[Memory]) -> None:
    threads = [each.thread for each in memories]
    counts = Counter(thread for thread in threads if thread is not None)
    longest = sorted(name for name, _ in counts.most_common(len(PALETTE)))
    rest = "other threads" if len(counts) > len(longest) else "no thread"
    groups = [(None, rest, GREY), *((name, name, PALETTE[at]) for at, name in enumerate(longest))]
    for group, name, colour in groups:
        mine = [(each if each in longest else None) == group for each in threads]
        if any(mine):
            label = "\u200b" + short(name, 28)  # matplotlib hides labels that begin with "_"
            _dots(axes, places[mine], len(memories), color=colour, label=label)
    legend(axes, "thread")


def _by_time(axes: Axes, places: Floats, memories: Sequence[Memory]) -> None:
    from matplotlib import dates  # noqa: PLC0415  # an extra

    ticks: Any = dates  # it publishes no types
    times = ticks.date2num([each.time for each in memories])
    points = _dots(axes, places, len(memories), c=times, cmap=gradient())
    locator = ticks.AutoDateLocator()
    written = ticks.ConciseDateFormatter(locator)
    bar = axes.figure.colorbar(points, ax=axes, ticks=locator, format=written, shrink=0.8)
    plain(bar.ax)


def _dots(axes: Axes, places: Floats, count: int, **colours: Any) -> PathCollection:
    """Dots, smaller where there are many of them."""
    size = float(np.clip(6_000 / count, 3, 40))  # square points
    return axes.scatter(places[:, 0], places[:, 1], s=size, alpha=0.85, linewidths=0, **colours)
