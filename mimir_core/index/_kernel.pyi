"""The inner loops of recall, in C++ (`kernel/`); the modules that call them say what they mean.

Arrays are C-contiguous and of exactly these types. What does not fit raises ValueError, and a
wrong type TypeError: callers have checked what users gave.
"""

from collections.abc import Sequence

from numpy import bool_, float32, int8, int32, int64, uint32, uint64
from numpy.typing import NDArray
from typing_extensions import Buffer

def unit(vector: NDArray[float32]) -> NDArray[float32] | None:
    """The vector scaled to unit length; None if it is not finite, or zero."""

def scores(
    query: NDArray[float32], codes: NDArray[int8], scales: NDArray[float32], rows: NDArray[int64]
) -> NDArray[float32]:
    """Cosines of a unit query [dimension] with rows `codes * scales`, float32 [m]."""

def cosines(
    query: NDArray[float32],
    codes: NDArray[int8],
    scales: NDArray[float32],
    owners: NDArray[uint32],
    first: NDArray[int64],
    ordinals: NDArray[int64],
) -> NDArray[float32]:
    """The best cosine among the rows that each ordinal owns, float32 [m], -1 without rows.

    Args:
        first: The first row of each ordinal, -1 none; an owner's rows are neighbours.
    """

def moments(
    query: NDArray[float32], codes: NDArray[int8], scales: NDArray[float32]
) -> tuple[float, float]:
    """Mean and variance of the cosines with all rows; (0, 0) of none."""

def sketch(codes: NDArray[int8], means: NDArray[int8], sketches: NDArray[uint64]) -> None:
    """Writes the sketches of rows, [n, words of 64 bits]."""

def nearest(
    query: NDArray[float32],
    k: int,
    codes: NDArray[int8],
    scales: NDArray[float32],
    owners: NDArray[uint32] | None,
    allowed: NDArray[bool_] | None,
    start: int,
    sketches: NDArray[uint64] | None,
    means: NDArray[int8] | None,
    candidates: int,
) -> tuple[NDArray[int64], NDArray[float32]]:
    """The k best rows from `start` on and their cosines, best first, ties by row.

    Args:
        owners: Of each row; rows of nobody are passed over. None if there are none.
        sketches: They choose `candidates` rows to score if more than twice as many may be found;
            None scores all.
    """

def bm25(
    postings: Sequence[Buffer],
    mask: NDArray[bool_] | None,
    documents: int,
    average_length: float,
    k1: float,
    b: float,
    k: int,
    totals: NDArray[float32],
) -> tuple[tuple[NDArray[int64], NDArray[float32]], float, float, NDArray[int64]]:
    """Adds each memory's score to `totals`, which is zero where nothing was added.

    Returns:
        The k best memories and their scores; sum and sum of squares of all scores; which entries
        of `totals` were written.
    """

def pool(
    named: Sequence[NDArray[int64]],
    previous: NDArray[int32],
    next: NDArray[int32],
    allowed: NDArray[bool_],
    spreading: bool,
) -> NDArray[int64]:
    """The named ordinals, and if scores spread those up to two turns away that are allowed.

    Each one once, ascending.
    """

def spread(
    pool: NDArray[int64],
    own: NDArray[float32],
    previous: NDArray[int32],
    next: NDArray[int32],
    lengths: NDArray[uint32],
    shares: NDArray[float32],
    terse: float,
    strength: float,
) -> tuple[NDArray[float32], NDArray[int64]]:
    """What each memory of the pool gains of its neighbours, and which gave most, -1 none.

    Args:
        pool, own, lengths: [m]: ordinals, ascending; what each is worth itself; its terms.
        shares: [4]: of the turn before, the one after, two before and two after.
        terse: Terms up to which a memory gains its full share; above, terse / terms of it.
    """


def worth(
    scores: NDArray[float32],
    mean: float,
    deviation: float,
    floor: float,
    slope: float,
    curve: float,
) -> NDArray[float32]:
    """`slope z + curve z^2` of standard scores less a floor, and 0 of those below it.

    A deviation of 0 makes all of them 0.
    """

def order(totals: NDArray[float32], ties: NDArray[float32], count: int) -> NDArray[int64]:
    """Positions of the `count` highest totals, best first; ties by the ties, then by position."""
