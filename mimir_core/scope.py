"""Which memories a call is about: namespace, thread, filter and time, checked before use.

Everything here fails closed: an unknown namespace selects nothing, and what cannot be evaluated
raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mimir_core.errors import DuplicateKey, InvalidArgument, NotFound
from mimir_core.index.filters import Filter, compile_filter
from mimir_core.intake import DEFAULT_NAMESPACE, Time, check_name, node_id
from mimir_core.types import Namespace, check_namespace, to_micros
from mimir_core.vault.state import State

Pick = Callable[[State], npt.NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Scope:
    """A checked selection. `namespace` None stands for every namespace."""

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
            until=None if until is None else to_micros(until),
        )

    @property
    def whole_vault(self) -> bool:
        """Whether it selects everything."""
        return self == Scope(None)

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
    described = namespace is not None or any(conditions.values())
    if (ids is not None) + (key is not None or described) != 1:
        raise InvalidArgument("select by ids, by key, or by namespace, thread, filter and time")
    if ids is not None:
        return _by_ids([ids] if isinstance(ids, str) else list(ids))
    where = DEFAULT_NAMESPACE if namespace is None else namespace
    if key is None:
        scope = Scope.checked(where, **conditions)
        return lambda state: np.flatnonzero(scope.mask(state))
    if any(conditions.values()):
        raise InvalidArgument("a key selects one memory; it takes a namespace and nothing else")
    return _by_key(check_namespace(where), key)


def _by_ids(ids: list[str]) -> Pick:
    wanted = [node_id(id_) for id_ in ids]
    if len(set(wanted)) != len(wanted):
        raise DuplicateKey("an id is given twice", hint="give each id once")

    def pick(state: State) -> npt.NDArray[np.int64]:
        found = [state.find(id_) for id_ in wanted]
        if any(ordinal is None or state.is_erased(ordinal) for ordinal in found):
            raise NotFound("an id names no live memory; nothing was forgotten")
        return np.array(found, np.int64)

    return pick


def _by_key(namespace: Namespace, key: str) -> Pick:
    def pick(state: State) -> npt.NDArray[np.int64]:
        ordinal = state.catalog.by_key(namespace, key)
        if ordinal is None:
            raise NotFound("no live memory has that key; nothing was forgotten")
        return np.array([ordinal], np.int64)

    return pick
