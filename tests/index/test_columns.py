"""The vector column: quantisation, growth, ownership, erasure."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mimir_core.errors import InvalidArgument, InvalidVector
from mimir_core.index.columns import ERASED, VectorColumn, quantize, unit

from .vectors import clustered, filled

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
vectors = arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 70)), elements=finite)


@given(vectors)
def test_quantized_rows_are_unit_and_close(rows: np.ndarray) -> None:
    """A quantised row has length 1, and each component is off by at most half a step."""
    rows = rows[np.abs(rows).max(axis=1) > 0]
    codes, scales = quantize(rows)
    stored = codes.astype(np.float64) * scales[:, None]
    np.testing.assert_allclose(np.linalg.norm(stored, axis=1), 1, atol=1e-5)
    peaks = np.abs(rows.astype(np.float64)).max(axis=1, keepdims=True)
    assert (np.abs(rows / peaks * 127 - codes) <= 0.5 + 1e-4).all()
    assert codes.min(initial=0) >= -127


@given(vectors, st.floats(2**-60, 2**60))
def test_quantizing_ignores_length(rows: np.ndarray, factor: float) -> None:
    """A vector and a multiple of it share their codes up to one step of rounding."""
    rows = rows[(np.abs(rows).max(axis=1) > 1e-15) & (np.abs(rows).max(axis=1) < 1e15)]
    small = np.abs(quantize(rows)[0].astype(int) - quantize(rows * np.float32(factor))[0])
    assert small.max(initial=0) <= 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.0, 1e300])
def test_vectors_without_direction_are_refused(bad: float) -> None:
    """NaN, infinity, zeros and numbers beyond float32 raise InvalidVector."""
    rows = np.array([[1.0, 2.0], [bad, 0.0]])
    with pytest.raises(InvalidVector):
        quantize(rows)
    with pytest.raises(InvalidVector):
        unit(rows[1], 2)


@pytest.mark.parametrize("bad", [[1.0], [[1.0, 2.0]], "ab", [None, 1.0], [[1], [2, 3]]])
def test_a_query_of_another_shape_is_refused(bad: object) -> None:
    """Another size, another shape and things that are not numbers raise InvalidVector."""
    with pytest.raises(InvalidVector):
        unit(bad, 2)  # type: ignore[arg-type]  # that is the point


def test_quantize_wants_rows() -> None:
    """A single vector is not a batch of vectors."""
    with pytest.raises(InvalidVector):
        quantize(np.ones(3))


@pytest.mark.parametrize("length", [1e-30, 1e-42, 1.0, 1e38])
def test_unit_survives_extreme_lengths(length: float) -> None:
    """The smallest and the largest float32 vectors still have a direction."""
    np.testing.assert_allclose(unit(np.array([0.0, length]), 2), [0, 1])


def test_rows_keep_their_number_while_the_column_grows() -> None:
    """Appending returns the first new row and leaves earlier rows as they are."""
    rows = clustered(5_000, 8)
    codes, scales = quantize(rows)
    column = VectorColumn(8)
    for start in range(0, 5_000, 700):
        part = slice(start, start + 700)
        owners = np.arange(start, min(start + 700, 5_000))
        assert column.append(codes[part], scales[part], owners) == start
    np.testing.assert_array_equal(column.codes, codes)
    np.testing.assert_array_equal(column.scales, scales)
    np.testing.assert_array_equal(column.owners, np.arange(5_000))
    np.testing.assert_array_equal(column.vectors([7, 3]), codes[[7, 3]] * scales[[7, 3], None])


def test_an_owner_may_have_several_rows() -> None:
    """rows_of finds every row of an owner, and none for owners without rows."""
    column = VectorColumn(4)
    codes, scales = quantize(clustered(6, 4))
    column.append(codes, scales, [5, 5, 5, 2, 9, 9])
    assert column.rows_of([5]).tolist() == [0, 1, 2]
    assert column.rows_of([9, 2]).tolist() == [3, 4, 5]
    assert column.rows_of([0, 7, 1_000_000, ERASED]).tolist() == []
    assert column.rows_of([]).tolist() == []


def test_ordinals_beyond_all_owners_have_no_first_row() -> None:
    """first_rows gives -1 for ordinals that the column never heard of, an empty one too."""
    column = VectorColumn(4)
    assert column.first_rows(np.array([0, 7])).tolist() == [-1, -1]
    codes, scales = quantize(clustered(2, 4))
    column.append(codes, scales, [1, 1])
    assert column.first_rows(np.array([1, 0, 1_000_000])).tolist() == [0, -1, -1]


def test_erased_rows_hold_nothing() -> None:
    """After zero, codes and scale are zero, nobody owns the row, and its score is 0."""
    column = filled(clustered(10, 4))
    column.zero([3, 8, 3])
    assert not column.codes[[3, 8]].any()
    assert not column.scales[[3, 8]].any()
    assert column.owners[[3, 8]].tolist() == [ERASED, ERASED]
    assert column.rows_of(range(10)).tolist() == [0, 1, 2, 4, 5, 6, 7, 9]
    assert column.erased == 2
    assert column.scores(unit(np.ones(4), 4), np.array([3, 8])).tolist() == [0, 0]
    column.zero([8])
    assert column.erased == 2


def test_a_column_read_back_with_erased_rows_is_the_same() -> None:
    """Appending codes, scales and owners of a column to a new one gives that column again."""
    column = filled(clustered(10, 4))
    column.zero([0, 4])
    copy = VectorColumn(4)
    copy.append(column.codes, column.scales, column.owners)
    assert copy.erased == 2
    np.testing.assert_array_equal(copy.rows_of(range(10)), column.rows_of(range(10)))


def test_owners_stay_together() -> None:
    """An owner's rows are appended together and erased together; anything else is refused."""
    column = VectorColumn(4)
    codes, scales = quantize(clustered(3, 4))
    column.append(codes, scales, [1, 1, 2])
    before = len(column)
    for owners in ([1, 3, 4], [3, 4, 3]):
        with pytest.raises(InvalidArgument):
            column.append(codes, scales, owners)
    with pytest.raises(InvalidArgument):
        column.zero([0])
    assert len(column) == before
    assert column.erased == 0
    column.zero([0, 1])
    column.append(codes[:1], scales[:1], [1])
    assert column.rows_of([1]).tolist() == [3]


@pytest.mark.parametrize(
    ("codes", "scales", "owners"),
    [
        (np.zeros((1, 3), np.int8), np.ones(1, np.float32), [0]),
        (np.zeros((1, 2), np.uint8), np.ones(1, np.float32), [0]),
        (np.zeros((1, 2), np.int8), np.ones(1), [0]),
        (np.zeros((1, 2), np.int8), np.ones(2, np.float32), [0]),
        (np.zeros((1, 2), np.int8), np.ones(1, np.float32), [0, 1]),
        (np.full((1, 2), -128, np.int8), np.ones(1, np.float32), [0]),
    ],
)
def test_malformed_rows_are_refused(codes: np.ndarray, scales: np.ndarray, owners: list) -> None:
    """Wrong shapes and types raise InvalidVector, and the column stays empty."""
    column = VectorColumn(2)
    with pytest.raises(InvalidVector):
        column.append(codes, scales, owners)
    assert len(column) == 0


def test_rows_that_do_not_exist_are_refused() -> None:
    """Reading or erasing a row outside the column raises InvalidArgument."""
    column = filled(clustered(3, 4))
    for row in (-1, 3):
        with pytest.raises(InvalidArgument):
            column.vectors([row])
        with pytest.raises(InvalidArgument):
            column.zero([row])


def test_a_dimension_has_bounds() -> None:
    """A column of no dimension, or of too many, is refused."""
    for dimension in (0, -1, 8_193):
        with pytest.raises(InvalidArgument):
            VectorColumn(dimension)


def test_a_repr_holds_no_content() -> None:
    """The repr names sizes only."""
    assert repr(filled(clustered(3, 4))) == "VectorColumn(dimension=4, rows=3)"
