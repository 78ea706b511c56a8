"""Keys that say when two metadata values are the same: to store once, or to compare equal.

Storing tells 1, 1.0 and True apart, and 0.0 from -0.0; comparing takes numbers by value and dates
as instants, but never a bool for a number.
"""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import Hashable
from typing import Final

from mimir_core.errors import InvalidArgument
from mimir_core.types import Value, to_micros

_PLAIN: Final = frozenset({type(None), str, int, dt.datetime, dt.date})
_DOUBLE: Final = struct.Struct("<d").pack


def storage_key(value: Value) -> Hashable:
    """Returns a key that is equal for values that one stored copy can stand for."""
    if type(value) in _PLAIN:
        return value  # type: ignore[return-value]  # the plain types hash
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, float):
        return _DOUBLE(value)
    if isinstance(value, list):
        return ("list", *map(storage_key, value))
    if isinstance(value, dict):
        return ("dict", *((name, storage_key(value[name])) for name in sorted(value)))
    return value


def equality_key(value: object) -> Hashable:
    """Returns a key that is equal for values that a filter takes as equal.

    A value of a type that metadata cannot hold equals nothing but itself.
    """
    if isinstance(value, bool):
        return ("bool", value)
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, dt.date):
        return ("time", instant(value))
    if isinstance(value, list):
        return ("list", *map(equality_key, value))
    if isinstance(value, dict):
        return ("dict", frozenset((name, equality_key(item)) for name, item in value.items()))
    return ("other", id(value))


def storage_keys_equal_to(value: Value) -> list[Hashable] | None:
    """Returns the storage keys of every value equal to a scalar; None for a list or dict.

    This turns an equality filter into at most three dictionary lookups.
    """
    if isinstance(value, (list, dict)):
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return _number_keys(value)
    if isinstance(value, dt.date):
        moment = to_datetime(value)
        midnight = moment.time() == dt.time()
        return [moment, moment.date()] if midnight else [moment]
    return [storage_key(value)]


def _number_keys(value: float) -> list[Hashable]:
    if value == 0:
        return [0, _DOUBLE(0.0), _DOUBLE(-0.0)]
    keys: list[Hashable] = [int(value)] if value == int(value) else []
    if float(value) == value:
        keys.append(_DOUBLE(float(value)))
    return keys


def to_datetime(value: dt.date) -> dt.datetime:
    """Returns the instant of a checked datetime, or the midnight UTC that begins a date."""
    if isinstance(value, dt.datetime):
        return value
    return dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC)


def instant(value: dt.date) -> int | None:
    """Returns microseconds since 1970 UTC, or None for a time that UTC cannot express."""
    try:
        return to_micros(value)
    except InvalidArgument:
        return None
