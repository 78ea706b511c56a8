"""The benchmarks as pictures: light, labelled where the eye is, no legend to look up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

INK, QUIET, PAPER = "#222222", "#767676", "#ffffff"
BLUE, SKY, ORANGE, GREEN = "#0072b2", "#56a3d0", "#d55e00", "#00805f"
STYLE = {
    "figure.facecolor": PAPER, "axes.facecolor": PAPER, "savefig.facecolor": PAPER,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": QUIET,
    "xtick.color": INK, "ytick.color": INK, "font.size": 12, "axes.titlesize": 15,
    "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.titlepad": 14,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    "axes.grid": True, "grid.color": "#e6e6e6", "lines.linewidth": 2.2, "lines.markersize": 6,
}  # fmt: skip
NAMES = {
    "mimir": "Mimir", "naive_sqlite": "naive SQLite", "chroma": "Chroma", "lancedb": "LanceDB",
    "qdrant": "Qdrant local", "faiss_flat": "FAISS flat", "faiss_hnsw": "FAISS HNSW",
    "langchain": "LangChain in memory", "llamaindex": "LlamaIndex simple",
}  # fmt: skip
CHANNELS = {"dense": SKY, "lexical": ORANGE, "hybrid": GREEN, "spread": BLUE}
PLACES = (
    ((9, 0), "left", "center"), ((-9, 0), "right", "center"),
    ((0, 9), "center", "bottom"), ((0, -9), "center", "top"),
)  # fmt: skip
"""Where a point's label may stand: offset in points, and alignment."""

Drawing = Callable[[Axes, dict[str, Any]], None]


def draw(result: dict[str, Any], folder: Path) -> list[Path]:
    """Draws every plot for which a result of `bench.table` has figures, as SVG and PNG."""
    drawings: dict[str, tuple[str, Drawing]] = {
        "latency": ("growth", latency), "size": ("growth", size),
        "recall": ("recall", recall), "peers": ("peers", pareto),
    }  # fmt: skip
    folder.mkdir(exist_ok=True)
    paths: list[Path] = []
    for name, (needed, drawing) in drawings.items():
        if needed in result:
            paths += _saved(drawing, result, folder / name)
    return paths


def _saved(drawing: Drawing, result: dict[str, Any], stem: Path) -> list[Path]:
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 5.2), layout="constrained")
        drawing(figure.add_subplot(), result)
        paths = [stem.with_suffix(suffix) for suffix in (".svg", ".png")]
        for path in paths:
            figure.savefig(path, dpi=150)
    return paths


def latency(axes: Axes, result: dict[str, Any]) -> None:
    """Milliseconds a query against turns, with and without embedding."""
    growth = result["growth"]
    lines = {
        "total_p95_ms": ("whole query, p95", BLUE, "-"),
        "total_p50_ms": ("whole query, p50", BLUE, "--"),
        "rest_p95_ms": ("without embedding, p95", GREEN, "-"),
        "rest_p50_ms": ("without embedding, p50", GREEN, "--"),
    }
    turns = [row["turns"] for row in growth]
    for key, (_, color, dashes) in lines.items():
        axes.plot(turns, [row[key] for row in growth], dashes, color=color, marker="o")
    claim = result["claims"]["p95_ms"]
    axes.plot([10_000], [claim], "D", color=QUIET)
    axes.annotate("founding article,\np95 at 10,000 turns", (10_000, claim), (9, 0),
                  textcoords="offset points", va="center", color=QUIET)  # fmt: skip
    axes.set(title="A query, as the vault grows", xlabel="turns in the vault", ylabel="ms")
    axes.set_ylim(0, 1.08 * max([claim, *(row["total_p95_ms"] for row in growth)]))
    _turns_axis(axes, turns)
    ends = [(label, growth[-1][key], color) for key, (label, color, _) in lines.items()]
    _label_ends(axes, turns[-1], ends)


def size(axes: Axes, result: dict[str, Any]) -> None:
    """Bytes a turn on disk against turns, beside what the turns are unencrypted."""
    growth = result["growth"]
    lines = {
        "bytes_per_turn": ("Mimir, sealed, indexed", BLUE, "-"),
        "raw_bytes_per_turn": ("text, metadata,\nfloat32 vector", QUIET, "--"),
        "text_bytes_per_turn": ("text and metadata", QUIET, ":"),
    }
    turns = [row["turns"] for row in growth]
    for key, (_, color, dashes) in lines.items():
        axes.plot(turns, [row[key] for row in growth], dashes, color=color, marker="o")
    axes.set(title="A turn on disk, as the vault grows", xlabel="turns in the vault",
             ylabel="bytes a turn")  # fmt: skip
    axes.set_ylim(0, 1.1 * max(row[key] for row in growth for key in lines))
    axes.yaxis.set_major_formatter(FuncFormatter(_plain))
    _turns_axis(axes, turns)
    ends = [(label, growth[-1][key], color) for key, (label, color, _) in lines.items()]
    _label_ends(axes, turns[-1], ends)


def recall(axes: Axes, result: dict[str, Any]) -> None:
    """Share of the evidence found among the first k, by channel."""
    found = result["recall"]
    cuts = [int(key.removeprefix("recall@")) for key in found["dense"] if key.startswith("recall@")]
    for channel, color in CHANNELS.items():
        axes.plot(cuts, [found[channel][f"recall@{k}"] for k in cuts], color=color, marker="o")
    axes.set(title=f"Evidence found by channel, {found['n']:,} questions", xlabel="first k hits",
             ylabel="recall", xticks=cuts)  # fmt: skip
    axes.set_ylim(0, 1)
    names = {"spread": "hybrid with spread"}
    ends = [
        (names.get(channel, channel), found[channel][f"recall@{cuts[-1]}"], color)
        for channel, color in CHANNELS.items()
    ]
    _label_ends(axes, cuts[-1], ends)


def pareto(axes: Axes, result: dict[str, Any]) -> None:
    """Peers by bytes a turn and p95 of a whole query; nearer to the lower left is better."""
    peers = {name: each for name, each in result["peers"].items() if "skipped" not in each}
    points = {name: (each["bytes_per_turn"], each["total_p95_ms"]) for name, each in peers.items()}
    front = [one for one in points.values() if not any(_beats(it, one) for it in points.values())]
    axes.step(*zip(*sorted(front), strict=True), where="post", color="#c9c9c9", zorder=1)
    axes.set(title="Peers: latency against size", ylabel="p95 of a whole query, ms",
             xlabel="bytes a turn on disk (on the grey line: nothing is both smaller and faster)",
             xscale="log", yscale="log")  # fmt: skip
    axes.margins(0.2)
    for name, point in points.items():
        sealed = peers[name]["encrypted"]
        axes.scatter(*point, s=90, zorder=3, linewidths=1.8, edgecolors=BLUE if sealed else QUIET,
                     color=BLUE if sealed else PAPER)  # fmt: skip
    _plain_log(axes)
    _label_points(axes, {_name(name, peers[name]): point for name, point in points.items()})


def _name(name: str, peer: dict[str, Any]) -> str:
    return f"{NAMES[name]}, encrypted" if peer["encrypted"] else NAMES[name]


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] <= other[0] and one[1] <= other[1]


def _turns_axis(axes: Axes, turns: Sequence[int]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(turns, [f"{each:,}" for each in turns])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(False, axis="x")


def _plain(value: float, _: int) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _plain_log(axes: Axes) -> None:
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(_plain))
        axis.set_minor_formatter(NullFormatter())


def _label_ends(axes: Axes, x: float, ends: Sequence[tuple[str, float, str]]) -> None:
    """Labels lines at their right ends, far enough apart to be read."""
    low, high = axes.get_ylim()
    floor = low
    for label, value, color in sorted(ends, key=lambda end: end[1]):
        lines = 1 + label.count("\n")
        floor = max(value, floor)
        axes.annotate(label, (x, floor), (10, 0), textcoords="offset points", color=color,
                      va="center", annotation_clip=False)  # fmt: skip
        floor += 0.055 * lines * (high - low)


def _label_points(axes: Axes, points: dict[str, tuple[float, float]]) -> None:
    """Labels points on the first side where the label covers no other label, point or axis."""
    figure = axes.figure
    figure.canvas.draw()
    x, y = axes.bbox.min
    taken = [_around(axes, point) for point in points.values()]
    taken += [Bbox.from_extents(0, 0, x, 1e4), Bbox.from_extents(0, 0, 1e4, y)]
    for label, point in points.items():
        notes = [_note(axes, label, point, place) for place in PLACES]
        boxes = [note.get_window_extent() for note in notes]
        free = [at for at, box in enumerate(boxes) if not box.count_overlaps(taken)]
        chosen = free[0] if free else 0
        taken.append(boxes[chosen])
        for at, note in enumerate(notes):
            if at != chosen:
                note.remove()


def _note(axes: Axes, label: str, point: tuple[float, float], place: Any) -> Annotation:
    offset, across, along = place
    weight = "bold" if label.startswith("Mimir") else "normal"
    return axes.annotate(label, point, offset, textcoords="offset points", ha=across, va=along,
                         fontweight=weight, zorder=2,
                         bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1})  # fmt: skip


def _around(axes: Axes, point: tuple[float, float]) -> Any:
    """The pixels that a point covers."""
    x, y = axes.transData.transform(point)
    return Bbox.from_bounds(x - 7, y - 7, 14, 14)
