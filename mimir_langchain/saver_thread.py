"""What one LangGraph thread keeps in the vault: a namespace of its own, found by a digest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

from mimir_core import Item, Mimir, Namespace, Seen, retry_conflicts
from mimir_core.errors import ScrubPending, VaultDamaged
from mimir_langchain import blobs
from mimir_langchain.saver_records import (
    CHECKPOINT,
    VALUE,
    WRITE,
    Stored,
    Write,
    checkpoint_key,
    checkpoint_prefix,
    id_of,
    owner_of,
    pack,
    prefix_of,
    unpack,
    write_prefix,
)
from mimir_langchain.vaults import digest

_NO_TOMB: Mapping[str, Any] = {"last": "", "late": []}


class Thread:
    """The records of one thread: checkpoints, channel values, writes, and a trace of deletion.

    The trace ("tomb") outlives the thread and names no content: the greatest checkpoint id there
    was, and the ids of checkpoints that late writers offered since.

    What changes something reads first, and writes only onto what it has seen. So each change may
    raise Conflict, if another process was faster; nothing was written then, and it is to be made
    anew from what is there now.
    """

    def __init__(self, mimir: Mimir, root: Namespace, label: str) -> None:
        self._mimir = mimir
        self._root = root
        self.label = label
        self.namespace = (*root, label)
        self._tomb_key = f"deleted {label}"
        self._used: dict[str, frozenset[str]] = {}

    @classmethod
    def named(cls, mimir: Mimir, root: Namespace, thread_id: str) -> Thread:
        """The thread of an id."""
        return cls(mimir, root, digest(thread_id))

    def keys(self) -> Keys:
        """The keys of all its records as of now; as many as there are."""
        return Keys(self._mimir.keys(namespace=self.namespace))

    def checkpoints(self, place: str | None = None) -> list[str]:
        """The keys of the checkpoints of a checkpoint namespace, or of all; by id in each."""
        prefix = f"{CHECKPOINT} " if place is None else checkpoint_prefix(place)
        return self._mimir.sorted_keys(prefix, namespace=self.namespace)

    def newest(self, place: str) -> str | None:
        """The key of the newest checkpoint of a checkpoint namespace."""
        prefix = checkpoint_prefix(place)
        found = self._mimir.sorted_keys(prefix, namespace=self.namespace, last=1)
        return found[0] if found else None

    def seen(self, *keys: str) -> list[Seen]:
        """The trace of deletion and the records of these keys, to be asked before they are read."""
        return [
            *self._mimir.seen([self._tomb_key], namespace=self._root),
            *self._mimir.seen(keys, namespace=self.namespace),
        ]

    # Reading

    def stored(self, keys: Iterable[str]) -> Iterator[Stored]:
        """Opens checkpoints without their channel values; those that are gone are passed over."""
        for key in keys:
            if (found := self.checkpoint(key)) is not None:
                yield found

    def checkpoint(self, key: str) -> Stored | None:
        """Opens a checkpoint without its channel values."""
        (record,) = blobs.read(self._mimir, [key], self.namespace)
        return None if record is None else Stored.opened(record)

    def lineage(self, key: str) -> Iterator[Stored]:
        """A checkpoint and its ancestors, nearest first, as far as they are here; each once."""
        passed: set[str] = set()  # a caller may name any parent: a child, or itself
        while key not in passed and (found := self.checkpoint(key)) is not None:
            passed.add(key)
            yield found
            if not found.parent:
                return
            key = checkpoint_key(found.place, found.parent)

    def holds(self, keys: Iterable[str]) -> bool:
        """Whether all these keys have records; opens nothing."""
        return None not in self._mimir.known(keys, namespace=self.namespace)

    def values(
        self, checkpoint: Stored, channels: Collection[str] | None = None
    ) -> dict[str, bytes] | None:
        """The records of a checkpoint's values, of all channels or some; None if it went meanwhile.

        Raises:
            VaultDamaged: the checkpoint is there, but one of its values is not.
        """
        names = list(checkpoint.values if channels is None else channels)
        keys = [checkpoint.values[name][1] for name in names]
        records = blobs.read(self._mimir, keys, self.namespace)
        if None in records:
            if self.holds([checkpoint.key]):
                raise VaultDamaged("a channel value of a checkpoint is missing")
            return None
        return {
            name: record
            for name, record in zip(names, records, strict=True)
            if record is not None
        }

    def writes(self, checkpoint: str) -> list[Write]:
        """Opens a checkpoint's writes, in the order in which a superstep applies them."""
        records = blobs.read(self._mimir, self._writes_of(checkpoint), self.namespace)
        writes = [Write.opened(record) for record in records if record is not None]
        return sorted(writes, key=lambda write: (write.path, write.task, write.index))

    def _writes_of(self, checkpoint: str) -> list[str]:
        found = self._mimir.sorted_keys(write_prefix(checkpoint), namespace=self.namespace)
        return [key for key in found if owner_of(key) == checkpoint]  # ids may have spaces

    # Changing

    def put(
        self, checkpoint: Stored, values: Mapping[str, bytes], unchanged: Sequence[Seen]
    ) -> None:
        """Stores a checkpoint with the values that are not there yet, in one transaction.

        Args:
            values: The records of values that are not the parent's, by their keys.
            unchanged: What says that the thread and the parent are there.
        """
        here = self._mimir.seen(values, namespace=self.namespace)
        items = [
            item
            for value in here
            if value.id is None
            for item in blobs.cut(str(value.key), values[str(value.key)], self.namespace)
        ]
        items += blobs.cut(checkpoint.key, checkpoint.record(), self.namespace, checkpoint.fields)
        blobs.store(self._mimir, items, self.namespace, [*unchanged, *here])

    def put_writes(self, writes: Mapping[str, Write], unchanged: Sequence[Seen]) -> None:
        """Stores writes by their keys in one transaction; only special ones replace others."""
        here = self._mimir.seen(writes, namespace=self.namespace)
        items = [
            item
            for (key, write), there in zip(writes.items(), here, strict=True)
            if there.id is None or write.index < 0
            for item in blobs.cut(key, write.record(), self.namespace)
        ]
        if items:
            blobs.store(self._mimir, items, self.namespace, [*unchanged, *here])

    def put_copy(self, source: Thread, thread_id: str) -> None:
        """Stores all that another thread holds as its own, in one transaction."""
        keys = source.keys()
        items: list[Item] = []
        for key in (*keys.values, *keys.writes):
            (record,) = blobs.read(self._mimir, [key], source.namespace)
            if record is not None:
                items += blobs.cut(key, record, self.namespace)
        for stored in source.stored(keys.checkpoints):
            record = replace(stored, thread=thread_id).record()
            items += blobs.cut(stored.key, record, self.namespace, stored.fields)
        if items:
            blobs.store(self._mimir, items, self.namespace)

    def erase_checkpoints(self, doomed: Iterable[str]) -> None:
        """Erases checkpoints, their writes, and the values that no other checkpoint has.

        Writes whose checkpoint is not here go too, unless it may yet come: it is the newest.

        Raises:
            Conflict: something was stored meanwhile, which may need what was to be erased.
            ScrubPending.
        """
        seen = self._mimir.seen(namespace=self.namespace)
        self._erase(self.keys(), set(doomed), seen)

    def keep_latest(self) -> None:
        """Erases all but the newest checkpoint of each namespace and what those are built on.

        Raises:
            Conflict, ScrubPending: as `erase_checkpoints`.
        """
        seen, keys = self._mimir.seen(namespace=self.namespace), self.keys()
        kept: set[str] = set()
        for newest in keys.newest.values():
            kept.update(self._foundation(newest))
        self._erase(keys, {key for key in keys.checkpoints if key not in kept}, seen)

    def _erase(self, keys: Keys, doomed: set[str], seen: Sequence[Seen]) -> None:
        kept = [key for key in keys.checkpoints if key not in doomed]
        used = self._values_of(kept)
        writes = [key for key in keys.writes if owner_of(key) in doomed or keys.orphaned(key)]
        gone = [*doomed, *writes, *(key for key in keys.values if key not in used)]
        if gone:
            blobs.erase(self._mimir, gone, self.namespace, seen)

    def _values_of(self, checkpoints: Sequence[str]) -> set[str]:
        """The keys of the values that checkpoints have; a second try opens only what is new."""
        ids = self._mimir.known(checkpoints, namespace=self.namespace)
        used: set[str] = set()
        for key, id_ in zip(checkpoints, ids, strict=True):
            if id_ is not None and id_ not in self._used:
                stored = self.checkpoint(key)
                values = {} if stored is None else stored.values
                self._used[id_] = frozenset(value for _, value in values.values())
            used |= self._used.get(str(id_), frozenset())
        return used

    def _foundation(self, key: str) -> Iterator[str]:
        """A checkpoint and its ancestors as far back as its delta channels need them."""
        wanted: set[str] | None = None
        for stored in self.lineage(key):
            wanted = set(stored.unseeded) if wanted is None else wanted - stored.values.keys()
            yield stored.key
            if not wanted:
                return

    # Deletion

    def gone(self, key: str) -> bool:
        """Whether a checkpoint was here and was deleted with the thread, or came too late."""
        tomb, id_ = self._tomb(), id_of(key)
        return (id_ <= tomb["last"] or id_ in tomb["late"]) and not self.holds([key])

    def delete(self, now: str) -> None:
        """Erases everything and remembers, in the same transaction, that it was deleted.

        Args:
            now: A checkpoint id as one made now would have.

        Raises:
            Conflict: something was stored meanwhile.
            ScrubPending: deleted, but old journal pages are not yet scrubbed.
        """
        seen = [*self.seen(), *self._mimir.seen(namespace=self.namespace)]
        keys = self._mimir.keys(namespace=self.namespace)
        if not keys:
            return
        tomb = self._tomb()
        last = max([now, tomb["last"], *map(id_of, Keys(keys).checkpoints)])
        items = self._tomb_items(last, [id_ for id_ in tomb["late"] if id_ > last])
        self._mimir.replace(items, namespace=self.namespace, unchanged=seen)

    def refuse(self, key: str) -> None:
        """Takes note of a checkpoint that came after the thread was deleted.

        Writes that came for it before go. Others' changes in between are no matter.

        Raises:
            Conflict: others were faster all the time.
            ScrubPending: done, but old journal pages are not yet scrubbed.
        """
        erase_all([partial(self._note_late, id_of(key)), partial(self._erase_writes, key)])

    def _note_late(self, id_: str) -> None:
        seen, tomb = self.seen(), self._tomb()
        if id_ > tomb["last"] and id_ not in tomb["late"]:
            items = self._tomb_items(tomb["last"], [*tomb["late"], id_])
            blobs.store(self._mimir, items, self._root, seen)

    def _erase_writes(self, key: str) -> None:
        seen, writes = self.seen(key), self._writes_of(key)
        if writes and not self.holds([key]):
            blobs.erase(self._mimir, writes, self.namespace, seen)

    def _tomb(self) -> Mapping[str, Any]:
        (record,) = blobs.read(self._mimir, [self._tomb_key], self._root)
        return _NO_TOMB if record is None else unpack(record)[0]

    def _tomb_items(self, last: str, late: list[str]) -> list[Item]:
        return blobs.cut(self._tomb_key, pack({"last": last, "late": late}), self._root)


class Keys:
    """The keys of a thread's records at one moment, by kind; further parts are left out."""

    def __init__(self, keys: Iterable[str]) -> None:
        kinds: dict[str, list[str]] = {CHECKPOINT: [], VALUE: [], WRITE: []}
        for key in keys:
            kinds.setdefault(key.partition(" ")[0], []).append(key)
        self.checkpoints = kinds[CHECKPOINT]
        self.values = kinds[VALUE]
        self.writes = kinds[WRITE]

    @cached_property
    def newest(self) -> dict[str, str]:
        """The newest checkpoint's key in each checkpoint namespace, by how keys there begin."""
        found: dict[str, str] = {}
        for key in self.checkpoints:
            prefix = prefix_of(key)
            found[prefix] = max(key, found.get(prefix, ""))
        return found

    def orphaned(self, write: str) -> bool:
        """Whether a write's checkpoint is not here although a newer one is."""
        owner = owner_of(write)
        return owner not in self._there and owner < self.newest.get(prefix_of(owner), "")

    @cached_property
    def _there(self) -> set[str]:
        return set(self.checkpoints)


def erase_all(erasures: Iterable[Callable[[], None]]) -> None:
    """Does each although an earlier one is still to be scrubbed, and raises ScrubPending then."""
    pending: ScrubPending | None = None
    for erase in erasures:
        try:
            retry_conflicts(erase)
        except ScrubPending as error:
            pending = error
    if pending is not None:
        raise pending
