"""The inverted index in memory: which memories hold a term, and which terms a memory holds.

Both directions are growing arrays of machine integers, so that appending and removing one memory
touches its own terms only, and nothing is ever merged or rebuilt:

- a term's *postings*: u64 each, ``ordinal << 32 | length of the memory << 8 | count``, ascending;
- a memory's *row*: codes and counts of its distinct terms, all rows in one array in ordinal order.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mimir_core.errors import InvalidArgument
from mimir_core.index.terms import TermColumns, compacted

MAX_LENGTH = (1 << 24) - 1
"""A posting holds lengths up to here; a text of 8 MiB has fewer terms."""

_FEW = 16
"""Postings to take out of a term's one by one, each of which moves those behind it."""


class Postings:
    """Terms by memory and memories by term; see the module for the layout.

    Not thread-safe, and its arrays cannot grow while a view of them is held: methods hand out
    copies, or views that callers must drop before they call again.
    """

    def __init__(self) -> None:
        self._code_of: dict[str, int] = {}
        self._words: list[str] = []
        self._lists: list[array[int]] = []
        self._codes = array("I")
        self._counts = array("B")
        self._starts = array("Q", [0])
        self._lengths = array("I")
        self._live = bytearray()
        self.documents = 0
        self.total_length = 0

    @property
    def extent(self) -> int:
        """One more than the highest ordinal ever added."""
        return len(self._lengths)

    def codes(self, terms: Iterable[str]) -> list[int]:
        """The numbers of the distinct ``terms`` that a live memory holds, in order."""
        code_of = self._code_of.get
        return [code for term in dict.fromkeys(terms) if (code := code_of(term)) is not None]

    def held(self, code: int) -> array[int]:
        """The postings of a term; not to be written to."""
        return self._lists[code]

    def live(self) -> NDArray[np.bool_]:
        """View [extent]: which ordinals are in the index."""
        return np.frombuffer(self._live, np.bool_)

    def lengths(self) -> NDArray[np.uint32]:
        """View [extent]: terms in each memory, 0 where there is none."""
        return np.frombuffer(self._lengths, np.uint32)

    def add(self, first: int, columns: TermColumns) -> None:
        """Append memories with ordinals from ``first`` on.

        Raises:
            InvalidArgument: ``first`` is below the extent: ordinals are never reused.
        """
        if first < self.extent:
            raise InvalidArgument("these ordinals were used before")
        code_of = self._code_of.get
        codes = [
            self._intern(word) if (code := code_of(word)) is None else code
            for word in columns.vocabulary
        ]
        self._add_postings(first, columns, codes)
        self._add_rows(first, columns, codes)

    def remove(self, ordinals: Iterable[int]) -> None:
        """Take memories out; those already out are passed over.

        A word that only they held is gone from the vocabulary.

        Raises:
            InvalidArgument: an ordinal was never added; nothing was removed.
        """
        wanted = [int(ordinal) for ordinal in ordinals]
        if wanted and not 0 <= min(wanted) <= max(wanted) < self.extent:
            raise InvalidArgument("no memory has this ordinal")
        doomed = [ordinal for ordinal in dict.fromkeys(wanted) if self._live[ordinal]]
        self._remove_postings(doomed)
        for ordinal in doomed:
            self._remove_row(ordinal)

    def columns(self, start: int, stop: int) -> TermColumns:
        """The terms of ordinals ``start`` to ``stop``, the removed ones as empty memories."""
        offsets = np.frombuffer(self._starts, np.uint64)[start : stop + 1].astype(np.int64)
        rows = slice(int(offsets[0]), int(offsets[-1]))
        counts = np.frombuffer(self._counts, np.uint8)[rows]
        held = counts > 0
        cells = np.concatenate(([0], np.cumsum(held)))[offsets - offsets[0]]
        return compacted(
            self._words,
            np.diff(cells),
            np.frombuffer(self._codes, np.uint32)[rows][held],
            counts[held],
            self.lengths()[start:stop].copy(),
        )

    def rows(
        self, ordinals: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.uint8]]:
        """Each term of each of ``ordinals``: its memory's place there, code, count (0: removed)."""
        starts = np.frombuffer(self._starts, np.uint64)
        begin = starts[ordinals].astype(np.int64)
        sizes = starts[ordinals + 1].astype(np.int64) - begin
        places = np.repeat(np.arange(len(ordinals)), sizes)
        ends = np.cumsum(sizes)
        cells = np.arange(len(places)) + np.repeat(begin - ends + sizes, sizes)
        codes = np.frombuffer(self._codes, np.uint32)[cells]
        return places, codes, np.frombuffer(self._counts, np.uint8)[cells]

    def _intern(self, word: str) -> int:
        code = self._code_of[word] = len(self._words)
        self._words.append(word)
        self._lists.append(array("Q"))
        return code

    def _add_postings(self, first: int, columns: TermColumns, codes: list[int]) -> None:
        lengths = np.minimum(columns.lengths, MAX_LENGTH).astype(np.uint64)
        heads = np.arange(first, first + len(columns), dtype=np.uint64) << 32 | lengths << 8
        postings = np.repeat(heads, np.diff(columns.offsets)) | columns.counts
        packed = memoryview(postings[np.argsort(columns.codes, kind="stable")].tobytes())
        ends = (np.cumsum(np.bincount(columns.codes, minlength=len(codes))) * 8).tolist()
        begin = 0
        for code, end in zip(codes, ends, strict=True):
            self._lists[code].frombytes(packed[begin:end])
            begin = end

    def _add_rows(self, first: int, columns: TermColumns, codes: list[int]) -> None:
        gap = first - self.extent
        self._starts.extend([len(self._codes)] * gap)
        self._lengths.extend([0] * gap)
        starts = columns.offsets[1:].astype(np.uint64) + np.uint64(len(self._codes))
        self._starts.frombytes(starts.tobytes())
        self._codes.frombytes(np.array(codes, np.uint32)[columns.codes].tobytes())
        self._counts.frombytes(columns.counts.tobytes())
        self._lengths.frombytes(columns.lengths.tobytes())
        self._live += bytes(gap) + b"\x01" * len(columns)
        self.documents += len(columns)
        self.total_length += int(columns.lengths.sum())

    def _remove_postings(self, ordinals: list[int]) -> None:
        by_code: dict[int, list[int]] = {}
        for ordinal in ordinals:
            for code in self._codes[self._starts[ordinal] : self._starts[ordinal + 1]]:
                by_code.setdefault(code, []).append(ordinal)
        for code, gone in by_code.items():
            self._lists[code] = _without(self._lists[code], gone)
            if not self._lists[code]:
                del self._code_of[self._words[code]]
                self._words[code] = ""

    def _remove_row(self, ordinal: int) -> None:
        begin, end = self._starts[ordinal], self._starts[ordinal + 1]
        self._codes[begin:end] = array("I", bytes(4 * (end - begin)))
        self._counts[begin:end] = array("B", bytes(end - begin))
        self.documents -= 1
        self.total_length -= self._lengths[ordinal]
        self._lengths[ordinal] = 0
        self._live[ordinal] = 0


def _without(postings: array[int], ordinals: list[int]) -> array[int]:
    """A term's postings but for those of some memories that have one."""
    if len(ordinals) <= _FEW:
        for ordinal in ordinals:
            del postings[bisect_left(postings, ordinal << 32)]
        return postings
    held = np.frombuffer(postings, np.uint64)
    gone = np.searchsorted(held, np.array(ordinals, np.uint64) << np.uint64(32))
    return array("Q", np.delete(held, gone).tobytes())
