"""The reads of a store: items by key, by filter, by likeness, and the namespaces there are."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain, islice
from typing import Any

from mimir_core import Memory, Mimir, Namespace
from mimir_langchain.store_filters import matches
from mimir_langchain.store_index import Vector
from mimir_langchain.store_leases import NO_LEASE, Leases, Spot, known_ids, spot_of
from mimir_langchain.store_names import store_namespace
from mimir_langchain.store_ops import Listing, Search
from mimir_langchain.store_shadows import preselection
from mimir_langchain.store_values import MINUTES, PLAIN, UPDATED, decode_record, record_of

Found = tuple[Memory, float | None]
_MOST = 10_000  # hits that one recall gives


class Reader:
    """Reads one batch's items as of one moment: what has expired by then is not there.

    Args:
        mimir: The vault, with the store's embedder.
        leases: The store's leases.
        now: The moment, in microseconds since 1970.
    """

    def __init__(self, mimir: Mimir, root: Namespace, leases: Leases, now: int) -> None:
        self._mimir = mimir
        self._root = root
        self._leases = leases
        self._now = now

    @cached_property
    def _expired(self) -> frozenset[str]:
        """The leases that have ended, once it matters."""
        return self._leases.expired(self._now)

    def at(self, spots: Iterable[Spot]) -> dict[Spot, Memory]:
        """The live items at these spots."""
        names: dict[Namespace, list[str]] = {}
        for place, name in dict.fromkeys(spots):
            names.setdefault(place, []).append(name)
        found = [
            memory
            for place, each in names.items()
            for memory in self._mimir.get_many(keys=each, namespace=place)
            if memory is not None
        ]
        return {spot_of(memory): memory for memory in self._live(found)}

    def search(self, search: Search, vector: Vector | None, ranked: bool) -> list[Found]:
        """One page of a search.

        Ranked: the likest first, then what is not indexed. Else, and there, the oldest first.
        """
        end = search.offset + search.limit
        if not search.limit:
            return []
        if not ranked:
            return [(memory, None) for memory in islice(self._scan(search), search.offset, end)]
        scored = self._ranked(search, vector, min(end, _MOST))
        page = scored[search.offset :]
        if len(page) < search.limit:
            rest = self._scan(search, {PLAIN: True})
            skipped = max(0, search.offset - len(scored))
            more = islice(rest, skipped, skipped + search.limit - len(page))
            page += [(memory, None) for memory in more]
        return page

    def namespaces(self, listing: Listing) -> list[tuple[str, ...]]:
        """The store namespaces that hold a live item and match, sorted."""
        counts = Counter(self._mimir.namespaces())
        counts.subtract(place for place, _ in self._expired_items())
        found = {
            store_namespace(self._root, place)
            for place, count in counts.items()
            if count > 0 and self._is_below(place)
        }
        kept = {
            labels[: listing.depth]
            for labels in found
            if all(_fits(labels, suffix, path) for suffix, path in listing.patterns)
        }
        return sorted(kept)[listing.offset : listing.offset + listing.limit]

    def _ranked(self, search: Search, vector: Vector | None, k: int) -> list[Found]:
        """The best `k` that fit, with their cosines."""
        found, complete = self._recall(search, vector, k)
        if complete:
            return found
        among = [memory.id for memory in self._scan(search, {PLAIN: {"$exists": False}})]
        return self._recall(search, vector, k, among)[0]

    def _recall(
        self, search: Search, vector: Vector | None, k: int, among: list[str] | None = None
    ) -> tuple[list[Found], bool]:
        """The hits among the best `k` that fit, and whether no better ones can be missing."""
        hits = self._mimir.recall(
            search.query if vector is None else None,
            k=k,
            mode="dense",
            namespace=search.place,
            descendants=True,
            where=_all(preselection(search.wanted)),
            vector=vector,
            among=among,
        )
        scores = {hit.id: float(hit.channels["dense"]) for hit in hits}
        fit = self._fitting(search, [hit.memory for hit in hits])
        found: list[Found] = [(memory, scores[memory.id]) for memory in fit]
        return found, len(found) == k or len(hits) < k

    def _scan(self, search: Search, *also: dict[str, Any]) -> Iterator[Memory]:
        """All items that fit, in the order they were created, opened as they are needed."""
        conditions = [*also, *preselection(search.wanted)]
        if search.place == self._root:
            conditions.append(NO_LEASE)
        steady = self._memories(search, [*conditions, {UPDATED: {"$exists": False}}])
        first = list(islice(steady, 1))  # what is updated from here on is found in either
        moved = self._memories(search, [*conditions, {UPDATED: {"$exists": True}}])
        earlier = sorted(moved, key=_time)
        seen = set(map(spot_of, earlier))
        unmoved = (memory for memory in chain(first, steady) if spot_of(memory) not in seen)
        return heapq.merge(unmoved, earlier, key=_time)

    def _memories(self, search: Search, conditions: list[dict[str, Any]]) -> Iterator[Memory]:
        found = self._mimir.memories(
            namespace=search.place, descendants=True, where=_all(conditions)
        )
        while chunk := list(islice(found, 256)):
            yield from self._fitting(search, chunk)

    def _fitting(self, search: Search, memories: list[Memory]) -> list[Memory]:
        if search.wanted:
            memories = [
                memory
                for memory in memories
                if matches(decode_record(record_of(memory))[1], search.wanted)
            ]
        return self._live(memories)

    def _live(self, memories: list[Memory]) -> list[Memory]:
        """Those whose lease has not ended."""
        leased = [memory for memory in memories if MINUTES in memory.metadata]
        if not leased or not self._expired:
            return memories
        ids = self._leases.ids([spot_of(memory) for memory in leased])
        dead = {m.id for m, id_ in zip(leased, ids, strict=True) if id_ in self._expired}
        return [memory for memory in memories if memory.id not in dead]

    def _expired_items(self) -> list[Spot]:
        if not self._expired:
            return []
        return list(known_ids(self._mimir, self._leases.items(self._now)[0]))

    def _is_below(self, place: Namespace) -> bool:
        depth = len(self._root)
        below = len(place) > depth and place[:depth] == self._root
        return below and place != self._leases.namespace


def _fits(labels: tuple[str, ...], suffix: bool, path: tuple[str, ...]) -> bool:
    if len(labels) < len(path):
        return False
    part = labels[len(labels) - len(path) :] if suffix else labels
    return all(wanted in ("*", label) for label, wanted in zip(part, path, strict=False))


def _all(conditions: list[dict[str, Any]]) -> dict[str, Any] | None:
    return {"$and": conditions} if conditions else None


def _time(memory: Memory) -> Any:
    return memory.time
