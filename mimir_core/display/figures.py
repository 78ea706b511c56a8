"""What the plots share: axes for light and dark pages, labels, and the extra they come with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mimir_core.display.markup import GREY
from mimir_core.errors import MissingExtra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

PALETTE = (
    "#4f86c6", "#d98032", "#4ea36b", "#c25b8a", "#8a7bd1",
    "#b59a2f", "#45a5b0", "#c7604f", "#7f9a3d", "#9a7561",
)  # fmt: skip
"""Mid-tones that stand out from white and from black."""

_LABEL_CHARACTERS = 40


def missing(error: ImportError) -> MissingExtra:
    """The error to raise for a library that comes with the extra."""
    return MissingExtra.after(error, "plots need matplotlib and scikit-learn", "notebook")


def new_axes(width: float, height: float) -> Axes:
    """Axes in inches without a ground of their own. Raises MissingExtra, which names it."""
    try:
        import matplotlib.pyplot as plt  # noqa: PLC0415  # an extra, and slow to load
    except ImportError as error:
        raise missing(error) from error
    figure = plt.figure(figsize=(width, height), dpi=110, layout="constrained")
    figure.patch.set_visible(False)  # a ground of colour "none" makes notebooks choose one
    return plain(figure.add_subplot())


def plain(axes: Axes) -> Axes:
    """Takes ground and frame away and makes what is written grey."""
    axes.set_facecolor("none")
    axes.tick_params(colors=GREY, length=0, labelsize=8)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.title.set(color=GREY, fontsize=10)
    return axes


def gradient() -> Colormap:
    """From older to newer, in mid-tones all the way."""
    from matplotlib.colors import LinearSegmentedColormap  # noqa: PLC0415  # an extra

    return LinearSegmentedColormap.from_list("mimir", [PALETTE[0], PALETTE[3], PALETTE[1]])


def legend(axes: Axes, title: str | None = None) -> None:
    """A legend to the right of the axes, in grey."""
    from matplotlib.collections import PathCollection  # noqa: PLC0415  # an extra

    made = axes.legend(
        title=title, loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=8,
        labelcolor=GREY, title_fontsize=8, alignment="left",
    )  # fmt: skip
    made.get_title().set_color(GREY)
    for text in made.get_texts():
        text.set_parse_math(False)
    for handle in made.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_sizes([30])  # square points, however small the dots are


def spread_out(count: int, wanted: int) -> list[int]:
    """At most `wanted` of `count` positions, evenly spread."""
    if wanted >= count:
        return list(range(count))
    return [int(at) for at in np.linspace(0, count - 1, max(wanted, 0))]


def write(axes: Axes, places: Sequence[Sequence[float]], texts: Iterable[str]) -> None:
    """Writes the beginning of each text beside its place, towards the middle."""
    low, high = axes.get_xlim()
    for (x, y), text in zip(places, texts, strict=True):
        left = x > (low + high) / 2
        annotate(axes, (x, y), short(text), (-5 if left else 5, 0), "right" if left else "left")


def annotate(
    axes: Axes, place: tuple[float, float], text: str, offset: tuple[float, float], side: str
) -> None:
    """Writes a text some points off its place; dollars in it are no formulas."""
    made = axes.annotate(
        text, place, xytext=offset, textcoords="offset points", fontsize=7, color=GREY, ha=side,
        va="center" if offset[1] == 0 else "top", parse_math=False,
    )  # fmt: skip
    made.set_in_layout(False)  # a text at the edge would make the plot narrower


def short(text: str, most: int = _LABEL_CHARACTERS) -> str:
    """The beginning of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def note(axes: Axes, text: str) -> Axes:
    """Axes that say why they are empty."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", color=GREY, transform=axes.transAxes)
    return axes
