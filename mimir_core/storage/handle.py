"""What every engine's handle shares: one thread at a time, nesting, the order of a commit, forks.

An engine fills in how a transaction begins and ends and how one block moves.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Final

from mimir_core.errors import (
    Conflict,
    DiskFull,
    InvalidArgument,
    ScrubPending,
    StorageFailed,
    VaultBusy,
    VaultClosed,
)
from mimir_core.storage.protocol import check_blocks, check_dense, check_preamble

PATIENCE: Final = 5.0
"""Seconds that a call without a timeout of its own waits: a commit, a reader during recovery."""

LONGEST_WAIT: Final = 86_400.0
"""Seconds; longer timeouts are cut, as locks and engines count in bounded integers."""

FORK_WAIT: Final = 1.0
"""Seconds that a fork waits for another thread to leave a handle."""


class BlockStoreHandle(ABC):
    """A BlockStore over an engine's primitives, which are called with the lock held."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._closed = False
        self._reading = False
        self._writing = False
        _handles.add(self)

    @abstractmethod
    def _begin_reading(self) -> None: ...

    @abstractmethod
    def _begin_writing(self, timeout: float) -> None: ...

    @abstractmethod
    def _end(self) -> None:
        """Leave the transaction, undoing what it wrote; does nothing if there is none."""

    @abstractmethod
    def _commit(self) -> None: ...

    @abstractmethod
    def _root_tag(self) -> bytes: ...

    @abstractmethod
    def _count(self) -> int: ...

    @abstractmethod
    def _preamble(self) -> bytes: ...

    @abstractmethod
    def _get(self, number: int) -> bytes: ...

    @abstractmethod
    def _put(self, number: int, block: bytes) -> None: ...

    @abstractmethod
    def _append(self, number: int, block: bytes) -> None: ...

    @abstractmethod
    def _put_preamble(self, preamble: bytes) -> None: ...

    @abstractmethod
    def _scrub(self, timeout: float) -> None: ...

    def _unpinned(self) -> Callable[[], list[str]]:
        """What finds out, without the lock, what lies around the blocks and must not."""
        return list

    def _make_room(self) -> bool:
        """On a full disk, outside a transaction: whether there may be more room now."""
        return False

    @abstractmethod
    def _close(self) -> None: ...

    @abstractmethod
    def _abandon(self, idle: bool) -> None:
        """Let go in a forked child, without a trace on what the parent holds."""

    @contextmanager
    def reading(self) -> Iterator[None]:
        """See BlockStore."""
        with self._lock:
            self._check_open()
            if self._in_transaction():  # whoever began it ends it
                yield
                return
            try:
                self._end()
                self._begin_reading()
                self._reading = True
                yield
            finally:
                self._reading = False
                try:
                    self._end()
                except BaseException:  # see "Signals" below
                    self._end()
                    raise

    @contextmanager
    def writing(self, timeout: float) -> Iterator[None]:
        """See BlockStore."""
        with self._locked(timeout) as remaining:
            if self._in_transaction():
                raise InvalidArgument("writing() inside another transaction of this handle")
            try:
                self._end()
                self._begin_writing(remaining)
                self._writing = True
                yield
            finally:
                self._writing = False
                try:
                    self._end()
                except BaseException:  # see "Signals" below
                    self._end()
                    raise

    def root_tag(self) -> bytes:
        """See BlockStore."""
        with self._lock:
            self._check_open()
            return self._root_tag()

    def count(self) -> int:
        """See BlockStore."""
        with self._lock:
            self._check_open()
            return self._count()

    def preamble(self) -> bytes:
        """See BlockStore."""
        with self._lock:
            self._check_open()
            return self._preamble()

    def read(self, numbers: Sequence[int]) -> list[bytes]:
        """See BlockStore."""
        with self.reading():
            return [self._get(number) for number in numbers]

    def commit(
        self,
        writes: Mapping[int, bytes],
        *,
        expected_root_tag: bytes,
        preamble: bytes | None = None,
    ) -> None:
        """See BlockStore."""
        within = owns(self._lock) and self._writing
        with nullcontext() if within else self.writing(PATIENCE):
            try:
                self._check_open()
                self._write_all(writes, expected_root_tag, preamble)
            finally:
                self._writing = False
                self._end()

    def scrub(self, timeout: float) -> None:
        """See BlockStore."""
        try:
            with self._locked(timeout) as remaining:
                if self._in_transaction():
                    raise ScrubPending("this handle is itself inside a transaction")
                try:
                    self._scrub(remaining)
                finally:
                    try:
                        self._end()
                    except BaseException:  # see "Signals" below
                        self._end()
                        raise
        except VaultBusy as error:
            raise ScrubPending("another reader or writer is active") from error
        except StorageFailed as error:
            hint = "free disk space or repair it; every open, commit and close tries again"
            raise ScrubPending("the journal could not be emptied", hint=hint) from error

    def unpinned(self) -> list[str]:
        """See BlockStore."""
        with self.reading():
            look = self._unpinned()
        return look()

    def close(self) -> None:
        """See BlockStore."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._close()

    def _write_all(
        self, writes: Mapping[int, bytes], expected_root_tag: bytes, preamble: bytes | None
    ) -> None:
        """Write and commit; on a full disk once more, where the journal can make room."""
        try:
            self._write(writes, expected_root_tag, preamble)
            self._commit()
        except DiskFull:
            self._end()
            if not self._make_room():
                raise
            self._begin_writing(PATIENCE)
            self._write(writes, expected_root_tag, preamble)
            self._commit()

    def _write(
        self, writes: Mapping[int, bytes], expected_root_tag: bytes, preamble: bytes | None
    ) -> None:
        check_blocks(writes.values())
        if preamble is not None:
            check_preamble(preamble)
        count = self._count()
        check_dense(writes, count)
        if self._root_tag() != expected_root_tag:
            raise Conflict("another commit came first")
        for number, block in sorted(writes.items()):
            if number < count:
                self._put(number, block)
            else:
                self._append(number, block)
        if preamble is not None:
            self._put_preamble(preamble)

    def _in_transaction(self) -> bool:
        return self._reading or self._writing

    def _check_open(self) -> None:
        if self._closed:
            raise VaultClosed("the block store is closed, or was inherited by a fork")

    @contextmanager
    def _locked(self, timeout: float) -> Iterator[float]:
        """Hold the handle's lock; gives the seconds of `timeout` that are left."""
        deadline = time.monotonic() + min(max(timeout, 0.0), LONGEST_WAIT)
        lock = self._lock  # a child forked in here gets another one
        owned, taken = owns(lock), False
        try:
            if not lock.acquire(timeout=max(deadline - time.monotonic(), 0.0)):
                raise VaultBusy("another thread is using this handle")
            taken = True
            self._check_open()
            yield max(deadline - time.monotonic(), 0.0)
        finally:
            if taken or (not owned and owns(lock)):  # see "Signals" below
                lock.release()


# Signals. A signal's handler, Ctrl-C's among them, may raise wherever a call returns or a function
# begins: right after a transaction began or a lock was taken, or before either is given back. So
# what a call gives back lies inside the `try` that gives it back, and is tried once more. Two
# exceptions in a row can still leave a transaction open, until the next one of this handle begins;
# one inside `contextlib` itself leaves it, and the lock, until its traceback is let go.


def owns(lock: threading.RLock) -> bool:
    """Whether this thread holds the lock."""
    return bool(lock._is_owned())  # type: ignore[attr-defined]  # what `Condition` asks, untyped


# Forks. A child inherits an engine's belief in locks that it does not hold, and a store that it
# opens anew would share that belief: under SQLite the parent's close then removes the journal that
# the child commits to, and what the child was told is durable is lost. So a fork waits until no
# thread is inside a handle, and the child lets go of every inherited one before it can open its
# own (https://www.sqlite.org/howtocorrupt.html, section 2.6).

_handles: weakref.WeakSet[BlockStoreHandle] = weakref.WeakSet()


class _Fork(threading.local):
    """The handles that the forking thread holds still."""

    def __init__(self) -> None:
        self.quiet: list[BlockStoreHandle] = []


_fork = _Fork()


def _before_fork() -> None:
    _fork.quiet = [h for h in list(_handles) if h._lock.acquire(timeout=FORK_WAIT)]


def _after_fork_in_parent() -> None:
    for handle in _fork.quiet:
        handle._lock.release()
    _fork.quiet = []


def _after_fork_in_child() -> None:
    for handle in list(_handles):
        idle = handle in _fork.quiet and not handle._in_transaction()
        handle._lock = threading.RLock()
        if not handle._closed:
            handle._closed = True
            handle._abandon(idle)
    _fork.quiet = []


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
