"""Where memories stand on a map: vectors to two dimensions."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from mimir_core.display.figures import missing, spread_out

Floats: TypeAlias = npt.NDArray[np.float32]

LANDMARKS = 1_000
"""Vectors that t-SNE places, in some seconds; it takes over a minute for 10,000."""

_NEAREST = 5
_FEW = 5
_PERPLEXITY = 30.0


def positions(vectors: Floats) -> Floats:
    """Places in the plane, float32 [n, 2], for unit vectors [n, d]; the same ones every time.

    t-SNE (van der Maaten and Hinton, 2008) by scikit-learn, because it keeps neighbours together:
    of the ten nearest of a chat turn half are among its ten nearest on the map, 30 % under PCA.
    Beyond 1,000 vectors an even sample is placed so, and every other at the mean of the five of
    the sample that are nearest to it, weighted by likeness.

    Raises:
        MissingExtra: scikit-learn is missing; names the extra.
    """
    if len(vectors) <= LANDMARKS:
        return _embedded(vectors)
    chosen = np.array(spread_out(len(vectors), LANDMARKS))
    placed = _embedded(vectors[chosen])
    found = np.concatenate(
        [_among(piece, vectors[chosen], placed) for piece in np.array_split(vectors, 16)]
    )
    found[chosen] = placed
    return found


def _embedded(vectors: Floats) -> Floats:
    if len(vectors) < _FEW or np.ptp(vectors, axis=0).max() < 1e-6:
        return _principal(vectors)
    tsne, one_thread = _tsne()
    perplexity = min(_PERPLEXITY, (len(vectors) - 1) / 3)
    made = tsne(perplexity=perplexity, init=_principal(vectors) * 1e-4, random_state=0)
    with one_thread:
        placed: Floats = made.fit_transform(vectors).astype(np.float32)
    return placed


def _tsne() -> tuple[Any, Any]:
    """The reducer, and a context that keeps it to one thread.

    Its threads wait for each other by spinning: where cores are shared, two take twenty times as
    long as one.
    """
    try:
        from sklearn.manifold import TSNE  # noqa: PLC0415  # an extra, and slow to load
        from threadpoolctl import threadpool_limits  # noqa: PLC0415  # comes with it
    except ImportError as error:
        raise missing(error) from error
    return TSNE, threadpool_limits(1)


def _principal(vectors: Floats) -> Floats:
    """The two principal components, float32 [n, 2], the first of unit deviation."""
    centred = vectors - vectors.mean(axis=0) if len(vectors) else vectors
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    plane = np.zeros((len(vectors), 2), np.float32)
    plane[:, : len(axes[:2])] = centred @ axes[:2].T
    return plane / max(float(plane.std(axis=0).max(initial=0)), 1e-6)


def _among(vectors: Floats, landmarks: Floats, placed: Floats) -> Floats:
    likeness = vectors @ landmarks.T
    nearest = np.argpartition(-likeness, _NEAREST, axis=1)[:, :_NEAREST]
    weights = np.exp(8 * np.take_along_axis(likeness, nearest, axis=1))
    weights /= weights.sum(axis=1, keepdims=True)
    found: Floats = np.einsum("nk,nkd->nd", weights, placed[nearest]).astype(np.float32)
    return found
