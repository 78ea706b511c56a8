"""LangGraph's filters: checked at once, found in the catalog roughly, matched exactly.

    {"color": "red", "stars": {"$gte": 3}, "owner": {"name": "Ana"}, "owner.name": "Ana"}

A field's name with a dot that the value does not have is a path into it. A missing field is None:
it equals None, differs from all else, and is in no order to anything.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mimir_core.errors import InvalidFilter
from mimir_langchain.store_values import WIDE, shadow, shadow_name

_ORDERS: dict[str, Callable[[float, float], bool]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}
_OPERATORS = {"$eq", "$ne", *_ORDERS}
# Syntax of other stores, which would silently find nothing, and control characters.
_FOREIGN = {*"$'\"`\\()[]{};", *map(chr, range(32))}


def check_filter(wanted: object) -> dict[str, Any]:
    """A search's filter; an empty one is None's.

    Raises:
        InvalidFilter: it is no dict, an operator is unknown, or what is in order to a number is
            none.
    """
    if wanted is None:
        return {}
    if not isinstance(wanted, Mapping):
        raise InvalidFilter("a filter is a dict")
    for key, each in wanted.items():
        if not isinstance(key, str) or not key or _FOREIGN & set(key):
            raise InvalidFilter("Invalid filter key: it names a field, or a path with dots")
        try:
            _check_operand(each)
        except RecursionError:
            raise InvalidFilter("a filter nests too deep") from None
    return dict(wanted)


def matches(value: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a value has all that a checked filter wants."""
    return all(_compare(_at(value, key), each) for key, each in wanted.items())


def preselection(wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Conditions on metadata that hold for every value the filter wants, and for some others."""
    found = (part for key, each in wanted.items() for part in _shadowed(key, each))
    return [{"$or": [part, {WIDE: True}]} for part in found]


def _check_operand(wanted: object) -> None:
    if isinstance(wanted, (list, tuple)):
        for part in wanted:
            _check_operand(part)
    if not isinstance(wanted, Mapping):
        return
    if not all(isinstance(key, str) for key in wanted):
        raise InvalidFilter("the names in a filter are strings")
    operators = any(key.startswith("$") for key in wanted)
    if operators and not wanted.keys() <= _OPERATORS:
        raise InvalidFilter("Unsupported operator", hint=f"there are {sorted(_OPERATORS)}")
    for key, operand in wanted.items():
        if key in _ORDERS and _number(operand) is None:
            raise InvalidFilter("an order is to a number")
        if not operators:
            _check_operand(operand)


def _at(value: Mapping[str, Any], key: str) -> Any:
    if key in value or "." not in key:
        return value.get(key)
    found: Any = value
    for part in key.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    return found


def _compare(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        if any(key.startswith("$") for key in wanted):
            return all(_holds(found, name, operand) for name, operand in wanted.items())
        return isinstance(found, Mapping) and all(
            _compare(found.get(key), each) for key, each in wanted.items()
        )
    if isinstance(wanted, (list, tuple)):
        return (
            isinstance(found, list)
            and len(found) == len(wanted)
            and all(map(_compare, found, wanted))
        )
    return bool(found == wanted)


def _holds(found: Any, name: str, operand: Any) -> bool:
    if name not in _ORDERS:
        return bool(found == operand) == (name == "$eq")
    left, right = _number(found), _number(operand)
    return left is not None and right is not None and _ORDERS[name](left, right)


def _number(value: Any) -> float | None:
    """As LangGraph reads a number: texts of digits and booleans are numbers too."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _shadowed(key: str, wanted: Any) -> Iterator[dict[str, Any]]:
    name = shadow_name(key)
    if name is None or "." in key:
        return
    conditions = wanted if isinstance(wanted, Mapping) else {"$eq": wanted}
    for operator_, operand in conditions.items():
        if operator_ == "$eq" and (equal := shadow(operand)) is not None:
            yield {name: equal}
        elif operator_ in _ORDERS and (bound := shadow(_number(operand))) is not None:
            texts = {name: {"$gt": ""}}  # digits among them
            yield {"$or": [{name: {operator_: bound}}, texts]}
