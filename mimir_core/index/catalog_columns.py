"""A run of memories as columns: what a segment seals, and what the catalog is extended with."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from mimir_core.errors import InvalidArgument
from mimir_core.index.catalog_tables import Bools, Codes
from mimir_core.index.catalog_values import storage_key
from mimir_core.types import EdgeKind, Namespace, Value

T = TypeVar("T")

UNKNOWN_PARENT: Final = 0xFFFFFFFF  # the parent is not in this vault

_ARRAYS: Final = (
    "prefix", "size", "gap", "time", "lamport", "erased", "namespace_code", "thread_code",
    "parent_offsets", "parent_kind", "parent_ordinal",
)  # fmt: skip


@dataclass(frozen=True, slots=True, repr=False)
class CatalogRow:
    """What the catalog holds of one memory; values are checked already.

    Attributes:
        prefix: First 8 bytes of the node id, as an unsigned integer.
        size: Bytes of the node's log record.
        lamport: Lamport clock.
        gap: Bytes of other log records between the previous node's record and this one.
        time: Microseconds since 1970 UTC.
        namespace: None once erased; time, key, thread name and metadata are then ignored.
        key: Key, unique among current values of the namespace.
        thread: Random 16-byte id of the thread.
        thread_name: Its name; one for all live memories of the thread.
        parents: (kind, ordinal in this vault or None) of each parent.
        metadata: The user's fields.
    """

    prefix: int
    size: int
    lamport: int
    gap: int = 0
    time: int = 0
    namespace: Namespace | None = None
    key: str | None = None
    thread: bytes | None = None
    thread_name: str | None = None
    parents: Sequence[tuple[EdgeKind, int | None]] = ()
    metadata: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class FieldColumn:
    """One metadata field: distinct values, and the code of each row's value (-1 missing)."""

    values: list[Value]
    codes: Codes
    __hash__ = None  # type: ignore[assignment]  # compared by content

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FieldColumn):
            return NotImplemented
        mine, theirs = map(storage_key, self.values), map(storage_key, other.values)
        return list(mine) == list(theirs) and np.array_equal(self.codes, other.codes)


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class CatalogColumns:
    """A run of n memories with tables of its own, so that it can be sealed alone.

    Tables list values in the order in which rows first use them and fields in the order of their
    names, so that equal memories give equal columns. A thread's name is kept while a live row of
    the run belongs to it.

    Attributes:
        prefix: uint64 [n]; size, gap: uint32 [n]; time: int64 [n]; lamport: uint64 [n];
            erased: uint8 [n].
        namespaces, namespace_code: Table and int32 [n], -1 where erased.
        threads, thread_names, thread_code: Tables side by side and int32 [n], -1 none.
        keys: [n], None where there is none.
        parent_offsets: uint32 [n + 1] into parent_kind uint8 [m] and parent_ordinal uint32 [m];
            ordinals are the vault's, 0xFFFFFFFF for a parent that is not in it.
        fields: Metadata by name.
    """

    prefix: NDArray[np.uint64]
    size: NDArray[np.uint32]
    gap: NDArray[np.uint32]
    time: NDArray[np.int64]
    lamport: NDArray[np.uint64]
    erased: NDArray[np.uint8]
    namespaces: list[Namespace]
    namespace_code: Codes
    threads: list[bytes]
    thread_names: list[str | None]
    thread_code: Codes
    keys: list[str | None]
    parent_offsets: NDArray[np.uint32]
    parent_kind: NDArray[np.uint8]
    parent_ordinal: NDArray[np.uint32]
    fields: dict[str, FieldColumn]
    __hash__ = None  # type: ignore[assignment]  # compared by content

    def __len__(self) -> int:
        return len(self.prefix)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CatalogColumns):
            return NotImplemented
        tables = ("namespaces", "threads", "thread_names", "keys", "fields")
        return all(getattr(self, name) == getattr(other, name) for name in tables) and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in _ARRAYS
        )

    @classmethod
    def of(cls, rows: Sequence[CatalogRow]) -> CatalogColumns:
        """Lays rows out as columns.

        Raises:
            InvalidArgument: if live memories of one thread differ in namespace or thread name.
        """
        kept = [_without_content(row) if row.namespace is None else row for row in rows]
        namespaces, namespace_code = _intern([row.namespace for row in kept], lambda name: name)
        threads, thread_code = _intern([row.thread for row in kept], lambda thread: thread)
        edges = [edge for row in kept for edge in row.parents]
        return cls(
            prefix=np.array([row.prefix for row in kept], np.uint64),
            size=np.array([row.size for row in kept], np.uint32),
            gap=np.array([row.gap for row in kept], np.uint32),
            time=np.array([row.time for row in kept], np.int64),
            lamport=np.array([row.lamport for row in kept], np.uint64),
            erased=np.array([row.namespace is None for row in kept], np.uint8),
            namespaces=namespaces,
            namespace_code=namespace_code,
            threads=threads,
            thread_names=_thread_names(kept, len(threads), thread_code),
            thread_code=thread_code,
            keys=[row.key for row in kept],
            parent_offsets=np.cumsum([0, *(len(row.parents) for row in kept)]).astype(np.uint32),
            parent_kind=np.array([kind for kind, _ in edges], np.uint8),
            parent_ordinal=np.array(
                [UNKNOWN_PARENT if parent is None else parent for _, parent in edges], np.uint32
            ),
            fields=_fields_of([row.metadata for row in kept]),
        )

    def erase(self, rows: Sequence[int] | NDArray[Any]) -> CatalogColumns:
        """Returns the columns without the content of `rows`: time, namespace, key, metadata.

        Prefix, size, clock, thread id and parents stay; values that no row uses any more go.
        """
        gone = np.zeros(len(self), np.bool_)
        gone[np.asarray(rows, np.int64)] = True
        return replace(
            self,
            time=np.where(gone, 0, self.time),
            erased=self.erased | gone,
            namespace_code=_cleared(self.namespace_code, gone),
            keys=[None if hit else key for key, hit in zip(self.keys, gone.tolist(), strict=True)],
            fields={
                name: FieldColumn(column.values, _cleared(column.codes, gone))
                for name, column in self.fields.items()
            },
        ).compact()

    def compact(self) -> CatalogColumns:
        """Returns the same rows with tables that hold what the rows use, in order of first use."""
        namespaces, namespace_code = _renumbered(self.namespaces, self.namespace_code)
        numbered, thread_code = _renumbered(range(len(self.threads)), self.thread_code)
        named = set(self.thread_code[self.erased == 0].tolist())
        fields = {
            name: FieldColumn(*_renumbered(column.values, column.codes))
            for name, column in sorted(self.fields.items())
        }
        return replace(
            self,
            namespaces=namespaces,
            namespace_code=namespace_code,
            threads=[self.threads[code] for code in numbered],
            thread_names=[self.thread_names[code] if code in named else None for code in numbered],
            thread_code=thread_code,
            fields={name: column for name, column in fields.items() if column.values},
        )


def _without_content(row: CatalogRow) -> CatalogRow:
    return replace(row, time=0, key=None, thread_name=None, metadata={})


def _intern(values: Iterable[T | None], key: Callable[[T], Hashable]) -> tuple[list[T], Codes]:
    table: dict[Hashable, int] = {}
    distinct: list[T] = []
    codes: list[int] = []
    for value in values:
        code = -1 if value is None else table.setdefault(key(value), len(distinct))
        if value is not None and code == len(distinct):
            distinct.append(value)
        codes.append(code)
    return distinct, np.array(codes, np.int32)


def _thread_names(rows: Sequence[CatalogRow], threads: int, thread_code: Codes) -> list[str | None]:
    """Returns each thread's name; raises InvalidArgument where its live rows disagree."""
    facts: dict[int, tuple[Namespace, str | None]] = {}
    for row, code in zip(rows, thread_code.tolist(), strict=True):
        if code >= 0 and row.namespace is not None:
            fact = (row.namespace, row.thread_name)
            if facts.setdefault(code, fact) != fact:
                raise InvalidArgument("a thread lies in one namespace and has one name")
    return [facts[code][1] if code in facts else None for code in range(threads)]


def _fields_of(rows: Sequence[Mapping[str, Value]]) -> dict[str, FieldColumn]:
    entries: dict[str, list[tuple[int, Value]]] = {}
    for row, metadata in enumerate(rows):
        for name, value in metadata.items():
            entries.setdefault(name, []).append((row, value))
    return {name: _field_of(entries[name], len(rows)) for name in sorted(entries)}


def _field_of(entries: list[tuple[int, Value]], length: int) -> FieldColumn:
    # None is a value here, so each is boxed: _intern takes a bare None as missing
    boxes, codes = _intern([(value,) for _, value in entries], lambda box: storage_key(box[0]))
    column = np.full(length, -1, np.int32)
    column[[row for row, _ in entries]] = codes
    return FieldColumn([box[0] for box in boxes], column)


def _cleared(codes: Codes, gone: Bools) -> Codes:
    return np.where(gone, np.int32(-1), codes)


def _renumbered(values: Sequence[T], codes: Codes) -> tuple[list[T], Codes]:
    """Returns the values in order of first use by `codes`, and the codes into that list."""
    used = np.flatnonzero(codes >= 0)
    old, first, inverse = np.unique(codes[used], return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    fresh = np.full(len(codes), -1, np.int32)
    fresh[used] = rank[inverse]
    return [values[code] for code in old[order].tolist()], fresh
