"""LangGraph's filters: checked at once, found in the catalog roughly, matched exactly.

    {"color": "red", "stars": {"$gte": 3}, "owner": {"name": "Ana"}, "owner.name": "Ana"}

A field's name with a dot that the value does not have is a path into it. A missing field is None:
it equals None, differs from all else, and is in no order to anything.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any

from mimir_core.errors import InvalidFilter
from mimir_langchain.store_shadows import as_number

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
    """A search's filter as a copy in plain types; an empty one is None's.

    Raises:
        InvalidFilter: it is no dict, holds what JSON does not, an operator is unknown, or what is
            in order to a number is none.
    """
    if wanted is None:
        return {}
    if not isinstance(wanted, Mapping):
        raise InvalidFilter("a filter is a dict")
    plain: dict[str, Any] = {}
    for key, each in wanted.items():
        if not isinstance(key, str) or not key or _FOREIGN & set(key):
            raise InvalidFilter("Invalid filter key: it names a field, or a path with dots")
        try:
            plain[str.__str__(key)] = _checked(each)
        except RecursionError:
            raise InvalidFilter("a filter nests too deep") from None
    return plain


def matches(value: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether a value has all that a checked filter wants."""
    return all(_compare(_at(value, key), each) for key, each in wanted.items())


def _checked(wanted: object) -> Any:
    """An operand in plain types, the filter's own: no value of the caller's is ever compared."""
    if isinstance(wanted, Mapping):
        return _checked_dict(wanted)
    if isinstance(wanted, (list, tuple)):
        return [_checked(part) for part in wanted]
    if wanted is None or isinstance(wanted, bool):
        return wanted
    if isinstance(wanted, str):
        return str.__str__(wanted)
    if isinstance(wanted, (Integral, Real)):
        return int(wanted) if isinstance(wanted, Integral) else float(wanted)
    raise InvalidFilter("a filter holds what a value can hold", hint="see the JSON types")


def _checked_dict(wanted: Mapping[Any, Any]) -> dict[str, Any]:
    if not all(isinstance(key, str) for key in wanted):
        raise InvalidFilter("the names in a filter are strings")
    plain = {str.__str__(key): _checked(each) for key, each in wanted.items()}
    operators = any(key.startswith("$") for key in plain)
    if operators and not plain.keys() <= _OPERATORS:
        raise InvalidFilter("Unsupported operator", hint=f"there are {sorted(_OPERATORS)}")
    for key, operand in plain.items():
        if key in _ORDERS and as_number(operand) is None:
            raise InvalidFilter("an order is to a number")
    return plain


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
    left, right = as_number(found), as_number(operand)
    return left is not None and right is not None and _ORDERS[name](left, right)
