"""Fusion: against an exhaustive reference, and what holds whatever the scores."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mimir_core.index.fusion import (
    LEXICAL,
    NOISE,
    NOISE_RANK,
    SHARES,
    TERSE,
    Channel,
    Threads,
    alone,
    fuse,
)

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """Scores of n memories in two channels, their threads, and which may be found."""

    dense: Floats
    lexical: Floats
    previous: NDArray[np.int32]
    lengths: NDArray[np.uint32]
    allowed: NDArray[np.bool_]

    @property
    def next(self) -> NDArray[np.int32]:
        following = np.full(len(self.previous), -1, np.int32)
        followed = np.flatnonzero(self.previous >= 0)
        following[self.previous[followed]] = followed
        return following

    def beside(self, at: int) -> tuple[int, int, int, int]:
        """The turn before, the one after, two before and two after; -1 none."""
        before, after = int(self.previous[at]), int(self.next[at])
        farther = int(self.previous[before]) if before >= 0 else -1
        later = int(self.next[after]) if after >= 0 else -1
        return before, after, farther, later

    def channel(self, name: str, count: int) -> Channel:
        """A channel that names its `count` best; statistics over what may be found."""
        scores = self.dense if name == "dense" else self.lexical
        inside = np.flatnonzero(self.allowed)
        order = inside[np.lexsort((inside, -scores[inside]))][:count]
        if name == "lexical":
            order = order[scores[order] > 0]
        found = scores[inside].astype(np.float64)
        mean, std = (float(found.mean()), float(found.std())) if len(found) else (0.0, 0.0)
        return Channel(name, order, scores[order], mean, std, lambda wanted: scores[wanted])

    def threads(self, strength: float = 1.0) -> Threads:
        return Threads(
            self.previous, self.next, self.allowed, lambda wanted: self.lengths[wanted], strength
        )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Threads of up to 40 memories, told in turn, with scores of few and of many values."""
    n = draw(st.integers(1, 40))
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    thread = random.integers(0, draw(st.integers(1, 5)), n)
    previous = np.full(n, -1, np.int32)
    for at in range(n):
        earlier = np.flatnonzero(thread[:at] == thread[at])
        previous[at] = earlier[-1] if len(earlier) else -1
    digits = draw(st.sampled_from([0, 1, 6]))
    return Case(
        dense=np.round(random.normal(0.2, 0.3, n), digits).astype(np.float32),
        lexical=np.round(np.maximum(random.normal(0, 2, n), 0), digits).astype(np.float32),
        previous=previous,
        lengths=random.integers(0, 200, n).astype(np.uint32),
        allowed=random.random(n) < draw(st.sampled_from([0.0, 0.5, 1.0])),
    )


def reference(case: Case) -> dict[int, float]:
    """What each memory that may be found is worth, by the formula and one at a time."""
    inside = np.flatnonzero(case.allowed).tolist()
    if not inside:
        return {}
    own = dict.fromkeys(inside, 0.0)
    for name, scores in (("dense", case.dense), ("lexical", case.lexical)):
        found = np.array([scores[each] for each in inside], np.float64)
        std = float(found.std())
        z = {at: max((float(scores[at]) - float(found.mean())) / std, 0) if std else 0.0
             for at in inside}  # fmt: skip
        ranked = sorted((z[at] for at in inside if scores[at] > 0), reverse=True)
        noise = NOISE * ranked[NOISE_RANK - 1] if len(ranked) >= NOISE_RANK else 0.0
        for at in inside:
            if name == "dense":
                own[at] += 0.717 * z[at] + 0.416 * z[at] ** 2
            else:
                own[at] += LEXICAL * max(z[at] - noise, 0)
    total = {}
    for at in inside:
        near = zip(SHARES, case.beside(at), strict=True)
        gain = sum(share * own.get(other, 0) for share, other in near)
        total[at] = own[at] + gain * TERSE / max(int(case.lengths[at]), TERSE)
    return total


@given(cases())
def test_it_is_the_formula_where_the_channels_name_everything(case: Case) -> None:
    """With every memory a candidate, totals are those of an exhaustive computation."""
    ranking = fuse([case.channel("dense", 99), case.channel("lexical", 99)], case.threads())
    expected = reference(case)
    assert set(ranking.ordinals.tolist()) == set(expected)
    found = dict(zip(ranking.ordinals.tolist(), ranking.totals.tolist(), strict=True))
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-3)


@given(cases(), st.integers(1, 8))
def test_few_candidates_stay_inside_and_add_up(case: Case, count: int) -> None:
    """Nothing outside the mask is ranked, nothing twice, and parts add up to totals."""
    channels = [case.channel("dense", count), case.channel("lexical", count)]
    ranking = fuse(channels, case.threads())
    assert case.allowed[ranking.ordinals].all()
    assert (np.diff(ranking.ordinals) > 0).all()
    assert {"dense", "lexical"} <= set(ranking.parts)
    sums = np.sum(list(ranking.parts.values()), axis=0)
    assert np.allclose(ranking.totals, sums, atol=1e-4)
    assert np.isfinite(ranking.totals).all()
    assert (ranking.totals >= 0).all()
    for channel in channels:
        assert set(channel.ordinals.tolist()) <= set(ranking.ordinals.tolist())


@given(cases(), st.integers(1, 8))
def test_sources_are_neighbours(case: Case, count: int) -> None:
    """Whoever gave the most stands at most two turns away and may be found itself."""
    ranking = fuse([case.channel("dense", count)], case.threads())
    gains = ranking.parts.get("spread", ranking.totals * 0)
    for at, gain, source in zip(ranking.ordinals, gains, ranking.sources, strict=True):
        assert (gain > 0) == (source >= 0)
        if source >= 0:
            assert case.allowed[source]
            assert source in case.beside(int(at))


@given(cases())
def test_without_strength_nothing_spreads(case: Case) -> None:
    """Strength 0 leaves what the channels say, and no neighbour comes in."""
    channels = [case.channel("dense", 3), case.channel("lexical", 3)]
    ranking = fuse(channels, case.threads(0))
    named = {int(at) for channel in channels for at in channel.ordinals}
    assert set(ranking.ordinals.tolist()) == named
    assert "spread" not in ranking.parts
    assert (ranking.sources == -1).all()


@given(cases())
def test_order_does_not_matter(case: Case) -> None:
    """The channels' order changes no total."""
    pair = [case.channel("dense", 5), case.channel("lexical", 5)]
    first, second = fuse(pair, case.threads()), fuse(pair[::-1], case.threads())
    assert first.ordinals.tolist() == second.ordinals.tolist()
    assert np.allclose(first.totals, second.totals, atol=1e-4)


def test_no_channel_finds_nothing() -> None:
    """Without channels, or with empty ones, the ranking is empty."""
    nobody = np.empty(0, np.int32)
    threads = Threads(nobody, nobody, np.empty(0, np.bool_), lambda wanted: wanted)
    assert len(fuse([], threads).ordinals) == 0
    silent = Channel(
        "lexical", np.empty(0, np.int64), np.empty(0, np.float32), 0.0, 0.0,
        lambda wanted: np.zeros(len(wanted), np.float32),
    )  # fmt: skip
    assert len(fuse([silent], threads).ordinals) == 0
    assert len(alone(silent).ordinals) == 0


def test_equal_scores_say_nothing() -> None:
    """A channel whose scores are all equal adds nothing to anybody."""
    same = np.ones(5, np.float32)
    channel = Channel("dense", np.arange(5), same, 1.0, 0.0, lambda wanted: same[wanted])
    assert (channel.worth(same) == 0).all()


def test_a_long_turn_gains_less() -> None:
    """The same neighbour is worth half to a turn of twice as many terms as are terse."""
    case = Case(
        dense=np.array([0.9, 0, 0.9, 0, *[0.0] * 20], np.float32),
        lexical=np.zeros(24, np.float32),
        previous=np.array([-1, 0, -1, 2, *[-1] * 20], np.int32),
        lengths=np.array([5, TERSE, 5, 2 * TERSE, *[5] * 20], np.uint32),
        allowed=np.ones(24, np.bool_),
    )
    ranking = fuse([case.channel("dense", 24)], case.threads())
    spread = ranking.parts["spread"]
    assert spread[1] == pytest.approx(2 * spread[3])
    assert spread[3] > 0


@pytest.mark.parametrize("z", [0.0, 0.5, 1, 2, 3, 4, 5])
def test_surprise_follows_the_normal_tail(z: float) -> None:
    """The worth of a cosine is -ln P(|N| > z) to within 3 %."""
    one = np.array([z], np.float32)
    channel = Channel("dense", np.arange(1), one, 0.0, 1.0, lambda wanted: one[wanted])
    exact = -math.log(math.erfc(z / math.sqrt(2)))
    assert float(channel.worth(one)[0]) == pytest.approx(exact, rel=0.03, abs=0.03)
