"""What a vector means: the space it lives in, and who puts texts there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class VectorSpace:
    """Vectors may be compared only within one space.

    Attributes:
        digest: SHA-256 of the model, 64 hex digits; another model, another digest.
        dimension: Numbers in a vector.
        metric: How vectors are compared.
    """

    digest: str
    dimension: int
    metric: str = "cosine"


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into L2-normalised vectors of one space.

    A text's vector depends on the text alone, not on the batch it came in.
    """

    @property
    def space(self) -> VectorSpace:
        """The space of every vector this embedder makes."""

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Embed texts to be stored: float32 [len(texts), dimension].

        Raises:
            InvalidText: A text is empty or not text.
        """

    def embed_query(self, text: str) -> Vectors:
        """Embed one text to search with: float32 [dimension].

        Raises:
            InvalidText: The text is empty or not text.
        """
