"""What a caller prefers among memories that answer alike: recent, important, unlike each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mimir_core.index.catalog import Catalog

Ordinals = NDArray[np.int64]
Floats = NDArray[np.float32]

IMPORTANCE_FIELD = "importance"
_DAY = 86_400e6  # microseconds


def recent(catalog: Catalog, ordinals: Ordinals, half_life_days: float) -> Floats:
    """1 for the newest of these memories, halved with each half-life before it, float32 [m]."""
    times = catalog.times[ordinals]
    age = (times.max(initial=0) - times) / (half_life_days * _DAY)
    freshness: Floats = np.exp2(-age).astype(np.float32)
    return freshness


def important(catalog: Catalog, ordinals: Ordinals) -> Floats:
    """The metadata field "importance" cut to 0..1, 0 without, float32 [m]."""
    field = catalog.field(IMPORTANCE_FIELD)
    if field is None:
        return np.zeros(len(ordinals), np.float32)
    values = field.numbers(len(catalog))[ordinals]
    return np.clip(np.nan_to_num(values), 0, 1).astype(np.float32)


def diverse(totals: Floats, vectors: Floats, k: int, diversity: float) -> NDArray[np.intp]:
    """Positions of k memories by maximal marginal relevance, best first.

    Each next one maximises (1 - diversity) x its total, the best being 1, less diversity x its
    highest cosine with those already taken (Carbonell and Goldstein, SIGIR 1998).

    Args:
        totals: float32 [m], best first.
        vectors: Of unit length, or zeros for what has none, float32 [m, dimension].
    """
    worth = (1 - diversity) * totals / max(float(totals[0]), 1e-9)
    closest = np.zeros(len(totals), np.float32)
    taken: list[int] = []
    for _ in range(min(k, len(totals))):
        marginal = worth - diversity * closest
        marginal[taken] = -np.inf
        taken.append(int(marginal.argmax()))
        cosines = np.einsum("ij,j->i", vectors, vectors[taken[-1]])
        closest = np.maximum(closest, cosines)
    return np.array(taken, np.intp)
