"""What the catalog holds of a store's values, and the conditions on it that a filter stands for.

The catalog selects roughly, so that few items are opened, and the opened ones are matched exactly.
A value's scalars are metadata: those of the value itself under "v:" and their name, those within
its dicts under "n:" and their path. Lists and what they hold are not there.

An item without the field "nested" says nothing of what is within its dicts: it has too many fields
for that, or was stored before there were any. A filter that asks for those opens it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final, TypeAlias

__all__ = ["preselection", "shadow_fields"]

MAX_FIELDS: Final = 32
MAX_CHARACTERS: Final = 64
MAX_PATH: Final = 8
WIDE: Final = "wide"
NESTED: Final = "nested"
ORDERS: Final = frozenset({"$gt", "$gte", "$lt", "$lte"})
_BETWEEN: Final = "\x1f"  # the unit separator, between the names of a path

Shadow: TypeAlias = str | float
Path: TypeAlias = tuple[str, ...]


def shadow_fields(value: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata by which the catalog finds a value, or that it has too many fields for it."""
    held = dict(_named(((field,), each) for field, each in value.items()))
    if len(held) > MAX_FIELDS:
        return {WIDE: True}
    within = dict(islice(_named(_within(value)), MAX_FIELDS + 1))
    if len(within) > MAX_FIELDS or any("." in field for field in value):  # read as if it were one
        return held
    return {**held, **within, NESTED: True}


def preselection(wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Conditions on metadata that hold for every value a checked filter wants, and for others."""
    return [
        {"$or": [condition, {WIDE: True} if len(path) == 1 else {NESTED: {"$exists": False}}]}
        for key, each in wanted.items()
        for path, condition in _conditions(tuple(key.split(".")), each)
    ]


def shadow_name(path: Path) -> str | None:
    """What the catalog calls the scalar at a path; None if it does not hold it."""
    if len(path) > MAX_PATH or not all(map(_can_be_held, path)):
        return None
    return f"v:{path[0]}" if len(path) == 1 else f"n:{_BETWEEN.join(path)}"


def shadow(value: object) -> Shadow | None:
    """What the catalog holds of a plain value: equal values have equal shadows. None for none.

    Numbers and booleans are floats there, as LangGraph compares them; of a text it is the
    beginning.
    """
    if type(value) is str:
        return value[:MAX_CHARACTERS].encode("utf-8", "replace").decode()
    if type(value) in (bool, int, float):
        try:
            number = float(value)  # type: ignore[arg-type]  # one of the three
        except OverflowError:
            return None
        return number if math.isfinite(number) else None
    return None


def as_number(value: Any) -> float | None:
    """As LangGraph reads a number: texts of digits and booleans are numbers too."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _named(parts: Iterator[tuple[Path, Any]]) -> Iterator[tuple[str, Shadow]]:
    for path, value in parts:
        name, held = shadow_name(path), shadow(value)
        if name is not None and held is not None:
            yield name, held


def _within(value: Mapping[str, Any], path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The paths within the dicts of a value, as far as they are held, and what stands there."""
    for name, part in value.items():
        if isinstance(part, Mapping) and len(path) < MAX_PATH:
            yield from _within(part, (*path, name))
        elif path:
            yield (*path, name), part


def _conditions(path: Path, wanted: Any) -> Iterator[tuple[Path, dict[str, Any]]]:
    """What must hold of the scalars at and below a path if the filter does."""
    if not isinstance(wanted, Mapping):
        yield from _equal(path, wanted)
        return
    operators = any(key.startswith("$") for key in wanted)
    for key, operand in wanted.items():
        if not operators:
            yield from _conditions((*path, key), operand)
        elif key == "$eq":
            yield from _equal(path, operand)
        elif key in ORDERS:
            yield from _ordered(path, key, operand)


def _equal(path: Path, wanted: Any) -> Iterator[tuple[Path, dict[str, Any]]]:
    if isinstance(wanted, Mapping):
        for key, each in wanted.items():
            yield from _equal((*path, key), each)
    elif (name := shadow_name(path)) is None:
        return
    elif wanted is None:
        yield path, {name: {"$exists": False}}
    elif (equal := shadow(wanted)) is not None:
        yield path, {name: equal}


def _ordered(path: Path, order: str, operand: Any) -> Iterator[tuple[Path, dict[str, Any]]]:
    name, bound = shadow_name(path), shadow(as_number(operand))
    if name is not None and bound is not None:
        texts = {name: {"$gt": ""}}  # digits among them
        yield path, {"$or": [{name: {order: bound}}, texts]}


def _can_be_held(name: object) -> bool:
    return (
        isinstance(name, str)
        and len(name) <= MAX_CHARACTERS
        and _BETWEEN not in name
        and not any("\ud800" <= char <= "\udfff" for char in name)
    )
