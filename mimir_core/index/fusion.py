"""Fusion of channels into one ranking, with scores spread along the turns of a thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ordinals = NDArray[np.int64]
Floats = NDArray[np.float32]
Steps = NDArray[np.int32]

WEIGHTS = {"dense": 1.0, "lexical": 0.5}
SPREAD = 0.5


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel's answer.

    Attributes:
        name: "dense" or "lexical".
        ordinals, scores: Its best memories, [h].
        mean, std: Of the scores of all memories searched.
        score: Scores of any memories, for those another channel named.
    """

    name: str
    ordinals: Ordinals
    scores: Floats
    mean: float
    std: float
    score: Callable[[Ordinals], Floats]

    def standard(self, ordinals: Ordinals) -> Floats:
        """Standard scores of the given memories, what is below the mean cut to 0."""
        if not self.std:
            return np.zeros(len(ordinals), np.float32)
        return np.maximum((self.score(ordinals) - self.mean) / self.std, 0).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Fused:
    """A memory's place in the ranking: its score, each channel's part, and who named it."""

    ordinal: int
    score: float
    channels: dict[str, float]
    found_by: tuple[str, ...]


def fuse(
    channels: Sequence[Channel],
    k: int,
    allowed: NDArray[np.bool_],
    steps: tuple[Steps, Steps] | None,
) -> list[Fused]:
    """The k best of all memories that a channel, or a neighbour in the thread, named."""
    named = [channel.ordinals for channel in channels]
    if not named:
        return []
    seeds = np.unique(np.concatenate(named))
    pool = seeds if steps is None else _with_neighbours(seeds, steps, allowed)
    outer = pool if steps is None else _with_neighbours(pool, steps, allowed)
    parts = {channel.name: WEIGHTS[channel.name] * channel.standard(outer) for channel in channels}
    base = np.sum(list(parts.values()), axis=0)
    at = np.searchsorted(outer, pool)
    spread = np.zeros(len(pool), np.float32)
    if steps is not None:
        for step in steps:
            spread += SPREAD * _taken(base, outer, step[pool])
    total = base[at] + spread
    order = np.lexsort((pool, -total))[:k]
    return [
        Fused(
            int(pool[row]),
            float(total[row]),
            {name: float(part[at[row]]) for name, part in parts.items()}
            | ({"spread": float(spread[row])} if steps is not None else {}),
            tuple(c.name for c in channels if pool[row] in c.ordinals) or ("spread",),
        )
        for row in order
    ]


def _with_neighbours(
    ordinals: Ordinals, steps: tuple[Steps, Steps], allowed: NDArray[np.bool_]
) -> Ordinals:
    near = np.concatenate([step[ordinals] for step in steps]).astype(np.int64)
    near = near[near >= 0]
    return np.unique(np.concatenate([ordinals, near[allowed[near]]]))


def _taken(base: Floats, outer: Ordinals, wanted: Steps) -> Floats:
    at = np.minimum(np.searchsorted(outer, wanted), len(outer) - 1)
    return np.where(outer[at] == wanted, base[at], 0).astype(np.float32)
