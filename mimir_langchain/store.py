"""`MimirStore`: LangGraph's long-term memory in an encrypted vault."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, NoReturn, cast

from langgraph.store.base import BaseStore, Embeddings, IndexConfig, Op, Result, TTLConfig

from mimir_core import Item, Memory, Mimir, Namespace, Seen, retry_conflicts
from mimir_core.errors import (
    Conflict,
    NotFound,
    NotSerializable,
    ScrubPending,
    StorageFailed,
    VaultBusy,
)
from mimir_langchain.store_index import Embedded, StoreIndex, check_config
from mimir_langchain.store_leases import Leases, Spot, known_ids, seen_items, spot_of
from mimir_langchain.store_ops import Get, Listing, Plan, Put, Search, plan_batch
from mimir_langchain.store_search import Found, Reader
from mimir_langchain.store_sweeper import Sweeper
from mimir_langchain.store_values import (
    MINUTES,
    PLAIN,
    UPDATED,
    from_micros,
    item_of,
    search_item_of,
)
from mimir_langchain.vaults import namespace_in

__all__ = ["MimirStore"]

_WHOLE_VALUE: IndexConfig = {"fields": ["$"]}
_ATTEMPTS = 16
_SWEEP_MINUTES = 5.0


class MimirStore(BaseStore):
    """LangGraph's store over an open vault: documents by namespace and key, found by meaning.

    Everything is sealed: labels, keys, values, vectors, times. It behaves as InMemoryStore, and
    beyond that keeps `created_at` on update, hands out copies, and lets no filter fail on a
    missing field. Without a query, results come oldest first. Several stores, threads and
    processes may work on one vault; stores of different `namespace` do not see each other.

    Setup:
        pip install 'mimir-sealed[langgraph]'

    Key init args:
        mimir: The open vault.
        namespace: Where in the vault the store keeps its items; labels, or one label.
        index: What is embedded, as LangGraph's IndexConfig: "fields", and "embed" with "dims" for
            a model of your own (Embeddings, a function, a provider string, or a Mimir `Embedder`).
            By default the whole value, by the vault's embedder; None for no semantic search.
        ttl: LangGraph's TTLConfig. Expired items are never returned, swept or not.

    Instantiate:
        store = MimirStore(mimir)

    Add:
        store.put(("users", "ana"), "cat", {"text": "Ana's cat is called Pixel"})

    Delete:
        store.delete(("users", "ana"), "cat")

    Search:
        store.search(("users", "ana"), query="the cat's name", limit=3)

    Filter:
        store.search(("users",), filter={"stars": {"$gte": 3}, "owner.name": "Ana"})

    Score:
        `score` of a result is its cosine to the query; None if the item is not indexed.

    Async:
        await store.asearch(("users", "ana"), query="the cat's name")

    Raises:
        InvalidNamespace, InvalidArgument: for arguments that make no store, such as a key that
            LangGraph's configurations do not have: ignored, it would embed or keep too much.
    """

    supports_ttl = True

    def __init__(
        self,
        mimir: Mimir,
        *,
        namespace: Namespace | str = ("langgraph", "store"),
        index: IndexConfig | None = _WHOLE_VALUE,
        ttl: TTLConfig | None = None,
    ) -> None:
        self._root = namespace_in(mimir, namespace)
        self._index = StoreIndex(mimir, index)
        self._mimir = self._index.mimir
        self._leases = Leases(self._mimir, self._root)
        self._lock = threading.Lock()  # one writer at a time, so that `created_at` is kept
        self._last = 0
        self._sweeper = Sweeper(self)
        limits = None if ttl is None else check_config(ttl, TTLConfig, "ttl")
        self.ttl_config = cast(TTLConfig | None, limits)

    @property
    def index_config(self) -> IndexConfig | None:
        """A copy of what is embedded and how; None without semantic search."""
        config = self._index.config
        return None if config is None else cast(IndexConfig, dict(config))

    @property
    def embeddings(self) -> Embeddings | None:
        """The user's model; None where the vault's embedder or none does the work."""
        return self._index.embeddings

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Does operations in one go: reads see the state before the batch's writes.

        Of several puts of one key the last counts, and all writes are one transaction. The rules
        of `put` for namespaces hold here as well, where InMemoryStore has none: what one of them
        refuses is refused by the other. A namespace too deep or long for the vault holds nothing:
        it may be read and deleted in.

        Raises:
            InputError: an operation, whose number in the batch the error says, cannot be done;
                nothing was written.
            VaultBusy, DiskFull, StorageFailed: nothing was written.
            OutcomeUnknown: the disk failed so late that it may have been.
            Conflict: other processes changed its items all the time; nothing was written.
            ScrubPending: done, but what was deleted or replaced is not yet scrubbed from the
                vault's journal.
        """
        plan = self._plan(ops)
        return self._run(plan, self._index.embed(self._texts(plan), plan.queries))

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Does what `batch` does, off the event loop's thread."""
        plan = await asyncio.to_thread(self._plan, list(ops))
        embedded = await self._index.aembed(self._texts(plan), plan.queries)
        return await asyncio.to_thread(self._run, plan, embedded)

    def sweep_ttl(self) -> int:
        """Erases what has expired; returns how many items that were.

        Raises:
            ScrubPending: erased, but not yet scrubbed from the vault's journal.
        """
        for _ in range(_ATTEMPTS):
            spots, leases = self._leases.items(_now())
            if not leases:
                break
            found = known_ids(self._mimir, spots).values()
            with suppress(NotFound):  # an item was written or renewed meanwhile: look again
                self._mimir.forget([*found, *leases])
                return len(found)
        return 0

    def start_ttl_sweeper(self, sweep_interval_minutes: float | None = None) -> Future[None]:
        """Starts a thread that sweeps at intervals; does nothing for a store without `ttl`.

        Returns:
            A future that is done when sweeping ends; cancelling it ends it.
        """
        if not self.ttl_config:
            idle: Future[None] = Future()
            idle.set_result(None)
            return idle
        configured = self.ttl_config.get("sweep_interval_minutes")
        return self._sweeper.start(float(sweep_interval_minutes or configured or _SWEEP_MINUTES))

    def stop_ttl_sweeper(self, timeout: float | None = None) -> bool:
        """Stops the sweeping thread; False if it is not done within `timeout` seconds."""
        return self._sweeper.stop(timeout)

    def _plan(self, ops: Iterable[Op]) -> Plan:
        return plan_batch(ops, self._root, self._index)

    def _texts(self, plan: Plan) -> list[str]:
        puts = (put for put in plan.writes.values() if put is not None)
        return [text for put in puts if self._index.needs(put.texts) for text in put.texts]

    def _run(self, plan: Plan, embedded: Embedded) -> list[Result]:
        found = self._read(plan, embedded)
        touched = {spot_of(m) for read, m in _returned(plan, found) if read.refresh}
        renewed = sorted(touched - plan.writes.keys())
        if plan.writes:
            self._write(plan, embedded, renewed)
        elif renewed:
            # The read has succeeded all the same, and a lease replaces nothing but a date.
            with suppress(VaultBusy, StorageFailed, Conflict, ScrubPending):
                self._write(plan, embedded, renewed)
        return [self._result(read, each) for read, each in zip(plan.reads, found, strict=True)]

    def _read(self, plan: Plan, embedded: Embedded) -> list[Any]:
        """What each read of a batch finds: memories with scores, or namespaces."""
        reader = Reader(self._mimir, self._root, self._leases, _now())
        items = reader.at(read.spot for read in plan.reads if isinstance(read, Get))
        found: list[Any] = []
        for read in plan.reads:
            if isinstance(read, Get):
                found.append([(items[read.spot], None)] if read.spot in items else [])
            elif isinstance(read, Search):
                found.append(self._search(reader, read, embedded))
            else:
                found.append(None if read is None else reader.namespaces(read))
        return found

    def _search(self, reader: Reader, search: Search, embedded: Embedded) -> list[Found]:
        if search.query is None or self.embeddings is None:
            return reader.search(search, None, ranked=search.query is not None)
        vector = embedded.queries[search.query]
        return reader.search(search, vector, ranked=vector is not None)

    def _result(self, read: Get | Search | Listing | None, found: Any) -> Result:
        if isinstance(read, Search):
            return [search_item_of(self._root, memory, score) for memory, score in found]
        if isinstance(read, Get):
            return item_of(self._root, found[0][0]) if found else None
        namespaces: list[tuple[str, ...]] | None = found
        return namespaces

    def _write(self, plan: Plan, embedded: Embedded, renewed: list[Spot]) -> None:
        def attempt() -> None:
            items, gone, seen = self._changes(plan, embedded)
            leases, old = self._leases.worn(renewed, _now())
            if items or gone or leases:
                self._mimir.replace([*items, *leases], ids=gone, unchanged=[*seen, *old])

        with self._lock:
            retry_conflicts(attempt)

    def _changes(
        self, plan: Plan, embedded: Embedded
    ) -> tuple[list[Item], list[str], list[Seen]]:
        """What a batch's writes store, the ids of what they erase, and what both are made from."""
        now, spots = _now(), list(plan.writes)
        there = seen_items(self._mimir, spots)
        leases = dict(zip(spots, self._leases.seen(spots), strict=True))
        erased = [there[spot] for spot, put in plan.writes.items() if put is None]
        puts = {spot: put for spot, put in plan.writes.items() if put is not None}
        before = Reader(self._mimir, self._root, self._leases, now).at(puts) if puts else {}
        stamp = self._stamp(len(spots))  # after what it is later than
        items = []
        for number, spot in enumerate(spots):
            put = puts.get(spot)
            if put is not None:
                items.append(self._item(spot, put, before.get(spot), embedded, stamp + number))
            if put is not None and put.minutes is not None:
                items.append(self._leases.lease(spot, put.minutes, now))
            else:
                erased.append(leases[spot])
        gone = [each.id for each in erased if each.id is not None]
        return items, gone, [*there.values(), *leases.values()]

    def _item(
        self, spot: Spot, put: Put, before: Memory | None, embedded: Embedded, now: int
    ) -> Item:
        metadata = dict(put.fields)
        if before is not None:
            metadata[UPDATED] = now
        if put.minutes is not None:
            metadata[MINUTES] = put.minutes
        place, key = spot
        created = from_micros(now) if before is None else before.time
        vectors = None
        if self._index.needs(put.texts):
            vectors = self._index.vectors(put.texts, embedded)
        if not put.texts or (vectors is None and self._index.needs(put.texts)):
            metadata[PLAIN] = True
            return Item(put.record, place, key=key, metadata=metadata, time=created)
        return Item(
            "\n".join(put.texts),
            place,
            key=key,
            metadata=metadata,
            time=created,
            vector=vectors,
            attachment=put.record,
        )

    def _stamp(self, count: int) -> int:
        """The first of `count` microseconds that this store has not used for an item yet."""
        first = max(_now(), self._last + 1)
        self._last = first + count
        return first

    def __repr__(self) -> str:
        return "<MimirStore>"

    def __reduce__(self) -> NoReturn:
        raise NotSerializable("a store over an open Mimir cannot be pickled or copied")


def _returned(plan: Plan, found: list[Any]) -> Iterator[tuple[Get | Search, Memory]]:
    """The memories with a time to live that a batch returns, with the read that does so."""
    for read, each in zip(plan.reads, found, strict=True):
        if isinstance(read, (Get, Search)):
            yield from ((read, memory) for memory, _ in each if MINUTES in memory.metadata)


def _now() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000
