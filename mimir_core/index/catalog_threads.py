"""Threads and keys by name: the two lookups of the catalog that are dictionaries."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

import numpy as np

from mimir_core.errors import InvalidArgument
from mimir_core.index.catalog_columns import CatalogColumns
from mimir_core.index.catalog_tables import Codes
from mimir_core.types import Namespace

_FEW_CHANGES: Final = 1_000

LiveThread: TypeAlias = tuple[bytes, Namespace, str | None, int]  # id, place, name, live rows


class Threads:
    """Random ids, names and namespaces of threads, by thread code.

    An id outlives its memories, as links keep it; a name goes with the last live one.
    """

    def __init__(self) -> None:
        self.ids: list[bytes] = []
        self.names: list[str | None] = []
        self._codes: dict[bytes, int] = {}
        self._namespaces: list[Namespace | None] = []
        self._live: list[int] = []
        self._named: dict[Namespace, dict[str, list[int]]] = {}

    def check(self, columns: CatalogColumns) -> list[LiveThread]:
        """Returns the live threads of rows, to extend with.

        Raises InvalidArgument if a thread would lie in two namespaces or have two names.
        """
        found = _live_threads(columns)
        for thread, namespace, name, _ in found:
            code = self._codes.get(thread, -1)
            known = code >= 0 and self._live[code]
            if known and (self._namespaces[code], self.names[code]) != (namespace, name):
                raise InvalidArgument("a thread lies in one namespace and has one name")
        return found

    def extend(self, columns: CatalogColumns, live: list[LiveThread]) -> Codes:
        """Adds the threads of checked rows; returns the thread code of each row, -1 none."""
        mapped = np.array([*map(self._code, columns.threads), -1], np.int32)
        for thread, namespace, name, count in live:
            code = self._codes[thread]
            if not self._live[code]:
                self._namespaces[code], self.names[code] = namespace, name
                if name is not None:
                    self._named.setdefault(namespace, {}).setdefault(name, []).append(code)
            self._live[code] += count
        return mapped[columns.thread_code]

    def _code(self, thread: bytes) -> int:
        code = self._codes.setdefault(thread, len(self.ids))
        if code == len(self.ids):
            self.ids.append(thread)
            self.names.append(None)
            self._namespaces.append(None)
            self._live.append(0)
        return code

    def release(self, codes: Codes) -> None:
        """Takes one live memory from the thread of each code; -1 is passed over."""
        for code in codes[codes >= 0].tolist():
            self._live[code] -= 1
            if not self._live[code]:
                self._forget(code)

    def _forget(self, code: int) -> None:
        namespace, name = self._namespaces[code], self.names[code]
        self._namespaces[code] = self.names[code] = None
        if namespace is None or name is None:
            return
        named = self._named[namespace]
        named[name].remove(code)
        if not named[name]:
            del named[name]
        if not named:
            del self._named[namespace]

    def codes(self, namespace: Namespace | None, name: str) -> list[int]:
        """Returns the codes of the live threads of that name; in any namespace for None."""
        if namespace is not None:
            return list(self._named.get(namespace, {}).get(name, ()))
        return [code for named in self._named.values() for code in named.get(name, ())]

    def live(self, namespace: Namespace) -> dict[str, int]:
        """Returns the number of live memories of each named thread of a namespace."""
        named = self._named.get(namespace, {})
        return {name: sum(self._live[code] for code in codes) for name, codes in named.items()}


def _live_threads(columns: CatalogColumns) -> list[LiveThread]:
    if not columns.threads:
        return []
    if len(columns) == 1:
        name = columns.thread_names[0]
        return [(columns.threads[0], place, name, 1) for place in columns.namespaces]
    live = (columns.thread_code >= 0) & (columns.erased == 0)
    codes, homes = columns.thread_code[live], columns.namespace_code[live]
    home = np.full(len(columns.threads), -1, np.int32)
    home[codes] = homes
    if (home[codes] != homes).any():
        raise InvalidArgument("a thread lies in one namespace and has one name")
    counts = np.bincount(codes, minlength=len(columns.threads)).tolist()
    return [
        (thread, columns.namespaces[place], name, count)
        for thread, place, name, count in zip(
            columns.threads, home.tolist(), columns.thread_names, counts, strict=True
        )
        if count
    ]


class Keys:
    """Live rows by (namespace code, key); mostly one, several where history is kept."""

    def __init__(self) -> None:
        self._rows: dict[int, dict[str, int | list[int]]] = {}
        self._sorted: dict[int, _Sorted] = {}

    def add(self, namespace: int, key: str, row: int) -> None:
        """Adds a live row."""
        keyed = self._rows.get(namespace)
        if keyed is None:
            keyed = self._rows[namespace] = {}
        if namespace in self._sorted and key not in keyed:
            self._change(namespace, key, _Sorted.add)
        held = keyed.setdefault(key, row)
        if isinstance(held, list):
            held.append(row)
        elif held != row:
            keyed[key] = [held, row]

    def remove(self, namespace: int, key: str, row: int) -> None:
        """Removes a row that was added."""
        keyed = self._rows[namespace]
        held = keyed[key]
        if isinstance(held, list) and len(held) > 1:
            held.remove(row)
            return
        del keyed[key]
        if namespace in self._sorted:
            self._change(namespace, key, _Sorted.remove)

    def rows(self, namespace: int, key: str) -> Sequence[int]:
        """Returns the live rows of a key."""
        held = self._rows.get(namespace, {}).get(key, ())
        return (held,) if isinstance(held, int) else held

    def beginning(self, namespace: int, prefix: str, last: int | None) -> list[str]:
        """Returns the keys that begin with a prefix, sorted; of many, the `last` ones."""
        if namespace not in self._sorted:
            self._sorted[namespace] = _Sorted(self._rows.get(namespace, {}))
        return self._sorted[namespace].beginning(prefix, last)

    def _change(self, namespace: int, key: str, change: Callable[[_Sorted, str], bool]) -> None:
        if not change(self._sorted[namespace], key):
            del self._sorted[namespace]


class _Sorted:
    """A namespace's keys in order, made when first asked for and kept up as single keys change.

    Putting one in its place moves a few bytes; where thousands come or go in between two
    questions, sorting anew is quicker.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = sorted(keys)
        self._changes = 0

    def add(self, key: str) -> bool:
        """Adds a key that is not there; returns False once it is better made anew."""
        insort(self._keys, key)
        return self._changed()

    def remove(self, key: str) -> bool:
        """Removes a key that is there; returns as `add`."""
        del self._keys[bisect_left(self._keys, key)]
        return self._changed()

    def _changed(self) -> bool:
        self._changes += 1
        return self._changes <= _FEW_CHANGES

    def beginning(self, prefix: str, last: int | None) -> list[str]:
        self._changes = 0
        size, keys = len(prefix), self._keys
        low = bisect_left(keys, prefix)
        high = bisect_right(keys, prefix, low, key=lambda key: key[:size])
        return keys[low if last is None else max(low, high - last) : high]
