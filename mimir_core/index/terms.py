"""The terms of a run of memories, in columns that stand alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_COUNT = 255
"""A term counts at most this often in one memory; BM25 is saturated long before."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TermColumns:
    """Terms of ``n`` memories against a vocabulary of their own: no word outlives its last user.

    The form is canonical, so equal terms make equal columns: the vocabulary is strictly ascending
    and each word in it is used, and codes ascend strictly within a row.

    Attributes:
        vocabulary: The distinct terms.
        offsets: uint32 [n+1]; row i is ``codes[offsets[i]:offsets[i+1]]``.
        codes: uint32 [m], positions in ``vocabulary``.
        counts: uint8 [m], occurrences of the term in the memory, 1 to 255 (capped).
        lengths: uint32 [n], terms in the memory, repetitions included and not capped.
    """

    vocabulary: list[str]
    offsets: NDArray[np.uint32]
    codes: NDArray[np.uint32]
    counts: NDArray[np.uint8]
    lengths: NDArray[np.uint32]

    @classmethod
    def of(cls, memories: Sequence[Sequence[str]]) -> TermColumns:
        """Columns of analyzed memories, one list of terms each."""
        vocabulary = sorted(set(chain.from_iterable(memories)))
        code_of = dict(zip(vocabulary, range(len(vocabulary)), strict=True))
        lengths = np.fromiter(map(len, memories), np.uint32, len(memories))
        codes = np.fromiter(map(code_of.__getitem__, chain.from_iterable(memories)), np.int64)
        width = max(len(vocabulary), 1)
        cells = np.repeat(np.arange(len(memories)) * width, lengths) + codes
        cells, counts = np.unique(cells, return_counts=True)
        rows, codes = np.divmod(cells, width)
        return cls(
            vocabulary,
            _offsets(np.bincount(rows, minlength=len(memories))),
            codes.astype(np.uint32),
            np.minimum(counts, MAX_COUNT).astype(np.uint8),
            lengths,
        )

    def erase(self, rows: Iterable[int]) -> TermColumns:
        """The same memories without the terms of ``rows``, which stay as empty ones.

        A word that only they used is gone from the vocabulary.
        """
        erased = np.zeros(len(self), np.bool_)
        erased[np.fromiter(rows, np.int64)] = True
        sizes = np.diff(self.offsets)
        kept = ~np.repeat(erased, sizes)
        return compacted(
            self.vocabulary,
            np.where(erased, 0, sizes),
            self.codes[kept],
            self.counts[kept],
            np.where(erased, np.uint32(0), self.lengths),
        )

    def __len__(self) -> int:
        return len(self.lengths)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TermColumns):
            return NotImplemented
        return (
            self.vocabulary == other.vocabulary
            and np.array_equal(self.offsets, other.offsets)
            and np.array_equal(self.codes, other.codes)
            and np.array_equal(self.counts, other.counts)
            and np.array_equal(self.lengths, other.lengths)
        )

    __hash__ = None  # type: ignore[assignment]  # equal by value over mutable arrays

    def __repr__(self) -> str:
        return f"<TermColumns of {len(self)} memories>"


def compacted(
    words: Sequence[str],
    sizes: NDArray[np.integer[Any]],
    codes: NDArray[np.uint32],
    counts: NDArray[np.uint8],
    lengths: NDArray[np.uint32],
) -> TermColumns:
    """Canonical columns from rows whose codes point into any list of words.

    Args:
        words: Words by code, in any order, some perhaps unused.
        sizes: [n] distinct terms in each memory.
        codes: [m] codes row after row, distinct within a row.
        counts: [m] occurrences.
        lengths: [n] terms in each memory.
    """
    used, places = np.unique(codes, return_inverse=True)
    found = [words[code] for code in used.tolist()]
    order = np.array(sorted(range(len(found)), key=found.__getitem__), np.int64)
    rank = np.empty(len(found), np.int64)
    rank[order] = np.arange(len(found))
    ranked = rank[places].astype(np.uint32)
    at = np.lexsort((ranked, np.repeat(np.arange(len(sizes)), sizes)))
    return TermColumns(
        [found[position] for position in order.tolist()],
        _offsets(sizes),
        ranked[at],
        counts[at],
        lengths,
    )


def _offsets(sizes: NDArray[np.integer[Any]]) -> NDArray[np.uint32]:
    offsets = np.zeros(len(sizes) + 1, np.uint32)
    np.cumsum(sizes, out=offsets[1:])
    return offsets
