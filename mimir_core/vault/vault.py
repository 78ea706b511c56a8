"""The vault: one unlocked file, its lock, and every way to read and change it.

One lock a handle makes it thread-safe; the store's writer lock and read snapshots make several
processes safe beside each other. Every call first follows to the newest committed state.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from mimir_core.crypto.kdf import KdfProfile
from mimir_core.crypto.keys import VaultKeys
from mimir_core.crypto.preamble import Preamble, change_passphrase, unlock
from mimir_core.crypto.slots import PassphraseCredential
from mimir_core.dag.node import DEVICE_SIZE
from mimir_core.errors import MimirError, NotSerializable, OutcomeUnknown, VaultClosed
from mimir_core.storage import BlockStore, SqliteBlockStore
from mimir_core.storage.handle import owns
from mimir_core.tracebacks import LocalsCleared
from mimir_core.vault.admission import admit, preamble_of
from mimir_core.vault.checkpoint import Checkpointer
from mimir_core.vault.container import Container
from mimir_core.vault.edit import Edit
from mimir_core.vault.layout import Root
from mimir_core.vault.state import State
from mimir_core.vault.write import NewMemory, NewVectors, Staged, stage_append, stage_erase

WRITER_TIMEOUT = 10.0
SCRUB_TIMEOUT = 5.0
IDLE_SECONDS = 5.0
Select = Callable[[State], npt.NDArray[np.int64]]


class Vault:
    """An unlocked vault. Thread-safe; refuses pickling; a forked child opens its own."""

    def __init__(self, store: BlockStore, keys: VaultKeys) -> None:
        self._store = store
        self._keys = keys
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._state: State | None = None
        self._closed = False
        self._scrub_due = True  # old pages may stand in the journal
        self._scrub_owed = False  # this handle made them old
        self._erasing = False  # the transaction in progress does
        self._last_commit = 0.0
        self._idle: threading.Timer | None = None
        self._checkpointer = Checkpointer(self)

    @classmethod
    def create(
        cls,
        path: Path,
        credential: PassphraseCredential,
        profile: KdfProfile = KdfProfile.STANDARD,
    ) -> Vault:
        """Creates an empty vault file and opens it.

        Raises:
            VaultExists, VaultReadOnly, DiskFull, StorageFailed: from the store.
            InvalidArgument: for a passphrase that cannot be used.
        """
        preamble, keys, kinds = Preamble.create(credential, profile)
        root = Root(bytes(32), 1, secrets.token_bytes(DEVICE_SIZE), slot_kinds=kinds)
        blocks = Container.first_blocks(keys, preamble, root)
        store = SqliteBlockStore.create(path, preamble, blocks)
        return cls(store, keys)._opened()

    @classmethod
    def open(
        cls, path: Path, credential: PassphraseCredential, *, allow_insecure: bool = False
    ) -> Vault:
        """Opens a vault file.

        Raises:
            NotAVault, UnsupportedFormat, KdfOutOfBounds, CannotUnlock, VaultDamaged, VaultBusy,
            VaultReadOnly, StorageFailed.
            SeveralNames: it could be open under another name.
            JournalRefused: the journal beside it would take it back, or is another vault's. Up to
                here neither file nor journal was touched.
        """
        sight = SqliteBlockStore.look(path)
        keys = unlock(preamble_of(sight), credential, allow_insecure=allow_insecure)
        try:
            admit(sight, keys)
            store = SqliteBlockStore.open(path)
        except BaseException:
            keys.wipe()
            raise
        return cls(store, keys)._opened()

    def _opened(self) -> Vault:
        try:
            self._try_scrub()
            self._checkpointer.attach_graphs()
        except BaseException:
            self._shut()
            raise
        return self

    def check_process(self) -> None:
        """Raises VaultClosed in a forked child, which shares nothing with the parent's vault."""
        if self._inherited():
            raise VaultClosed("the vault was opened by a parent process")

    @property
    def entered(self) -> bool:
        """Whether this thread is inside a transaction of the vault."""
        return owns(self._lock)

    # Reading

    @contextmanager
    def view(self) -> Iterator[State]:
        """The newest committed state, for reads that all see the same snapshot.

        Raises:
            VaultClosed, VaultDamaged, VaultBusy, StorageFailed.
        """
        with LocalsCleared(), self._guard():
            self._check_open()
            due = self._scrub_due
            with self._store.reading():
                yield self._followed()
            if self._scrub_due and not (due and self._idle):  # new, or no timer waits to try
                self._try_scrub()

    @contextmanager
    def exclusive(self) -> Iterator[State]:
        """The newest state with the right to commit onto it; `commit` ends the transaction.

        Raises:
            ScrubPending: on leaving: committed, but old pages still stand in the journal.
        """
        with LocalsCleared(), self._guard():
            self._check_open()
            self._erasing = False
            with self._store.writing(WRITER_TIMEOUT):
                yield self._followed()
            self._after_commit()

    def commit(
        self, state: State, edit: Edit, staged: Staged, preamble: bytes | None = None
    ) -> None:
        """Commits staged changes, then takes them into the views. Called inside `exclusive`."""
        owed, self._state = self._scrub_owed, None  # what fails half-way is loaded anew
        if staged.erased or preamble is not None or edit.replaces:
            self._erasing = self._scrub_due = self._scrub_owed = True
        try:
            edit.commit(staged.root, preamble)
        except OutcomeUnknown:  # what it erased may stand in the journal: the scrub stays owed
            raise
        except MimirError:  # refused: nothing has changed
            self._state, self._scrub_owed = state, owed
            raise
        state.adopt(staged.nodes, staged.keys, staged.erased, staged.rows, edit.log_end)
        if staged.segments is not None:
            state.valid_segments = staged.segments
        self._state = state

    # Changing

    def append(
        self,
        memories: Sequence[NewMemory],
        vectors: NewVectors | None = None,
        erase: Select | None = None,
    ) -> list[bytes]:
        """Stores memories in one durable transaction; returns their ids, 32 bytes each.

        Args:
            erase: Names what the same transaction erases, in the newest state.

        Raises:
            DuplicateKey, NotFound, LimitExceeded, SpaceMismatch, VectorsLost: nothing was written.
            VaultBusy, DiskFull, StorageFailed: nothing was written.
            OutcomeUnknown: the disk failed so late that it may have been.
            ScrubPending: written, but what it superseded is not yet scrubbed.
        """
        if erase is not None or any(memory.key is not None for memory in memories):
            self._settle()
        with self._guard():
            with self.exclusive() as state:
                edit = Edit(state.container)
                gone = [] if erase is None else erase(state).tolist()
                staged = stage_append(state, edit, memories, vectors, gone)
                self.commit(state, edit, staged)
            self._checkpointer.consider(state)
            return [sealed.id for sealed in staged.sealed]

    def erase(self, select: Select) -> int:
        """Erases the nodes that `select` names in the newest state; returns how many.

        Raises:
            OutcomeUnknown: the disk failed so late that it may have been.
            ScrubPending: erased and invisible, but old pages still stand in the journal.
        """
        self._settle()
        with self.exclusive() as state:
            ordinals = {int(o) for o in select(state) if not state.is_erased(int(o))}
            if ordinals:
                edit = Edit(state.container)
                staged = Staged(state.root)
                stage_erase(state, edit, staged, ordinals)
                self.commit(state, edit, staged)
        return len(ordinals)

    def change_passphrase(
        self, credential: PassphraseCredential, profile: KdfProfile = KdfProfile.STANDARD
    ) -> None:
        """Wraps the root key for a new passphrase; the old one stops opening this file.

        Raises:
            OutcomeUnknown: the disk failed so late that either passphrase may open it.
            ScrubPending: changed, but the old slots still stand in the journal.
        """
        with self.exclusive() as state:
            raw, kinds = change_passphrase(
                self._store.preamble(),
                self._keys,
                credential,
                state.root.slot_kinds,
                profile,
            )
            root = replace(state.root, slot_kinds=kinds)
            self.commit(state, Edit(state.container), Staged(root), preamble=raw)

    def checkpoint(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Writes segments and graphs, so that the next open is fast, and empties the journal.

        Args:
            progress: Called with (rows done, rows in all) while a graph is built.
        """
        self.check_process()
        self._checkpointer.run(progress)
        self._try_scrub()

    def close(self) -> None:
        """Checkpoints, scrubs, wipes the keys and closes the file. Idempotent.

        In a forked child it does nothing: the vault is the parent's to close. In a signal's handler
        it ends the call that it interrupts, which raises VaultClosed, and writes no checkpoint.

        Raises:
            ScrubPending: closed, but what this handle erased still stands in the journal.
        """
        if self._closed or self._inherited():
            return
        try:
            self._checkpointer.close()
        finally:
            self._shut()

    def _shut(self) -> None:
        amid = self.entered  # a call, which then says itself what became of it
        with self._lock:
            if self._closed:
                return
            try:
                if self._scrub_owed and not amid:
                    self._scrub(SCRUB_TIMEOUT)
                else:  # beside others that read it is theirs to empty the journal when they close
                    self._try_scrub()
            finally:
                self._closed = True
                if self._idle is not None:
                    self._idle.cancel()
                if self._state is not None:
                    self._state.wipe()
                self._state = None
                self._keys.wipe()
                self._store.close()

    def __reduce__(self) -> NoReturn:
        raise NotSerializable("an open vault cannot be pickled or copied")

    # Internals

    def _followed(self) -> State:
        state, self._state = self._state, None  # a failure below leaves no half-followed state
        if state is None:
            state = State(Container(self._store, self._keys))
            state.load()
            self._scrub_due = True  # what others erased before is not known
        elif state.follow():
            self._scrub_due = True
        self._state = state
        return state

    def _guard(self) -> threading.RLock:
        """The lock; a forked child must not wait for it, which a lost thread may hold for ever."""
        self.check_process()
        return self._lock

    def _check_open(self) -> None:
        if self._closed:
            raise VaultClosed("the vault is closed")

    def _settle(self) -> None:
        """Lets a stored graph be attached before something is erased."""
        self.check_process()  # a child has not the thread that attaches
        self._checkpointer.settle()

    def _inherited(self) -> bool:
        return os.getpid() != self._process

    def _after_commit(self) -> None:
        self._last_commit = time.monotonic()
        self._scrub_when_idle(IDLE_SECONDS)
        if self._erasing:
            self._scrub(SCRUB_TIMEOUT)
        elif self._scrub_due:
            self._try_scrub()

    def _scrub_when_idle(self, wait: float) -> None:
        """Empties the journal once nothing was committed for a while; one timer at a time."""
        if self._idle is None and not self._closed:
            timer = threading.Timer(wait, self._on_idle)
            timer.daemon = True
            with suppress(RuntimeError):  # no thread is to be had: the next call tries, or `close`
                timer.start()
                self._idle = timer

    def _on_idle(self) -> None:
        with self._lock:
            self._idle = None
            quiet = time.monotonic() - self._last_commit
            if self._closed:
                return
            if quiet < IDLE_SECONDS:
                self._scrub_when_idle(IDLE_SECONDS - quiet)
            else:
                self._try_scrub()

    def _scrub(self, timeout: float) -> None:
        self._store.scrub(timeout)
        self._scrub_due = self._scrub_owed = False

    def _try_scrub(self) -> None:
        """Scrubs unless another is in the way, without waiting; never raises."""
        with self._lock:
            try:
                self._scrub(0.0)
            except MimirError:
                self._scrub_when_idle(IDLE_SECONDS)
