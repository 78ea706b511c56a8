"""Which memories a call is about: namespace, thread, filter and time, checked before use.

Everything here fails closed: an unknown namespace selects nothing, and what cannot be evaluated
raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from mimir_core.dag import walk
from mimir_core.errors import DuplicateKey, InvalidArgument, NotFound
from mimir_core.index.filters import Filter, compile_filter
from mimir_core.intake import DEFAULT_NAMESPACE, Time, check_name, node_id
from mimir_core.types import EdgeKind, Namespace, check_namespace, to_micros
from mimir_core.vault.state import State

Pick = Callable[[State], npt.NDArray[np.int64]]


@dataclass(frozen=True, slots=True, repr=False)
class Scope:
    """A checked selection; `namespace` None is every one, `until` the first microsecond after."""

    namespace: Namespace | None
    descendants: bool = False
    thread: str | None = None
    filter: Filter | None = None
    since: int | None = None
    until: int | None = None

    @classmethod
    def checked(
        cls,
        namespace: Namespace | str | None,
        descendants: bool = False,
        thread: str | None = None,
        where: Mapping[str, Any] | None = None,
        since: Time | None = None,
        until: Time | None = None,
    ) -> Scope:
        """Raises InvalidNamespace, InvalidFilter or InvalidArgument."""
        return cls(
            namespace=None if namespace is None else check_namespace(namespace),
            descendants=descendants,
            thread=check_name(thread, "thread name"),
            filter=None if where is None else compile_filter(where),
            since=None if since is None else to_micros(since),
            until=None if until is None else to_micros(until) + 1,
        )

    def mask(self, state: State) -> npt.NDArray[np.bool_]:
        """Which nodes are live and fit, bool [nodes]."""
        mask = state.catalog.mask(
            self.namespace,
            prefix=self.descendants,
            thread=self.thread,
            since=self.since,
            until=self.until,
        )
        return mask if self.filter is None else mask & self.filter.mask(state.catalog)


def picker(
    ids: Iterable[str] | str | None,
    key: str | None,
    namespace: Namespace | str | None,
    **conditions: Any,
) -> Pick:
    """What `Mimir.forget` is to erase, as a function of the newest state.

    Raises:
        InvalidArgument: if nothing, or more than one kind of thing, is selected.
        DuplicateKey: if an id is given twice.
    """
    conditional = any(each is not None and each is not False for each in conditions.values())
    described = namespace is not None or conditional
    if (ids is not None) + (key is not None or described) != 1:
        raise InvalidArgument("select by ids, by key, or by namespace, thread, filter and time")
    if ids is not None:
        return _by_ids(ids)
    where = DEFAULT_NAMESPACE if namespace is None else namespace
    if key is not None:
        if conditional:
            raise InvalidArgument("a key selects by itself; it takes a namespace and nothing else")
        return _by_key(check_namespace(where), key)
    if conditions["where"] == {}:
        raise InvalidArgument("an empty filter selects nothing to forget")
    scope = Scope.checked(where, **conditions)
    return lambda state: np.flatnonzero(scope.mask(state))


def _by_ids(ids: Iterable[str] | str) -> Pick:
    if not isinstance(ids, Iterable):
        raise InvalidArgument("ids are a list of ids, or one id")
    wanted = [node_id(id_) for id_ in ([ids] if isinstance(ids, str) else ids)]
    if len(set(wanted)) != len(wanted):
        raise DuplicateKey("an id is given twice", hint="give each id once")

    def pick(state: State) -> npt.NDArray[np.int64]:
        found = [state.find(id_) for id_ in wanted]
        if any(ordinal is None or state.is_erased(ordinal) for ordinal in found):
            raise NotFound("an id names no live memory; nothing was forgotten")
        return np.array(found, np.int64)

    return pick


def _by_key(namespace: Namespace, key: str) -> Pick:
    """The value of a key and what it superseded: an older value must not come back."""
    name = check_name(key, "key")

    def pick(state: State) -> npt.NDArray[np.int64]:
        newest = state.catalog.by_key(namespace, str(name))
        if newest is None:
            raise NotFound("no live memory has that key; nothing was forgotten")
        values = walk([newest], partial(_superseded, state))
        return np.array([o for o in sorted(values) if not state.is_erased(o)], np.int64)

    return pick


def _superseded(state: State, ordinal: int) -> list[int]:
    edges = state.catalog.parents(ordinal)
    return [old for kind, old in edges if kind is EdgeKind.SUPERSEDES and old is not None]
