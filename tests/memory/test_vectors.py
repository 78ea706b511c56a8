"""What a caller's vector must be before it is searched with or stored."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mimir_core.embedding import VectorSpace
from mimir_core.errors import InvalidVector
from mimir_core.intake import checked_direction, checked_vectors

SPACE = VectorSpace("0" * 64, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("row", [[1.0, 2.0, 3.0], [1e-30, 0.0, 0.0], [3e38, 3e38, 0.0]])
def test_a_vector_with_a_direction_passes(row: list[float], dtype: type[np.floating]) -> None:
    """However short or long it is, also where its square is no float32."""
    for rows in ([row], [row, row]):
        found = checked_vectors(np.array(rows, dtype), len(rows), SPACE)
        assert found.dtype == np.float32
        assert found.tolist() == np.array(rows, np.float32).tolist()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("row", [[0.0, 0.0, 0.0], [math.nan, 1.0, 1.0], [math.inf, 1.0, 1.0]])
def test_a_vector_without_one_is_refused(row: list[float], dtype: type[np.floating]) -> None:
    """Zeros, and what is not finite, alone and among good vectors."""
    for rows in ([row], [[1.0, 2.0, 3.0], row]):
        with pytest.raises(InvalidVector):
            checked_vectors(np.array(rows, dtype), len(rows), SPACE)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64, list])
def test_a_querys_vector_becomes_a_direction(dtype: type) -> None:
    """Whatever kind of real numbers it has: unit length, float32."""
    vector = [3.0, 0.0, 4.0] if dtype is list else np.array([3, 0, 4], dtype)
    found = checked_direction(vector, SPACE)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [0.6, 0.0, 0.8], atol=1e-7)


@pytest.mark.parametrize(
    "vector",
    [
        [0.0, 0.0, 0.0],
        np.zeros(3, np.float32),
        np.full(3, math.nan, np.float32),
        np.ones(4, np.float32),
        np.ones((1, 3), np.float32),
        np.ones(3, np.complex64),
        np.ones(3, np.bool_),
        ["1", "2", "3"],
        "abc",
        1.0,
        None,
    ],
    ids=repr,
)
def test_what_has_no_direction_is_refused_as_a_query(vector: object) -> None:
    """Zeros, NaN, other shapes, and what is no vector of real numbers."""
    with pytest.raises(InvalidVector):
        checked_direction(vector, SPACE)
