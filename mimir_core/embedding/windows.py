"""Cutting a long text into pieces that the model can read whole."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

from tokenizers import Encoding

OVERLAP = 32
"""Tokens, about, that a piece repeats from the one before it."""


def windows(text: str, encoding: Encoding, limit: int) -> list[str]:
    """Cut between words into pieces of at most `limit` tokens, markers not counted.

    Args:
        text: The text.
        encoding: Its tokens, with those past the truncation in `overflowing`.
        limit: More than OVERLAP, and than the tokens of any word (WordPiece: 100).
    """
    tokens = [
        (word, span)
        for part in (encoding, *encoding.overflowing)
        for word, span in zip(part.word_ids, part.offsets, strict=True)
        if word is not None
    ]
    words = [word for word, _ in tokens]
    spans = [span for _, span in tokens]
    pieces = list(_pieces(words, limit))
    return [text] if len(pieces) <= 1 else [text[spans[i][0] : spans[j - 1][1]] for i, j in pieces]


def _pieces(words: Sequence[int], limit: int) -> Iterator[tuple[int, int]]:
    """Token ranges that begin and end where the word number changes."""
    cuts = [i for i in range(1, len(words)) if words[i] != words[i - 1]] + [len(words)]
    begin = end = 0
    while end < len(words):
        end = cuts[bisect_right(cuts, begin + limit) - 1]
        yield begin, end
        begin = max(begin + 1, cuts[bisect_right(cuts, end - OVERLAP) - 1])
