"""One vector for a text of any length."""

from __future__ import annotations

import numpy as np
import pytest

from mimir_core.embedding import HashEmbedder, embed_whole
from mimir_core.embedding.pooling import MAX_WINDOWS


class WordByWord(HashEmbedder):
    """Reads one word at a time, and notes which."""

    def windows(self, text: str) -> list[str]:
        return text.split()

    def embed_documents(self, texts):  # type: ignore[no-untyped-def]  # as the base class
        self.read = list(texts)
        return super().embed_documents(texts)


def words(count: int) -> list[str]:
    """Different words."""
    return [f"word{number}" for number in range(count)]


def test_an_embedder_without_windows_embeds_as_it_does() -> None:
    """Texts reach it as they are."""
    plain = HashEmbedder()
    np.testing.assert_array_equal(embed_whole(plain, ["a b"]), plain.embed_documents(["a b"]))


@pytest.mark.parametrize("count", [2, 5, MAX_WINDOWS])
def test_a_long_text_counts_by_its_beginning_and_by_all_of_it(count: int) -> None:
    """Its vector is the unit of its first window's and of the unit of the mean of all."""
    embedder = WordByWord()
    (found,) = embed_whole(embedder, [" ".join(words(count))])
    windows = HashEmbedder().embed_documents(words(count))
    mean = windows.mean(axis=0)
    expected = windows[0] + mean / np.linalg.norm(mean)
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-6)


def test_a_huge_text_counts_by_windows_spread_over_it() -> None:
    """No more than 64 are read, first and last among them, and the others evenly between."""
    embedder = WordByWord()
    many = words(10 * MAX_WINDOWS)
    (found,) = embed_whole(embedder, [" ".join(many)])
    assert len(embedder.read) == MAX_WINDOWS
    assert (embedder.read[0], embedder.read[-1]) == (many[0], many[-1])
    steps = np.diff([many.index(word) for word in embedder.read])
    assert steps.max() - steps.min() <= 1
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)


def test_short_and_long_texts_of_one_call_keep_their_places() -> None:
    """Each text has the vector that it has alone."""
    texts = ["one", " ".join(words(9)), "two", " ".join(words(300))]
    together = embed_whole(WordByWord(), texts)
    alone = np.concatenate([embed_whole(WordByWord(), [text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-6)
