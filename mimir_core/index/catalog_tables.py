"""Building blocks of the catalog: columns that grow, lookups, interned values, sparse fields."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from mimir_core.index.catalog_values import instant, storage_key
from mimir_core.types import Value

T = TypeVar("T")
S = TypeVar("S", bound=np.generic)
Bools: TypeAlias = NDArray[np.bool_]
Codes: TypeAlias = NDArray[np.int32]
Ordinals: TypeAlias = NDArray[np.int64]

_ROOM: Final = 64
_FEW_CODES: Final = 6  # so many comparisons of a column cost less than one table lookup a row
_SHORT_TAIL: Final = 1024
_FEW_QUESTIONS: Final = 8


class Column(Generic[S]):
    """A one-dimensional array that appends in amortized constant time, also after one long append.

    Attributes:
        view: The values so far; writing to it writes to the column.
    """

    __slots__ = ("_data", "view")

    def __init__(self, dtype: type[S]) -> None:
        self._data: NDArray[S] = np.empty(64, dtype)
        self.view: NDArray[S] = self._data[:0]

    def __len__(self) -> int:
        return len(self.view)

    def append(self, values: NDArray[Any] | Sequence[int]) -> None:
        """Appends values."""
        start = len(self.view)
        self._reserve(start + len(values))
        self.view[start:] = values

    def grow(self, length: int, fill: Any) -> None:
        """Appends `fill` until there are `length` values; never shrinks."""
        start = len(self.view)
        if length > start:
            self._reserve(length)
            self.view[start:] = fill

    def _reserve(self, length: int) -> None:
        if length > len(self._data):
            room = max(length + length // 8 + _ROOM, len(self._data) * 3 // 2)
            larger = np.empty(room, self._data.dtype)
            larger[: len(self.view)] = self.view
            self._data = larger
        self.view = self._data[:length]


class Lookup:
    """Finds the positions of a value in a column whose values never change once appended.

    Most of the column is kept sorted; a tail of at most an eighth is scanned, so that appends cost
    nothing and a lookup takes a few microseconds at 100,000 rows.
    """

    def __init__(self, column: Column[Any]) -> None:
        self._column = column
        self._order: Codes = np.empty(0, np.int32)
        self._sorted: NDArray[Any] = column.view[:0].copy()

    def positions(self, value: int) -> Ordinals:
        """Returns where the column holds `value`, ascending."""
        column = self._column.view
        if len(column) - len(self._order) > max(_SHORT_TAIL, len(self._order) // 8):
            self.sort()
        wanted = column.dtype.type(value)  # a bare int would compare uint64 as floats
        done = len(self._order)
        low = int(self._sorted.searchsorted(wanted, "left"))
        high = int(self._sorted.searchsorted(wanted, "right"))
        tail = np.flatnonzero(column[done:] == wanted) + done
        return np.concatenate([self._order[low:high], tail]).astype(np.int64)

    def sort(self) -> None:
        """Sorts all of the column now, so that the next lookup does not."""
        column = self._column.view
        self._order = np.argsort(column, kind="stable").astype(np.int32)
        self._sorted = column[self._order]


class Interned(Generic[T]):
    """Distinct values by code, with the number of uses of each; a value without uses is dropped.

    Codes are not reused before the vault is opened again.
    """

    def __init__(self, key: Callable[[T], Hashable]) -> None:
        self.values: list[T | None] = []  # None also where a value was dropped
        self._key = key
        self._codes: dict[Hashable, int] = {}
        self._uses: list[int] = []

    def __len__(self) -> int:
        return len(self._codes)

    def code(self, key: Hashable) -> int | None:
        """Returns the code of the value with this key, or None."""
        return self._codes.get(key)

    def uses(self) -> dict[T, int]:
        """Returns how often each value is used; for hashable values."""
        return {self.values[code]: self._uses[code] for code in self._codes.values()}  # type: ignore[misc]  # codes that are held have values

    def add(self, values: Sequence[T], codes: Codes) -> Codes:
        """Interns distinct `values` used by local `codes` (-1 none); returns the codes here."""
        if len(codes) == 1 and len(values) == 1:
            return np.array(self._count(values, (1,)), np.int32)
        uses = np.bincount(codes + 1, minlength=len(values) + 1)[1:]
        return np.array([*self._count(values, uses.tolist()), -1], np.int32)[codes]

    def _count(self, values: Sequence[T], uses: Sequence[int]) -> list[int]:
        held, counts, table, key = self.values, self._uses, self._codes, self._key
        codes = []
        for value, times in zip(values, uses, strict=True):
            code = table.setdefault(key(value), len(held))
            if code == len(held):
                held.append(value)
                counts.append(times)
            else:
                counts[code] += times
            codes.append(code)
        return codes

    def release(self, codes: Codes) -> None:
        """Gives back one use for each of `codes`, and drops values that have none left."""
        for code in codes[codes >= 0].tolist():
            self._uses[code] -= 1
            if not self._uses[code]:
                del self._codes[self._key(self.values[code])]  # in use until now
                self.values[code] = None


class Field:
    """One metadata field of the whole catalog: rows that have it, and codes of their values.

    Stored sparsely, so that thousands of rare fields cost no more than their values; arrays with
    one entry a row are made for fields that filters ask for, and kept up to date.
    """

    def __init__(self) -> None:
        self.table: Interned[Value] = Interned(storage_key)
        self._rows: Column[np.int32] = Column(np.int32)
        self._entries: Column[np.int32] = Column(np.int32)
        self._codes = _RowArray(np.int32, -1)
        self._numbers = _RowArray(np.float64, math.nan)
        self._instants = _RowArray(np.float64, math.nan)
        self._verdicts: dict[Hashable, Column[np.bool_]] = {}

    def extend(self, first: int, values: Sequence[Value], codes: Codes) -> None:
        """Appends rows `first` and up; codes are local to `values`, -1 where a row lacks it."""
        mapped = self.table.add(values, codes)
        if len(codes) == len(values) == 1:  # one memory: it has the field
            self._entries.append(mapped)
            self._rows.append((first,))
            return
        present = np.flatnonzero(codes >= 0)
        self._entries.append(mapped[present])
        self._rows.append(present + first)

    def erase(self, rows: Ordinals) -> None:
        """Forgets the values of these rows."""
        places = self._rows.view.searchsorted(rows.astype(np.int32))  # else it converts the column
        inside = places < len(self._rows)
        places = places[inside][self._rows.view[places[inside]] == rows[inside]]
        self.table.release(self._entries.view[places])
        self._entries.view[places] = -1
        self._verdicts.clear()  # their keys may quote what is erased
        for array in (self._codes, self._numbers, self._instants):
            array.erase(rows)

    def entry(self, row: int) -> int:
        """Returns the code of one row's value, -1 where missing."""
        rows = self._rows.view
        if row < len(rows) and rows.item(row) == row:  # every memory so far has the field
            return self._entries.view.item(row)
        at = int(rows.searchsorted(np.int32(row)))
        return self._entries.view.item(at) if at < len(rows) and rows.item(at) == row else -1

    def slice(self, start: int, stop: int) -> Codes:
        """Returns the codes of rows `start` to `stop`, -1 where missing."""
        low, high = self._rows.view.searchsorted(np.array([start, stop], np.int32))
        codes = np.full(stop - start, -1, np.int32)
        codes[self._rows.view[low:high] - start] = self._entries.view[low:high]
        return codes

    def codes(self, length: int) -> Codes:
        """Returns the code of every row, -1 where missing, int32 [length]."""
        return self._codes.upto(length, self._rows.view, self._entries.view, lambda codes: codes)

    def numbers(self, length: int) -> NDArray[np.float64]:
        """Returns the nearest double of every number, NaN for all else, float64 [length]."""
        entries = self._entries.view
        return self._numbers.upto(length, self._rows.view, entries, self._derive(number))

    def instants(self, length: int) -> NDArray[np.float64]:
        """Returns microseconds since 1970 of dates and datetimes, NaN for all else."""
        entries = self._entries.view
        return self._instants.upto(length, self._rows.view, entries, self._derive(moment))

    def verdicts(self, question: Hashable, holds: Callable[[Value], bool]) -> Bools:
        """Returns whether each distinct value passes, by code, and a last False for code -1.

        Each distinct value is asked once; the answers to the last few questions are kept.
        """
        answers = self._verdicts.pop(question, None) or Column(np.bool_)
        answers.append([*map(holds, self.table.values[len(answers) :])])
        self._verdicts[question] = answers
        if len(self._verdicts) > _FEW_QUESTIONS:
            del self._verdicts[next(iter(self._verdicts))]
        return np.append(answers.view, False)

    def _derive(self, convert: Callable[[Value], float | None]) -> _Derive:
        def derive(codes: Codes) -> NDArray[np.float64]:
            distinct, inverse = np.unique(codes, return_inverse=True)
            known = [convert(self.table.values[code]) if code >= 0 else None for code in distinct]
            return np.array(known, np.float64)[inverse]

        return derive


_Derive: TypeAlias = Callable[[Codes], NDArray[Any]]


class _RowArray(Generic[S]):
    """An array with one entry a row, derived from a field's entries as they come."""

    def __init__(self, dtype: type[S], missing: float) -> None:
        self._column: Column[S] = Column(dtype)
        self._missing = missing
        self._done = 0

    def upto(self, length: int, rows: Codes, codes: Codes, derive: _Derive) -> NDArray[S]:
        self._column.grow(length, self._missing)
        if self._done < len(rows):
            self._column.view[rows[self._done :]] = derive(codes[self._done :])
            self._done = len(rows)
        return self._column.view[:length]

    def erase(self, rows: Ordinals) -> None:
        self._column.view[rows[rows < len(self._column)]] = self._missing


def number(value: Value) -> int | float | None:
    """Returns a number as it is, and None for all else, bools included."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def moment(value: Value) -> int | None:
    """Returns the microseconds since 1970 UTC of a date or datetime, and None for all else."""
    return instant(value) if isinstance(value, dt.date) else None


def rows_with(codes: Codes, wanted: Sequence[int], distinct: int) -> Bools:
    """Returns where `codes` (below `distinct`, or -1) holds one of `wanted`, bool [n]."""
    if len(wanted) > _FEW_CODES:
        table = np.zeros(distinct + 1, np.bool_)
        table[list(wanted)] = True
        return table.take(codes)  # the last entry answers for code -1
    found = np.zeros(len(codes), np.bool_)
    for code in wanted:
        found |= codes == code
    return found
