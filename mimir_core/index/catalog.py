"""The catalog: what is known of each memory beside its text, by dense ordinal.

A view: it holds nothing that the log does not, and is rebuilt from it. Columns are numpy arrays and
interned values; an in-memory SQL table took a hundred times longer to filter.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mimir_core.errors import InvalidArgument
from mimir_core.index.catalog_clocks import Clocks, NodeId
from mimir_core.index.catalog_columns import CatalogColumns, CatalogRow, FieldColumn
from mimir_core.index.catalog_edges import Edges
from mimir_core.index.catalog_tables import (
    Bools,
    Codes,
    Column,
    Field,
    Interned,
    Lookup,
    Ordinals,
    rows_with,
)
from mimir_core.index.catalog_threads import Keys, Threads
from mimir_core.types import EdgeKind, Namespace, Value, check_namespace

Described: TypeAlias = tuple[int, Namespace, str | None, str | None, dict[str, Value]]
"""Time in microseconds since 1970 UTC, namespace, name of the thread, key, metadata."""

__all__ = ["Catalog", "CatalogColumns", "CatalogRow", "FieldColumn"]


class Catalog:
    """All memories of a vault, erased ones included, by ordinal 0 to len(catalog) - 1.

    Not thread-safe: the vault's lock guards it. Arrays handed out are views of the present state
    unless said otherwise; do not write to them, and do not keep them over a change.
    """

    def __init__(self, node_id: NodeId | None = None) -> None:
        """Starts empty.

        Args:
            node_id: Gives a row's whole id, asked where clocks and prefixes are equal; without it
                such rows stay in the order stored.
        """
        self._prefix: Column[np.uint64] = Column(np.uint64)
        self._size: Column[np.uint32] = Column(np.uint32)
        self._end: Column[np.int64] = Column(np.int64)
        self._time: Column[np.int64] = Column(np.int64)
        self._clocks = Clocks(self._prefix, node_id)
        self._live: Column[np.bool_] = Column(np.bool_)
        self._namespace: Column[np.int32] = Column(np.int32)
        self._thread: Column[np.int32] = Column(np.int32)
        self._followed: Column[np.bool_] = Column(np.bool_)
        self._keys: list[str | None] = []
        self._namespaces: Interned[Namespace] = Interned(lambda namespace: namespace)
        self._threads = Threads()
        self._keyed = Keys()
        self._edges = Edges()
        self._fields: dict[str, Field] = {}
        self._by_prefix = Lookup(self._prefix)
        self._by_thread = Lookup(self._thread)

    def __len__(self) -> int:
        return len(self._prefix)

    # Changing

    def extend(self, columns: CatalogColumns) -> None:
        """Appends memories.

        Raises:
            InvalidArgument: before anything changes, if a parent does not lie before its child,
                a clock contradicts the others, or live memories of one thread differ in namespace
                or thread name.
        """
        self._clocks.check(columns, *self._edges.check(columns))
        live_threads = self._threads.check(columns)
        first = len(self)
        self._append_arrays(columns)
        self._namespace.append(self._namespaces.add(columns.namespaces, columns.namespace_code))
        self._thread.append(self._threads.extend(columns, live_threads))
        self._append_keys(first, columns.keys)
        for name, column in columns.fields.items():
            if name not in self._fields:
                self._fields[name] = Field()
            self._fields[name].extend(first, column.values, column.codes)
        self._follow(*self._edges.extend(columns))

    def sort(self) -> None:
        """Sorts what later changes look things up in, for a catalog that was filled at once."""
        self._by_prefix.sort()
        self._by_thread.sort()

    def _append_arrays(self, columns: CatalogColumns) -> None:
        last = int(self._end.view[-1]) if len(self) else 0
        self._end.append(last + np.cumsum(columns.gap + columns.size.astype(np.int64)))
        self._prefix.append(columns.prefix)
        self._size.append(columns.size)
        self._time.append(columns.time)
        self._clocks.extend(columns)
        self._live.append(columns.erased == 0)

    def _append_keys(self, first: int, keys: Sequence[str | None]) -> None:
        self._keys += keys
        namespaces = self._namespace.view[first:].tolist()
        for row, (namespace, key) in enumerate(zip(namespaces, keys, strict=True), first):
            if key is not None:
                self._keyed.add(namespace, key, row)

    def _follow(self, children: Ordinals, parents: Ordinals) -> None:
        self._followed.grow(len(self), False)
        thread = self._thread.view
        within = (thread[children] == thread[parents]) & (thread[children] >= 0)
        self._followed.view[parents[within]] = True

    def erase(self, ordinals: Sequence[int] | NDArray[Any]) -> None:
        """Drops the content of memories: time, namespace, key, metadata, unused names and values.

        Prefix, size, clock, thread id and edges stay. Erasing an erased memory changes nothing.

        Raises:
            InvalidArgument: if an ordinal lies outside the catalog.
        """
        rows = np.unique(np.asarray(ordinals, np.int64))
        if len(rows) and not 0 <= rows[0] <= rows[-1] < len(self):
            raise InvalidArgument("an ordinal lies outside the catalog")
        rows = rows[self._live.view[rows]]
        for row in rows.tolist():
            self._drop_key(row)
        self._namespaces.release(self._namespace.view[rows])
        self._threads.release(self._thread.view[rows])
        self._namespace.view[rows] = -1
        self._time.view[rows] = 0
        self._live.view[rows] = False
        for field in self._fields.values():
            field.erase(rows)
        self._fields = {name: field for name, field in self._fields.items() if len(field.table)}

    def _drop_key(self, row: int) -> None:
        key = self._keys[row]
        if key is not None:
            self._keyed.remove(int(self._namespace.view[row]), key, row)
            self._keys[row] = None

    # Reading

    def columns(self, start: int, stop: int) -> CatalogColumns:
        """Returns a copy of rows `start` to `stop`, equal to what they were extended with.

        Raises:
            InvalidArgument: unless 0 <= start <= stop <= len(self).
        """
        if not 0 <= start <= stop <= len(self):
            raise InvalidArgument("the rows lie outside the catalog")
        offsets, kinds, parents = self._edges.columns(start, stop)
        size = self._size.view[start:stop].copy()
        begin = self._end.view[start - 1] if start else 0
        span = np.diff(self._end.view[start:stop], prepend=begin)
        fields = {name: field.slice(start, stop) for name, field in self._fields.items()}
        return CatalogColumns(
            prefix=self._prefix.view[start:stop].copy(),
            size=size,
            gap=(span - size).astype(np.uint32),
            time=self._time.view[start:stop].copy(),
            lamport=self._clocks.column.view[start:stop].copy(),
            erased=(~self._live.view[start:stop]).astype(np.uint8),
            namespaces=self._namespaces.values,  # type: ignore[arg-type]  # used codes have values
            namespace_code=self._namespace.view[start:stop],
            threads=self._threads.ids,
            thread_names=self._threads.names,
            thread_code=self._thread.view[start:stop],
            keys=self._keys[start:stop],
            parent_offsets=offsets,
            parent_kind=kinds,
            parent_ordinal=parents,
            fields={
                name: FieldColumn(self._fields[name].table.values, codes)
                for name, codes in fields.items()
            },
        ).compact()

    def span(self, ordinal: int) -> tuple[int, int]:
        """Returns where the memory's log record begins and its size, in bytes."""
        size = self._size.view.item(ordinal)
        return self._end.view.item(ordinal) - size, size

    @property
    def live(self) -> Bools:
        """Which memories are not erased, bool [n]."""
        return self._live.view

    @property
    def times(self) -> NDArray[np.int64]:
        """Microseconds since 1970 UTC, 0 where erased, int64 [n]."""
        return self._time.view

    def namespace(self, ordinal: int) -> Namespace | None:
        """Returns the memory's namespace, None once erased."""
        code = int(self._namespace.view[ordinal])
        return None if code < 0 else self._namespaces.values[code]

    def thread(self, ordinal: int) -> tuple[bytes, str | None] | None:
        """Returns the memory's thread as (id, name), None if it has none."""
        code = int(self._thread.view[ordinal])
        return None if code < 0 else (self._threads.ids[code], self._threads.names[code])

    def key(self, ordinal: int) -> str | None:
        """Returns the memory's key, None if it has none."""
        return self._keys[ordinal]

    def metadata(self, ordinal: int) -> dict[str, Value]:
        """Returns a copy of the memory's metadata, by field name."""
        held: dict[str, Value] = {}
        for name, field in self._fields.items():
            code = field.entry(ordinal)
            if code >= 0:
                value = field.table.values[code]
                held[name] = deepcopy(value) if isinstance(value, (list, dict)) else value
        return held if len(held) < 2 else {name: held[name] for name in sorted(held)}

    def described(self, ordinal: int, most: int) -> Described | None:
        """Returns what is known of a memory beside its text, None once erased.

        None also where live memories have more than `most` fields of metadata to look through.
        """
        code, thread = self._namespace.view.item(ordinal), self._thread.view.item(ordinal)
        namespace = None if code < 0 else self._namespaces.values[code]
        if namespace is None or len(self._fields) > most:
            return None
        name = None if thread < 0 else self._threads.names[thread]
        time, key = self._time.view.item(ordinal), self._keys[ordinal]
        return time, namespace, name, key, self.metadata(ordinal)

    def field(self, name: str) -> Field | None:
        """Returns a metadata field's column, None if no live memory has it."""
        return self._fields.get(name)

    # Finding

    def find(self, prefix: int) -> Ordinals:
        """Returns the ordinals, ascending, whose node id begins with these 8 bytes."""
        return self._by_prefix.positions(prefix)

    def by_key(self, namespace: Namespace, key: str) -> int | None:
        """Returns the live memory of a key: of several, the last by (clock, node id)."""
        return self._clocks.last(self.values(namespace, key))

    def sorted_keys(self, namespace: Namespace, prefix: str, last: int | None = None) -> list[str]:
        """Returns the live keys that begin with a prefix, by code points; the `last` of many."""
        code = self._namespaces.code(namespace)
        return [] if code is None else self._keyed.beginning(code, prefix, last)

    def values(self, namespace: Namespace, key: str) -> Sequence[int]:
        """Returns every live memory of a key: the value, kept history, and what came beside it."""
        code = self._namespaces.code(namespace)
        return () if code is None else self._keyed.rows(code, key)

    def current(self, namespace: Namespace, key: str) -> list[int]:
        """Returns the live memories of a key that no live one of it supersedes.

        One, unless devices wrote apart; what it superseded, through erased ones too, is history.
        """
        rows = self.values(namespace, key)
        if len(rows) < 2:
            return list(rows)
        clock = self._clocks.column.view.item
        first = min(map(clock, rows))  # what is older than that leads to none of them
        older: set[int] = set()
        queue = list(rows)
        while queue:
            edges = self._edges.parents(queue.pop())
            steps = [to for kind, to in edges if kind is EdgeKind.SUPERSEDES and to is not None]
            fresh = {to for to in steps if clock(to) >= first} - older
            queue += fresh
            older |= fresh
        return [row for row in rows if row not in older]

    @property
    def latest(self) -> int:
        """The largest clock of any memory, 0 where there is none."""
        return self._clocks.latest

    def namespaces(self) -> dict[Namespace, int]:
        """Returns the number of live memories of each namespace that has any."""
        return self._namespaces.uses()

    def threads(self, namespace: Namespace) -> dict[str, int]:
        """Returns the number of live memories of each named thread of exactly this namespace."""
        return self._threads.live(namespace)

    def thread_ids(self, namespace: Namespace, name: str) -> list[bytes]:
        """Returns the ids of the threads of that name that have live memories; mostly one.

        Devices that begin a thread of one name apart give it an id each.
        """
        return [self._threads.ids[code] for code in self._threads.codes(namespace, name)]

    def thread_ordinals(self, namespace: Namespace, name: str) -> Ordinals:
        """Returns the live memories of a thread by (clock, node id), empty if there is none."""
        members = self._members(namespace, name)
        return self._clocks.sorted(members[self._live.view[members]])

    def heads(self, namespace: Namespace, name: str) -> Ordinals:
        """Returns the members, erased ones included, that no member follows, by (clock, node id).

        More than one is a fork; none means that the thread has no live memory.
        """
        members = self._members(namespace, name)
        return self._clocks.sorted(members[~self._followed.view[members]])

    def _members(self, namespace: Namespace, name: str) -> Ordinals:
        codes = self._threads.codes(namespace, name)
        return np.concatenate([np.empty(0, np.int64), *map(self._by_thread.positions, codes)])

    # Edges

    def parents(self, ordinal: int) -> list[tuple[EdgeKind, int | None]]:
        """Returns (kind, ordinal) of each parent; None for one that is not in this vault."""
        return self._edges.parents(ordinal)

    def children(self, ordinal: int) -> list[tuple[EdgeKind, int]]:
        """Returns (kind, ordinal) of each child, ascending."""
        return self._edges.children(ordinal)

    @property
    def follows_previous(self) -> Codes:
        """The first parent that each memory follows, -1 none, int32 [n]."""
        return self._edges.previous

    @property
    def follows_next(self) -> Codes:
        """The first memory that follows each, -1 none, int32 [n]; `children` has forks whole."""
        return self._edges.next

    # Masks

    def mask(
        self,
        namespace: Namespace | None = None,
        *,
        prefix: bool = False,
        thread: str | None = None,
        since: int | None = None,
        until: int | None = None,
    ) -> Bools:
        """Returns which live memories satisfy every condition given, bool [n], the caller's own.

        Args:
            namespace: Exactly this namespace; an unknown one gives an empty mask.
            prefix: Also its descendants, label by label: ("a",) covers ("a", "b"), not ("ab",).
            thread: Name of a thread, within the namespaces chosen.
            since: Earliest time, microseconds since 1970 UTC, inclusive.
            until: Latest time, exclusive.

        Raises:
            InvalidNamespace: if `namespace` is no namespace, so that () never means all.
        """
        if namespace is None:
            chosen = self._live.view.copy()
        else:
            namespace = check_namespace(namespace)
            codes = self._namespace_codes(namespace, prefix)
            chosen = rows_with(self._namespace.view, codes, len(self._namespaces.values))
        if thread is not None:
            names = self._threads.codes(None if prefix else namespace, thread)
            chosen &= rows_with(self._thread.view, names, len(self._threads.ids))
        if since is not None:
            chosen &= self._time.view >= since
        if until is not None:
            chosen &= self._time.view < until
        return chosen

    def _namespace_codes(self, namespace: Namespace, prefix: bool) -> list[int]:
        if not prefix:
            code = self._namespaces.code(namespace)
            return [] if code is None else [code]
        values, depth = self._namespaces.values, len(namespace)
        return [
            code for code, known in enumerate(values)
            if known is not None and known[:depth] == namespace
        ]  # fmt: skip
