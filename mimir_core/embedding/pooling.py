"""One vector for a text of any length, its tail included."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol, runtime_checkable

import numpy as np

from mimir_core.embedding.space import Embedder, Vectors

MAX_WINDOWS = 64
"""How many windows of one text are embedded, which bounds the time that a huge text takes."""


@runtime_checkable
class Windowed(Protocol):
    """An embedder that reads only so much of a text at a time, and can cut longer ones."""

    def windows(self, text: str) -> list[str]:
        """Pieces of the text, in order, each of which is read whole."""


def embed_whole(embedder: Embedder, texts: Sequence[str]) -> Vectors:
    """Embed texts to be stored: float32 [len(texts), dimension].

    What is longer than a window gets the mean of its first window's vector and of the mean over
    all its windows: a beginning says most of what a text is about, and the rest is found too. A
    text of more than 64 windows counts by 64 that are spread evenly. Other texts get the vector
    of `embed_documents`, and so do all texts of an embedder that is not `Windowed`.
    """
    if not isinstance(embedder, Windowed):
        return embedder.embed_documents(texts)
    pieces = [_spread_windows(embedder, text) for text in texts]
    vectors = embedder.embed_documents([piece for each in pieces for piece in each])
    if len(vectors) == len(texts):
        return vectors
    ends = accumulate(map(len, pieces))
    runs = [vectors[end - len(each) : end] for end, each in zip(ends, pieces, strict=True)]
    return np.stack([_pooled(run) for run in runs])


def _spread_windows(embedder: Windowed, text: str) -> list[str]:
    """At most MAX_WINDOWS windows of a text, the first and the last among them."""
    pieces = embedder.windows(text)
    if len(pieces) <= MAX_WINDOWS:
        return pieces
    kept = np.linspace(0, len(pieces) - 1, MAX_WINDOWS).astype(int)
    return [pieces[number] for number in kept]


def _pooled(windows: Vectors) -> Vectors:
    """A vector of length 1 from those of a text's windows in order."""
    head: Vectors = windows[0]
    return head if len(windows) == 1 else _unit(head + _unit(windows.mean(axis=0)))


def _unit(vector: Vectors) -> Vectors:
    unit: Vectors = vector / np.linalg.norm(vector)
    return unit
