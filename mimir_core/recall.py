"""Recall: from a query to opened hits.

Each channel names its best memories and what a score is worth in the scope searched; fusion adds
the channels and spreads scores along the turns of a thread; the best are opened and authenticated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mimir_core.embedding import VectorSpace
from mimir_core.errors import InvalidArgument, InvalidText, SpaceMismatch, VectorsLost
from mimir_core.index.analysis import analyze
from mimir_core.index.fusion import Channel, Fused, fuse
from mimir_core.intake import MAX_CONTENT_BYTES, space_digest
from mimir_core.reading import around, open_memory
from mimir_core.results import Hit
from mimir_core.scope import Scope
from mimir_core.vault.space import SpaceState
from mimir_core.vault.state import State

Ordinals = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Vector = npt.NDArray[np.float32]

MODES = ("dense", "lexical", "hybrid")
MAX_K = 10_000
MAX_NEIGHBOURS = 100
_CANDIDATES = 50
_SAMPLE = 512


@dataclass(frozen=True, slots=True, repr=False)
class Query:
    """A checked query."""

    text: str
    k: int
    mode: str
    neighbours: int

    @classmethod
    def checked(cls, text: object, k: object, mode: str, neighbours: object) -> Query:
        """Raises InvalidText or InvalidArgument."""
        if not isinstance(text, str) or not text.strip():
            raise InvalidText("the query is empty", hint="say what to look for")
        if len(text) > MAX_CONTENT_BYTES or any("\ud800" <= char <= "\udfff" for char in text):
            raise InvalidText("the query is too long, or holds surrogates")
        if mode not in MODES:
            raise InvalidArgument(f"mode is one of {', '.join(MODES)}")
        if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= MAX_K:
            raise InvalidArgument(f"k is a whole number from 1 to {MAX_K}")
        if not isinstance(neighbours, int) or not 0 <= neighbours <= MAX_NEIGHBOURS:
            raise InvalidArgument(f"neighbours is a number from 0 to {MAX_NEIGHBOURS}")
        return cls(text, k, mode, neighbours)

    @property
    def dense(self) -> bool:
        """Whether the query needs a vector."""
        return self.mode != "lexical"


def recall(
    state: State, scope: Scope, query: Query, vector: Vector | None, space: VectorSpace
) -> list[Hit]:
    """The k best memories of the scope, opened; see `Mimir.recall`."""
    mask = scope.mask(state)
    wanted = max(_CANDIDATES, query.k)
    channels: list[Channel] = []
    if vector is not None:
        channels += _dense(state, mask, vector, wanted, space)
    if query.mode != "dense":
        channels.append(_lexical(state, mask, query.text, wanted))
    if query.mode == "hybrid":
        steps = (state.catalog.follows_previous, state.catalog.follows_next)
        best = fuse(channels, query.k, mask, steps)
    else:
        best = [hit for channel in channels for hit in _alone(channel, query.k)]
    return [_open(state, hit, query.neighbours) for hit in best]


def _alone(channel: Channel, k: int) -> list[Fused]:
    """One channel's own ranking, exact where fusion cuts what is below the mean."""
    order = np.lexsort((channel.ordinals, -channel.scores))[:k]
    ranked = zip(channel.ordinals[order].tolist(), channel.scores[order].tolist(), strict=True)
    name = channel.name
    return [Fused(ordinal, score, {name: score}, (name,)) for ordinal, score in ranked]


def _dense(
    state: State, mask: Mask, vector: Vector, wanted: int, space: VectorSpace
) -> list[Channel]:
    held = _space(state, space)
    if held is None or not len(held.column):
        return []
    column = held.column
    allowed = _allowed_rows(held, mask)
    if not allowed.any():
        return []
    rows, scores = held.view.search(vector, wanted, allowed)
    sample = np.flatnonzero(allowed)
    if len(sample) > _SAMPLE:
        sample = sample[np.linspace(0, len(sample) - 1, _SAMPLE).astype(np.int64)]
    population = held.view.scores(vector, sample)
    mean, std = float(population.mean()), float(population.std())

    def score(ordinals: Ordinals) -> npt.NDArray[np.float32]:
        found = np.zeros(len(ordinals), np.float32)
        rows = column.rows_of(ordinals)
        owners = column.owners[rows].astype(np.int64)
        order = np.argsort(ordinals)
        at = order[np.searchsorted(ordinals, owners, sorter=order)]
        np.maximum.at(found, at, held.view.scores(vector, rows))
        return found

    owners, first = np.unique(column.owners[rows].astype(np.int64), return_index=True)
    return [Channel("dense", owners, scores[first], mean, std, score)]


def _lexical(state: State, mask: Mask, text: str, wanted: int) -> Channel:
    hits = state.lexical.search(analyze(text), wanted, mask)
    return Channel(
        "lexical",
        hits.ordinals,
        hits.scores,
        hits.mean,
        hits.std,
        lambda ordinals: state.lexical.scores(hits.weights, ordinals),
    )


def _space(state: State, space: VectorSpace) -> SpaceState | None:
    digest = space_digest(space)
    for held, stored in zip(state.spaces, state.root.spaces, strict=True):
        if stored.digest == digest:
            if held.lost_blocks:
                raise VectorsLost("vector blocks of this vault are damaged")
            return held
    if state.spaces:
        raise SpaceMismatch("the vault's vectors were made by another model")
    return None


def _allowed_rows(held: SpaceState, mask: Mask) -> Mask:
    owners = held.column.owners
    known = owners < len(mask)
    return known & mask[np.where(known, owners, 0)]


def _open(state: State, hit: Fused, neighbours: int) -> Hit:
    before, after = around(state, hit.ordinal, neighbours) if neighbours else ((), ())
    memory = open_memory(state, hit.ordinal)
    return Hit(memory, hit.score, hit.channels, hit.found_by, before, after)
