"""`Mimir`: an encrypted, local memory for agents. The one class most callers need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from mimir_core.crypto.kdf import KdfProfile
from mimir_core.crypto.slots import PassphraseCredential
from mimir_core.embedding import Embedder, MiniLM
from mimir_core.errors import (
    InvalidArgument,
    MimirError,
    NotSerializable,
    ScrubPending,
    VaultClosed,
)
from mimir_core.forgetting import Selection
from mimir_core.intake import (
    DEFAULT_NAMESPACE,
    Item,
    Time,
    check_items,
    checked_direction,
    embedded_batches,
    joined,
)
from mimir_core.lookup import Lookup
from mimir_core.mentions import Mentions
from mimir_core.recall import Query, recall
from mimir_core.repair import reembed
from mimir_core.results import Forgotten, Hits, Report
from mimir_core.scope import Pick, Scope, picker
from mimir_core.searched import ScopeCache
from mimir_core.seen import Seen, checker
from mimir_core.tracebacks import LocalsCleared
from mimir_core.types import Namespace, check_namespace
from mimir_core.vault.state import State
from mimir_core.vault.vault import Vault
from mimir_core.vault.verify import verify
from mimir_core.vault.write import NewMemory

Progress = Callable[[int, int], None]


class Mimir(Lookup):
    """An open vault with the embedder that fills it. Thread-safe; use it as a context manager.

    Several processes may have the same vault open: one writes at a time, all others follow. Who
    writes back what it read and changed says so (`seen`, and `unchanged` of `replace`), or the
    last one counts.
    """

    def __init__(
        self, vault: Vault, embedder: Embedder, path: Path, scopes: ScopeCache | None = None
    ) -> None:
        self._vault = vault
        self._embedder = embedder
        self._path = path
        self._scopes = ScopeCache() if scopes is None else scopes
        # The built-in model takes all CPUs for one text, and a vault answers one query at a time:
        # threads side by side are no faster, but keep others, an event loop, from the interpreter.
        # A caller's own model may wait for a network, and is not held back.
        builtin = isinstance(embedder, MiniLM)
        self._turn: AbstractContextManager[object] = Lock() if builtin else nullcontext()

    @classmethod
    def create(
        cls,
        path: str | Path,
        passphrase: str,
        *,
        embedder: Embedder | None = None,
        profile: KdfProfile = KdfProfile.STANDARD,
    ) -> Mimir:
        """Creates a vault and opens it.

        Args:
            path: A file that does not exist yet, on a local disk.
            passphrase: What opens it; nobody can recover a lost one.
            embedder: Turns text into vectors; the built-in MiniLM if not given.
            profile: Cost of the passphrase's Argon2id.

        Raises:
            VaultExists, VaultReadOnly, DiskFull, InvalidArgument.
        """
        credential = PassphraseCredential(passphrase)
        del passphrase  # tracebacks may show what a frame holds
        with LocalsCleared():
            embedder = MiniLM() if embedder is None else embedder
            return cls(Vault.create(Path(path), credential, profile), embedder, Path(path))

    @classmethod
    def open(
        cls,
        path: str | Path,
        passphrase: str,
        *,
        embedder: Embedder | None = None,
        profile: KdfProfile = KdfProfile.STANDARD,
    ) -> Mimir:
        """Opens a vault.

        Raises:
            NotAVault, UnsupportedFormat, KdfOutOfBounds, CannotUnlock, VaultDamaged, VaultBusy,
            VaultReadOnly.
        """
        credential = PassphraseCredential(passphrase)
        del passphrase  # tracebacks may show what a frame holds
        insecure = profile is KdfProfile.INSECURE_FOR_TESTS
        with LocalsCleared():
            embedder = MiniLM() if embedder is None else embedder
            vault = Vault.open(Path(path), credential, allow_insecure=insecure)
            return cls(vault, embedder, Path(path))

    @property
    def embedder(self) -> Embedder:
        """What turns text into vectors for this handle."""
        return self._embedder

    def with_embedder(self, embedder: Embedder) -> Mimir:
        """A handle on the same open vault with another embedder; closing either closes both.

        A namespace holds vectors of one model, other namespaces may hold another's.
        """
        return Mimir(self._vault, embedder, self._path, self._scopes)

    # Remembering

    def remember(self, content: str | bytes, **fields: Any) -> str:
        """Stores one memory durably and returns its id; the arguments are those of `Item`.

        Raises:
            InputError: for bad input; nothing was written.
            SpaceMismatch: the namespace holds vectors of another model; nothing was written.
            VectorsLost: it may hold some that are damaged, or the block is that takes new ones;
                nothing was written.
            VaultBusy, DiskFull, StorageFailed: nothing was written.
            OutcomeUnknown: the disk failed so late that it may have been.
            ScrubPending: stored, but the value it superseded is not yet scrubbed.
        """
        return self.remember_many([Item(content, **fields)])[0]

    def remember_many(
        self, items: Iterable[Item], progress: Progress | None = None
    ) -> list[str]:
        """Stores many memories, embedding them in batches; returns their ids in order.

        All items are checked before the first is written. Up to 2,048 (fewer, if they are very
        long) form one transaction; a longer run is several of them, and an interruption keeps
        those already acknowledged.

        Args:
            items: What to remember.
            progress: Called with (done, all) after each transaction.

        Raises:
            As `remember`; of several transactions the earlier ones are kept.
        """
        batch, memories = self._checked(items)
        ids: list[str] = []
        pending: ScrubPending | None = None
        for piece, vectors in embedded_batches(batch, self._embedder):
            try:
                ids += [id_.hex() for id_ in self._vault.append(memories[piece], vectors)]
            except ScrubPending as error:  # stored all the same: the rest must be stored too
                pending = error
            finally:
                self._scopes.clear()  # it holds copies of vectors, superseded ones too
            if progress is not None:
                progress(min(piece.stop, len(batch)), len(batch))
        if pending is not None:
            raise pending
        return ids

    def replace(
        self,
        items: Iterable[Item],
        *,
        ids: Iterable[str] | str | None = None,
        keys: Iterable[str] | None = None,
        namespace: Namespace | str | None = None,
        descendants: bool = False,
        thread: str | None = None,
        where: Mapping[str, Any] | None = None,
        unchanged: Iterable[Seen] = (),
    ) -> list[str]:
        """Stores memories and forgets others in one transaction; returns the new ids in order.

        Either all of it happens or nothing. What is forgotten is selected as in `forget`.

        Args:
            unchanged: What this change was made from, as `seen` gave it before it was read. It is
                checked in the transaction, which is the newest state; see `retry_conflicts`.

        Raises:
            As `remember_many` and `forget`.
            Conflict: another writer, a process or a thread, changed some of it; nothing was
                written.
        """
        batch, memories = self._checked(items)
        conditions = {"thread": thread, "where": where}
        chosen = picker(ids, None, keys, namespace, descendants=descendants, **conditions)
        check = checker(unchanged)

        def pick(state: State) -> npt.NDArray[np.int64]:
            check(state)
            return chosen(state)

        if not batch:
            self._erase(pick)
            return []
        vectors = [
            replace(part, owners=part.owners + piece.start)
            for piece, part in embedded_batches(batch, self._embedder)
            if part is not None
        ]
        try:
            return [id_.hex() for id_ in self._vault.append(memories, joined(vectors), pick)]
        finally:
            self._scopes.clear()  # it holds copies of vectors

    def _checked(self, items: Iterable[Item]) -> tuple[list[Item], list[NewMemory]]:
        if not isinstance(items, Iterable):
            raise InvalidArgument("a batch is a list of items")
        batch = list(items)
        return batch, check_items(batch, self._embedder)

    # Reading

    def recall(
        self,
        query: str | None,
        *,
        k: int = 5,
        mode: str = "hybrid",
        namespace: Namespace | str = DEFAULT_NAMESPACE,
        descendants: bool = False,
        thread: str | None = None,
        where: Mapping[str, Any] | None = None,
        since: Time | None = None,
        until: Time | None = None,
        neighbours: int = 0,
        spread: float = 1.0,
        diversity: float = 0.0,
        recency: float = 0.0,
        half_life_days: float = 30.0,
        importance: float = 0.0,
        balance: float = 0.5,
        vector: Sequence[float] | npt.NDArray[np.float32] | None = None,
        among: Iterable[str] | None = None,
    ) -> Hits:
        """Finds the memories that answer a query, best first.

        Args:
            query: What to look for; None where a vector says it all, in a dense recall.
            k: How many hits at most, 1 to 10,000.
            mode: "dense" (vectors), "lexical" (BM25), or "hybrid" (both, spread along threads).
            namespace: Where to look; `descendants` includes the namespaces below it.
            thread: Only this thread.
            where: A filter over metadata; see `compile_filter`.
            since, until: Only memories of this time, both ends included; a day is meant whole.
            neighbours: How many turns before and after each hit to bring along.
            spread: How strongly scores spread along threads in a hybrid recall; 0 not at all.
            diversity: From 0 to 1: how much likeness to better hits counts against a memory
                (maximal marginal relevance), by vectors, so not in a lexical recall.
            recency: The newest candidate's score grows by this share of itself, an older one's by
                half of that with each half-life.
            half_life_days: After how many days recency counts half.
            importance: A score grows by this share of itself, times the metadata field
                "importance", a number from 0 to 1.
            balance: What counts in a hybrid recall: from 0, words alone, to 1, vectors alone.
            vector: The query's vector, [dimension], if the caller has it already.
            among: Only memories of these ids; those that do not exist are passed over.

        Raises:
            InvalidText, InvalidArgument, InvalidNamespace, InvalidFilter: before any search.
            SpaceMismatch: some vectors to search are another model's; "lexical" still works.
            VectorsLost: vector blocks are damaged; "lexical" still works.
        """
        place = check_namespace(namespace)  # None would stand for every namespace
        scope = Scope.checked(place, descendants, thread, where, since, until, among)
        wanted = Query.checked(
            query, k, mode, neighbours, has_vector=vector is not None, spread=spread,
            diversity=diversity, recency=recency, half_life_days=half_life_days,
            importance=importance, balance=balance,
        )  # fmt: skip
        self._vault.check_process()  # a forked child must not wait for another thread's turn
        with self._turn:
            space = direction = None
            if wanted.dense:
                space = self._embedder.space
                found = self._embedder.embed_query(wanted.text) if vector is None else vector
                direction = checked_direction(found, space)
            with self._vault.view() as state:
                return Hits(recall(state, scope, wanted, direction, space, self._scopes))

    # Forgetting

    def forget(
        self,
        ids: Iterable[str] | str | None = None,
        *,
        key: str | None = None,
        keys: Iterable[str] | None = None,
        namespace: Namespace | str | None = None,
        descendants: bool = False,
        thread: str | None = None,
        where: Mapping[str, Any] | None = None,
        since: Time | None = None,
        until: Time | None = None,
        mentions: str | None = None,
        cascade: bool = False,
        dry_run: bool = False,
        progress: Progress | None = None,
    ) -> Forgotten:
        """Erases memories for good: by ids, by key, or by everything that fits a selection.

        When it returns, neither content, vector, words nor metadata are left in the vault or its
        journal, not even for someone with the passphrase. Edges and ids stay.

        Args:
            ids: One id or several.
            key: The memory of this key, in `namespace`, with what it superseded.
            keys: The same for many; keys that nobody has are passed over.
            namespace, descendants, thread, where, since, until: Everything that fits all of them.
                A thread, where or time without a namespace looks in the default namespace.
            mentions: Everything that contains this phrase, in any namespace unless one is given,
                whatever class stored it: see `mimir_core.mentions`. Words are matched whole.
            cascade: Also forget what was derived from them.
            dry_run: Only say what would be forgotten; `mentions` shows excerpts then.
            progress: Called with (memories looked through, all), for `mentions`.

        Raises:
            InvalidArgument: nothing selects anything, or an id is given twice.
            NotFound: an id or key is unknown; nothing was erased.
            ScrubPending: erased and invisible, but old pages still stand in the journal.
        """
        search = None
        if mentions is None:
            conditions = {"thread": thread, "where": where, "since": since, "until": until}
            pick = picker(ids, key, keys, namespace, descendants=descendants, **conditions)
        elif not ids is key is keys is None:
            raise InvalidArgument("a phrase selects by itself; it takes no ids and no keys")
        else:
            scope = Scope.checked(namespace, descendants, thread, where, since, until)
            search = Mentions(self._vault, mentions, scope)
            with LocalsCleared():
                search.search(progress)
            pick = search.pick
        selection = Selection(pick, cascade=cascade)
        if dry_run:
            with self._vault.view() as state:
                selection(state)
        else:
            self._erase(selection)
        if search is None:
            return selection.result(dry_run=dry_run)
        return selection.result(dry_run=dry_run, excerpts=search.excerpts, unread=search.unread)

    def _erase(self, pick: Pick) -> None:
        try:
            self._vault.erase(pick)
        finally:
            self._scopes.clear()  # it holds copies of vectors

    # Keeping

    def verify(self, progress: Progress | None = None) -> Report:
        """Authenticates every block and checks every memory against its id, key and parents.

        Others read and write meanwhile: it takes a few milliseconds at a time, and checks each
        block and memory against the newest state when its turn comes. What was there from
        beginning to end has been checked.
        """
        found = verify(self._vault, progress)
        return Report(found.blocks, found.nodes, tuple(found.problems))

    def checkpoint(self, progress: Progress | None = None) -> None:
        """Writes the views, so that the next open is fast; `close` does so too.

        Args:
            progress: Called with (rows done, rows in all) while the vector graph is built.
        """
        self._vault.checkpoint(progress)

    def reembed(self, progress: Progress | None = None) -> int:
        """Embeds memories whose vectors were lost to damage; returns how many.

        Raises:
            VectorsLost: nothing was written: another model's embedder has to do its part first.
            ScrubPending: done, but what the damaged blocks held still stands in the journal.
        """
        return reembed(self._vault, self._embedder, progress)

    def change_passphrase(
        self, passphrase: str, *, profile: KdfProfile = KdfProfile.STANDARD
    ) -> None:
        """Replaces the passphrase of this file; the root key behind it stays.

        An older copy of the file still opens with the old passphrase. So does what is written
        later, for whoever holds such a copy, whose preamble unwraps the same root key.
        """
        credential = PassphraseCredential(passphrase)
        del passphrase  # tracebacks may show what a frame holds
        with LocalsCleared():
            self._vault.change_passphrase(credential, profile)

    def close(self) -> None:
        """Writes the views, empties the journal, wipes the keys. A second call does nothing."""
        with suppress(VaultClosed):  # a forked child must not wait for another thread's lock
            self._vault.check_process()
            self._scopes.clear()
        self._vault.close()

    lock = close

    def __enter__(self) -> Mimir:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            with suppress(MimirError):  # what went wrong first is what the caller must see
                self.close()

    def __repr__(self) -> str:
        return f"<Mimir {self._path.name}>"

    def __reduce__(self) -> NoReturn:
        raise NotSerializable("an open Mimir cannot be pickled or copied")
