"""Metadata filters: checked once, evaluated over the catalog's columns or over one dict.

A filter is a dict. Its entries must all hold:

    {"speaker": "Ana"}                      equal
    {"stars": {"$gte": 3, "$lt": 5}}        operators, all of them
    {"$or": [{...}, {...}]}  {"$and": [...]}  {"$not": {...}}

| operator | holds where the field |
|---|---|
| `$eq`, `$in` | equals the value, one of the values |
| `$ne`, `$nin` | does not, or is missing |
| `$lt $lte $gt $gte` | is of the value's kind (number, text, time) and in that order to it |
| `$contains` | is a list with the value as an element, or a text with it as a substring |
| `$icontains` | is a text with the value as a substring, upper and lower case alike |
| `$exists` | is present (`True`) or missing (`False`); a null is present |

Integers and floats compare by value and a bool is neither; a date is its midnight in UTC; texts
order by code point. `{}` holds for every memory, and an empty dict or list further in is refused.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, TypeAlias

import numpy as np

from mimir_core.errors import InvalidFilter, InvalidMetadata
from mimir_core.index.catalog import Catalog
from mimir_core.index.catalog_tables import Bools, Field, moment, number, rows_with
from mimir_core.index.catalog_values import equality_key, storage_keys_equal_to
from mimir_core.types import Value, check_value, checked_each

MAX_DEPTH: Final = 32
MAX_CONDITIONS: Final = 4_096
_EXACT: Final = 1 << 53  # below it every integer is a double of its own


class Filter:
    """A checked filter; made by `compile_filter`."""

    def __init__(self, condition: Condition) -> None:
        self._condition = condition

    def matches(self, metadata: Mapping[str, Any]) -> bool:
        """Says whether one memory's metadata satisfies the filter."""
        return self._condition.matches(metadata)

    def mask(self, catalog: Catalog) -> Bools:
        """Returns which live memories satisfy the filter, bool [n], the caller's own."""
        return self._condition.rows(catalog) & catalog.live


def compile_filter(spec: object) -> Filter:
    """Checks a filter completely and prepares it.

    Raises:
        InvalidFilter: for anything the module's dialect does not define: an unknown operator, an
            operand of the wrong type, NaN, an empty part, more than 32 levels or 4,096 conditions.
            Nothing has been evaluated then.
    """
    if isinstance(spec, Mapping) and not spec:
        return Filter(_All(()))
    return Filter(_compile(spec, 1, count(1)))


class Condition(ABC):
    """One node of a filter."""

    @abstractmethod
    def matches(self, metadata: Mapping[str, Any]) -> bool:
        """Says whether metadata satisfies the condition."""

    @abstractmethod
    def rows(self, catalog: Catalog) -> Bools:
        """Returns where it is satisfied; erased memories count as ones without any field."""


@dataclass(frozen=True, slots=True, repr=False)
class _All(Condition):
    parts: Sequence[Condition]

    def matches(self, metadata: Mapping[str, Any]) -> bool:
        return all(part.matches(metadata) for part in self.parts)

    def rows(self, catalog: Catalog) -> Bools:
        if not self.parts:
            return np.ones(len(catalog), np.bool_)
        found = self.parts[0].rows(catalog)
        for part in self.parts[1:]:
            found &= part.rows(catalog)
        return found


@dataclass(frozen=True, slots=True, repr=False)
class _Any(Condition):
    parts: Sequence[Condition]

    def matches(self, metadata: Mapping[str, Any]) -> bool:
        return any(part.matches(metadata) for part in self.parts)

    def rows(self, catalog: Catalog) -> Bools:
        found = self.parts[0].rows(catalog)
        for part in self.parts[1:]:
            found |= part.rows(catalog)
        return found


@dataclass(frozen=True, slots=True, repr=False)
class _Not(Condition):
    part: Condition

    def matches(self, metadata: Mapping[str, Any]) -> bool:
        return not self.part.matches(metadata)

    def rows(self, catalog: Catalog) -> Bools:
        found = self.part.rows(catalog)
        return np.logical_not(found, out=found)


@dataclass(frozen=True, slots=True, repr=False)
class _FieldCondition(Condition):
    """A condition on one field, which holds for no memory that lacks it."""

    field: str

    def matches(self, metadata: Mapping[str, Any]) -> bool:
        return self.field in metadata and self.holds(metadata[self.field])

    def rows(self, catalog: Catalog) -> Bools:
        column = catalog.field(self.field)
        if column is None:
            return np.zeros(len(catalog), np.bool_)
        return self.rows_of(column, len(catalog))

    @abstractmethod
    def holds(self, value: Any) -> bool:
        """Says whether a value satisfies the condition."""

    @abstractmethod
    def rows_of(self, column: Field, length: int) -> Bools:
        """Returns which of `length` rows satisfy it."""

    def ask(self, column: Field, length: int, *operands: Hashable) -> Bools:
        """Asks each distinct value once; equal operands mean equal answers."""
        answers = column.verdicts((type(self), *operands), self.holds)
        return answers.take(column.codes(length))


@dataclass(frozen=True, slots=True, repr=False)
class _Equals(_FieldCondition):
    values: Sequence[Value]
    keys: frozenset[Hashable]

    def holds(self, value: Any) -> bool:
        return equality_key(value) in self.keys

    def rows_of(self, column: Field, length: int) -> Bools:
        codes: list[int] = []
        for value in self.values:
            keys = storage_keys_equal_to(value)
            if keys is None:
                return self.ask(column, length, self.keys)  # a list or dict
            codes += [code for key in keys if (code := column.table.code(key)) is not None]
        return rows_with(column.codes(length), codes, len(column.table.values))


_Compare: TypeAlias = Callable[[Any, Any], Any]


@dataclass(frozen=True, slots=True, repr=False)
class _Text(_FieldCondition):
    """Order of texts."""

    compare: _Compare
    bound: str

    def holds(self, value: Any) -> bool:
        return isinstance(value, str) and bool(self.compare(value, self.bound))

    def rows_of(self, column: Field, length: int) -> Bools:
        return self.ask(column, length, self.compare, self.bound)


@dataclass(frozen=True, slots=True, repr=False)
class _Scale(_FieldCondition):
    """Order of numbers, or of times as microseconds, over one array of doubles a field."""

    compare: _Compare
    bound: int | float
    measure: Callable[[Any], int | float | None]
    array: Callable[[Field, int], Any]

    def holds(self, value: Any) -> bool:
        measured = self.measure(value)
        return measured is not None and bool(self.compare(measured, self.bound))

    def rows_of(self, column: Field, length: int) -> Bools:
        doubles, bound = self.array(column, length), float(self.bound)
        found: Bools = self.compare(doubles, bound)
        if abs(self.bound) >= _EXACT:  # rounding keeps order, but can make neighbours equal
            codes = column.codes(length)
            for row in np.flatnonzero(doubles == bound).tolist():
                found[row] = self.holds(column.table.values[codes[row]])
        return found


@dataclass(frozen=True, slots=True, repr=False)
class _Contains(_FieldCondition):
    part: Value

    def holds(self, value: Any) -> bool:
        if isinstance(value, str):
            return isinstance(self.part, str) and self.part in value
        wanted = equality_key(self.part)
        return isinstance(value, list) and any(equality_key(item) == wanted for item in value)

    def rows_of(self, column: Field, length: int) -> Bools:
        return self.ask(column, length, equality_key(self.part))


@dataclass(frozen=True, slots=True, repr=False)
class _ContainsFolded(_FieldCondition):
    part: str

    def holds(self, value: Any) -> bool:
        return isinstance(value, str) and self.part in value.casefold()

    def rows_of(self, column: Field, length: int) -> Bools:
        return self.ask(column, length, self.part)


@dataclass(frozen=True, slots=True, repr=False)
class _Exists(_FieldCondition):
    def holds(self, value: Any) -> bool:
        return True

    def rows_of(self, column: Field, length: int) -> Bools:
        return column.codes(length) >= 0


def _compile(spec: object, depth: int, conditions: Iterator[int]) -> Condition:
    """A part of a filter; `conditions` counts those of the whole, shared parts each time."""
    if depth > MAX_DEPTH:
        raise InvalidFilter(f"a filter nests at most {MAX_DEPTH} levels")
    if not isinstance(spec, Mapping) or not spec:
        raise InvalidFilter("a filter, and each part of it, is a dict that is not empty")
    parts = [_entry(name, operand, depth, conditions) for name, operand in spec.items()]
    return parts[0] if len(parts) == 1 else _All(parts)


def _entry(name: object, operand: object, depth: int, conditions: Iterator[int]) -> Condition:
    _count(conditions)
    if not isinstance(name, str) or not name:
        raise InvalidFilter("the name of a field is a non-empty string")
    if name in ("$and", "$or"):
        if not isinstance(operand, (list, tuple)) or not operand:
            raise InvalidFilter(f"{name} takes a list of filters that is not empty")
        parts = [_compile(part, depth + 1, conditions) for part in operand]
        return _All(parts) if name == "$and" else _Any(parts)
    if name == "$not":
        return _Not(_compile(operand, depth + 1, conditions))
    if name.startswith("$"):
        raise InvalidFilter("unknown operator between filters", hint="known: $and $or $not")
    return _field(name, operand)


def _count(conditions: Iterator[int]) -> None:
    if next(conditions) > MAX_CONDITIONS:
        raise InvalidFilter(
            f"a filter has at most {MAX_CONDITIONS:,} conditions",
            hint="compare a field with many values by $in",
        )


def _field(name: str, operand: object) -> Condition:
    if not isinstance(operand, Mapping):
        return _equals(name, operand)
    if not operand or not all(symbol in _OPERATORS for symbol in operand):
        known = " ".join(_OPERATORS)
        raise InvalidFilter(
            "unknown operator on a field", hint=f"known: {known}; compare with a dict by $eq"
        )
    parts = [_OPERATORS[symbol](name, value) for symbol, value in operand.items()]
    return parts[0] if len(parts) == 1 else _All(parts)


def _checked(operand: object) -> Value:
    try:
        return check_value(operand)
    except InvalidMetadata:
        raise InvalidFilter("the operand is no value that metadata could hold") from None


def _equals(name: str, operand: object) -> Condition:
    return _one_of(name, (_checked(operand),))


def _among(name: str, operand: object) -> Condition:
    if not isinstance(operand, (list, tuple, set, frozenset)):
        raise InvalidFilter("$in and $nin take a list of values")
    values = checked_each(operand, _checked, "value")
    return _one_of(name, values)


def _one_of(name: str, values: tuple[Value, ...]) -> Condition:
    return _Equals(name, values, frozenset(map(equality_key, values)))


def _ordered(compare: _Compare) -> Callable[[str, object], Condition]:
    def build(name: str, operand: object) -> Condition:
        bound = _checked(operand)
        if isinstance(bound, str):
            return _Text(name, compare, bound)
        for measure, array in ((number, Field.numbers), (moment, Field.instants)):
            measured = measure(bound)
            if measured is not None:
                return _Scale(name, compare, measured, measure, array)
        raise InvalidFilter("$lt, $lte, $gt and $gte take a number, a text, a date or a datetime")

    return build


def _contains(name: str, operand: object) -> Condition:
    return _Contains(name, _checked(operand))


def _contains_folded(name: str, operand: object) -> Condition:
    if not isinstance(operand, str):
        raise InvalidFilter("$icontains takes a text")
    return _ContainsFolded(name, operand.casefold())


def _exists(name: str, operand: object) -> Condition:
    if not isinstance(operand, bool):
        raise InvalidFilter("$exists takes true or false")
    return _Exists(name) if operand else _Not(_Exists(name))


_OPERATORS: Final[dict[str, Callable[[str, object], Condition]]] = {
    "$eq": _equals,
    "$ne": lambda name, operand: _Not(_equals(name, operand)),
    "$in": _among,
    "$nin": lambda name, operand: _Not(_among(name, operand)),
    "$lt": _ordered(operator.lt),
    "$lte": _ordered(operator.le),
    "$gt": _ordered(operator.gt),
    "$gte": _ordered(operator.ge),
    "$contains": _contains,
    "$icontains": _contains_folded,
    "$exists": _exists,
}
