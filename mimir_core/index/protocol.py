"""What every vector index can do. Deletion is part of it: a memory must be able to go."""

from __future__ import annotations

from typing import Protocol

from numpy.typing import ArrayLike

from mimir_core.index.columns import Floats, Mask, Rows


class VectorIndex(Protocol):
    """Nearest rows of one `VectorColumn`, by cosine.

    The column is the truth and is changed first: rows appended to it are found from then on, rows
    zeroed in it are never returned again, and `removed` lets the index release what it keeps.
    """

    def search(self, query: ArrayLike, k: int, allowed: Mask | None = None) -> tuple[Rows, Floats]:
        """The k best live rows, as int64 rows and float32 scores, best first, ties by row.

        Args:
            query: [dimension], of any length above zero.
            k: at least 1; fewer rows come back when fewer exist or are allowed.
            allowed: one bool for each row of the column; None allows all.

        Raises:
            InvalidVector: the query has another size, is not finite, or is zero.
            InvalidArgument: k is below 1, or the mask has another size than the column.
        """
        ...

    def removed(self, rows: ArrayLike) -> None:
        """Take notice that these rows were zeroed in the column."""
        ...
