"""Maps and graphs of any size, drawn by matplotlib without a screen."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pytest

from mimir_core import Item, Mimir
from mimir_core.display import layout
from mimir_core.display.layout import positions
from mimir_core.errors import InvalidArgument, MissingExtra
from mimir_core.types import EdgeKind

matplotlib = pytest.importorskip("matplotlib", reason="plots come with the notebook extra")
pytest.importorskip("sklearn", reason="plots come with the notebook extra")
matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402  # after the choice of its backend
from matplotlib.axes import Axes  # noqa: E402


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def words(axes: Axes) -> str:
    """Every text in the figure that axes belong to."""
    axes.figure.canvas.draw()
    return "\n".join(text.get_text() for text in axes.figure.findobj(matplotlib.text.Text))


def dots(axes: Axes) -> int:
    """How many dots are drawn."""
    kind = matplotlib.collections.PathCollection
    return sum(len(each.get_offsets()) for each in axes.collections if isinstance(each, kind))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 60])
@pytest.mark.parametrize("by", ["thread", "time"])
def test_a_map_has_a_dot_for_each_memory(mimir: Mimir, count: int, by: str) -> None:
    """None, one, two or many memories are drawn, bytes are left out, no text is shown."""
    mimir.remember_many(Item(f"word{n} rests", thread=f"t{n % 12}") for n in range(count))
    mimir.remember(b"raw")
    axes = mimir.plot_map(by=by)
    assert dots(axes) == count
    assert "rests" not in words(axes)
    assert ("no memories" in words(axes)) == (count == 0)


def test_a_map_labels_as_many_as_asked(mimir: Mimir) -> None:
    """Labels show beginnings of texts; a dollar sign in them is no formula."""
    mimir.remember_many(Item(f"costs $x_{n}$ and ${n} " + "more " * 20) for n in range(20))
    shown = words(mimir.plot_map(labels=5))
    assert shown.count("costs $x_") == 5
    assert "more more more more more more more more" not in shown


def test_a_map_narrows_and_draws_where_told(mimir: Mimir) -> None:
    """The selection of `memories` narrows it, and given axes are drawn on."""
    mimir.remember_many(Item(f"word{n}", thread="a" if n < 4 else "b") for n in range(10))
    _, axes = plt.subplots()
    assert mimir.plot_map(thread="a", ax=axes) is axes
    assert dots(axes) == 4
    with pytest.raises(InvalidArgument):
        mimir.plot_map(by="mood")


def test_places_are_the_same_every_time_and_keep_clusters_apart() -> None:
    """Two clusters of vectors do not mix on the plane, and a second call gives the same places."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(2, 16))
    vectors = np.repeat(centres, 25, axis=0) + rng.normal(scale=0.1, size=(50, 16))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    places = positions(vectors)
    assert np.array_equal(places, positions(vectors))
    first, second = places[:25], places[25:]
    apart = np.linalg.norm(first.mean(axis=0) - second.mean(axis=0))
    assert apart > 2 * max(np.linalg.norm(each - each.mean(axis=0), axis=1).max()
                           for each in (first, second))  # fmt: skip


def test_many_are_placed_among_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand vectors find finite places, each near the sample's of its own cluster."""
    monkeypatch.setattr(layout, "LANDMARKS", 100)
    rng = np.random.default_rng(1)
    cluster = rng.integers(0, 2, 10_000)
    vectors = rng.normal(size=(2, 32))[cluster] + rng.normal(scale=0.2, size=(10_000, 32))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    places = positions(vectors)
    assert places.shape == (10_000, 2)
    assert np.isfinite(places).all()
    middle = [places[cluster == each].mean(axis=0) for each in (0, 1)]
    nearer = np.linalg.norm(places - middle[0], axis=1) > np.linalg.norm(places - middle[1], axis=1)
    assert (nearer == cluster).mean() > 0.99


def test_equal_vectors_share_a_place() -> None:
    """What cannot be told apart is drawn in one place, without a warning."""
    assert np.allclose(positions(np.ones((40, 8), np.float32)), 0)


@pytest.mark.parametrize("count", [0, 1, 2, 60])
def test_a_graph_is_drawn_at_any_size(mimir: Mimir, count: int) -> None:
    """Every node is a dot, erased ones hollow; no text is shown unless asked for."""
    ids = mimir.remember_many(Item(f"word{n} rests", thread=f"t{n % 40}") for n in range(count))
    if count > 2:
        mimir.forget(ids[5])
    axes = mimir.plot_dag()
    assert dots(axes) == count
    assert ("erased" in words(axes)) == (count > 2)
    assert "rests" not in words(axes)
    assert words(mimir.plot_dag(labels=3)).count("rests") == min(count, 3)


def test_a_graph_of_ten_thousand_is_drawn(mimir: Mimir) -> None:
    """Ten thousand memories in a hundred threads are one figure of bounded size."""
    items = [Item(b"raw", thread=f"t{n % 100}") for n in range(10_000)]
    mimir.remember_many(items)
    axes = mimir.plot_dag()
    assert dots(axes) == 10_000
    assert "100 threads" in words(axes)
    assert max(axes.figure.get_size_inches()) <= 12


def test_a_graph_knows_every_edge(mimir: Mimir) -> None:
    """Threads, derivations and supersessions are there, and the erased that live ones lead to."""
    one = mimir.remember("one", thread="t")
    two = mimir.remember("two", thread="t")
    made = mimir.remember("both", derived_from=[one, two])
    old = mimir.remember("blue", key="colour")
    new = mimir.remember("green", key="colour")
    elsewhere = mimir.remember("far", namespace="elsewhere")
    mimir.forget(one)
    graph = mimir.graph(namespace="default")
    at = {node.id: place for place, node in enumerate(graph.nodes)}
    assert elsewhere not in at
    assert {node.id for node in graph.nodes if node.erased} == {one, old}
    assert set(graph.edges) == {
        (EdgeKind.FOLLOWS, at[one], at[two]),
        (EdgeKind.DERIVES, at[one], at[made]),
        (EdgeKind.DERIVES, at[two], at[made]),
        (EdgeKind.SUPERSEDES, at[old], at[new]),
    }
    assert graph.nodes[at[two]].thread == "t"
    assert len(mimir.graph().nodes) == 6


def test_without_the_extra_the_error_names_it(
    mimir: Mimir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing library raises MissingExtra, which says what to install; showing needs none."""
    mimir.remember_many(Item(f"word{n}") for n in range(9))
    for absent in ("sklearn.manifold", "matplotlib.pyplot"):
        monkeypatch.setitem(sys.modules, absent, None)
        with pytest.raises(MissingExtra, match=r"pip install 'mimir-sealed\[notebook\]'") as caught:
            mimir.plot_map()
        assert caught.value.name == absent
    with pytest.raises(ImportError, match=r"mimir-sealed\[notebook\]"):
        mimir.plot_dag()
    assert mimir._repr_html_()
