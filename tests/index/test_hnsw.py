"""The approximate index against the exact one."""

from __future__ import annotations

from threading import Event, Thread

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mimir_core.errors import InvalidArgument, InvalidVector
from mimir_core.index import hnsw, vectors
from mimir_core.index.columns import ERASED, Mask, VectorColumn
from mimir_core.index.flat import FlatIndex
from mimir_core.index.graph import GraphState
from mimir_core.index.hnsw import MAX_HOLES, HnswIndex
from mimir_core.index.vectors import VectorView

from .vectors import append, clustered, filled, truth

QUERIES = clustered(60, seed=9)


@pytest.fixture(autouse=True)
def graph_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make even a small index search its graph, and a small view want one."""
    monkeypatch.setattr(hnsw, "_ROWS_A_CANDIDATE", 0.001)
    monkeypatch.setattr(vectors, "GRAPH_FROM", 100)
    monkeypatch.setattr(vectors, "_TAIL", 50)


def built(column: VectorColumn) -> HnswIndex:
    """An index with all rows of the column in its graph."""
    index = HnswIndex(column)
    index.extend()
    assert index.covered == len(column)
    return index


def recall(
    index: HnswIndex | VectorView, column: VectorColumn, k: int = 10, allowed: Mask | None = None
) -> float:
    """Share of the k best scores that the index finds; equal scores count alike."""
    found = wanted = 0
    for query in QUERIES:
        _, exact = FlatIndex(column).search(query, k, allowed)
        rows, scores = index.search(query, k, allowed)
        assert len(rows) == len(exact)
        assert allowed is None or allowed[rows].all()
        found += int(np.count_nonzero(scores >= exact[-1]))
        wanted += len(exact)
    return found / wanted


def test_recall_after_build_erasure_extension_and_attachment() -> None:
    """Recall stays above 0.98 through the life of a graph."""
    column = filled(clustered(3_000))
    index = built(column)
    assert recall(index, column) >= 0.98
    erased = np.arange(0, 3_000, 11)
    column.zero(erased)
    index.removed(erased)
    assert recall(index, column) >= 0.98
    append(column, clustered(500, seed=3))
    assert recall(index, column) >= 0.98
    index.extend()
    assert recall(index, column) >= 0.98
    state = index.state()
    assert state is not None
    attached = HnswIndex.attach(column, GraphState.from_bytes(state.to_bytes()))
    assert recall(attached, column) >= 0.98
    assert attached.removed_share == pytest.approx(index.removed_share)


def test_the_graph_is_searched() -> None:
    """With a graph of few links and few candidates, some neighbours are missed."""
    column = filled(np.random.default_rng(1).normal(size=(3_000, 48)).astype(np.float32))
    index = built(column)
    index._index.set_ef(1)
    assert recall(index, column, k=1) < 1


def test_scores_and_order_are_those_of_the_exact_index() -> None:
    """What both indexes find has the same score bit by bit, ties by row."""
    column = filled(clustered(1_000))
    index, exact = built(column), FlatIndex(column)
    for query in QUERIES[:20]:
        rows, scores = index.search(query, 30)
        known = dict(zip(*map(np.ndarray.tolist, exact.search(query, 1_000)), strict=True))
        assert scores.tolist() == [known[row] for row in rows.tolist()]
        assert np.lexsort((rows, -scores)).tolist() == list(range(30))


@pytest.mark.parametrize("share", [0.001, 0.05, 0.5, 0.99, 1.0])
def test_masks(share: float) -> None:
    """Whatever share of rows is allowed, as many come back as the exact index finds."""
    column = filled(clustered(2_000))
    allowed = np.random.default_rng(4).random(2_000) < share
    assert recall(built(column), column, 10, allowed) >= 0.98


def test_a_mask_that_allows_nothing() -> None:
    """No allowed row, no result."""
    index = built(filled(clustered(200)))
    assert index.search(QUERIES[0], 10, np.zeros(200, np.bool_))[0].tolist() == []


def test_a_mask_against_the_query() -> None:
    """When only the farthest rows are allowed, they are found all the same."""
    column = filled(clustered(2_000))
    index = built(column)
    far = truth(column, QUERIES[0])[0][-150:]
    allowed = np.isin(np.arange(2_000), far)
    rows, _ = index.search(QUERIES[0], 20, allowed)
    np.testing.assert_array_equal(rows, FlatIndex(column).search(QUERIES[0], 20, allowed)[0])


def test_duplicates_do_not_hide_anything() -> None:
    """With every second vector the same one, every other is found by itself."""
    rows = clustered(1_500)
    rows[::2] = rows[0]
    column = filled(rows)
    index = built(column)
    for row in range(1, 1_500, 10):
        assert index.search(rows[row], 1)[0].tolist() == [row]
    assert index.search(rows[0], 30)[0].tolist() == list(range(0, 60, 2))
    assert recall(index, column, 10) >= 0.98


def test_a_twin_outlives_the_first_of_its_kind() -> None:
    """Erasing one of two equal rows leaves the other; erasing both leaves none; a third lives."""
    rows = clustered(400)
    rows[200] = rows[100]
    column = filled(rows)
    index = built(column)
    for doomed, left in (([100], 200), ([200], None)):
        column.zero(doomed)
        index.removed(doomed)
        index.removed(doomed)
        best = int(index.search(rows[100], 1)[0][0])
        assert best == left if left is not None else best not in (100, 200)
    append(column, rows[100:101])
    index.extend()
    assert index.search(rows[100], 1)[0].tolist() == [400]


def test_all_vectors_equal() -> None:
    """One vector a thousand times: the first rows come back, whatever k."""
    column = filled(np.repeat(clustered(1), 1_000, axis=0))
    index = built(column)
    for k in (1, 10, 999, 1_000, 2_000):
        assert index.search(QUERIES[0], k)[0].tolist() == list(range(min(k, 1_000)))


def test_k_beyond_the_count() -> None:
    """All live rows come back when k is larger."""
    column = filled(clustered(300))
    index = built(column)
    assert sorted(index.search(QUERIES[0], 10_000)[0].tolist()) == list(range(300))


def test_everything_removed() -> None:
    """Nothing is left, nothing is found, nothing is kept; new rows are found again."""
    column = filled(clustered(300))
    index = built(column)
    column.zero(np.arange(300))
    index.removed(np.arange(300))
    assert index.search(QUERIES[0], 5)[0].tolist() == []
    assert index.state() is None
    append(column, QUERIES)
    assert index.search(QUERIES[7], 1)[0].tolist() == [307]
    index.extend()
    assert index.search(QUERIES[7], 1)[0].tolist() == [307]


def test_bad_requests_are_refused() -> None:
    """k below 1, a mask or a query of another size raise typed errors."""
    index = built(filled(clustered(300)))
    with pytest.raises(InvalidArgument):
        index.search(QUERIES[0], 0)
    with pytest.raises(InvalidArgument):
        index.search(QUERIES[0], 1, np.ones(299, np.bool_))
    with pytest.raises(InvalidVector):
        index.search(QUERIES[0][:47], 1)


def test_an_erased_row_leaves_no_trace_in_the_state() -> None:
    """The state after an erasure names no erased row and has no node for its vector."""
    column = filled(clustered(500))
    index = built(column)
    erased = np.arange(0, 500, 11)
    column.zero(erased)
    index.removed(erased)
    state = index.state()
    assert state is not None
    assert not np.isin(state.node_rows, erased).any()
    assert len(state.node_rows) == 500 - len(erased)
    assert int(state.links.max()) < len(state.node_rows)


def test_a_graph_with_many_holes_is_not_kept() -> None:
    """Once a fifth of the vectors is erased there is no state, and the view builds anew."""
    column = filled(clustered(500))
    view = VectorView(column)
    view.extend()
    column.zero(np.arange(100))
    view.removed(np.arange(100))
    assert view.state() is None
    view.extend()
    state = view.state()
    assert state is not None
    assert (len(state.node_rows), state.removed) == (400, 0)


def test_progress_is_reported() -> None:
    """Progress grows to the number of rows."""
    column = filled(clustered(300))
    steps: list[tuple[int, int]] = []
    HnswIndex(column).extend(lambda done, total: steps.append((done, total)))
    assert steps == sorted(steps)
    assert steps[-1] == (300, 300)


def test_an_interrupted_extension_leaves_an_exact_index() -> None:
    """When an extension fails, the half-linked graph is dropped and answers stay exact."""

    def fail(done: int, total: int) -> None:
        raise KeyboardInterrupt

    column = filled(clustered(300))
    index = HnswIndex(column)
    with pytest.raises(KeyboardInterrupt):
        index.extend(fail)
    assert index.covered == 0
    assert recall(index, column) == 1


def test_searches_go_on_while_rows_are_taken_in_and_erased() -> None:
    """Beside an extension, searches stay whole and never return what was erased before them."""
    column = filled(clustered(4_000))
    view = VectorView(column)
    done = Event()
    thread = Thread(target=lambda: (view.extend(), done.set()))
    thread.start()
    erased = 0
    while not done.is_set() or erased < 50:
        column.zero([erased * 7])
        view.removed([erased * 7])
        erased += 1
        rows, _ = view.search(QUERIES[erased % 60], 20)
        assert len(rows) == 20
        assert (column.owners[rows] != ERASED).all()
        if erased == 500:
            break
    thread.join()
    assert view.graph_rows == 4_000
    assert recall(view, column) >= 0.98


def test_a_view_wants_a_graph_when_rows_are_many() -> None:
    """Few rows are scanned; many want a graph, and so does a long tail or a graph with holes."""
    column = filled(clustered(90))
    view = VectorView(column)
    view.extend()
    assert not view.wants_graph
    assert view.graph_rows == 0
    assert view.state() is None
    append(column, clustered(900, seed=3))
    assert view.wants_graph
    view.extend()
    assert not view.wants_graph
    assert view.graph_rows == 990
    append(column, clustered(40, seed=4))
    assert not view.wants_graph
    append(column, clustered(80, seed=5))
    assert view.wants_graph
    view.extend()
    assert view.graph_rows == 1_110
    column.zero(np.arange(200))
    view.removed(np.arange(200))
    assert view.wants_graph
    view.extend()
    assert not view.wants_graph
    assert recall(view, column) >= 0.98


def test_a_graph_attached_late_knows_what_was_erased_meanwhile() -> None:
    """Rows erased between reading the graph and putting it in place stay away."""
    column = filled(clustered(400))
    attached = built(column)
    view = VectorView(column)
    column.zero([5, 6])
    view.removed([5, 6])
    view._replace(attached)
    rows, _ = view.search(clustered(400)[5], 5)
    assert not {5, 6} & set(rows.tolist())
    state = view.state()
    assert state is not None
    assert len(state.node_rows) == 398


class IndexMachine(RuleBasedStateMachine):
    """Add, remove, extend, keep, attach and search in any order, against plain numpy."""

    @initialize(seed=st.integers(0, 1_000))
    def start(self, seed: int) -> None:
        self.pool = clustered(400, 12, seed)
        self.random = np.random.default_rng(seed)
        self.column = VectorColumn(12)
        self.index = HnswIndex(self.column)

    @rule(count=st.integers(1, 60), twins=st.booleans())
    def add(self, count: int, twins: bool) -> None:
        picks = self.random.integers(0, 20 if twins else 400, count)
        append(self.column, self.pool[picks])

    @precondition(lambda self: len(self.column) > self.column.erased)
    @rule(share=st.sampled_from([0.05, 0.3, 1.0]))
    def remove(self, share: float) -> None:
        live = np.flatnonzero(self.column.owners != ERASED)
        doomed = live[self.random.random(len(live)) < share]
        self.column.zero(doomed)
        self.index.removed(doomed)

    @rule()
    def extend(self) -> None:
        if self.index.removed_share > MAX_HOLES:  # as the view does: new rows hardly link to holes
            self.index = HnswIndex(self.column)
        self.index.extend()

    @rule()
    def reopen(self) -> None:
        state = self.index.state()
        self.index = HnswIndex(self.column)
        if state is not None:
            kept = GraphState.from_bytes(state.to_bytes())
            self.index = HnswIndex.attach(self.column, kept)

    @rule(k=st.sampled_from([1, 5, 40, 500]), share=st.sampled_from([None, 0.02, 0.5, 1.0]))
    def search(self, k: int, share: float | None) -> None:
        allowed = None if share is None else self.random.random(len(self.column)) < share
        query = self.pool[self.random.integers(400)] + self.random.normal(size=12)
        rows, scores = self.index.search(query, k, allowed)
        expected, exact = truth(self.column, query.astype(np.float32), allowed)
        assert len(rows) == len(set(rows.tolist())) == min(k, len(expected))
        true = dict(zip(expected.tolist(), exact.tolist(), strict=True))
        np.testing.assert_allclose(scores, [true[row] for row in rows.tolist()], atol=2e-6)
        assert np.lexsort((rows, -scores)).tolist() == list(range(len(rows)))

    @invariant()
    def finds_a_row_by_its_vector(self) -> None:
        live = np.flatnonzero(self.column.owners[: self.index.covered] != ERASED)
        if len(live):
            row = self.random.choice(live)
            _, scores = self.index.search(self.column.vectors([row])[0], 1)
            assert scores[0] >= 0.9


TestIndexMachine = IndexMachine.TestCase
TestIndexMachine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
