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
from mimir_core.intake import DEFAULT_NAMESPACE, Time, check_keys, check_name, node_ids
from mimir_core.types import Namespace, check_namespace, end_micros, to_micros
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
    ids: tuple[bytes, ...] | None = None

    @classmethod
    def checked(
        cls,
        namespace: Namespace | str | None,
        descendants: bool = False,
        thread: str | None = None,
        where: Mapping[str, Any] | None = None,
        since: Time | None = None,
        until: Time | None = None,
        among: Iterable[str] | None = None,
    ) -> Scope:
        """Raises InvalidNamespace, InvalidFilter or InvalidArgument."""
        return cls(
            namespace=None if namespace is None else check_namespace(namespace),
            descendants=descendants,
            thread=check_name(thread, "thread name"),
            filter=None if where is None else compile_filter(where),
            since=None if since is None else to_micros(since),
            until=None if until is None else end_micros(until),
            ids=None if among is None else node_ids(among),
        )

    @property
    def lasting(self) -> bool:
        """Whether it is one that callers use again and again."""
        return self.filter is None and self.ids is None

    def covers(self, namespace: Namespace) -> bool:
        """Whether memories of a namespace may fit."""
        place = self.namespace
        if place is None or place == namespace:
            return True
        return self.descendants and namespace[: len(place)] == place

    def mask(self, state: State) -> npt.NDArray[np.bool_]:
        """Which nodes are live and fit, bool [nodes]."""
        mask = state.catalog.mask(
            self.namespace,
            prefix=self.descendants,
            thread=self.thread,
            since=self.since,
            until=self.until,
        )
        if self.filter is not None:
            mask &= self.filter.mask(state.catalog)
        return mask if self.ids is None else mask & _mask_of(state, self.ids)


def _mask_of(state: State, ids: Iterable[bytes]) -> npt.NDArray[np.bool_]:
    found = [ordinal for id_ in ids if (ordinal := state.find(id_)) is not None]
    mask = np.zeros(len(state.catalog), np.bool_)
    mask[found] = True
    return mask


def picker(
    ids: Iterable[str] | str | None,
    key: str | None,
    keys: Iterable[str] | None,
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
    named = key is not None or keys is not None
    if (ids is not None) + (named or described) != 1 or (key is not None and keys is not None):
        raise InvalidArgument("select by ids, by keys, or by namespace, thread, filter and time")
    if ids is not None:
        return _by_ids(ids)
    where = DEFAULT_NAMESPACE if namespace is None else namespace
    if named:
        if conditional:
            raise InvalidArgument("a key selects by itself; it takes a namespace and nothing else")
        if key is not None:
            return _by_key(check_namespace(where), key)
        return _by_keys(check_namespace(where), keys)
    if conditions["where"] == {}:
        raise InvalidArgument("an empty filter selects nothing to forget")
    scope = Scope.checked(where, **conditions)
    return lambda state: np.flatnonzero(scope.mask(state))


def _by_ids(ids: Iterable[str] | str) -> Pick:
    wanted = node_ids(ids)
    numbers: dict[bytes, int] = {}
    for number, id_ in enumerate(wanted):
        if (first := numbers.setdefault(id_, number)) != number:
            raise DuplicateKey(f"ids {first} and {number} are the same", hint="give each id once")

    def pick(state: State) -> npt.NDArray[np.int64]:
        found = [state.find(id_) for id_ in wanted]
        for number, ordinal in enumerate(found):
            if ordinal is None or state.is_erased(ordinal):
                which = "an id" if len(found) == 1 else f"id {number}"
                raise NotFound(f"{which} names no live memory; nothing was forgotten")
        return np.array(found, np.int64)

    return pick


def _by_key(namespace: Namespace, key: str) -> Pick:
    """Every live value of a key: kept history, and what devices wrote apart, must not come back."""
    name = check_name(key, "key")

    def pick(state: State) -> npt.NDArray[np.int64]:
        values = state.catalog.values(namespace, str(name))
        if not values:
            raise NotFound("no live memory has that key; nothing was forgotten")
        return np.array(sorted(values), np.int64)

    return pick


def _by_keys(namespace: Namespace, keys: Any) -> Pick:
    """The same for many keys; those that nobody has are passed over."""
    names = check_keys(keys)

    def pick(state: State) -> npt.NDArray[np.int64]:
        found = [state.catalog.values(namespace, name) for name in dict.fromkeys(names)]
        return np.array(sorted(row for rows in found for row in rows), np.int64)

    return pick
