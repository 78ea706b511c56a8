"""Functions of the caller's own as an embedder."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from mimir_core import Embedder, FunctionEmbedder
from mimir_core.errors import EmbeddingError, InvalidArgument, InvalidVector


def lengths(texts: list[str]) -> list[list[float]]:
    """A vector that tells texts of different lengths apart."""
    return [[float(len(text)), 2.0, -1.0] for text in texts]


def test_vectors_have_unit_length_and_a_direction() -> None:
    """Vectors keep the direction that the function gave, at length one, as float32."""
    embedder = FunctionEmbedder("lengths", lengths)
    assert isinstance(embedder, Embedder)
    found = embedder.embed_documents(["a", "bcd"])
    assert (found.dtype, found.shape) == (np.float32, (2, 3))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(found[1] * math.sqrt(14), [3, 2, -1], atol=1e-5)
    np.testing.assert_array_equal(embedder.embed_query("bcd"), found[1])


def test_queries_may_have_a_function_of_their_own() -> None:
    """Models that embed questions otherwise are called so."""
    embedder = FunctionEmbedder("two", lengths, lambda text: [0.0, 0.0, 5.0])
    np.testing.assert_array_equal(embedder.embed_query("x"), [0, 0, 1])


def test_the_space_is_the_name_and_the_dimension() -> None:
    """The same name and dimension are one space; another of either is another."""
    one, same = (FunctionEmbedder("a", lengths).space for _ in range(2))
    assert one == same == FunctionEmbedder("a", lengths, dimension=3).space
    assert one.dimension == 3
    assert FunctionEmbedder("b", lengths).space.digest != one.digest
    assert FunctionEmbedder("a", lengths, dimension=4).space.digest != one.digest


@pytest.mark.parametrize("answer", [None, [], [[]], [[1.0], [2.0, 3.0]], ["a"], 5])
def test_a_dimension_cannot_be_learnt_from_no_row(answer: Any) -> None:
    """Whatever else than one row of numbers a function returns is an EmbeddingError."""
    with pytest.raises(EmbeddingError):
        _ = FunctionEmbedder("broken", lambda _: answer).space
    with pytest.raises(EmbeddingError):
        FunctionEmbedder("broken", lengths, lambda _: answer).embed_query("x")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ([[1.0, 2.0, 3.0]], EmbeddingError),
        ([["a", "b", "c"]] * 2, EmbeddingError),
        ([[1.0], [1.0, 2.0]], EmbeddingError),
        ([1.0, 2.0], EmbeddingError),
        ([[1.0, 2.0]] * 2, InvalidVector),
        ([[0.0, 0.0, 0.0]] * 2, InvalidVector),
        ([[math.nan, 0.0, 0.0]] * 2, InvalidVector),
        ([[math.inf, 0.0, 0.0]] * 2, InvalidVector),
    ],
)
def test_a_broken_function_is_refused(answer: Any, error: type[Exception]) -> None:
    """Rows of the wrong number, size or value are an error, never a vector."""
    with pytest.raises(error):
        FunctionEmbedder("broken", lambda texts: answer, dimension=3).embed_documents(["a", "b"])


def test_bad_arguments_are_refused() -> None:
    """A model without a name or dimension is none."""
    for name, dimension in (("", 3), (None, 3), ("a", 0)):
        with pytest.raises(InvalidArgument):
            FunctionEmbedder(name, lengths, dimension=dimension)  # type: ignore[arg-type]  # tested
