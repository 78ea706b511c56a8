"""The kernel's functions against plain numpy, and what they refuse."""

from __future__ import annotations

import math
from array import array
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mimir_core.index import _kernel
from mimir_core.index.columns import VectorColumn, quantize, unit

from .vectors import clustered, filled, truth

SEEDS = st.integers(0, 2**32 - 1)


def column_and_query(rows: int, dimension: int, seed: int) -> tuple[VectorColumn, NDArray[Any]]:
    """Random rows, and a unit query."""
    random = np.random.default_rng(seed)
    column = filled(random.normal(size=(rows, dimension)).astype(np.float32))
    return column, unit(random.normal(size=dimension), dimension)


def sketches_of(column: VectorColumn, means: NDArray[np.int8]) -> NDArray[np.uint64]:
    """The sketches of all rows."""
    found = np.empty((len(column), -(-column.dimension // 64)), np.uint64)
    _kernel.sketch(column.codes, means, found)
    return found


@given(SEEDS, st.integers(1, 700), st.sampled_from([1e-30, 1.0, 1e30]))
def test_unit_has_length_one_in_the_same_direction(seed: int, size: int, scale: float) -> None:
    """Of any finite vector, however long or short it was."""
    vector = (np.random.default_rng(seed).normal(size=size) * scale).astype(np.float32)
    found = _kernel.unit(vector)
    assert found is not None
    expected = vector.astype(np.float64) / np.linalg.norm(vector.astype(np.float64))
    np.testing.assert_allclose(found, expected, atol=1e-7)


@pytest.mark.parametrize("bad", [0.0, math.nan, math.inf])
def test_unit_of_what_has_no_direction_is_none(bad: float) -> None:
    """Zeros, NaN and infinity have none."""
    assert _kernel.unit(np.full(5, bad, np.float32)) is None


@given(SEEDS, st.integers(1, 60), st.sampled_from([1, 63, 64, 65, 384, 1000]))
def test_scores_are_cosines_with_the_stored_vectors(seed: int, rows: int, dimension: int) -> None:
    """To float32's rounding, in any order and with repetitions."""
    column, query = column_and_query(rows, dimension, seed)
    wanted = np.random.default_rng(seed).integers(0, rows, 40)
    found = _kernel.scores(query, column.codes, column.scales, wanted)
    exact = column.vectors(wanted).astype(np.float64) @ query.astype(np.float64)
    np.testing.assert_allclose(found, exact, atol=2e-6)


@given(SEEDS, st.integers(1, 30))
def test_cosines_are_the_best_of_what_each_memory_owns(seed: int, memories: int) -> None:
    """Of one row or several; -1 for memories without rows, erased ones and strangers."""
    random = np.random.default_rng(seed)
    owners = np.repeat(random.permutation(memories), random.integers(0, 4, memories))
    column = VectorColumn(70)
    column.append(*quantize(random.normal(size=(len(owners), 70)) + 0.1), owners)
    column.zero(np.flatnonzero(owners == 0))
    query = unit(random.normal(size=70), 70)
    ordinals = np.array([*range(memories), memories + 5000, -1])
    scores = column.vectors(np.arange(len(owners))) @ query
    expected = [max(scores[owners == o], default=-1.0) if o else -1.0 for o in ordinals.tolist()]
    np.testing.assert_allclose(column.cosines(query, ordinals), expected, atol=1e-6)


@given(SEEDS, st.integers(1, 400), st.sampled_from([1, 384, 1536, 8192]))
def test_moments_are_those_of_all_cosines(seed: int, rows: int, dimension: int) -> None:
    """To the rounding of the query, in every dimension that a column may have."""
    column, query = column_and_query(min(rows, 400_000 // dimension), dimension, seed)
    mean, variance = _kernel.moments(query, column.codes, column.scales)
    exact = column.vectors(np.arange(len(column))).astype(np.float64) @ query
    assert mean == pytest.approx(exact.mean(), abs=1e-4)
    assert variance == pytest.approx(exact.var(), abs=1e-4)


def test_moments_of_no_rows_are_zero() -> None:
    """There is nothing to divide by."""
    column = VectorColumn(8)
    assert _kernel.moments(np.ones(8, np.float32), column.codes, column.scales) == (0.0, 0.0)


@given(SEEDS, st.sampled_from([1, 64, 65, 384]))
def test_a_bit_of_a_sketch_says_whether_a_code_is_above_the_mean(seed: int, dimension: int) -> None:
    """Bit by bit, and zero beyond the dimension."""
    column, _ = column_and_query(7, dimension, seed)
    means = np.random.default_rng(seed).integers(-9, 9, dimension).astype(np.int8)
    above = np.zeros((7, 64 * -(-dimension // 64)), np.bool_)
    above[:, :dimension] = column.codes > means
    packed = np.packbits(above, axis=1, bitorder="little").view("<u8")
    assert np.array_equal(sketches_of(column, means), packed)


@given(SEEDS, st.sampled_from([48, 384, 8192]), st.integers(1, 20), st.integers(0, 30))
def test_nearest_without_sketches_is_exact(seed: int, dimension: int, k: int, start: int) -> None:
    """The k best of a float64 scan from `start` on; equal vectors in the order of rows."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(60, dimension)).astype(np.float32)
    vectors[5::7] = vectors[5]
    column, allowed = filled(vectors), np.arange(60) >= start
    query = unit(vectors[5] + random.normal(size=dimension) / 9, dimension)
    rows, scores = _kernel.nearest(
        query, k, column.codes, column.scales, None, None, start, None, None, 0
    )
    expected, exact = truth(column, query, allowed)
    np.testing.assert_allclose(scores, exact[:k], atol=2e-6)
    assert np.lexsort((rows, -scores)).tolist() == list(range(len(rows)))
    true = dict(zip(expected.tolist(), exact.tolist(), strict=True))
    np.testing.assert_allclose([true[row] for row in rows.tolist()], scores, atol=2e-6)


def test_sketches_leave_only_candidates_to_be_scored() -> None:
    """What is found lies among the rows of the nearest sketches, and a row finds itself."""
    column = filled(clustered(2_000, 384))
    means = np.zeros(384, np.int8)
    sketches = sketches_of(column, means)
    query = unit(column.vectors([7])[0], 384)
    rows, _ = _kernel.nearest(
        query, 2_000, column.codes, column.scales, None, None, 0, sketches, means, 50
    )
    differ = np.bitwise_count(sketches ^ sketches[7]).sum(axis=1, dtype=np.int64)
    bar = np.partition(differ, 49)[49]
    assert rows[0] == 7
    assert set(rows.tolist()) == set(np.flatnonzero(differ <= bar).tolist())


@st.composite
def postings(draw: st.DrawFn) -> tuple[list[dict[int, int]], NDArray[np.uint32]]:
    """Counts by memory of a few terms, and the memories' lengths."""
    extent = draw(st.integers(1, 40))
    memories = st.integers(0, extent - 1)
    counts = st.dictionaries(memories, st.integers(1, 255), min_size=1)
    lengths = draw(st.lists(st.integers(1, 900), min_size=extent, max_size=extent))
    return draw(st.lists(counts, min_size=1, max_size=5)), np.array(lengths, np.uint32)


@given(postings(), st.integers(1, 10), st.none() | SEEDS)
def test_bm25_is_the_formula(
    case: tuple[list[dict[int, int]], NDArray[np.uint32]], k: int, seed: int | None
) -> None:
    """Term by term, over the memories of the mask, with the sums over all of them."""
    terms, lengths = case
    mask = None
    if seed is not None:
        mask = np.random.default_rng(seed).random(len(lengths)) < 0.5
    inside = np.ones(len(lengths), np.bool_) if mask is None else mask
    documents, average, k1, b = max(int(inside.sum()), 1), 50.0, 0.9, 0.4
    packed = [
        array("Q", [m << 32 | int(lengths[m]) << 8 | tf for m, tf in sorted(term.items())])
        for term in terms
    ]
    totals = np.zeros(len(lengths) + 3, np.float32)
    (ordinals, scores), total, squares, touched = _kernel.bm25(
        packed, mask, documents, average, k1, b, k, totals
    )
    expected: dict[int, float] = {}
    for term in terms:
        kept = {m: tf for m, tf in term.items() if inside[m]}
        weight = math.log1p((documents - len(kept) + 0.5) / (len(kept) + 0.5))
        for m, tf in kept.items():
            norm = k1 * (1 - b + b * int(lengths[m]) / average)
            expected[m] = expected.get(m, 0) + weight * tf / (norm + tf)
    assert sorted(touched.tolist()) == sorted(expected)
    for m, score in expected.items():
        assert totals[m] == pytest.approx(score, rel=1e-5)
    assert total == pytest.approx(sum(expected.values()), rel=1e-5)
    assert squares == pytest.approx(sum(s * s for s in expected.values()), rel=1e-5)
    best = sorted(expected, key=lambda m: (-totals[m], m))[:k]
    assert ordinals.tolist() == best
    assert scores.tolist() == [totals[m] for m in best]


@given(SEEDS, st.integers(1, 30), st.integers(0, 40))
def test_order_is_by_total_then_tie_then_position(seed: int, size: int, count: int) -> None:
    """As a stable sort by both has it."""
    random = np.random.default_rng(seed)
    totals, ties = random.integers(0, 3, (2, size)).astype(np.float32)
    expected = np.lexsort((-ties, -totals))[:count]
    assert _kernel.order(totals, ties, count).tolist() == expected.tolist()


COLUMN = filled(clustered(9, 16))
QUERY = unit(np.arange(1, 17), 16)
STEPS = np.full(9, -1, np.int32)
LIVE = np.ones(9, np.bool_)
BEYOND: dict[str, tuple[Any, ...]] = {
    "scores of a row that is not there": (
        _kernel.scores, QUERY, COLUMN.codes, COLUMN.scales, np.array([9])),
    "scores of a row below zero": (
        _kernel.scores, QUERY, COLUMN.codes, COLUMN.scales, np.array([-1])),
    "a query of another size": (
        _kernel.scores, QUERY[:8].copy(), COLUMN.codes, COLUMN.scales, np.array([0])),
    "too few scales": (_kernel.moments, QUERY, COLUMN.codes, COLUMN.scales[:8]),
    "too few owners": (
        _kernel.nearest, QUERY, 1, COLUMN.codes, COLUMN.scales, COLUMN.owners[:8], None, 0,
        None, None, 0),
    "too short a mask": (
        _kernel.nearest, QUERY, 1, COLUMN.codes, COLUMN.scales, None, LIVE[:8], 0, None, None, 0),
    "a start beyond the rows": (
        _kernel.nearest, QUERY, 1, COLUMN.codes, COLUMN.scales, None, None, 10, None, None, 0),
    "too few sketches": (
        _kernel.nearest, QUERY, 1, COLUMN.codes, COLUMN.scales, None, None, 0,
        np.zeros((8, 1), np.uint64), np.zeros(16, np.int8), 1),
    "sketches without means": (
        _kernel.nearest, QUERY, 1, COLUMN.codes, COLUMN.scales, None, None, 0,
        np.zeros((9, 1), np.uint64), None, 1),
    "sketches of too few words": (
        _kernel.sketch, COLUMN.codes, np.zeros(16, np.int8), np.zeros((9, 0), np.uint64)),
    "postings of a memory beyond the totals": (
        _kernel.bm25, [array("Q", [9 << 32 | 1])], None, 1, 1.0, 1.0, 1.0, 1,
        np.zeros(9, np.float32)),
    "postings of a memory beyond the mask": (
        _kernel.bm25, [array("Q", [8 << 32 | 1])], LIVE[:8], 1, 1.0, 1.0, 1.0, 1,
        np.zeros(9, np.float32)),
    "postings of another width": (
        _kernel.bm25, [array("I", [1])], None, 1, 1.0, 1.0, 1.0, 1, np.zeros(9, np.float32)),
    "a pool with a stranger": (_kernel.pool, [np.array([9])], STEPS, STEPS, LIVE, True),
    "steps that lead outside": (
        _kernel.pool, [np.array([0])], np.full(9, 9, np.int32), STEPS, LIVE, True),
    "a spread to a stranger": (
        _kernel.spread, np.array([9]), np.ones(1, np.float32), STEPS, STEPS,
        np.ones(1, np.uint32), np.ones(4, np.float32), 1.0, 1.0),
    "a spread of three shares": (
        _kernel.spread, np.array([0]), np.ones(1, np.float32), STEPS, STEPS,
        np.ones(1, np.uint32), np.ones(3, np.float32), 1.0, 1.0),
    "totals without ties": (_kernel.order, np.ones(3, np.float32), np.ones(2, np.float32), 1),
}  # fmt: skip


@pytest.mark.parametrize("call", BEYOND.values(), ids=BEYOND)
def test_nothing_outside_an_array_is_touched(call: tuple[Any, ...]) -> None:
    """Sizes that do not fit and numbers that lead outside raise before they are used."""
    function, *arguments = call
    with pytest.raises(ValueError, match=r"^[a-z]"):
        function(*arguments)


def test_arrays_of_other_types_are_refused_without_showing_them() -> None:
    """Nothing is converted silently, and no message quotes a vector."""
    rows = np.array([0])
    for query in (QUERY.astype(np.float64), np.repeat(QUERY, 2)[::2], QUERY.tolist(), None):
        with pytest.raises(TypeError) as refused:
            _kernel.scores(query, COLUMN.codes, COLUMN.scales, rows)
        assert not any(character.isdigit() for character in str(refused.value))
    with pytest.raises(TypeError) as refused:
        _kernel.order(QUERY, QUERY, "three")  # type: ignore[arg-type]  # on purpose
    assert not any(character.isdigit() for character in str(refused.value))
