"""BM25 over the terms of memories.

    score(d) = sum over the query's distinct terms t of
        idf(t) * tf / (tf + k1 * (1 - b + b * length(d) / average length))
    idf(t)   = ln(1 + (N - df + 1/2) / (df + 1/2))

Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), with the
idf that stays positive for frequent terms, and without the constant factor k1 + 1. N, df and the
average length are those of the memories that may be found: on conversations searched one by one
inside a large vault that finds more than the whole vault's figures, and what one namespace holds
cannot be read off another's scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mimir_core.errors import InvalidArgument
from mimir_core.index import _kernel
from mimir_core.index.postings import Postings
from mimir_core.index.terms import TermColumns

K1 = 0.9
"""How soon repetitions of a term stop to count."""

B = 0.4
"""How much a long memory is marked down; chat turns are short, and short ones say less."""

ROUNDING = 1e-6
"""A variance below this part of the mean square is what float32 sums leave of none."""


@dataclass(frozen=True, slots=True, eq=False)
class LexicalHits:
    """The best memories, best first; equal scores in ordinal order.

    Attributes:
        ordinals: int64 [h], h <= k: only memories that hold a term of the query.
        scores: float32 [h], above 0.
        mean: Mean score of all memories searched, those without any term counting as 0.
        std: Standard deviation of the same.
    """

    ordinals: NDArray[np.int64]
    scores: NDArray[np.float32]
    mean: float
    std: float


class LexicalIndex:
    """A BM25 index in memory, addressed by ordinals; a view that is rebuilt from term columns.

    Not thread-safe: callers hold the vault's lock, for searches too.
    """

    def __init__(self) -> None:
        self._postings = Postings()
        self._totals = np.zeros(0, np.float32)  # of each memory in the last search, else 0
        self._touched = np.empty(0, np.int64)
        self._last: LexicalHits | None = None

    def __len__(self) -> int:
        """Live memories, those without terms included."""
        return self._postings.documents

    def __repr__(self) -> str:
        return f"<LexicalIndex of {len(self)} memories>"

    @property
    def extent(self) -> int:
        """One more than the highest ordinal ever added."""
        return self._postings.extent

    def add(self, first_ordinal: int, columns: TermColumns) -> None:
        """Append memories with ordinals from ``first_ordinal`` on; a gap counts as removed.

        Raises:
            InvalidArgument: ``first_ordinal`` is below `extent`: ordinals are never reused.
        """
        self._forget_last()
        self._postings.add(first_ordinal, columns)

    def remove(self, ordinals: Iterable[int]) -> None:
        """Take memories out, and words that only they held; those already out are passed over.

        Raises:
            InvalidArgument: an ordinal was never added; nothing was removed.
        """
        self._forget_last()
        self._postings.remove(ordinals)

    def columns(self, start: int, stop: int) -> TermColumns:
        """The terms of ordinals ``start`` to ``stop``, the removed ones as empty memories."""
        return self._postings.columns(start, stop)

    def search(
        self, terms: Sequence[str], k: int, allowed: NDArray[np.bool_] | None = None
    ) -> LexicalHits:
        """The ``k`` best memories for the distinct ``terms``.

        Args:
            terms: From `analyze`; unknown and repeated ones change nothing.
            k: At least 1; fewer come back if fewer hold a term.
            allowed: bool [>= extent], the memories to search; None for all. Removed memories are
                never found.

        Raises:
            InvalidArgument: ``k`` is below 1, or ``allowed`` does not cover every ordinal.
        """
        if k < 1:
            raise InvalidArgument("k must be at least 1")
        codes = self._postings.codes(terms)
        mask = None if allowed is None else self._narrowed(allowed)
        documents, average_length = self._population(mask)
        self._forget_last()
        if len(self._totals) < self.extent:
            self._totals = np.zeros(self.extent + self.extent // 8 + 1024, np.float32)
        lists = [self._postings.held(code) for code in codes]
        found, total, squares, self._touched = _kernel.bm25(
            lists, mask, documents, average_length, K1, B, k, self._totals
        )
        mean, std = _moments(total, squares, documents)
        self._last = LexicalHits(*found, mean, std)
        return self._last

    def scores(self, hits: LexicalHits, ordinals: NDArray[np.int64]) -> NDArray[np.float32]:
        """What given memories score in the last search, float32 [n]; outside its mask 0.

        Raises:
            InvalidArgument: the index was searched or changed since.
        """
        if hits is not self._last:
            raise InvalidArgument("these hits are not those of the last search")
        return self._totals[ordinals]

    def holding(
        self, terms: Sequence[str], ordinals: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Which of given memories hold one of the ``terms``, bool [n]; removed ones hold none."""
        places, codes, counts = self._postings.rows(ordinals)
        held = np.isin(codes, self._postings.codes(terms)) & (counts > 0)
        return np.bincount(places[held], minlength=len(ordinals)) > 0

    def lengths(self, ordinals: NDArray[np.int64]) -> NDArray[np.uint32]:
        """How many terms given memories hold; 0 for removed ones."""
        return self._postings.lengths()[ordinals]

    def _narrowed(self, allowed: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
        """bool [extent], the live memories to search; None if that is all of them."""
        if len(allowed) < self.extent:
            raise InvalidArgument("the mask does not cover every memory")
        mask = allowed[: self.extent] & self._postings.live()
        return None if np.count_nonzero(mask) == len(self) else mask

    def _population(self, mask: NDArray[np.bool_] | None) -> tuple[int, float]:
        """Count and average length of the memories to search."""
        documents, length = self._postings.documents, self._postings.total_length
        if mask is not None:
            documents = int(np.count_nonzero(mask))
            # einsum stays on this thread; a BLAS dot of this size would wake a pool of them.
            length = int(np.einsum("i,i->", self._postings.lengths(), mask))
        return documents, max(length, 1) / max(documents, 1)

    def _forget_last(self) -> None:
        """Back to no search at hand: its scores end with the next one, and with any change."""
        self._totals[self._touched] = 0
        self._touched, self._last = np.empty(0, np.int64), None


def _moments(total: float, squares: float, documents: int) -> tuple[float, float]:
    """Mean and standard deviation over `documents` scores, of their sum and sum of squares."""
    mean, square = total / max(documents, 1), squares / max(documents, 1)
    variance = square - mean * mean
    return mean, variance**0.5 if variance > ROUNDING * square else 0.0
