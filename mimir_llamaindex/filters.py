"""LlamaIndex's metadata filters, as filters of the core.

Every operator and condition is there, groups nested as deep as 29 levels:

| operator | holds where the field |
|---|---|
| EQ, IN | equals the value, one of the values; 1 and 0 also equal True and False, because a \
`MetadataFilter` cannot hold a bool |
| NE, NIN | does not, or is missing |
| GT LT GTE LTE | is of the value's kind and in that order to it |
| CONTAINS ANY ALL | is a list with the value, one, all of them as elements, or a text with them \
as substrings |
| TEXT_MATCH, TEXT_MATCH_INSENSITIVE | is a text with the value as a substring |
| IS_EMPTY | is missing, None, "" or [] |

AND holds where all parts hold, OR where one does, NOT where none does; a group without parts is
as if it were not there. A field of another kind than the value is no error, it does not match.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

from mimir_core.errors import InvalidFilter

__all__ = ["DOCUMENT", "field_name", "where"]

Where: TypeAlias = dict[str, Any]

DOCUMENT: Final = ":ref_doc_id"
"""The field that holds the id of a node's source document; no user's field gets this name."""

NOWHERE: Final[Where] = {":none": {"$exists": True}}
MAX_DEPTH: Final = 29
"""Of the 32 levels that the core takes, a group is one and a leaf up to three."""

_CONDITIONS: Final = (None, *FilterCondition)


def field_name(key: str) -> str:
    """The core's name for a user's field: its own, with ":" before what the core keeps or we do."""
    return f":{key}" if not key or key[0] in ":$" else key


def where(filters: MetadataFilters | None) -> Where | None:
    """The core's filter; None if there is nothing to filter by.

    Raises:
        InvalidFilter: for an unknown operator or condition, a value that its operator cannot take,
            or groups nested deeper than 29 levels.
    """
    if filters is None:
        return None
    if not isinstance(filters, MetadataFilters):
        raise InvalidFilter("filters are `MetadataFilters`")
    return _group(filters, 1)


def _group(group: MetadataFilters, depth: int, negated: bool = False) -> Where | None:
    """A group, or its negation, in one level: negations move to the leaves by De Morgan's laws."""
    if depth > MAX_DEPTH:
        raise InvalidFilter(f"a filter nests at most {MAX_DEPTH} levels")
    known = group.condition is None or isinstance(group.condition, str)
    if not known or group.condition not in _CONDITIONS:  # another's `==` may do anything
        raise InvalidFilter("unknown filter condition", hint="known: AND OR NOT")
    negated ^= group.condition == FilterCondition.NOT  # which is no OR: none of its parts holds
    found = [_part(part, depth + 1, negated) for part in group.filters]
    parts = [part for part in found if part is not None]
    every = (group.condition in (None, FilterCondition.AND)) != negated
    return {"$and" if every else "$or": parts} if parts else None


def _part(part: MetadataFilter | MetadataFilters, depth: int, negated: bool) -> Where | None:
    if isinstance(part, MetadataFilters):
        return _group(part, depth, negated)
    return _leaf(part, negated)


def _leaf(leaf: MetadataFilter, negated: bool) -> Where:
    build = _OPERATORS.get(leaf.operator) if isinstance(leaf.operator, str) else None
    if build is None:
        raise InvalidFilter("unknown filter operator")
    built = build(field_name(leaf.key), leaf.value)
    return {"$not": built} if negated else built


def _plain(symbol: str) -> Callable[[str, Any], Where]:
    return lambda field, value: {field: {symbol: value}}


def _membership(symbol: str, single: bool) -> Callable[[str, Any], Where]:
    """$in or $nin; 1 and 0 bring the bools along."""

    def build(field: str, value: Any) -> Where:
        values = [value] if single else _listed(value)
        bools = [bool(each) for each in values if _stands_for_bool(each)]
        return {field: {symbol: [*values, *bools]}}

    return build


def _stands_for_bool(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and value in (0, 1)


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidFilter("IN, NIN, ANY and ALL take a list of values")
    return value


def _any(field: str, value: Any) -> Where:
    parts = [{field: {"$contains": each}} for each in _listed(value)]
    return {"$or": parts} if parts else NOWHERE


def _all(field: str, value: Any) -> Where:
    return {"$and": [{field: {"$ne": None, "$exists": True}}]
            + [{field: {"$contains": each}} for each in _listed(value)]}  # fmt: skip


def _text(symbol: str) -> Callable[[str, Any], Where]:
    def build(field: str, value: Any) -> Where:
        if not isinstance(value, str):
            raise InvalidFilter("TEXT_MATCH takes a text")
        return {field: {symbol: value, "$gte": ""}}  # only a text is in an order to ""

    return build


def _empty(field: str, value: Any) -> Where:
    return {"$or": [{field: {"$exists": False}}, {field: {"$in": [None, "", []]}}]}


_OPERATORS: Final[dict[FilterOperator, Callable[[str, Any], Where]]] = {
    FilterOperator.EQ: _membership("$in", single=True),
    FilterOperator.NE: _membership("$nin", single=True),
    FilterOperator.IN: _membership("$in", single=False),
    FilterOperator.NIN: _membership("$nin", single=False),
    FilterOperator.GT: _plain("$gt"),
    FilterOperator.GTE: _plain("$gte"),
    FilterOperator.LT: _plain("$lt"),
    FilterOperator.LTE: _plain("$lte"),
    FilterOperator.CONTAINS: _plain("$contains"),
    FilterOperator.ANY: _any,
    FilterOperator.ALL: _all,
    FilterOperator.TEXT_MATCH: _text("$contains"),
    FilterOperator.TEXT_MATCH_INSENSITIVE: _text("$icontains"),
    FilterOperator.IS_EMPTY: _empty,
}
