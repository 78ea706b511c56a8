"""Time to live: a small memory of its own, the lease, says until when an item is kept.

A read that renews an item replaces its lease and leaves the item, with its vectors, alone. Every
write of an item also writes or erases its lease, so that whoever erases by a lease's id can tell
that the item has changed meanwhile.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from mimir_core import Item, Memory, Mimir, Namespace, Seen
from mimir_langchain.store_values import MINUTES

Spot: TypeAlias = tuple[Namespace, str]
"""Where an item lies: vault namespace and key."""

LEASE = "lease"
NO_LEASE = {LEASE: {"$exists": False}}
_LABEL = "~leases"  # no label of a store is written so
_EXPIRES = "expires"
_MINUTE = 60_000_000
_FOREVER = 1 << 62


class Leases:
    """The leases of one store."""

    def __init__(self, mimir: Mimir, root: Namespace) -> None:
        self._mimir = mimir
        self._root = root
        self.namespace = (*root, _LABEL)

    def expired(self, now: int) -> frozenset[str]:
        """The ids of the leases that have ended, without opening one. `now` in microseconds."""
        return frozenset(
            self._mimir.forget(namespace=self.namespace, where=_ended(now), dry_run=True).ids
        )

    def ids(self, spots: Sequence[Spot]) -> list[str | None]:
        """The ids of the leases of items, None where there is none."""
        return [lease.id for lease in self.seen(spots)]

    def seen(self, spots: Sequence[Spot]) -> list[Seen]:
        """The leases of items as they are now."""
        return self._mimir.seen(map(self._key, spots), namespace=self.namespace)

    def lease(self, spot: Spot, minutes: float, now: int) -> Item:
        """A lease from now on, to be stored; it supersedes the item's earlier one."""
        place, name = spot
        return Item(
            json.dumps([place[len(self._root) :], name]).encode(),
            namespace=self.namespace,
            key=self._key(spot),
            metadata={
                LEASE: True,
                MINUTES: minutes,
                _EXPIRES: min(now + round(minutes * _MINUTE), _FOREVER),
            },
        )

    def worn(self, spots: Sequence[Spot], now: int) -> tuple[list[Item], list[Seen]]:
        """New leases for items that were read, where a hundredth of the old one is over.

        Returns:
            The new leases and the old ones.
        """
        renewed: list[Item] = []
        old: list[Seen] = []
        if not spots:
            return renewed, old
        keys = list(map(self._key, spots))
        found = self._mimir.get_many(keys=keys, namespace=self.namespace)
        for spot, lease in zip(spots, found, strict=True):
            if lease is None:  # the item has no longer a time to live
                continue
            minutes = float(lease.metadata[MINUTES])
            if lease.metadata[_EXPIRES] <= now + minutes * _MINUTE * 0.99:
                renewed.append(self.lease(spot, minutes, now))
                old.append(Seen(lease.id, self.namespace, lease.key))
        return renewed, old

    def items(self, now: int) -> tuple[list[Spot], list[str]]:
        """The items whose time is over, and the ids of their leases."""
        ended = list(self._mimir.memories(namespace=self.namespace, where=_ended(now)))
        return [self._spot(lease) for lease in ended], [lease.id for lease in ended]

    def _key(self, spot: Spot) -> str:
        return hashlib.sha256(json.dumps(spot).encode()).hexdigest()

    def _spot(self, lease: Memory) -> Spot:
        labels, name = json.loads(lease.content)
        return (*self._root, *labels), name


def spot_of(memory: Memory) -> Spot:
    """Where an opened item lies."""
    return memory.namespace, str(memory.key)


def known_ids(mimir: Mimir, spots: Iterable[Spot]) -> dict[Spot, str]:
    """The ids of the items that there are at these spots."""
    found = seen_items(mimir, spots)
    return {spot: item.id for spot, item in found.items() if item.id is not None}


def seen_items(mimir: Mimir, spots: Iterable[Spot]) -> dict[Spot, Seen]:
    """What there is at these spots now."""
    names: dict[Namespace, list[str]] = {}
    for place, name in spots:
        names.setdefault(place, []).append(name)
    return {
        (place, str(item.key)): item
        for place, each in names.items()
        for item in mimir.seen(each, namespace=place)
    }


def _ended(now: int) -> dict[str, object]:
    return {_EXPIRES: {"$lte": now}}
