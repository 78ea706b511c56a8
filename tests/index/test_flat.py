"""The exact index against plain numpy in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimir_core.errors import InvalidArgument, InvalidVector
from mimir_core.index.flat import FlatIndex

from .vectors import clustered, filled, truth


@given(
    st.integers(1, 300),
    st.integers(1, 96),
    st.integers(1, 40),
    st.sampled_from([None, 0.0, 0.1, 0.9]),
    st.floats(0, 1),
    st.integers(0, 2**32),
)
def test_exact_for_any_column_mask_and_k(
    count: int, dimension: int, k: int, share: float | None, erased: float, seed: int
) -> None:
    """Rows and scores are those of a float64 scan over the live, allowed rows."""
    random = np.random.default_rng(seed)
    column = filled(random.normal(size=(count, dimension)).astype(np.float32))
    column.zero(np.flatnonzero(random.random(count) < erased))
    allowed = None if share is None else random.random(count) < share
    query = random.normal(size=dimension).astype(np.float32)
    rows, scores = FlatIndex(column).search(query, k, allowed)
    expected, exact = truth(column, query, allowed)
    assert rows.dtype == np.int64
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, exact[:k], atol=2e-6)
    assert len(set(rows.tolist())) == len(rows) == min(k, len(expected))
    by_row = dict(zip(expected.tolist(), exact.tolist(), strict=True))
    np.testing.assert_allclose([by_row[row] for row in rows.tolist()], scores, atol=2e-6)


def test_ties_come_in_row_order() -> None:
    """Among equal vectors the lowest rows win, wherever they stand."""
    vectors = clustered(400)
    vectors[7::9] = vectors[7]
    rows, scores = FlatIndex(filled(vectors)).search(vectors[7], 12)
    assert rows.tolist() == list(range(7, 400, 9))[:12]
    assert len(set(scores.tolist())) == 1


def test_all_vectors_equal() -> None:
    """A column of one vector repeated answers with its first rows."""
    vectors = np.repeat(clustered(1), 9_000, axis=0)
    rows, _ = FlatIndex(filled(vectors)).search(vectors[0], 5)
    assert rows.tolist() == [0, 1, 2, 3, 4]


def test_an_empty_or_erased_column_has_no_rows() -> None:
    """No live row, no result."""
    column = filled(clustered(3))
    index = FlatIndex(column)
    column.zero([0, 1, 2])
    index.removed([0, 1, 2])
    assert index.search(np.ones(48), 5)[0].tolist() == []
    assert FlatIndex(filled(clustered(0))).search(np.ones(48), 5)[0].tolist() == []


def test_appended_rows_are_found_at_once() -> None:
    """The index follows its column without being told."""
    vectors = clustered(20)
    column = filled(vectors[:10])
    index = FlatIndex(column)
    fresh = filled(vectors)
    column.append(fresh.codes[10:], fresh.scales[10:], np.arange(10, 20))
    assert index.search(vectors[15], 1)[0].tolist() == [15]


def test_bad_requests_are_refused() -> None:
    """k below 1, a mask or a query of another size, and NaN raise typed errors."""
    index = FlatIndex(filled(clustered(10)))
    with pytest.raises(InvalidArgument):
        index.search(np.ones(48), 0)
    with pytest.raises(InvalidArgument):
        index.search(np.ones(48), 1, np.ones(9, np.bool_))
    with pytest.raises(InvalidVector):
        index.search(np.ones(47), 1)
    with pytest.raises(InvalidVector):
        index.search(np.full(48, np.nan), 1)
