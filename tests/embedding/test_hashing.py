"""The embedder for tests."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimir_core.embedding import Embedder, HashEmbedder
from mimir_core.errors import InvalidArgument, InvalidText

VECTOR_OF_MIMIR = [0.2380304, -0.3291909, 0.8356385, -0.3697067]
TEXT = st.text(min_size=1, max_size=40).filter(str.strip)


@given(dimension=st.integers(1, 200), texts=st.lists(TEXT, max_size=6))
def test_any_dimension_any_text(dimension: int, texts: list[str]) -> None:
    """Vectors are normalised, finite, of the asked dimension, and the same alone as in a batch."""
    embedder = HashEmbedder(dimension)
    vectors = embedder.embed_documents(texts)
    assert vectors.shape == (len(texts), dimension)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    for text, vector in zip(texts, vectors, strict=True):
        assert (embedder.embed_query(text) == vector).all()


def test_shared_words_make_texts_similar() -> None:
    """More words in common, more similar; case does not matter."""
    embedder = HashEmbedder(128)
    query = embedder.embed_query("the red bicycle in the shed")
    near, far = embedder.embed_documents(["The red bicycle was stolen", "Lunch is at noon"]) @ query
    assert near > far + 0.3


def test_vectors_never_change() -> None:
    """Files filled with this embedder stay readable: its vectors are fixed for ever."""
    vector = HashEmbedder(4).embed_query("mimir")
    assert np.allclose(vector, VECTOR_OF_MIMIR, atol=1e-6)


def test_spaces_differ_by_dimension() -> None:
    """Two dimensions are two spaces; equal dimensions are one."""
    assert HashEmbedder(8).space != HashEmbedder(9).space
    assert HashEmbedder(8).space == HashEmbedder(8).space
    assert len(bytes.fromhex(HashEmbedder(8).space.digest)) == 32


def test_it_is_an_embedder() -> None:
    """HashEmbedder satisfies the protocol."""
    assert isinstance(HashEmbedder(), Embedder)


def test_bad_input_is_refused() -> None:
    """A dimension below one and blank texts are typed errors."""
    with pytest.raises(InvalidArgument):
        HashEmbedder(0)
    with pytest.raises(InvalidText):
        HashEmbedder().embed_documents(["fine", " "])
