"""`MimirSaver`: LangGraph's checkpoints in a vault, sealed and bound."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NoReturn, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    PendingWrite,
    get_checkpoint_id,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.base.id import uuid6
from langgraph.checkpoint.serde.base import SerializerProtocol

from mimir_core import Mimir, Namespace, retry_conflicts
from mimir_core.errors import InvalidArgument, NotSerializable
from mimir_langchain.saver_async import AsyncSaver
from mimir_langchain.saver_config import config_of, place_of, renamed, thread_of
from mimir_langchain.saver_records import (
    Stored,
    Write,
    checkpoint_key,
    id_of,
    opened_fields,
    opened_value,
    sealed_value,
    unseeded_of,
)
from mimir_langchain.saver_thread import Thread, erase_all
from mimir_langchain.saver_types import CheckpointSerializer, TypeName
from mimir_langchain.vaults import is_digest, namespace_in

if TYPE_CHECKING:  # beta upstream
    from langgraph.checkpoint.base import DeltaChannelHistory

__all__ = ["MimirSaver"]

_log = logging.getLogger(__name__)


class MimirSaver(AsyncSaver):
    """Keeps a graph's checkpoints in an encrypted vault.

    Thread ids, namespaces, checkpoint ids, metadata, channel values and pending writes are all
    sealed, and bound to their place: changed, swapped or forged records raise `VaultDamaged`.
    A channel value that several checkpoints share is stored once.

    Setup:
        ``pip install 'mimir-sealed[langgraph]'``

    Key init args:
        mimir: An open `Mimir`; it stays the caller's to close.
        namespace: Where the checkpoints lie, ("langgraph", "checkpoints") if not given; savers of
            different namespaces see nothing of each other.
        allow: Types that checkpoints may be made of beside LangGraph's own and, unless `strict`,
            the data classes that the program has imported: classes, or pairs of module and name.
            What is not allowed comes back as its parts, and stays stored as it is.
        strict: Make only LangGraph's own types and what `allow` names; for vaults of others. The
            variable LANGGRAPH_STRICT_MSGPACK, LangGraph's own switch, does the same.
        serde: A serializer instead of all this. It sees plain values; what it makes is sealed.

    Instantiate:
        .. code-block:: python

            graph = builder.compile(checkpointer=MimirSaver(mimir))

    Delete:
        `delete_thread` erases for good. A run that still works on the thread then cannot bring it
        back: what it puts on top of a deleted checkpoint is dropped, with a warning in the log. A
        run that begins afterwards finds a fresh thread. (A thread's very first run cannot be told
        from such a one if it saves at its end only, with durability "exit".)

        `delete_for_runs` and `prune` erase checkpoints with the values that no other checkpoint
        has. A write that comes later for an erased checkpoint is never seen, and erased with the
        next `prune` or `delete_thread`.

    Async:
        Every method has an async twin that works in a worker thread.

    Several threads and processes may use one vault at a time: each change is made from what it
    read, or made again if that has changed (100 times at most, then `Conflict`).
    """

    def __init__(
        self,
        mimir: Mimir,
        *,
        namespace: Namespace | str = ("langgraph", "checkpoints"),
        allow: Iterable[TypeName | type] = (),
        strict: bool = False,
        serde: SerializerProtocol | None = None,
    ) -> None:
        allowing = CheckpointSerializer(allow, strict=strict)
        if serde is not None and (strict or allow):
            raise InvalidArgument("a serializer of one's own says itself which types it makes")
        super().__init__(serde=allowing if serde is None else serde)
        self._root = namespace_in(mimir, namespace)
        namespace_in(mimir, (*self._root, "thread"))  # there is room for one more label
        self._mimir = mimir
        self._lock = threading.RLock()

    # Reading

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The checkpoint that a config names, or the newest of its thread and namespace.

        Raises:
            InvalidArgument: the config names no thread.
            VaultDamaged: what is stored was changed.
        """
        thread, place = self._thread(config), place_of(config)
        wanted = get_checkpoint_id(config)
        while True:
            key = checkpoint_key(place, wanted) if wanted else thread.newest(place)
            if key is None:
                return None
            stored = thread.checkpoint(key)
            found = None if stored is None else self._tuple(thread, stored)
            if found is not None or wanted:
                return found and renamed(found, thread_of(config))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Checkpoints by descending id, opened one by one as they are asked for.

        Args:
            config: A thread, and perhaps a namespace and a checkpoint in it; None for all threads.
            filter: Metadata fields that must be equal.
            before: Only checkpoints older than this one.
            limit: How many at most.
        """
        found = self._matching(config, filter or {}, before)
        return islice(found, None if limit is None else max(limit, 0))

    def _matching(
        self, config: RunnableConfig | None, filter: dict[str, Any], before: RunnableConfig | None
    ) -> Iterator[CheckpointTuple]:
        wanted = get_checkpoint_id(config) if config else None
        place = config["configurable"].get("checkpoint_ns") if config else None
        bound = get_checkpoint_id(before) if before else None
        threads = [self._thread(config)] if config else self._threads()
        for thread, key in self._candidates(threads, place):
            id_ = id_of(key)
            if (wanted and id_ != wanted) or (bound and id_ >= bound):
                continue
            stored = thread.checkpoint(key)
            if stored is None:
                continue
            metadata = opened_fields(self.serde, stored.metadata)
            if any(metadata.get(name) != value for name, value in filter.items()):
                continue
            if (found := self._tuple(thread, stored)) is not None:
                yield found

    def _candidates(
        self, threads: Iterable[Thread], place: str | None
    ) -> Iterator[tuple[Thread, str]]:
        every = [(thread, key) for thread in threads for key in thread.checkpoints(place)]
        yield from sorted(every, key=lambda each: id_of(each[1]), reverse=True)

    def _tuple(self, thread: Thread, stored: Stored) -> CheckpointTuple | None:
        """A checkpoint with its values and writes; None if it was erased meanwhile."""
        records = thread.values(stored)
        if records is None:
            return None
        values = {name: opened_value(self.serde, record) for name, record in records.items()}
        checkpoint = {**opened_fields(self.serde, stored.checkpoint), "channel_values": values}
        return CheckpointTuple(
            config=config_of(stored.thread, stored.place, stored.id),
            checkpoint=cast(Checkpoint, checkpoint),
            metadata=cast(CheckpointMetadata, opened_fields(self.serde, stored.metadata)),
            parent_config=config_of(stored.thread, stored.place, stored.parent)
            if stored.parent
            else None,
            pending_writes=[self._pending(write) for write in thread.writes(stored.key)],
        )

    def _pending(self, write: Write) -> PendingWrite:
        return write.task, write.channel, self.serde.loads_typed((write.kind, write.data))

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """What the ancestors of a checkpoint wrote to delta channels, oldest first.

        Of each channel, back to the nearest ancestor that holds its value, which is the `seed`.
        Of the ancestors only these values and the writes are opened.
        """
        thread, place = self._thread(config), place_of(config)
        wanted = get_checkpoint_id(config)
        key = checkpoint_key(place, wanted) if wanted else thread.newest(place)
        found: dict[str, DeltaChannelHistory] = {channel: {"writes": []} for channel in channels}
        ancestors = thread.lineage(key) if key and found else iter(())
        remaining = set(found)
        for stored in islice(ancestors, 1, None):
            for write in reversed(thread.writes(stored.key)):
                if write.channel in remaining:
                    found[write.channel]["writes"].append(self._pending(write))
            seeds = thread.values(stored, remaining & stored.values.keys()) or {}
            for channel, record in seeds.items():
                found[channel]["seed"] = opened_value(self.serde, record)
            remaining -= seeds.keys()
            if not remaining:
                break
        for history in found.values():
            history["writes"].reverse()
        return found

    # Writing

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Stores a checkpoint in one transaction and returns its config.

        A checkpoint on top of one that was deleted with its thread is dropped.

        Raises:
            InvalidArgument: the config names no thread.
            VaultBusy, DiskFull, StorageFailed: nothing was written.
            OutcomeUnknown: the disk failed so late that it may have been.
            Conflict: other processes changed the thread all the time; nothing was written.
            ScrubPending: stored, but an older checkpoint of that id is not yet scrubbed.
        """
        thread, place = self._thread(config), place_of(config)
        result = config_of(thread_of(config), place, checkpoint["id"])
        key = checkpoint_key(place, checkpoint["id"])
        parent = get_checkpoint_id(config)
        parent_key = checkpoint_key(place, parent) if parent else None
        described = cast(dict[str, Any], get_checkpoint_metadata(config, metadata))

        def attempt() -> bool:
            seen = thread.seen(parent_key) if parent_key else []
            if parent_key and thread.gone(parent_key):
                return False
            base = thread.checkpoint(parent_key) if parent_key else None
            inherited = {} if base is None else base.values
            values, fresh = self._sealed_values(checkpoint, new_versions, inherited)
            thread.put(self._stored(config, checkpoint, described, values), fresh, seen)
            return True

        with self._lock:
            if not retry_conflicts(attempt):
                _log.warning("a checkpoint came after its thread was deleted; it was dropped")
                thread.refuse(key)
        return result

    def _stored(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: dict[str, Any],
        values: dict[str, tuple[str | int | float | None, str]],
    ) -> Stored:
        body = {name: part for name, part in checkpoint.items() if name != "channel_values"}
        run, unseeded = metadata.get("run_id"), unseeded_of(checkpoint, metadata)
        return Stored(
            str(thread_of(config)), place_of(config), checkpoint["id"], get_checkpoint_id(config),
            None if run is None else str(run), values, unseeded,
            checkpoint=self._typed(body), metadata=self._typed(metadata),
        )  # fmt: skip

    def _sealed_values(
        self,
        checkpoint: Checkpoint,
        new_versions: ChannelVersions,
        inherited: dict[str, tuple[str | int | float | None, str]],
    ) -> tuple[dict[str, tuple[str | int | float | None, str]], dict[str, bytes]]:
        """Where each channel's value is, and the records of those that changed."""
        values, fresh = {}, {}
        for channel, value in checkpoint["channel_values"].items():
            version = (checkpoint.get("channel_versions") or {}).get(channel)
            before, key = inherited.get(channel, (None, ""))
            if not key or channel in new_versions or before != version:
                key, record = sealed_value(self.serde, value)
                fresh[key] = record
            values[channel] = version, key
        return values, fresh

    def _typed(self, value: Any) -> tuple[str, bytes]:
        kind, data = self.serde.dumps_typed(value)
        return kind, bytes(data)

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Stores a task's writes beside a checkpoint, in one transaction.

        A write that is already there is kept; those of special channels are replaced. The
        checkpoint itself may follow later. If it was deleted with its thread, nothing is stored.

        Raises:
            InvalidArgument: the config names no thread or no checkpoint.
            VaultBusy, DiskFull, StorageFailed: nothing was written.
            OutcomeUnknown: the disk failed so late that it may have been.
            ScrubPending: stored, but what special writes replaced is not yet scrubbed.
        """
        thread, id_ = self._thread(config), get_checkpoint_id(config)
        if not id_:
            raise InvalidArgument("writes belong to a checkpoint, which the config must name")
        key = checkpoint_key(place_of(config), id_)
        sealed = [
            Write(task_id, WRITES_IDX_MAP.get(channel, at), channel, task_path, *self._typed(value))
            for at, (channel, value) in enumerate(writes)
        ]

        def attempt() -> bool:
            seen = thread.seen()
            if thread.gone(key):
                return False
            thread.put_writes({write.key(key): write for write in sealed}, seen)
            return True

        with self._lock:
            if not retry_conflicts(attempt):
                _log.warning("writes came after their thread was deleted; they were dropped")
                thread.refuse(key)

    def get_next_version(self, current: str | int | None, channel: None) -> str:
        """The version after `current`: a counter, and a random part so that forks differ."""
        counter = int(str(current).partition(".")[0]) if current is not None else 0
        return f"{counter + 1:032}.{random.random():016}"

    # Deleting and copying

    def delete_thread(self, thread_id: str) -> None:
        """Erases a thread for good; runs that still work on it cannot bring it back.

        Raises:
            ScrubPending: deleted, but old journal pages are not yet scrubbed.
        """
        with self._lock:
            retry_conflicts(partial(self._named(thread_id).delete, str(uuid6())))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Erases the checkpoints of runs, by the `run_id` of their metadata, with their writes.

        A delta channel whose snapshot goes this way loses what it was built on.

        Raises:
            ScrubPending: deleted, but old journal pages are not yet scrubbed.
        """
        runs = {"run": {"$in": [str(run) for run in _listed(run_ids)]}}
        with self._lock:
            found = self._mimir.memories(namespace=self._root, descendants=True, where=runs)
            doomed: dict[Namespace, list[str]] = {}
            for memory in found:
                doomed.setdefault(memory.namespace, []).append(str(memory.key))
            erase_all(
                partial(thread.erase_checkpoints, keys)
                for namespace, keys in doomed.items()
                if (thread := self._in(namespace)) is not None
            )

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copies all checkpoints and writes of a thread to another, in one transaction.

        What the target already holds stays, but for checkpoints of the same namespace and id.

        Raises:
            ScrubPending: copied, but what such checkpoints were is not yet scrubbed.
        """
        source, target = self._named(source_thread_id), self._named(target_thread_id)
        if source.label != target.label:
            with self._lock:
                retry_conflicts(partial(target.put_copy, source, str(target_thread_id)))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Erases older checkpoints of threads, a thread in one transaction.

        Args:
            thread_ids: The threads; unknown ones are passed over.
            strategy: "keep_latest" keeps the newest checkpoint of each namespace, and those before
                it that its delta channels are built on; "delete" deletes the threads.

        Raises:
            InvalidArgument: for another strategy; nothing was erased.
            ScrubPending: erased, but old journal pages are not yet scrubbed.
        """
        if strategy not in ("keep_latest", "delete"):
            raise InvalidArgument('a strategy is "keep_latest" or "delete"')
        threads = map(self._named, _listed(thread_ids))
        with self._lock:
            if strategy == "delete":
                now = str(uuid6())
                erase_all(partial(thread.delete, now) for thread in threads)
            else:
                erase_all(thread.keep_latest for thread in threads)

    # Itself

    def _thread(self, config: RunnableConfig) -> Thread:
        return self._named(thread_of(config))

    def _named(self, thread_id: object) -> Thread:
        return Thread.named(self._mimir, self._root, str(thread_id))

    def _threads(self) -> Iterator[Thread]:
        found = map(self._in, self._mimir.namespaces())
        return (thread for thread in found if thread is not None)

    def _in(self, namespace: Namespace) -> Thread | None:
        """The thread that a namespace is; None if it is something else, such as another saver's."""
        if namespace[:-1] != self._root or not is_digest(namespace[-1]):
            return None
        return Thread(self._mimir, self._root, namespace[-1])

    def __copy__(self) -> MimirSaver:  # `with_allowlist` makes clones
        clone = object.__new__(type(self))
        clone.__dict__.update(self.__dict__)
        return clone

    def __repr__(self) -> str:
        return "<MimirSaver>"

    def __reduce__(self) -> NoReturn:
        raise NotSerializable("a saver over an open Mimir cannot be pickled or copied")


def _listed(names: Sequence[str]) -> Sequence[str]:
    if isinstance(names, str):
        raise InvalidArgument("several ids are asked for; put a single one into a list")
    return names
