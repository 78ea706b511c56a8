"""What a vault holds, without a search: by id, key, thread and namespace; lineage and numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mimir_core import display
from mimir_core.embedding import Embedder
from mimir_core.errors import InvalidArgument, NotFound
from mimir_core.graph import Graph, graph_of
from mimir_core.intake import (
    DEFAULT_NAMESPACE,
    Time,
    check_keys,
    check_name,
    node_id,
    node_ids,
)
from mimir_core.reading import open_memory, relatives
from mimir_core.results import Lineage, Memory, Stats, Thread
from mimir_core.scope import Scope
from mimir_core.searched import stored_vectors
from mimir_core.seen import Seen, newest
from mimir_core.types import Namespace, check_namespace
from mimir_core.vault.vault import Vault

_FIRST_OPENED, _MOST_OPENED = 16, 256


class Lookup:
    """The reading half of `Mimir`."""

    _vault: Vault
    _embedder: Embedder
    _path: Path

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

    def get_many(
        self,
        ids: Iterable[str] | None = None,
        *,
        keys: Iterable[str] | None = None,
        namespace: Namespace | str = DEFAULT_NAMESPACE,
    ) -> list[Memory | None]:
        """Opens memories by ids, or by keys within a namespace; None for those nobody has.

        Raises:
            InvalidArgument: unless either ids or keys are given, and each is one.
        """
        if (ids is None) == (keys is None):
            raise InvalidArgument("give either ids or keys")
        place = check_namespace(namespace)
        wanted = node_ids(ids or ())
        names = () if keys is None else check_keys(keys)
        with self._vault.view() as state:
            found = [state.find(id_) for id_ in wanted]
            found += [state.catalog.by_key(place, name) for name in names]
            return [
                None if one is None or state.is_erased(one) else open_memory(state, one)
                for one in found
            ]

    def keys(
        self, *, namespace: Namespace | str = DEFAULT_NAMESPACE, descendants: bool = False
    ) -> list[str]:
        """The keys of a namespace's live memories, in the order they were stored; opens nothing."""
        scope = Scope.checked(check_namespace(namespace), descendants)
        with self._vault.view() as state:
            ordinals = np.flatnonzero(scope.mask(state)).tolist()
            keys = [state.catalog.key(ordinal) for ordinal in ordinals]
            return [key for key in keys if key is not None]

    def sorted_keys(
        self,
        prefix: str,
        *,
        namespace: Namespace | str = DEFAULT_NAMESPACE,
        last: int | None = None,
    ) -> list[str]:
        """The keys of a namespace that begin with a prefix, each once, by code points.

        It opens nothing, and costs what it returns, however many other keys there are.

        Args:
            prefix: How the keys begin; "" for all.
            last: Only so many, the greatest.

        Raises:
            InvalidArgument: for what is no prefix or number.
        """
        if not isinstance(prefix, str):
            raise InvalidArgument("a prefix is a string")
        if last is not None and (not isinstance(last, int) or last < 0):
            raise InvalidArgument("last is a number of keys")
        place = check_namespace(namespace)
        with self._vault.view() as state:
            return state.catalog.sorted_keys(place, prefix, last)

    def vectors(self, ids: Iterable[str]) -> npt.NDArray[np.float32]:
        """The stored vectors of memories, each one's first: float32 [n, dimension], unit length.

        Raises:
            NotFound: there is no such memory, or it has no vector of this handle's model.
            VectorsLost.
        """
        wanted = node_ids(ids)
        with self._vault.view() as state:
            return stored_vectors(state, wanted, self._embedder.space)

    def known(
        self, keys: Iterable[str], *, namespace: Namespace | str = DEFAULT_NAMESPACE
    ) -> list[str | None]:
        """The ids of the live memories that have these keys, None for keys nobody has.

        Raises:
            InvalidArgument: for what is no list of keys.
        """
        place, names = check_namespace(namespace), check_keys(keys)
        with self._vault.view() as state:
            found = [state.catalog.by_key(place, name) for name in names]
            return [None if one is None else state.node_id(one).hex() for one in found]

    def seen(
        self,
        keys: Iterable[str] | None = None,
        *,
        namespace: Namespace | str = DEFAULT_NAMESPACE,
    ) -> list[Seen]:
        """What is newest under each of these keys now, for `unchanged` of `replace`.

        To be asked before reading what a change is made from. Without keys: what is newest in the
        whole namespace, as the only one of the list.
        """
        place = check_namespace(namespace)
        names: list[str | None] = [None] if keys is None else [*check_keys(keys)]
        with self._vault.view() as state:
            found = [newest(state, place, name) for name in names]
            ids = [None if one is None else state.node_id(one).hex() for one in found]
        return [Seen(id_, place, name) for id_, name in zip(ids, names, strict=True)]

    def thread(
        self,
        name: str,
        *,
        namespace: Namespace | str = DEFAULT_NAMESPACE,
        last: int | None = None,
    ) -> Thread:
        """The memories of a thread, oldest first; empty if there is no such thread.

        Args:
            last: Only so many, the newest.
        """
        if last is not None and (not isinstance(last, int) or last < 0):
            raise InvalidArgument("last is a number of memories")
        checked = check_name(name, "thread name")
        if checked is None:
            raise InvalidArgument("a thread has a name")
        with self._vault.view() as state:
            ordinals = state.catalog.thread_ordinals(check_namespace(namespace), checked)
            chosen = ordinals if last is None else ordinals[max(len(ordinals) - last, 0) :]
            return Thread(open_memory(state, int(ordinal)) for ordinal in chosen)

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
        at, size = 0, _FIRST_OPENED  # whoever takes a few pays for a few
        while at < len(ordinals):
            with self._vault.view() as state:
                alive = [o for o in ordinals[at : at + size] if not state.is_erased(o)]
                opened = [open_memory(state, ordinal) for ordinal in alive]
            yield from opened
            at, size = at + size, min(2 * size, _MOST_OPENED)

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

    def graph(
        self,
        *,
        namespace: Namespace | str | None = None,
        descendants: bool = False,
        thread: str | None = None,
        where: Mapping[str, Any] | None = None,
        since: Time | None = None,
        until: Time | None = None,
    ) -> Graph:
        """The memories that fit, the erased ones beside them, and their edges; opens nothing."""
        scope = Scope.checked(namespace, descendants, thread, where, since, until)
        with self._vault.view() as state:
            return graph_of(state, scope.mask(state))

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

    # In a notebook

    plot_map = display.plot_map
    plot_dag = display.plot_dag
    _repr_html_ = display.vault_html
