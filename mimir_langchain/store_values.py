"""A store's values in the vault: the record that is sealed, and what is read from it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

from langgraph.store.base import Item, SearchItem

from mimir_core import Memory, Namespace
from mimir_core.errors import InvalidArgument
from mimir_langchain.store_names import store_namespace

MAX_DEPTH = 128
MAX_BYTES = 8 << 20
UPDATED = "updated"
MINUTES = "minutes"
PLAIN = "plain"


def encode_record(key: str, value: object) -> bytes:
    """Key and value as JSON; the value's dicts have string names, its tuples become lists.

    Raises:
        InvalidArgument: the value is no mapping, or JSON does not hold all of it.
    """
    if not isinstance(value, Mapping):
        raise InvalidArgument("a value is a dict")
    try:
        _check_names(value, 1)
        text = json.dumps(
            [key, value], ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_dict
        )
    except (TypeError, ValueError, RecursionError):
        raise InvalidArgument(
            "a value holds something that JSON does not",
            hint="use dicts with string names, lists, strings, finite numbers, booleans and None",
        ) from None
    return text.encode("utf-8", "surrogatepass")


def decode_record(record: bytes) -> tuple[str, dict[str, Any]]:
    """Key and value of a record, the caller's own."""
    key, value = json.loads(record.decode("utf-8", "surrogatepass"))
    return key, value


def record_of(memory: Memory) -> bytes:
    """The sealed record of an item: beside the indexed text, or alone."""
    if memory.attachment is not None:
        return memory.attachment
    return memory.content if isinstance(memory.content, bytes) else memory.content.encode()


def item_of(root: Namespace, memory: Memory) -> Item:
    """A memory as LangGraph's item."""
    return Item(**_fields(root, memory))


def search_item_of(root: Namespace, memory: Memory, score: float | None = None) -> SearchItem:
    """A memory as a result of a search, with its cosine if it was ranked."""
    return SearchItem(**_fields(root, memory), score=score)


def _fields(root: Namespace, memory: Memory) -> dict[str, Any]:
    key, value = decode_record(record_of(memory))
    micros = memory.metadata.get(UPDATED)
    return {
        "namespace": store_namespace(root, memory.namespace),
        "key": key,
        "value": value,
        "created_at": memory.time,
        "updated_at": memory.time if micros is None else from_micros(micros),
    }


def from_micros(micros: int) -> dt.datetime:
    """A time from the microseconds since 1970, UTC."""
    return dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=micros)


def _check_names(value: object, level: int) -> None:
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            raise TypeError
        parts = list(value.values())
    elif isinstance(value, (list, tuple)):
        parts = list(value)
    else:
        return
    if level > MAX_DEPTH:
        raise ValueError
    for part in parts:
        _check_names(part, level + 1)


def _dict(value: object) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError
