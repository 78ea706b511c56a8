"""Term columns, and BM25 against a naive oracle."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from numpy.typing import NDArray

from mimir_core.errors import InvalidArgument
from mimir_core.index.lexical import K1, B, LexicalHits, LexicalIndex
from mimir_core.index.terms import MAX_COUNT, TermColumns

WORDS = ["anchor", "boat", "crew", "deck", "fog", "gale", "harbour", "猫"]
memory_terms = st.lists(st.sampled_from(WORDS), max_size=9)
runs = st.lists(memory_terms, max_size=6)


def words_of(columns: TermColumns) -> list[dict[str, int]]:
    """Each memory of ``columns`` as its words and their counts."""
    bounds = columns.offsets.tolist()
    return [
        {
            columns.vocabulary[code]: count
            for code, count in zip(
                columns.codes[begin:end].tolist(), columns.counts[begin:end].tolist(), strict=True
            )
        }
        for begin, end in pairwise(bounds)
    ]


# --- term columns ---------------------------------------------------------------------------


@given(runs)
def test_columns_hold_the_terms(memories: list[list[str]]) -> None:
    """Columns give back each memory's words, their counts and its length, in the stated types."""
    columns = TermColumns.of(memories)
    assert words_of(columns) == [dict(Counter(memory)) for memory in memories]
    assert columns.lengths.tolist() == [len(memory) for memory in memories]
    assert len(columns) == len(memories)
    assert columns.vocabulary == sorted({word for memory in memories for word in memory})
    dtypes = [columns.offsets.dtype, columns.codes.dtype, columns.counts.dtype]
    assert [*dtypes, columns.lengths.dtype] == [np.uint32, np.uint32, np.uint8, np.uint32]


@given(runs, st.integers(0, 6), st.integers(0, 6))
def test_slice_law(memories: list[list[str]], start: int, stop: int) -> None:
    """Columns of a range of an index equal the columns of that range alone."""
    start, stop = sorted((min(start, len(memories)), min(stop, len(memories))))
    index = LexicalIndex()
    index.add(0, TermColumns.of(memories))
    assert index.columns(start, stop) == TermColumns.of(memories[start:stop])


@given(st.lists(runs, max_size=4))
def test_concat_law(parts: list[list[list[str]]]) -> None:
    """Columns of parts, added one after the other, equal the columns of everything."""
    index = LexicalIndex()
    for part in parts:
        index.add(index.extent, TermColumns.of(part))
    everything = TermColumns.of([memory for part in parts for memory in part])
    assert index.columns(0, index.extent) == everything


@given(runs, st.data())
def test_erase_law(memories: list[list[str]], data: st.DataObject) -> None:
    """Erasing rows equals never having given them terms."""
    rows = data.draw(st.sets(st.sampled_from(range(len(memories)))) if memories else st.just(set()))
    emptied = [[] if row in rows else memory for row, memory in enumerate(memories)]
    assert TermColumns.of(memories).erase(rows) == TermColumns.of(emptied)


def test_erase_leaves_no_unique_word() -> None:
    """A word of the erased memory alone is gone; a shared word stays."""
    columns = TermColumns.of([["gale", "canary"], ["gale"]]).erase([0])
    assert columns.vocabulary == ["gale"]
    assert columns.lengths.tolist() == [0, 1]


def test_counts_are_capped_and_lengths_are_not() -> None:
    """A term repeated a thousand times counts 255, in a memory of length 1,000."""
    columns = TermColumns.of([["fog"] * 1000])
    assert columns.counts.tolist() == [MAX_COUNT]
    assert columns.lengths.tolist() == [1000]


def test_columns_differ_by_any_field() -> None:
    """Columns are equal by value, and no other type is equal to them."""
    assert TermColumns.of([["fog"]]) != TermColumns.of([["fog", "fog"]])
    assert TermColumns.of([["fog"]]) != TermColumns.of([["fog"], []])
    assert TermColumns.of([]) != []


def test_repr_shows_no_content() -> None:
    """Neither columns nor index show a word when printed."""
    columns = TermColumns.of([["canary"]])
    index = LexicalIndex()
    index.add(0, columns)
    assert "canary" not in repr(columns) + repr(index)


# --- BM25 -----------------------------------------------------------------------------------


def naive_scores(
    memories: dict[int, list[str]], query: list[str], allowed: set[int]
) -> dict[int, float]:
    """BM25 of every allowed memory, as the formula reads."""
    searched = {number: terms for number, terms in memories.items() if number in allowed}
    total = sum(len(terms) for terms in searched.values())
    average = max(total, 1) / max(len(searched), 1)
    scores = dict.fromkeys(searched, 0.0)
    for term in set(query):
        frequency = sum(term in terms for terms in searched.values())
        idf = math.log(1 + (len(searched) - frequency + 0.5) / (frequency + 0.5))
        for number, terms in searched.items():
            tf = min(terms.count(term), MAX_COUNT)
            if tf:
                scores[number] += idf * tf / (tf + K1 * (1 - B + B * len(terms) / average))
    return scores


def holders(index: LexicalIndex, word: str) -> list[int]:
    """The memories in a word's posting list, which is what a search reads."""
    postings = index._postings
    return [posting >> 32 for code in postings.codes([word]) for posting in postings.held(code)]


def check(hits: LexicalHits, expected: dict[int, float], k: int) -> None:
    """The hits are the k best of ``expected``, in order, with its moments."""
    found = hits.ordinals.tolist()
    scores = np.array([expected[number] for number in found])
    positive = sorted((score for score in expected.values() if score > 0), reverse=True)
    assert len(set(found)) == len(found)
    np.testing.assert_allclose(hits.scores, positive[:k], rtol=1e-5)
    np.testing.assert_allclose(hits.scores, scores, rtol=1e-5)
    pairs = list(zip((-hits.scores).tolist(), found, strict=True))
    assert pairs == sorted(pairs)
    values = np.array(list(expected.values()) or [0.0])
    assert hits.mean == pytest.approx(values.mean(), rel=1e-5, abs=1e-9)
    assert hits.std == pytest.approx(values.std(), rel=1e-3, abs=2e-3)


class IndexMachine(RuleBasedStateMachine):
    """Adding, removing and searching in any order agrees with the naive oracle."""

    def __init__(self) -> None:
        super().__init__()
        self.index = LexicalIndex()
        self.memories: dict[int, list[str]] = {}
        self.end = 0

    @rule(memories=runs, gap=st.integers(0, 2))
    def add(self, memories: list[list[str]], gap: int) -> None:
        """A run of memories arrives, perhaps after ordinals that were never filled."""
        if memories:
            self.index.add(self.end + gap, TermColumns.of(memories))
            self.memories |= dict(enumerate(memories, self.end + gap))
            self.end += gap + len(memories)

    @precondition(lambda self: self.end)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        """Some ordinals go, perhaps ones that are already out."""
        ordinals = data.draw(st.lists(st.integers(0, self.end - 1), max_size=4))
        self.index.remove(ordinals)
        for ordinal in ordinals:
            self.memories.pop(ordinal, None)

    @rule(query=memory_terms, k=st.integers(1, 12), data=st.data())
    def search(self, query: list[str], k: int, data: st.DataObject) -> None:
        """A search finds what the oracle finds, under a mask or without one."""
        bits = data.draw(
            st.none() | st.lists(st.booleans(), min_size=self.end, max_size=self.end + 2)
        )
        mask = None if bits is None else np.array(bits, np.bool_)
        allowed = set(range(self.end)) if mask is None else set(np.flatnonzero(mask).tolist())
        expected = naive_scores(self.memories, query, allowed)
        hits = self.index.search([*query, "unknown"], k, mask)
        check(hits, expected, k)
        self.check_scores(hits, expected)

    def check_scores(self, hits: LexicalHits, expected: dict[int, float]) -> None:
        """Scores of named memories are those of the search; removed ones score 0."""
        removed = set(range(self.end)) - set(self.memories)
        ordinals = sorted(removed | set(expected))
        scores = self.index.scores(hits, np.array(ordinals, np.int64))
        assert scores.dtype == np.float32
        wanted = [expected.get(number, 0.0) for number in ordinals]
        np.testing.assert_allclose(scores, wanted, rtol=1e-5)

    @precondition(lambda self: self.end)
    @rule(query=memory_terms)
    def hold(self, query: list[str]) -> None:
        """Those that hold a term are named, and no removed one."""
        found = self.index.holding([*query, "unknown"], np.arange(self.end))
        held = [bool({*query} & {*self.memories.get(at, [])}) for at in range(self.end)]
        assert found.tolist() == held

    @invariant()
    def knows_its_memories(self) -> None:
        """Length, posting lists and term columns follow every change."""
        assert len(self.index) == len(self.memories)
        for word in WORDS:
            held = [number for number, terms in self.memories.items() if word in terms]
            assert holders(self.index, word) == held
        rows = [self.memories.get(number, []) for number in range(self.end)]
        assert self.index.columns(0, self.end) == TermColumns.of(rows)

    @precondition(lambda self: self.memories)
    @rule(query=memory_terms)
    def rebuild(self, query: list[str]) -> None:
        """An index built anew from the columns answers bit for bit the same."""
        fresh = LexicalIndex()
        fresh.add(0, self.index.columns(0, self.end))
        fresh.remove(set(range(self.end)) - set(self.memories))
        ours, theirs = self.index.search(query, 9), fresh.search(query, 9)
        assert ours.ordinals.tolist() == theirs.ordinals.tolist()
        assert ours.scores.tobytes() == theirs.scores.tobytes()
        assert (ours.mean, ours.std) == (theirs.mean, theirs.std)


TestIndexMachine = IndexMachine.TestCase
TestIndexMachine.settings = settings(max_examples=60, stateful_step_count=20, deadline=None)


def test_many_memories_against_the_oracle() -> None:
    """At a size where only a part of the postings is sorted, the best are still the best."""
    random = np.random.default_rng(7)
    words = [f"w{number}" for number in range(60)]
    sizes = random.integers(0, 12, 3000)
    memories = [[words[w] for w in np.minimum(random.geometric(0.1, s), 60) - 1] for s in sizes]
    index = LexicalIndex()
    index.add(0, TermColumns.of(memories))
    mask = random.random(3000) < 0.4
    everything, permitted = set(range(3000)), set(np.flatnonzero(mask).tolist())
    for query in (["w0", "w1", "w40"], words, ["w59"]):
        terms = dict(enumerate(memories))
        check(index.search(query, 7), naive_scores(terms, query, everything), 7)
        check(index.search(query, 50, mask), naive_scores(terms, query, permitted), 50)


def test_equal_memories_come_in_ordinal_order_and_do_not_vary() -> None:
    """When all memories are equal, the oldest come first and the deviation is exactly 0."""
    index = LexicalIndex()
    index.add(0, TermColumns.of([["fog", "gale", "deck"]] * 5000))
    hits = index.search(["gale", "fog"], 5)
    assert hits.ordinals.tolist() == [0, 1, 2, 3, 4]
    assert hits.std == 0.0
    assert hits.mean == pytest.approx(float(hits.scores[0]), rel=1e-5)


def test_statistics_are_those_of_the_searched_set() -> None:
    """What lies outside the mask changes neither scores nor moments."""
    alone, crowded = LexicalIndex(), LexicalIndex()
    ours = [["boat", "fog"], ["crew"], ["fog", "deck", "deck"]]
    alone.add(0, TermColumns.of(ours))
    crowded.add(0, TermColumns.of([*ours, *[["fog", "gale"] * 9] * 40]))
    mask = np.arange(43) < 3
    ours_alone, ours_crowded = alone.search(["fog"], 3), crowded.search(["fog"], 3, mask)
    assert ours_alone.ordinals.tolist() == ours_crowded.ordinals.tolist()
    assert ours_alone.scores.tobytes() == ours_crowded.scores.tobytes()
    assert (ours_alone.mean, ours_alone.std) == (ours_crowded.mean, ours_crowded.std)


def test_removed_words_leave_the_index() -> None:
    """The words of a removed memory alone are no longer held anywhere in the index."""
    index = LexicalIndex()
    index.add(0, TermColumns.of([["canary", "fog"], ["fog"]]))
    index.remove([0])
    assert holders(index, "canary") == []
    assert index.columns(0, 2).vocabulary == ["fog"]
    assert "canary" not in repr(vars(index._postings))


@pytest.mark.parametrize("count", [1, 16, 17, 120, 300])
def test_many_removed_at_once_are_as_many_removed_one_by_one(count: int) -> None:
    """However many hold a word, and whichever of them go, in any order, with some named twice."""
    memories = [["ana", f"w{n % 7}", *(["fog"] if n % 3 else [])] for n in range(300)]
    gone = np.random.default_rng(count).permutation(300)[:count].tolist()
    together, singly = LexicalIndex(), LexicalIndex()
    for index in (together, singly):
        index.add(0, TermColumns.of(memories))
    together.remove(gone + gone[:2])
    for ordinal in gone:
        singly.remove([ordinal])
    for term in ("ana", "fog", *(f"w{n}" for n in range(7))):
        assert holders(together, term) == holders(singly, term)
    kept = [n for n, terms in enumerate(memories) if "fog" in terms and n not in gone]
    assert sorted(holders(together, "fog")) == kept
    assert len(together) == len(singly) == 300 - count


@pytest.mark.parametrize("query", [[], ["unknown"]])
def test_nothing_to_search_for(query: list[str]) -> None:
    """A query without known terms finds nothing, with moments of 0."""
    index = LexicalIndex()
    index.add(0, TermColumns.of([["fog"], []]))
    hits = index.search(query, 5)
    assert (len(hits.ordinals), len(hits.scores), hits.mean, hits.std) == (0, 0, 0.0, 0.0)
    assert index.scores(hits, np.array([0, 1])).tolist() == [0.0, 0.0]


def test_an_empty_index_and_an_empty_mask_find_nothing() -> None:
    """Searching no memories gives no hits and moments of 0."""
    index = LexicalIndex()
    assert len(index.search(["fog"], 5).ordinals) == 0
    index.add(0, TermColumns.of([["fog"]]))
    hits = index.search(["fog"], 5, np.zeros(1, np.bool_))
    assert (len(hits.ordinals), hits.mean, hits.std) == (0, 0.0, 0.0)


def refused(index: LexicalIndex, mask: NDArray[np.bool_] | None, k: int) -> None:
    """The search is refused with a typed error."""
    with pytest.raises(InvalidArgument):
        index.search(["fog"], k, mask)


def test_scores_are_those_of_the_last_search_only() -> None:
    """Hits of an earlier search, or of before a change, name no scores any more."""
    index = LexicalIndex()
    index.add(0, TermColumns.of([["fog"], ["gale"]]))
    first = index.search(["fog"], 1)
    second = index.search(["gale"], 1)
    assert index.scores(second, np.array([0, 1]))[0] == 0
    for stale in (first, second):
        with pytest.raises(InvalidArgument):
            index.scores(stale, np.array([0]))
        index.add(index.extent, TermColumns.of([["crew"]]))


def test_bad_arguments_are_refused_and_change_nothing() -> None:
    """Reused ordinals, unknown ordinals, k of 0 and a short mask are typed errors."""
    index = LexicalIndex()
    index.add(0, TermColumns.of([["fog"], ["fog"]]))
    with pytest.raises(InvalidArgument):
        index.add(1, TermColumns.of([["gale"]]))
    for unknown in (-1, 2):
        with pytest.raises(InvalidArgument):
            index.remove([0, unknown])
    refused(index, None, 0)
    refused(index, np.ones(1, np.bool_), 5)
    assert len(index) == 2
    assert holders(index, "gale") == []
    assert index.search(["fog"], 5).ordinals.tolist() == [0, 1]
