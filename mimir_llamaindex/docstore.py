"""`MimirDocumentStore`: LlamaIndex's documents and nodes in an open vault."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from llama_index.core.schema import BaseNode
from llama_index.core.storage.docstore.keyval_docstore import KVDocumentStore
from llama_index.core.storage.docstore.types import RefDocInfo
from llama_index.core.storage.docstore.utils import doc_to_json, json_to_doc

from mimir_core import Mimir, Namespace, Seen, retry_conflicts
from mimir_core.errors import InvalidArgument, ScrubPending
from mimir_llamaindex.batches import each, listed
from mimir_llamaindex.ingestion_cache import cached
from mimir_llamaindex.kvstore import MimirKVStore, Put, check_pairs
from mimir_llamaindex.nodes import media_of
from mimir_llamaindex.scrubs import late, scrub_last
from mimir_llamaindex.vaults import digest

__all__ = ["MimirDocumentStore", "content_id"]

Pair = tuple[str, dict[str, Any]]
_MEDIA = "__media__"


def content_id(number: int, document: BaseNode) -> str:
    """A chunk's id made from its document's id and content and its number in the document.

    Given to a node parser as `id_func`, it makes ingesting the same document again, after a crash
    for one, replace the same chunks instead of adding them a second time.
    """
    parts = (document.node_id, document.hash, str(number))
    return digest("\0".join(parts))


class MimirDocumentStore(KVDocumentStore):
    """Keeps nodes, their hashes and what belongs to which document in a vault.

    A call that adds or deletes is one transaction (of 1,024 records at a time): nodes, hashes and
    document infos are all there or none is. Bytes of media, which a node's dump leaves out, are
    kept. Nothing is left for `persist` to do: it writes no file.

    Threads and processes may add nodes of one document at once, through one store or several. A
    document's info is read, changed and written back only if it is still what was read; else again
    (100 times at most, then whatever writes raises `Conflict`).

    What a `MimirIngestionCache` on the same namespace keeps of a document goes with it.

    LlamaIndex sets a document's hash first and stores the document after it, and takes one whose
    hash is there for done. So a `ScrubPending` of setting hashes is raised by the next call that
    stores or deletes.

    Args:
        mimir: The open vault.
        namespace: Where the documents live.

    Raises:
        InvalidArgument, InvalidNamespace.
    """

    _kvstore: MimirKVStore

    def __init__(self, mimir: Mimir, namespace: Namespace | str = ("llamaindex", "docs")) -> None:
        super().__init__(MimirKVStore(mimir, namespace))
        self._owed: ScrubPending | None = None  # by hashes that were set

    @property
    def docs(self) -> dict[str, BaseNode]:
        """All nodes and documents by id."""
        stored = self._kvstore.get_all(collection=self._node_collection)
        return {key: _node(data) for key, data in stored.items()}

    def add_documents(
        self,
        docs: Sequence[BaseNode],
        allow_update: bool = True,
        batch_size: int | None = None,
        store_text: bool = True,
    ) -> None:
        """Stores nodes or documents.

        Args:
            docs: What to store, the last one of a repeated id.
            allow_update: Whether they may replace what has the same id.
            batch_size: Does not matter here; see `MimirKVStore.put_all`.
            store_text: Whether to store them, and not only their hashes.

        Raises:
            InvalidArgument: one is there already and must not be replaced, is no node, or holds
                what cannot be stored, with its number; nothing was stored.
            ScrubPending: all are stored, but the older are not yet scrubbed from the journal.
        """
        docs = list(each(_checked, listed(docs, "nodes")))
        new = [] if allow_update else [doc.node_id for doc in docs]

        def attempt() -> None:
            seen = self._seen_infos(doc.ref_doc_id for doc in docs)
            seen += self._kvstore.seen(new, self._node_collection)
            list(each(_check_free, self._kvstore.get_many(new, self._node_collection)))
            nodes, hashes, infos = self._prepare_kv_pairs(docs, True, store_text)
            # hashes last: a document whose hash is there counts as done
            puts = self._puts(self._node_collection, nodes)
            puts += self._puts(self._ref_doc_collection, infos)
            puts += self._puts(self._metadata_collection, hashes)
            self._kvstore.apply(puts, unchanged=seen)

        try:
            with self._whole():
                retry_conflicts(attempt)
        except InvalidArgument:
            check_pairs([(doc.node_id, doc_to_json(doc)) for doc in docs])
            raise

    def get_document(self, doc_id: str, raise_error: bool = True) -> BaseNode | None:
        """A node by its id; None if there is none and `raise_error` is false.

        Raises:
            ValueError: there is no such node.
            InvalidArgument: the id is no string.
        """
        found = self._kvstore.get(doc_id, collection=self._node_collection)
        if found is None and raise_error:
            raise ValueError("no such node")
        return None if found is None else _node(found)

    def get_nodes(self, node_ids: list[str], raise_error: bool = True) -> list[BaseNode]:
        """Nodes by their ids, in order, without those that are not there if `raise_error` is false.

        Raises:
            ValueError: one of them is not there.
            InvalidArgument: an id is no string.
        """
        found = self._kvstore.get_many(node_ids, self._node_collection)
        if raise_error and None in found:
            raise ValueError("no such node")
        return [_node(data) for data in found if data is not None]

    def delete_document(self, doc_id: str, raise_error: bool = True) -> None:
        """Erases a node for good, and its document's info with the last of its nodes.

        Raises:
            ValueError: there is no such node, unless `raise_error` is false.
            InvalidArgument: the id is no string.
            ScrubPending: erased, but old pages still stand in the journal.
        """
        with self._whole():
            if retry_conflicts(lambda: self._erase([doc_id])) == 0 and raise_error:
                raise ValueError("no such node")

    def delete_ref_doc(self, ref_doc_id: str, raise_error: bool = True) -> None:
        """Erases a document and all of its nodes for good.

        As LlamaIndex's, it leaves a document alone of which there are no nodes, such as those that
        an `IngestionPipeline` keeps; it only empties their cache. See `delete_document`.

        Raises:
            ValueError: no node belongs to such a document, unless `raise_error` is false.
            InvalidArgument: the id is no string.
            ScrubPending: erased, but old pages still stand in the journal.
        """

        def attempt() -> bool:
            seen = self._seen_infos([ref_doc_id])
            info = self.get_ref_doc_info(ref_doc_id)
            if info is not None:
                self._erase(info.node_ids, [ref_doc_id], seen)
            else:
                self._forget_cached([ref_doc_id])
            return info is not None

        with self._whole():
            if not retry_conflicts(attempt) and raise_error:
                raise ValueError("no such document")

    def set_document_hash(self, doc_id: str, doc_hash: str) -> None:
        """Sets a document's hash; if it had another, what is cached of the older document goes.

        Raises:
            InvalidArgument: the id is no string.
            Conflict: others changed the document's cache all the time; nothing was set.
        """

        def attempt() -> None:
            seen = self._kvstore.seen([doc_id], self._metadata_collection)
            older = self._kvstore.get(doc_id, self._metadata_collection)
            put = (self._metadata_collection, doc_id, {"doc_hash": doc_hash})
            deletes: list[tuple[str, str]] = []
            if older is not None and older.get("doc_hash") != doc_hash:
                owner = older.get("ref_doc_id", doc_id)
                deletes, seen_cache = cached(self._kvstore, list({doc_id, owner}))
                seen += seen_cache
            self._kvstore.apply([put], deletes, seen)

        with self._owing():
            retry_conflicts(attempt)

    def set_document_hashes(self, doc_hashes: dict[str, str]) -> None:
        """Sets hashes of documents. Raises InvalidArgument and Conflict as `set_document_hash`."""
        with self._owing():
            super().set_document_hashes(doc_hashes)

    def forget_hashes(self, doc_ids: Iterable[str]) -> None:
        """Erases the hashes of documents of which neither they nor a node are here; others stay.

        Raises:
            InvalidArgument: an id is no string.
            Conflict: others changed them all the time; nothing was erased.
            ScrubPending: erased, but old pages still stand in the journal.
        """
        ids = list(doc_ids)

        def attempt() -> None:
            places = (self._node_collection, self._ref_doc_collection, self._metadata_collection)
            seen = [one for place in places for one in self._kvstore.seen(ids, place)]
            here = {one.key for one in seen[: 2 * len(ids)] if one.id is not None}
            hashes = zip(ids, seen[2 * len(ids) :], strict=True)
            bare = [id_ for id_, one in hashes if one.id is not None and one.key not in here]
            if bare:
                self._erase(bare, (), seen)

        with scrub_last():
            retry_conflicts(attempt)

    async def async_add_documents(
        self,
        docs: Sequence[BaseNode],
        allow_update: bool = True,
        batch_size: int | None = None,
        store_text: bool = True,
    ) -> None:
        """Like `add_documents`, off the event loop."""
        await asyncio.to_thread(self.add_documents, docs, allow_update, batch_size, store_text)

    async def aget_document(self, doc_id: str, raise_error: bool = True) -> BaseNode | None:
        """Like `get_document`, off the event loop."""
        return await asyncio.to_thread(self.get_document, doc_id, raise_error)

    async def aget_nodes(self, node_ids: list[str], raise_error: bool = True) -> list[BaseNode]:
        """Like `get_nodes`, off the event loop."""
        return await asyncio.to_thread(self.get_nodes, node_ids, raise_error)

    async def adelete_document(self, doc_id: str, raise_error: bool = True) -> None:
        """Like `delete_document`, off the event loop."""
        await asyncio.to_thread(self.delete_document, doc_id, raise_error)

    async def adelete_ref_doc(self, ref_doc_id: str, raise_error: bool = True) -> None:
        """Like `delete_ref_doc`, off the event loop."""
        await asyncio.to_thread(self.delete_ref_doc, ref_doc_id, raise_error)

    async def aset_document_hash(self, doc_id: str, doc_hash: str) -> None:
        """Like `set_document_hash`, off the event loop."""
        await asyncio.to_thread(self.set_document_hash, doc_id, doc_hash)

    async def aset_document_hashes(self, doc_hashes: dict[str, str]) -> None:
        """Like `set_document_hashes`, off the event loop."""
        await asyncio.to_thread(self.set_document_hashes, doc_hashes)

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """All of a call first, then ScrubPending: its own, or that of hashes set before."""
        with scrub_last():
            owed, self._owed = self._owed, None
            with late():
                if owed is not None:
                    raise owed
            yield

    @contextmanager
    def _owing(self) -> Iterator[None]:
        try:
            yield
        except ScrubPending as error:
            self._owed = error.with_traceback(None)

    def _seen_infos(self, ref_doc_ids: Iterable[str | None]) -> list[Seen]:
        """What there is of documents, to be asked before it is read."""
        names = {ref for ref in ref_doc_ids if ref is not None}
        return self._kvstore.seen(names, self._ref_doc_collection)

    def _get_kv_pairs_for_insert(
        self, node: BaseNode, ref_doc_info: RefDocInfo | None, store_text: bool
    ) -> tuple[Pair | None, Pair | None, Pair | None]:
        pairs = super()._get_kv_pairs_for_insert(node, ref_doc_info, store_text)
        if pairs[0] is not None and (media := _media(node)):
            pairs[0][1][_MEDIA] = media
        return pairs

    def _erase(
        self, doc_ids: Sequence[str], ref_doc_ids: Sequence[str] = (), seen: Sequence[Seen] = ()
    ) -> int:
        """Erases nodes and documents and what is said of them; returns how many records.

        Args:
            seen: What the choice was made from. Raises Conflict if that changed.
        """
        infos: dict[str, RefDocInfo] = {}
        expected = [*seen, *self._kvstore.seen(doc_ids, self._metadata_collection)]
        owners = {doc_id: self._get_ref_doc_id(doc_id) for doc_id in doc_ids}
        expected += self._seen_infos(owners.values())
        for doc_id, ref in owners.items():
            if ref is not None:
                self._take_out(doc_id, ref, infos)
        named = {*doc_ids, *ref_doc_ids, *(ref for ref in owners.values() if ref is not None)}
        of_cache, seen_cache = cached(self._kvstore, list(named))
        emptied = [*ref_doc_ids, *(ref for ref, info in infos.items() if not info.node_ids)]
        deletes = [(self._ref_doc_collection, ref) for ref in emptied]
        for place in (self._node_collection, self._metadata_collection):
            deletes += [(place, doc_id) for doc_id in (*doc_ids, *emptied)]
        kept = [(ref, info.to_dict()) for ref, info in infos.items() if ref not in emptied]
        puts = self._puts(self._ref_doc_collection, kept)
        return self._kvstore.apply(puts, [*deletes, *of_cache], [*expected, *seen_cache])

    def _forget_cached(self, documents: Sequence[str]) -> None:
        deletes, seen = cached(self._kvstore, documents)
        if deletes:
            self._kvstore.apply(deletes=deletes, unchanged=seen)

    def _take_out(self, doc_id: str, ref: str, infos: dict[str, RefDocInfo]) -> None:
        """Takes a node out of its document's info, read into `infos` where it is not there yet."""
        info = infos.get(ref) or self.get_ref_doc_info(ref)
        if info is not None:
            infos[ref] = info
            info.node_ids = [one for one in info.node_ids if one != doc_id]

    @staticmethod
    def _puts(collection: str, pairs: Iterable[Pair]) -> list[Put]:
        return [(collection, key, value) for key, value in pairs]


def _checked(node: object) -> BaseNode:
    if not isinstance(node, BaseNode):
        raise InvalidArgument("a document store takes nodes")
    return node


def _check_free(found: object) -> None:
    if found is not None:
        raise InvalidArgument("a node of this id already exists", hint="see allow_update")


def _media(node: BaseNode) -> dict[str, str]:
    """The bytes of a node's media by field, in base64."""
    return {name: b64encode(data).decode("ascii") for name, data in media_of(node).items()}


def _node(stored: dict[str, Any]) -> BaseNode:
    media = stored.pop(_MEDIA, {})
    node: BaseNode = json_to_doc(stored)
    for name, data in media.items():
        getattr(node, name).data = b64decode(data)
    return node
