"""`Mimir`: an encrypted, local memory for agents. The one class most callers need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from mimir_core.crypto.kdf import KdfProfile
from mimir_core.embedding import Embedder, MiniLM
from mimir_core.errors import (
    InvalidArgument,
    MimirError,
    NotFound,
    NotSerializable,
    ScrubPending,
)
from mimir_core.intake import (
    DEFAULT_NAMESPACE,
    Item,
    Time,
    check_items,
    check_name,
    checked_vectors,
    embedded_batches,
    node_id,
)
from mimir_core.reading import open_memory, relatives, with_derived
from mimir_core.recall import Query, recall
from mimir_core.repair import reembed
from mimir_core.results import Forgotten, Hit, Lineage, Memory, Report, Stats
from mimir_core.scope import Scope, picker
from mimir_core.searched import ScopeCache
from mimir_core.types import Namespace, check_namespace
from mimir_core.vault.state import State
from mimir_core.vault.vault import Vault
from mimir_core.vault.verify import verify_blocks, verify_nodes

Progress = Callable[[int, int], None]


class Mimir:
    """An open vault with the embedder that fills it. Thread-safe; use it as a context manager.

    Several processes may have the same vault open: one writes at a time, all others follow.
    """

    def __init__(self, vault: Vault, embedder: Embedder, path: Path) -> None:
        self._vault = vault
        self._embedder = embedder
        self._path = path
        self._scopes = ScopeCache()

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
        embedder = MiniLM() if embedder is None else embedder
        return cls(Vault.create(Path(path), passphrase, profile), embedder, Path(path))

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
        embedder = MiniLM() if embedder is None else embedder
        insecure = profile is KdfProfile.INSECURE_FOR_TESTS
        vault = Vault.open(Path(path), passphrase, allow_insecure=insecure)
        return cls(vault, embedder, Path(path))

    # Remembering

    def remember(self, content: str | bytes, **fields: Any) -> str:
        """Stores one memory durably and returns its id; the arguments are those of `Item`.

        Raises:
            InputError: for bad input; nothing was written.
            VaultBusy, DiskFull, StorageFailed: nothing was written.
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
        """
        if not isinstance(items, Iterable):
            raise InvalidArgument("a batch is a list of items")
        batch = list(items)
        memories = check_items(batch, self._embedder.space)
        ids: list[str] = []
        pending: ScrubPending | None = None
        for piece, vectors in embedded_batches(batch, self._embedder):
            try:
                ids += [id_.hex() for id_ in self._vault.append(memories[piece], vectors)]
            except ScrubPending as error:  # stored all the same: the rest must be stored too
                pending = error
            if progress is not None:
                progress(min(piece.stop, len(batch)), len(batch))
        if pending is not None:
            raise pending
        return ids

    # Reading

    def recall(
        self,
        query: str,
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
    ) -> list[Hit]:
        """Finds the memories that answer a query, best first.

        Args:
            query: What to look for.
            k: How many hits at most, 1 to 10,000.
            mode: "dense" (vectors), "lexical" (BM25), or "hybrid" (both, spread along threads).
            namespace: Where to look; `descendants` includes the namespaces below it.
            thread: Only this thread.
            where: A filter over metadata; see `compile_filter`.
            since, until: Only memories of this time, both ends included.
            neighbours: How many turns before and after each hit to bring along.
            spread: How strongly scores spread along threads in a hybrid recall; 0 not at all.
            diversity: From 0 to 1: how much likeness to better hits counts against a memory
                (maximal marginal relevance).
            recency: The newest candidate's score grows by this share of itself, an older one's by
                half of that with each half-life.
            half_life_days: After how many days recency counts half.
            importance: A score grows by this share of itself, times the metadata field
                "importance", a number from 0 to 1.

        Raises:
            InvalidText, InvalidArgument, InvalidNamespace, InvalidFilter: before any search.
            SpaceMismatch: the vault's vectors are another model's.
            VectorsLost: vector blocks are damaged; "lexical" still works.
        """
        place = check_namespace(namespace)  # None would stand for every namespace
        scope = Scope.checked(place, descendants, thread, where, since, until)
        wanted = Query.checked(
            query, k, mode, neighbours, spread=spread, diversity=diversity, recency=recency,
            half_life_days=half_life_days, importance=importance,
        )  # fmt: skip
        space = self._embedder.space
        vector = None
        if wanted.dense:
            vector = checked_vectors([self._embedder.embed_query(query)], 1, space)[0]
        with self._vault.view() as state:
            return recall(state, scope, wanted, vector, space, self._scopes)

    def get(
        self,
        id: str | None = None,
        *,
        key: str | None = None,
        namespace: Namespace | str = DEFAULT_NAMESPACE,
    ) -> Memory:
        """Opens one memory by id, or by key within a namespace.

        Raises:
            NotFound: there is none, or it was forgotten.
        """
        name = check_name(key, "key")
        if (id is None) == (name is None):
            raise InvalidArgument("give either an id or a key")
        with self._vault.view() as state:
            ordinal = (
                state.find(node_id(id))
                if name is None
                else state.catalog.by_key(check_namespace(namespace), name)
            )
            if ordinal is None or state.is_erased(ordinal):
                raise NotFound("no such memory")
            return open_memory(state, ordinal)

    def known(
        self, keys: Iterable[str], *, namespace: Namespace | str = DEFAULT_NAMESPACE
    ) -> list[str | None]:
        """The ids of the live memories that have these keys, None for keys nobody has."""
        with self._vault.view() as state:
            place = check_namespace(namespace)
            found = [state.catalog.by_key(place, key) for key in keys]
            return [None if one is None else state.node_id(one).hex() for one in found]

    def thread(
        self, name: str, *, namespace: Namespace | str = DEFAULT_NAMESPACE
    ) -> list[Memory]:
        """The memories of a thread, oldest first; empty if there is no such thread."""
        checked = check_name(name, "thread name")
        if checked is None:
            raise InvalidArgument("a thread has a name")
        with self._vault.view() as state:
            ordinals = state.catalog.thread_ordinals(check_namespace(namespace), checked)
            return [open_memory(state, int(ordinal)) for ordinal in ordinals]

    def memories(
        self,
        *,
        namespace: Namespace | str | None = None,
        descendants: bool = False,
        thread: str | None = None,
        where: Mapping[str, Any] | None = None,
        since: Time | None = None,
        until: Time | None = None,
    ) -> Iterator[Memory]:
        """Every live memory that fits, in the order it was stored; all namespaces if none is given.

        Memories forgotten while iterating are passed over.
        """
        scope = Scope.checked(namespace, descendants, thread, where, since, until)
        with self._vault.view() as state:
            ordinals = np.flatnonzero(scope.mask(state)).tolist()
        for at in range(0, len(ordinals), 256):
            with self._vault.view() as state:
                alive = [o for o in ordinals[at : at + 256] if not state.is_erased(o)]
                opened = [open_memory(state, ordinal) for ordinal in alive]
            yield from opened

    def lineage(self, id: str) -> Lineage:
        """What a memory was made from and what was made from it, erased nodes included.

        Raises:
            NotFound: no node has that id.
        """
        with self._vault.view() as state:
            start = state.find(node_id(id))
            if start is None:
                raise NotFound("no such memory")
            return Lineage(
                id,
                relatives(state, start, state.catalog.parents),
                relatives(state, start, state.catalog.children),
            )

    def namespaces(self) -> dict[Namespace, int]:
        """The namespaces that hold memories, with how many each."""
        with self._vault.view() as state:
            return dict(sorted(state.catalog.namespaces().items()))

    def threads(self, *, namespace: Namespace | str = DEFAULT_NAMESPACE) -> dict[str, int]:
        """The named threads of a namespace, with how many memories each."""
        with self._vault.view() as state:
            return dict(state.catalog.threads(check_namespace(namespace)))

    def stats(self) -> Stats:
        """The vault in numbers."""
        with self._vault.view() as state:
            root = state.root
            return Stats(
                memories=root.nodes - root.erased,
                erased=root.erased,
                namespaces=len(state.catalog.namespaces()),
                vectors={space.digest.hex()[:12]: space.rows for space in root.spaces},
                vectors_lost=sum(len(space.lost_blocks) for space in state.spaces),
                log_bytes=root.log_size,
                file_bytes=self._path.stat().st_size,
                tail=root.nodes - root.covered,
                commits=root.commits,
                indexed=all(not space.view.wants_graph for space in state.spaces),
            )

    # Forgetting

    def forget(
        self,
        ids: Iterable[str] | str | None = None,
        *,
        key: str | None = None,
        namespace: Namespace | str | None = None,
        descendants: bool = False,
        thread: str | None = None,
        where: Mapping[str, Any] | None = None,
        since: Time | None = None,
        until: Time | None = None,
        cascade: bool = False,
        dry_run: bool = False,
    ) -> Forgotten:
        """Erases memories for good: by ids, by key, or by everything that fits a selection.

        When it returns, neither content, vector, words nor metadata are left in the vault or its
        journal, not even for someone with the passphrase. Edges and ids stay.

        Args:
            ids: One id or several.
            key: The memory of this key, in `namespace`, with what it superseded.
            namespace, descendants, thread, where, since, until: Everything that fits all of them.
                A thread, where or time without a namespace looks in the default namespace.
            cascade: Also forget what was derived from them.
            dry_run: Only say what would be forgotten.

        Raises:
            InvalidArgument: nothing selects anything, or an id is given twice.
            NotFound: an id or key is unknown; nothing was erased.
            ScrubPending: erased and invisible, but old pages still stand in the journal.
        """
        conditions = {"thread": thread, "where": where, "since": since, "until": until}
        pick = picker(ids, key, namespace, descendants=descendants, **conditions)
        found: list[str] = []

        def chosen(state: State) -> npt.NDArray[np.int64]:
            ordinals = pick(state)
            if cascade:
                ordinals = with_derived(state, ordinals)
            found[:] = [state.node_id(int(ordinal)).hex() for ordinal in ordinals]
            return ordinals

        if dry_run:
            with self._vault.view() as state:
                chosen(state)
        else:
            self._scopes.clear()  # it holds copies of vectors
            self._vault.erase(chosen)
        return Forgotten(tuple(found), dry_run)

    # Keeping

    def verify(self, progress: Progress | None = None) -> Report:
        """Authenticates every block and checks every memory against its id, key and parents."""
        with self._vault.view() as state:
            problems = verify_blocks(state.container, progress)
            problems += verify_nodes(state, progress)
            return Report(state.root.blocks, state.root.nodes, tuple(problems))

    def checkpoint(self, progress: Progress | None = None) -> None:
        """Writes the views, so that the next open is fast; `close` does so too.

        Args:
            progress: Called with (rows done, rows in all) while the vector graph is built.
        """
        self._vault.checkpoint(progress)

    def reembed(self, progress: Progress | None = None) -> int:
        """Embeds memories whose vectors were lost to damage; returns how many."""
        return reembed(self._vault, self._embedder, progress)

    def change_passphrase(
        self, passphrase: str, *, profile: KdfProfile = KdfProfile.STANDARD
    ) -> None:
        """Replaces the passphrase. Old copies of the file still open with the old one."""
        self._vault.change_passphrase(passphrase, profile)

    def close(self) -> None:
        """Writes the views, empties the journal, wipes the keys. A second call does nothing."""
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
