"""Fusion: the channels' scores on one scale, spread along the turns of threads.

A score counts by how surprising it is among all memories searched, with z its standard score:

- dense: cosines are close to normal, so -ln P(|N| > z), about 0.717 z + 0.416 z^2 (within 3 % up
  to z = 5): a cosine far above the rest counts more than twice as much as one half as far above;
- lexical: BM25 falls off like an exponential, so z itself counts, less a noise floor: half of the
  tenth best's z. Terms that ten memories hold alike say little about any of them.

A memory is then worth its own score and part of its neighbours' in the thread: an answer is found
by its question. A turn gains the less the more it says itself, so that long texts, which stand
alone, are not moved by what stands beside them.

`bench/README.md` has what each of these is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mimir_core.index import _kernel

Ordinals = NDArray[np.int64]
Floats = NDArray[np.float32]
Steps = NDArray[np.int32]

LEXICAL = 1.5
"""What one deviation of BM25 counts."""

CURVES = {"dense": (0.717, 0.416), "lexical": (LEXICAL, 0.0)}
"""What z and its square count, by channel."""

LEAST_DEVIATION = 0.5
"""BM25's deviation counts as this over the root of the memories searched at least: among a handful,
which of them holds a word that most of them hold says nothing."""

NOISE_RANK, NOISE = 10, 0.5

SHARES = (0.4, 0.3, 0.3, 0.2)
"""What a turn gains of the one before it, after it, two before and two after."""

TERSE = 40
"""Terms up to which a turn gains its full share; above, 40 / terms of it."""

_SHARES = np.array(SHARES, np.float32)


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel's answer.

    Attributes:
        name: "dense" or "lexical".
        ordinals, scores: Its best memories, best first, [h].
        mean, std: Of the scores of all memories searched.
        score: Scores of any memories, for those another channel named.
    """

    name: str
    ordinals: Ordinals
    scores: Floats
    mean: float
    std: float
    score: Callable[[Ordinals], Floats]

    def worth(self, scores: Floats) -> Floats:
        """How surprising scores of this channel are; nothing below the mean counts."""
        slope, curve = CURVES[self.name]
        return _kernel.worth(scores, self.mean, self.std, self._noise(), slope, curve)

    def _noise(self) -> float:
        """The standard score up to which BM25 says nothing."""
        if self.name == "dense" or len(self.scores) < NOISE_RANK or not self.std:
            return 0.0
        return max(NOISE * (float(self.scores[NOISE_RANK - 1]) - self.mean) / self.std, 0.0)


@dataclass(frozen=True, slots=True)
class Threads:
    """Along what, and to whom, scores spread.

    Attributes:
        previous, next: Of each memory, int32 [n], -1 none.
        allowed: Which memories may be found, bool [n].
        lengths: Terms of given memories.
        strength: Factor on all shares; 0 spreads nothing.
    """

    previous: Steps
    next: Steps
    allowed: NDArray[np.bool_]
    lengths: Callable[[Ordinals], NDArray[np.uint32]]
    strength: float = 1.0

    def pool(self, named: Sequence[Ordinals], spreading: bool) -> Ordinals:
        """The named memories and, if scores spread, those beside them that may be found."""
        return _kernel.pool(named, self.previous, self.next, self.allowed, spreading)

    def spread(self, pool: Ordinals, own: Floats) -> tuple[Floats, Ordinals]:
        """What each memory of the pool gains of its neighbours, and which gave most."""
        lengths = self.lengths(pool)
        return _kernel.spread(
            pool, own, self.previous, self.next, lengths, _SHARES, TERSE, self.strength
        )


@dataclass(frozen=True, slots=True)
class Ranking:
    """Memories with what they are worth, in no order.

    Attributes:
        ordinals: int64 [m], ascending.
        totals: float32 [m].
        parts: What each channel, and "spread", adds to the total.
        ties: float32 [m], what orders memories of equal totals: the first channel's scores.
        sources: int64 [m], the neighbour that gave most, -1 none.
    """

    ordinals: Ordinals
    totals: Floats
    parts: dict[str, Floats]
    ties: Floats
    sources: Ordinals

    def best(self, count: int) -> Ordinals:
        """Rows of the `count` highest totals, best first; ties as `ties` says, then the older."""
        return _kernel.order(self.totals, self.ties, count)


def fuse(
    channels: Sequence[Channel], threads: Threads, weights: Mapping[str, float] | None = None
) -> Ranking:
    """Ranks all memories that a channel named, and, if scores spread, their neighbours.

    Args:
        weights: What each channel's worth is multiplied by, by its name; 1 if not given.
    """
    spreading = threads.strength > 0 and any(len(channel.ordinals) for channel in channels)
    pool = threads.pool([channel.ordinals for channel in channels], spreading)
    scores = [channel.score(pool) for channel in channels]
    worths = [channel.worth(each) for channel, each in zip(channels, scores, strict=True)]
    for at, channel in enumerate(channels):
        if weights is not None and weights[channel.name] != 1:
            worths[at] = worths[at] * np.float32(weights[channel.name])
    parts = {channel.name: each for channel, each in zip(channels, worths, strict=True)}
    nothing = np.zeros(len(pool), np.float32)
    own, ties = sum(worths, nothing), scores[0] if scores else nothing
    if not spreading:
        return Ranking(pool, own, parts, ties, np.full(len(pool), -1, np.int64))
    parts["spread"], sources = threads.spread(pool, own)
    return Ranking(pool, own + parts["spread"], parts, ties, sources)


def alone(channel: Channel) -> Ranking:
    """One channel's own ranking by its own scores, those below the mean included."""
    order = np.argsort(channel.ordinals)
    ordinals, scores = channel.ordinals[order], channel.scores[order]
    return Ranking(ordinals, scores, {channel.name: scores}, scores, np.full(len(order), -1))
