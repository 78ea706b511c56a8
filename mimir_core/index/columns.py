"""The vectors themselves: one int8 column per vector space.

A row holds `codes`, int8 in [-127, 127], and `scale`, float32. `scale` is 1 / |codes|, so the
stored vector `codes * scale` has unit length, and **the score of a row is the cosine between the
query and that stored vector**: exact for what is stored, in float32, whatever index found it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mimir_core.errors import InvalidArgument, InvalidVector
from mimir_core.index import _kernel

Scalar = TypeVar("Scalar", bound=np.generic)
Codes = NDArray[np.int8]
Floats = NDArray[np.float32]
Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]
Ordinals = NDArray[np.uint32]

ERASED = 0xFFFFFFFF
"""The owner of an erased row."""

MAX_DIMENSION = 8_192
_ROOM = 1_024
_SLICE = 4_096  # rows dequantised at a time: 6 MB of float32 at 384 dimensions


def quantize(vectors: ArrayLike) -> tuple[Codes, Floats]:
    """Turn float vectors [n, dimension] of any length into codes [n, dimension] and scales [n].

    Each row is scaled so that its largest component becomes 127 (symmetric, per row).

    Raises:
        InvalidVector: not two-dimensional, not finite, or a row of zeros.
    """
    floats = _floats(vectors, 2)
    codes = np.empty(floats.shape, np.int8)
    scales = np.empty(len(floats), np.float32)
    for part in slices(len(floats)):
        rows = floats[part] / _peaks(floats[part])
        rounded = np.rint(rows * np.float32(127))
        codes[part] = rounded
        scales[part] = 1 / np.sqrt(np.einsum("ij,ij->i", rounded, rounded))
    return codes, scales


def unit(query: ArrayLike, dimension: int) -> Floats:
    """The query scaled to unit length, float32 [dimension].

    Raises:
        InvalidVector: another size, not finite, or zero.
    """
    floats = np.ascontiguousarray(_floats(query, 1))
    if floats.size != dimension:
        raise InvalidVector(f"the vector has {floats.size} components, the space {dimension}")
    found = _kernel.unit(floats)
    if found is None:
        raise InvalidVector("the vector is not finite, or is zero")
    return found


def slices(count: int) -> Iterator[slice]:
    """Cut `count` rows into slices small enough to hold as float32."""
    for first in range(0, count, _SLICE):
        yield slice(first, min(first + _SLICE, count))


def _floats(vectors: ArrayLike, dimensions: int) -> Floats:
    if isinstance(vectors, np.ndarray) and vectors.dtype == np.float32:
        floats = vectors
    else:
        floats = _converted(vectors)
    if floats.ndim != dimensions:
        raise InvalidVector(f"expected {dimensions} array dimensions, got {floats.ndim}")
    return floats


def _converted(vectors: ArrayLike) -> Floats:
    try:
        with np.errstate(over="ignore"):
            return np.asarray(vectors, np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidVector("a vector is an array of numbers") from error


def _peaks(rows: Floats) -> Floats:
    """The largest magnitude in each row, [n, 1]; dividing by it avoids over- and underflow."""
    peaks = np.abs(rows).max(axis=1, keepdims=True, initial=0)
    if not np.isfinite(peaks).all():
        raise InvalidVector("the vector holds NaN or infinity")
    if not peaks.all():
        raise InvalidVector("a vector of zeros has no direction")
    return np.asarray(peaks, np.float32)


class VectorColumn:
    """The rows of one vector space in RAM: what every vector index is rebuilt from.

    Rows are numbered in the order they were appended, and never move. An erased row stays as
    zeros that nobody owns. An owner may have several rows; they are neighbours.
    """

    def __init__(self, dimension: int) -> None:
        """Start empty. Raises InvalidArgument for a dimension outside 1..8192."""
        if not 1 <= dimension <= MAX_DIMENSION:
            raise InvalidArgument(f"a dimension lies in 1..{MAX_DIMENSION}")
        self.dimension = dimension
        self._count = 0
        self._erased = 0
        self._one_each = True
        self._codes: Codes = np.empty((0, dimension), np.int8)
        self._scales: Floats = np.empty(0, np.float32)
        self._owners: Ordinals = np.empty(0, np.uint32)
        self._first: NDArray[np.int64] = np.empty(0, np.int64)  # first row of each ordinal, or -1

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        return f"VectorColumn(dimension={self.dimension}, rows={self._count})"

    @property
    def codes(self) -> Codes:
        """int8 [n, dimension]; a view, not to be written to."""
        return self._codes[: self._count]

    @property
    def scales(self) -> Floats:
        """float32 [n]; a view, not to be written to."""
        return self._scales[: self._count]

    @property
    def owners(self) -> Ordinals:
        """uint32 [n], ERASED where nobody owns the row; a view, not to be written to."""
        return self._owners[: self._count]

    @property
    def erased(self) -> int:
        """How many rows are erased."""
        return self._erased

    def append(self, codes: Codes, scales: Floats, owners: ArrayLike) -> int:
        """Add rows and return the number of the first.

        Args:
            codes: int8 [n, dimension] as `quantize` makes them; zeros where the owner is ERASED.
            scales: float32 [n].
            owners: ordinals [n]; equal ones side by side.

        Raises:
            InvalidVector: shapes or types do not fit, or a code is -128.
            InvalidArgument: an owner already has rows elsewhere.
        """
        ordinals = np.asarray(owners, np.uint32)
        self._check(codes, scales, ordinals)
        first = self._count
        heads = self._heads(ordinals)
        self._grow(first + len(codes))
        self._codes[first : first + len(codes)] = codes
        self._scales[first : first + len(codes)] = scales
        self._owners[first : first + len(codes)] = ordinals
        self._first[ordinals[heads]] = first + heads
        self._count += len(codes)
        erased = int(np.count_nonzero(ordinals == ERASED))
        self._erased += erased
        self._one_each &= len(heads) == len(ordinals) - erased
        return first

    def zero(self, rows: ArrayLike) -> None:
        """Erase rows: codes and scale become zero, the owner ERASED.

        Raises:
            InvalidArgument: a row does not exist, or an owner would keep other rows.
        """
        doomed = self._existing(rows)
        doomed = np.unique(doomed[self._owners[doomed] != ERASED])
        owners = np.unique(self._owners[doomed])
        if len(self.rows_of(owners)) != len(doomed):
            raise InvalidArgument("the rows of one owner are erased together")
        self._codes[doomed] = 0
        self._scales[doomed] = 0
        self._owners[doomed] = ERASED
        self._first[owners] = -1
        self._erased += len(doomed)

    @property
    def one_each(self) -> bool:
        """Whether no owner ever had several rows."""
        return self._one_each

    def first_rows(self, ordinals: Rows) -> Rows:
        """The first row of each ordinal, int64 [n], -1 for one without rows."""
        if not len(ordinals) or ordinals.max() < len(self._first):
            return self._first[ordinals]
        known = ordinals < len(self._first)
        found = np.full(len(ordinals), -1, np.int64)
        found[known] = self._first[ordinals[known]]
        return found

    def rows_of(self, ordinals: ArrayLike) -> Rows:
        """The rows that these ordinals own, ascending; none for an ordinal without rows."""
        wanted = np.unique(np.asarray(ordinals, np.int64))
        wanted = wanted[(wanted >= 0) & (wanted < len(self._first))]
        rows = self._first[wanted]
        rows = rows[rows >= 0]
        runs = [rows]
        while len(rows):
            follow = rows[rows + 1 < self._count] + 1
            rows = follow[self._owners[follow] == self._owners[follow - 1]]
            runs.append(rows)
        return np.sort(np.concatenate(runs))

    def vectors(self, rows: ArrayLike) -> Floats:
        """The stored vectors, float32 [len(rows), dimension], each of unit length."""
        existing = self._existing(rows)
        return self._codes[existing] * self._scales[existing, None]

    def scores(self, query: Floats, rows: Rows) -> Floats:
        """Cosine of a unit query with each row, float32; 0 for an erased row.

        Equal rows score equally wherever they stand.
        """
        return _kernel.scores(query, self.codes, self.scales, rows)

    def cosines(self, query: Floats, ordinals: Rows) -> Floats:
        """The best score among the rows of each ordinal, float32 [m], -1 for one without rows."""
        return _kernel.cosines(
            query, self.codes, self.scales, self.owners, self._first, ordinals
        )

    def _check(self, codes: Codes, scales: Floats, owners: Ordinals) -> None:
        if codes.dtype != np.int8 or codes.shape[1:] != (self.dimension,):
            raise InvalidVector(f"codes are int8 of {self.dimension} components")
        if scales.dtype != np.float32 or not scales.shape == owners.shape == (len(codes),):
            raise InvalidVector("one float32 scale and one owner go with each row of codes")
        if codes.size and codes.min() == -128:  # the SIMD kernels may negate codes
            raise InvalidVector("codes lie in [-127, 127]")

    def _heads(self, owners: Ordinals) -> NDArray[np.intp]:
        """Where each owner's run of rows begins; makes room for the owners."""
        starts = np.ones(len(owners), np.bool_)
        starts[1:] = owners[1:] != owners[:-1]
        heads = np.flatnonzero(starts & (owners != ERASED))
        named = owners[heads]
        missing = int(named.max(initial=0)) + 1 - len(self._first)
        if missing > 0:
            room = np.full(max(missing + _ROOM, len(self._first)), -1, np.int64)
            self._first = np.concatenate([self._first, room])
        if len(np.unique(named)) != len(named) or (self._first[named] >= 0).any():
            raise InvalidArgument("the rows of one owner are appended together")
        return heads

    def _grow(self, count: int) -> None:
        """Double the capacity; untouched pages of the new arrays take no memory.

        What is filled at once, as when a vault is opened, has room left: the next row moves none.
        """
        if count <= len(self._scales):
            return
        room = max(count + count // 8 + _ROOM, 2 * len(self._scales))
        self._codes = _moved(self.codes, np.empty((room, self.dimension), np.int8))
        self._scales = _moved(self.scales, np.empty(room, np.float32))
        self._owners = _moved(self.owners, np.empty(room, np.uint32))

    def _existing(self, rows: ArrayLike) -> Rows:
        numbers = np.asarray(rows, np.int64)
        if numbers.size and not (numbers.min() >= 0 and numbers.max() < self._count):
            raise InvalidArgument("no such vector row")
        return numbers


def _moved(old: NDArray[Scalar], new: NDArray[Scalar]) -> NDArray[Scalar]:
    new[: len(old)] = old
    return new
