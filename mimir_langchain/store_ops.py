"""A batch of operations, checked completely before any of it is done."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from langgraph.store.base import GetOp, ListNamespacesOp, Op, PutOp, SearchOp

from mimir_core import Namespace
from mimir_core.errors import InvalidArgument
from mimir_langchain.store_filters import check_filter
from mimir_langchain.store_index import StoreIndex, readable
from mimir_langchain.store_leases import Spot
from mimir_langchain.store_names import (
    InvalidStoreNamespace,
    check_labels,
    vault_key,
    vault_namespace,
)
from mimir_langchain.store_values import decode_record, encode_record, shadow_fields


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
        InvalidStoreNamespace, InvalidFilter, InvalidArgument.
    """
    plan = Plan()
    for op in ops:
        plan.reads.append(None)
        if isinstance(op, PutOp):
            spot = vault_namespace(root, op.namespace), vault_key(op.key)
            plan.writes[spot] = None if op.value is None else _put(op, index)
        else:
            plan.reads[-1] = _read(op, root, index)
    return plan


def _read(op: Op, root: Namespace, index: StoreIndex) -> Get | Search | Listing:
    if isinstance(op, GetOp):
        spot = vault_namespace(root, op.namespace), vault_key(op.key)
        return Get(spot, bool(op.refresh_ttl))
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
    return Put(record, shadow_fields(value), texts, _check_minutes(op.ttl))


def _search(op: SearchOp, root: Namespace, index: StoreIndex) -> Search:
    if op.query is not None and not isinstance(op.query, str):
        raise InvalidArgument("a query is a string")
    asks = index.config is not None and op.query is not None and bool(op.query.strip())
    return Search(
        vault_namespace(root, op.namespace_prefix),
        check_filter(op.filter),
        _check_count(op.limit, "limit"),
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
