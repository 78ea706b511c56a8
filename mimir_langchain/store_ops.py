"""A batch of operations, checked completely before any of it is done."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from langgraph.store.base import GetOp, ListNamespacesOp, Op, PutOp, SearchOp

from mimir_core import Namespace
from mimir_core.errors import InvalidArgument
from mimir_langchain.naming import about
from mimir_langchain.store_filters import check_filter
from mimir_langchain.store_index import StoreIndex, readable
from mimir_langchain.store_leases import Spot
from mimir_langchain.store_names import (
    InvalidStoreNamespace,
    check_labels,
    known_namespace,
    vault_key,
    vault_namespace,
)
from mimir_langchain.store_shadows import shadow_fields
from mimir_langchain.store_values import MAX_BYTES, decode_record, encode_record


@dataclass(frozen=True, slots=True, repr=False)
class Get:
    """Read one item."""

    spot: Spot
    refresh: bool


@dataclass(frozen=True, slots=True, repr=False)
class Search:
    """Find items below a namespace."""

    place: Namespace
    wanted: dict[str, Any]
    limit: int
    offset: int
    query: str | None
    refresh: bool


@dataclass(frozen=True, slots=True, repr=False)
class Listing:
    """List namespaces that match patterns of (is suffix, labels)."""

    patterns: list[tuple[bool, tuple[str, ...]]]
    depth: int | None
    limit: int
    offset: int


@dataclass(frozen=True, slots=True, repr=False)
class Put:
    """Write one item."""

    record: bytes
    fields: dict[str, Any]
    texts: list[str]
    minutes: float | None


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """What a batch is to do: reads by their place in the batch, and the last write of each spot."""

    reads: list[Get | Search | Listing | None] = field(default_factory=list)
    writes: dict[Spot, Put | None] = field(default_factory=dict)

    @property
    def queries(self) -> list[str]:
        """The queries of its searches."""
        searches = (read for read in self.reads if isinstance(read, Search))
        return [search.query for search in searches if search.query is not None]


def plan_batch(ops: Iterable[Op], root: Namespace, index: StoreIndex) -> Plan:
    """Checks operations and turns them into what the vault is asked.

    Raises:
        InvalidStoreNamespace, InvalidFilter, InvalidArgument: of several operations it says which.
    """
    plan, batch = Plan(), list(ops)
    for number, op in enumerate(batch):
        with about(f"op {number}") if len(batch) > 1 else nullcontext():
            _add(plan, op, root, index)
    return plan


def _add(plan: Plan, op: Op, root: Namespace, index: StoreIndex) -> None:
    plan.reads.append(None)
    if not isinstance(op, PutOp):
        plan.reads[-1] = _read(op, root, index)
    elif op.value is not None:
        spot = vault_namespace(root, op.namespace), vault_key(op.key)
        plan.writes[spot] = _put(op, index)
    elif (gone := _spot(root, op)) is not None:
        plan.writes[gone] = None


def _spot(root: Namespace, op: GetOp | PutOp) -> Spot | None:
    """Where the item of an operation lies; None if the vault has no room for such a place."""
    place, name = known_namespace(root, op.namespace), vault_key(op.key)
    return None if place is None else (place, name)


def _read(op: Op, root: Namespace, index: StoreIndex) -> Get | Search | Listing | None:
    if isinstance(op, GetOp):
        spot = _spot(root, op)
        return None if spot is None else Get(spot, bool(op.refresh_ttl))
    if isinstance(op, SearchOp):
        return _search(op, root, index)
    if isinstance(op, ListNamespacesOp):
        return _listing(op)
    raise InvalidArgument("a batch is made of GetOp, SearchOp, PutOp and ListNamespacesOp")


def _put(op: PutOp, index: StoreIndex) -> Put:
    labels = check_labels(op.namespace)
    if not labels:
        raise InvalidStoreNamespace("an item lies in a namespace of at least one label")
    if labels[0] == "langgraph":
        raise InvalidStoreNamespace('the first label "langgraph" is kept for LangGraph itself')
    record = encode_record(op.key, op.value)
    value = decode_record(record)[1]
    texts = index.texts(value, op.index)
    if max(len(record), len("\n".join(texts).encode())) > MAX_BYTES:
        raise InvalidArgument(f"a value and the text to index have at most {MAX_BYTES} bytes")
    return Put(record, shadow_fields(value), texts, _check_minutes(op.ttl))


def _search(op: SearchOp, root: Namespace, index: StoreIndex) -> Search:
    if op.query is not None and not isinstance(op.query, str):
        raise InvalidArgument("a query is a string")
    asks = index.config is not None and op.query is not None and bool(op.query.strip())
    place = known_namespace(root, op.namespace_prefix)
    wanted, limit = check_filter(op.filter), _check_count(op.limit, "limit")
    return Search(
        root if place is None else place,
        wanted,
        0 if place is None else limit,  # nothing lies where the vault has no room
        _check_count(op.offset, "offset"),
        readable(op.query) if asks and op.query else None,
        bool(op.refresh_ttl),
    )


def _listing(op: ListNamespacesOp) -> Listing:
    patterns = []
    for condition in op.match_conditions or ():
        if condition.match_type not in ("prefix", "suffix"):
            raise InvalidArgument("a namespace is matched by prefix or suffix")
        patterns.append((condition.match_type == "suffix", check_labels(condition.path)))
    depth = None if op.max_depth is None else _check_count(op.max_depth, "max_depth")
    return Listing(
        patterns, depth, _check_count(op.limit, "limit"), _check_count(op.offset, "offset")
    )


def _check_count(number: object, what: str) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise InvalidArgument(f"{what} is a number from 0")
    return number


def _check_minutes(ttl: object) -> float | None:
    if ttl is None:
        return None
    if isinstance(ttl, (int, float)) and not isinstance(ttl, bool):
        minutes = float(ttl)
        if math.isfinite(minutes) and minutes >= 0:
            return minutes
    raise InvalidArgument("a time to live is a number of minutes from 0")
