"""`MimirIngestionCache`: an ingestion cache in a vault that forgets what is deleted or replaced."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from secrets import token_hex
from typing import Any

from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.ingestion.cache import DEFAULT_CACHE_NAME, IngestionCache
from llama_index.core.schema import BaseNode
from llama_index.core.storage.docstore.utils import doc_to_json

from mimir_core import Mimir, Namespace, Seen, retry_conflicts
from mimir_llamaindex.kvstore import MimirKVStore, Put

__all__ = ["MimirIngestionCache", "cached"]

_TOKEN = "__token__"
_ENTRIES = "cache/entries/"  # and a collection's name: key to nodes and the entry's token
_TOKENS = "cache/tokens"  # token to collection and key of an entry
_DOCUMENTS = "cache/documents"  # document to the tokens of the entries that hold something of it


class MimirIngestionCache(IngestionCache):
    """Keeps what transformations made, until a document of it is deleted or replaced.

    The key of an entry is made from the texts that went in, all documents of a run together, and
    does not say which documents these were. So an entry is filed under the source documents of its
    nodes, too. When a `MimirDocumentStore` on the same namespace deletes one of them or a node of
    it, or an ingestion replaces it, every entry with something of it is erased in the same
    transaction. (No later run would hit it: its key holds the old text.)

    Args:
        mimir: The open vault.
        namespace: That of the document store.
        collection: The collection, if a run names none.

    Raises:
        InvalidArgument, InvalidNamespace.
    """

    _kv: MimirKVStore = PrivateAttr()

    def __init__(
        self,
        mimir: Mimir,
        namespace: Namespace | str = ("llamaindex", "docs"),
        collection: str = DEFAULT_CACHE_NAME,
    ) -> None:
        kv = MimirKVStore(mimir, namespace)
        super().__init__(collection=collection, cache=kv)
        self._kv = kv

    def put(self, key: str, nodes: Sequence[BaseNode], collection: str | None = None) -> None:
        """Keeps what a transformation made of what the key stands for.

        Raises:
            InvalidArgument: JSON cannot hold a node.
            Conflict: others changed entries of these documents all the time; nothing was kept.
            ScrubPending: kept, but an older entry is not yet scrubbed from the journal.
        """
        place = self._entries(collection)
        value = {self.nodes_key: [doc_to_json(node) for node in nodes]}
        documents = list(dict.fromkeys(node.ref_doc_id or node.node_id for node in nodes))
        retry_conflicts(lambda: self._put(place, key, value, documents))

    def get(self, key: str, collection: str | None = None) -> Sequence[BaseNode] | None:
        """What was kept under a key, or None. Raises InvalidArgument unless it is a string."""
        return super().get(key, self._entries(collection))

    def delete_documents(self, ref_doc_ids: Iterable[str]) -> None:
        """Erases every entry with something of these source documents, for good.

        A `MimirDocumentStore` on the same namespace does so by itself.

        Raises:
            InvalidArgument: an id is no string.
            Conflict: others changed entries of these documents all the time; nothing was erased.
            ScrubPending: erased, but old pages still stand in the journal.
        """
        documents = list(ref_doc_ids)

        def attempt() -> None:
            deletes, seen = cached(self._kv, documents)
            self._kv.apply(deletes=deletes, unchanged=seen)

        retry_conflicts(attempt)

    def clear(self, collection: str | None = None) -> None:
        """Erases all entries of a collection for good.

        Raises:
            Conflict: others changed entries all the time; nothing was erased.
            ScrubPending: erased, but old pages still stand in the journal.
        """
        place = self._entries(collection)

        def attempt() -> None:
            entries = self._kv.get_all(place)
            deletes = [(place, key) for key in entries]
            tokens = {value[_TOKEN] for value in entries.values()}
            deletes += [(_TOKENS, token) for token in tokens]
            seen = self._kv.seen(entries, place)
            others = set(self._kv.get_all(_TOKENS)) - tokens
            filed = {n: set(value["tokens"]) for n, value in self._kv.get_all(_DOCUMENTS).items()}
            touched = {name: kept & others for name, kept in filed.items() if kept - others}
            seen += self._kv.seen(touched, _DOCUMENTS)
            puts: list[Put] = [
                (_DOCUMENTS, name, {"tokens": sorted(kept)})
                for name, kept in touched.items()
                if kept
            ]
            deletes += [(_DOCUMENTS, name) for name, kept in touched.items() if not kept]
            self._kv.apply(puts, deletes, seen)

        retry_conflicts(attempt)

    def persist(self, persist_path: str, fs: Any = None) -> None:
        """Writes nothing: the vault is the state."""

    def _entries(self, collection: str | None) -> str:
        return _ENTRIES + (self.collection if collection is None else collection)

    def _put(self, place: str, key: str, value: dict[str, Any], documents: list[str]) -> None:
        seen = [*self._kv.seen([key], place), *self._kv.seen(documents, _DOCUMENTS)]
        older = self._kv.get(key, place)
        token = token_hex(16)
        puts: list[Put] = [
            (_DOCUMENTS, name, {"tokens": [*kept, token]})
            for name, kept in zip(documents, self._living(documents), strict=True)
        ]
        puts += [(_TOKENS, token, {"entry": [place, key]}), (place, key, value | {_TOKEN: token})]
        deletes = [] if older is None else [(_TOKENS, older[_TOKEN])]
        self._kv.apply(puts, deletes, seen)  # the entry last: none is there without its documents


    def _living(self, documents: list[str]) -> list[list[str]]:
        """The tokens of each document whose entries are still there."""
        found = self._kv.get_many(documents, _DOCUMENTS)
        filed = [kept["tokens"] if kept else [] for kept in found]
        tokens = list(dict.fromkeys(token for kept in filed for token in kept))
        entries = zip(tokens, self._kv.get_many(tokens, _TOKENS), strict=True)
        there = {token for token, entry in entries if entry is not None}
        return [[token for token in kept if token in there] for kept in filed]


def cached(
    kv: MimirKVStore, documents: Sequence[str]
) -> tuple[list[tuple[str, str]], list[Seen]]:
    """What to erase of a cache with these documents, and what that was seen in, for `apply`."""
    seen = kv.seen(documents, _DOCUMENTS)
    filed = dict(zip(documents, kv.get_many(documents, _DOCUMENTS), strict=True))
    there = {name: value["tokens"] for name, value in filed.items() if value is not None}
    tokens = list(dict.fromkeys(token for kept in there.values() for token in kept))
    entries = kv.get_many(tokens, _TOKENS)
    deletes = [(_DOCUMENTS, name) for name in there]
    deletes += [(_TOKENS, token) for token in tokens]
    deletes += [(place, key) for place, key in (one["entry"] for one in entries if one)]
    return deletes, seen
