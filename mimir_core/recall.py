"""Recall: from a query to opened hits.

Each channel names its best memories and what a score is worth in the scope searched; fusion adds
the channels and spreads scores along the turns of a thread; the best are opened and authenticated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mimir_core.embedding import VectorSpace
from mimir_core.errors import InvalidArgument, InvalidText
from mimir_core.index.analysis import analyze
from mimir_core.index.columns import VectorColumn
from mimir_core.index.cues import DATED, TELLING, TIME_WORDS, asks_when, dates, within
from mimir_core.index.fusion import LEAST_DEVIATION, Channel, Ranking, Threads, alone, fuse
from mimir_core.index.preference import diverse, important, recent
from mimir_core.intake import MAX_CONTENT_BYTES
from mimir_core.reading import around, open_memory
from mimir_core.results import Hit
from mimir_core.scope import Scope
from mimir_core.searched import Dense, ScopeCache, Searched
from mimir_core.vault.state import State

Ordinals = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

MODES = ("dense", "lexical", "hybrid")
MAX_K = 10_000
MAX_NEIGHBOURS = 100
MAX_WEIGHT = 100.0
_CANDIDATES = 30
_TIME_TERMS = analyze(TIME_WORDS)
_DIVERSE = 50  # diversity chooses among so many of the best, or 4 k


@dataclass(frozen=True, slots=True, repr=False)
class Query:
    """A checked query; the arguments are those of `Mimir.recall`."""

    text: str
    k: int
    mode: str
    neighbours: int
    spread: float = 1.0
    diversity: float = 0.0
    recency: float = 0.0
    half_life_days: float = 30.0
    importance: float = 0.0
    balance: float = 0.5

    @classmethod
    def checked(
        cls,
        text: object,
        k: object,
        mode: str,
        neighbours: object,
        *,
        has_vector: bool = False,
        **weights: object,
    ) -> Query:
        """Raises InvalidText or InvalidArgument."""
        if mode not in MODES:
            raise InvalidArgument(f"mode is one of {', '.join(MODES)}")
        if has_vector and mode == "lexical":
            raise InvalidArgument("a lexical recall has no use for a vector")
        if not (text is None and has_vector and mode == "dense"):  # else the vector says it all
            _check_text(text)
        if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= MAX_K:
            raise InvalidArgument(f"k is a whole number from 1 to {MAX_K}")
        if not isinstance(neighbours, int) or not 0 <= neighbours <= MAX_NEIGHBOURS:
            raise InvalidArgument(f"neighbours is a number from 0 to {MAX_NEIGHBOURS}")
        numbers = {name: _weight(name, value) for name, value in weights.items()}
        return cls(str(text or ""), k, mode, neighbours, **numbers)

    @property
    def dense(self) -> bool:
        """Whether the query needs a vector."""
        return self.mode != "lexical"


def _check_text(text: object) -> None:
    if not isinstance(text, str) or not text.strip():
        raise InvalidText("the query is empty", hint="say what to look for")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:  # its own message would carry the text
        raise InvalidText("the query holds surrogates, which UTF-8 cannot encode") from None
    if size > MAX_CONTENT_BYTES:
        raise InvalidText(f"the query has {size} bytes, more than {MAX_CONTENT_BYTES}")


def _weight(name: str, value: object) -> float:
    """A number in the range of its argument. Raises InvalidArgument."""
    low, high = (1e-6, 1e6) if name == "half_life_days" else (0.0, MAX_WEIGHT)
    if name in ("diversity", "balance"):
        high = 1.0
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not low <= value <= high:  # type: ignore[operator]  # it is a number
        raise InvalidArgument(f"{name} is a number from {low:g} to {high:g}")
    return float(value)  # type: ignore[arg-type]  # it is a number


def recall(
    state: State,
    scope: Scope,
    query: Query,
    direction: Floats | None,
    space: VectorSpace | None,
    scopes: ScopeCache,
) -> list[Hit]:
    """The k best memories of the scope, opened; see `Mimir.recall`.

    Args:
        direction: The query's vector, of unit length.
    """
    searched = scopes.get(state, scope, space)
    wanted = max(_CANDIDATES, query.k)
    channels: list[Channel] = []
    if direction is not None and searched.dense is not None:
        channels.append(_dense(searched.dense, direction, wanted))
    if query.mode != "dense":
        channels.append(_lexical(state, searched, query.text, wanted))
    if query.mode == "hybrid":
        weights = {"dense": 2 * query.balance, "lexical": 2 * (1 - query.balance)}
        ranking = fuse(channels, _threads(state, searched, query.spread), weights)
        ranking = _timed(state, query.text, ranking)
    else:
        ranking = alone(channels[0]) if channels else fuse([], _threads(state, searched, 0))
    if query.recency or query.importance:
        ranking = _preferred(state, query, ranking)
    best = _best(searched, query, ranking)
    return _open(state, query, ranking, channels, best.tolist())


def _threads(state: State, searched: Searched, spread: float) -> Threads:
    catalog = state.catalog
    steps = catalog.follows_previous, catalog.follows_next
    return Threads(*steps, searched.mask, state.lexical.lengths, spread)


def _dense(dense: Dense, direction: Floats, wanted: int) -> Channel:
    column = dense.held.column
    owners, scores = _nearest(dense, direction, wanted)
    mean, std = dense.population.moments(direction)
    return Channel(
        "dense", owners, scores, mean, std, lambda wanted: column.cosines(direction, wanted)
    )


def _nearest(dense: Dense, direction: Floats, wanted: int) -> tuple[Ordinals, Floats]:
    """The memories whose best vectors are nearest, best first, with their cosines."""
    column, asked = dense.held.column, wanted
    while True:
        rows, scores = dense.held.view.search(direction, asked, dense.allowed)
        owners = column.owners[rows].astype(np.int64)
        if column.one_each:
            return owners, scores
        first = np.sort(np.unique(owners, return_index=True)[1])
        if len(first) >= wanted or len(rows) < asked:
            return owners[first[:wanted]], scores[first[:wanted]]
        asked *= 4


def _lexical(state: State, searched: Searched, text: str, wanted: int) -> Channel:
    mask = None if searched.everything else searched.mask
    hits = state.lexical.search(analyze(text), wanted, mask)
    return Channel(
        "lexical",
        hits.ordinals,
        hits.scores,
        hits.mean,
        max(hits.std, LEAST_DEVIATION / max(searched.count, 1) ** 0.5),
        lambda ordinals: state.lexical.scores(hits, ordinals),
    )


def _timed(state: State, question: str, ranking: Ranking) -> Ranking:
    """The ranking, raised where a memory's time, or what it tells of time, is asked for."""
    named, when, ordinals = dates(question), asks_when(question), ranking.ordinals
    if not named and not when:
        return ranking
    gain = np.zeros(len(ordinals), np.float32)
    if named:
        gain += DATED * within(state.catalog.times[ordinals], named)
    if when:
        gain += TELLING * state.lexical.holding(_TIME_TERMS, ordinals)
    gain *= ranking.totals
    return replace(ranking, totals=ranking.totals + gain, parts={**ranking.parts, "time": gain})


def _preferred(state: State, query: Query, ranking: Ranking) -> Ranking:
    """The ranking, raised for what is recent or important, among equal totals too."""
    catalog, ordinals = state.catalog, ranking.ordinals
    gains: dict[str, Floats] = {}
    if query.recency:
        gains["recency"] = query.recency * recent(catalog, ordinals, query.half_life_days)
    if query.importance:
        gains["importance"] = query.importance * important(catalog, ordinals)
    gain = sum(gains.values(), np.zeros(len(ordinals), np.float32))
    size = np.abs(ranking.totals)  # a score below zero grows as well
    return replace(
        ranking,
        totals=ranking.totals + gain * size,
        parts={**ranking.parts, **{name: each * size for name, each in gains.items()}},
        ties=ranking.ties + gain * np.abs(ranking.ties),
    )


def _best(searched: Searched, query: Query, ranking: Ranking) -> Ordinals:
    """Rows of the ranking to return, best first; ties by the first channel, then the older."""
    if not query.diversity or searched.dense is None:
        return ranking.best(query.k)
    best = ranking.best(max(_DIVERSE, 4 * query.k))
    if not len(best):
        return best
    vectors = _vectors(searched.dense.held.column, ranking.ordinals[best])
    return best[diverse(ranking.totals[best], vectors, query.k, query.diversity)]


def _vectors(column: VectorColumn, ordinals: Ordinals) -> Floats:
    """Each memory's first vector, zeros where it has none."""
    rows = column.first_rows(ordinals)
    found = np.zeros((len(rows), column.dimension), np.float32)
    found[rows >= 0] = column.vectors(rows[rows >= 0])
    return found


def _open(
    state: State, query: Query, ranking: Ranking, channels: list[Channel], best: list[int]
) -> list[Hit]:
    """The hits at these rows of the ranking, opened and authenticated."""
    named = [(channel.name, set(channel.ordinals.tolist())) for channel in channels]
    ordinals = [ranking.ordinals.item(row) for row in best]  # of a few rows quicker than a slice
    memories = {ordinal: open_memory(state, ordinal) for ordinal in ordinals}
    hits = []
    for row, (ordinal, memory) in zip(best, memories.items(), strict=True):
        parts = {name: part.item(row) for name, part in ranking.parts.items()}
        found_by = [name for name, found in named if ordinal in found] or ["spread"]
        sides = around(state, ordinal, query.neighbours) if query.neighbours else ((), ())
        source = ranking.sources.item(row)
        near = memories[source].id if source in memories else _id(state, source)
        score = ranking.totals.item(row)
        hits.append(Hit(memory, score, parts, tuple(found_by), *sides, near))
    return hits


def _id(state: State, ordinal: int) -> str | None:
    return None if ordinal < 0 else state.node_id(ordinal).hex()
