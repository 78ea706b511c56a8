"""The sketched index against the exact one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mimir_core.errors import InvalidArgument, InvalidVector
from mimir_core.index import sketch
from mimir_core.index.columns import ERASED, Mask, VectorColumn
from mimir_core.index.flat import FlatIndex
from mimir_core.index.sketch import LEAST_DIMENSION, SketchIndex
from mimir_core.index.vectors import VectorView

from .vectors import append, clustered, filled, truth

DIMENSION = 256


def recall_at_ten(column: VectorColumn, queries: np.ndarray, allowed: Mask | None = None) -> float:
    """The share of the exact ten best that the sketched index finds."""
    index, exact = SketchIndex(column), FlatIndex(column)
    found = 0
    for query in queries:
        wanted = exact.search(query, 10, allowed)[0]
        found += np.isin(wanted, index.search(query, 10, allowed)[0]).sum()
    return float(found / (10 * len(queries)))


@pytest.mark.parametrize("offset", [0.0, 10.0], ids=["centred", "leaning one way"])
def test_nearly_all_of_the_ten_best_are_found(offset: float) -> None:
    """At 8,000 rows, nine hundred and ninety of a thousand, also where all vectors are alike."""
    vectors = clustered(8_000, DIMENSION) + np.float32(offset)
    random = np.random.default_rng(1)
    queries = vectors[::160] + random.normal(scale=0.02, size=(50, DIMENSION)).astype(np.float32)
    assert recall_at_ten(filled(vectors), queries) >= 0.99


def test_a_mask_is_kept_and_its_best_are_found() -> None:
    """Only allowed rows come back, and of them nearly all of the best."""
    vectors = clustered(8_000, DIMENSION)
    allowed = np.random.default_rng(2).random(8_000) < 0.5
    column = filled(vectors)
    assert recall_at_ten(column, vectors[::160], allowed) >= 0.99
    rows, _ = SketchIndex(column).search(vectors[5], 40, allowed)
    assert allowed[rows].all()


def test_few_rows_or_many_wanted_are_scanned() -> None:
    """A small column, a narrow mask and a large k are answered exactly."""
    column = filled(clustered(3_000, DIMENSION))
    query = clustered(1, DIMENSION, 9)[0]
    narrow = np.arange(3_000) % 30 == 0
    for k, allowed in ((1_500, None), (200, None), (10, narrow)):
        rows, scores = SketchIndex(column).search(query, k, allowed)
        wanted, exact = FlatIndex(column).search(query, k, allowed)
        assert rows.tolist() == wanted.tolist()
        np.testing.assert_array_equal(scores, exact)


def test_an_erased_vector_leaves_no_sketch() -> None:
    """Once erased, a row is found no more and its bits are gone."""
    vectors = clustered(5_000, DIMENSION)
    column = filled(vectors)
    index = SketchIndex(column)
    assert index.search(vectors[7], 1)[0].tolist() == [7]
    assert index._sketches[7].any()
    column.zero(np.array([7]))
    index.removed([7])
    assert not index._sketches[7].any()
    assert 7 not in index.search(vectors[7], 50)[0]


def test_an_erased_vector_leaves_no_mean() -> None:
    """Of few vectors the means go with any of them, and the next search makes new ones."""
    vectors = clustered(3, DIMENSION)
    column = filled(vectors[:1])
    index = SketchIndex(column)
    assert index.search(vectors[0], 1)[0].tolist() == [0]
    assert np.array_equal(index._means, column.codes[0])
    column.zero(np.array([0]))
    index.removed([0])
    assert not index._means.any()
    append(column, vectors[1:])
    assert index.search(vectors[2], 1)[0].tolist() == [2]


def test_bad_requests_are_refused() -> None:
    """As every index does."""
    index = SketchIndex(filled(clustered(3_000, DIMENSION)))
    query = clustered(1, DIMENSION)[0]
    for k, allowed in ((0, None), (1, np.ones(5, np.bool_))):
        with pytest.raises(InvalidArgument):
            index.search(query, k, allowed)
    with pytest.raises(InvalidVector):
        index.search(query[:-1], 1)


def test_a_view_sketches_long_vectors_and_scans_short_ones() -> None:
    """Short vectors say too little in bits; long ones need no graph until there are very many."""
    for dimension, sketched in ((LEAST_DIMENSION, True), (LEAST_DIMENSION - 1, False)):
        view = VectorView(filled(clustered(12_000, dimension)))
        assert (view._sketches is not None) == sketched
        assert view.wants_graph != sketched


class SketchMachine(RuleBasedStateMachine):
    """Add, erase and search in any order, against plain numpy."""

    @initialize(seed=st.integers(0, 1_000))
    def start(self, seed: int) -> None:
        self.pool = clustered(600, DIMENSION, seed)
        self.random = np.random.default_rng(seed)
        self.column = VectorColumn(DIMENSION)
        self.index = SketchIndex(self.column)

    @rule(count=st.integers(1, 120))
    def add(self, count: int) -> None:
        append(self.column, self.pool[self.random.integers(0, 600, count)])

    @precondition(lambda self: len(self.column) > self.column.erased)
    @rule(share=st.sampled_from([0.05, 0.5]))
    def remove(self, share: float) -> None:
        live = np.flatnonzero(self.column.owners != ERASED)
        doomed = live[self.random.random(len(live)) < share]
        self.column.zero(doomed)
        self.index.removed(doomed)

    @rule(k=st.sampled_from([1, 5, 500]), share=st.sampled_from([None, 0.3, 0.9]))
    def search(self, k: int, share: float | None) -> None:
        allowed = None if share is None else self.random.random(len(self.column)) < share
        query = self.pool[self.random.integers(600)] + self.random.normal(size=DIMENSION) / 50
        rows, scores = self.index.search(query, k, allowed)
        expected, exact = truth(self.column, query.astype(np.float32), allowed)
        assert len(rows) == len(set(rows.tolist())) == min(k, len(expected))
        true = dict(zip(expected.tolist(), exact.tolist(), strict=True))
        np.testing.assert_allclose(scores, [true[row] for row in rows.tolist()], atol=2e-6)
        assert np.lexsort((rows, -scores)).tolist() == list(range(len(rows)))

    @invariant()
    def finds_a_row_by_its_vector(self) -> None:
        live = np.flatnonzero(self.column.owners != ERASED)
        if len(live):
            row = self.random.choice(live)
            _, scores = self.index.search(self.column.vectors([row])[0], 1)
            assert scores[0] >= 0.999


@pytest.fixture(autouse=True)
def _few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "Machine" in request.node.nodeid:  # sketches and their limits at a size that runs fast
        monkeypatch.setattr(sketch, "CANDIDATES", 30)
        monkeypatch.setattr(sketch, "A_HIT", 2)


TestSketchMachine = SketchMachine.TestCase
TestSketchMachine.settings = settings(max_examples=25, stateful_step_count=25)
