"""`MimirDocumentStore`: LlamaIndex's documents and nodes in an open vault."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from typing import Any

from llama_index.core.schema import BaseNode
from llama_index.core.storage.docstore.keyval_docstore import KVDocumentStore
from llama_index.core.storage.docstore.types import RefDocInfo
from llama_index.core.storage.docstore.utils import json_to_doc

from mimir_core import Mimir, Namespace, Seen, retry_conflicts
from mimir_core.errors import InvalidArgument
from mimir_llamaindex.kvstore import MimirKVStore, Put
from mimir_llamaindex.nodes import media_of
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

    Args:
        mimir: The open vault.
        namespace: Where the documents live.

    Raises:
        InvalidArgument, InvalidNamespace.
    """

    _kvstore: MimirKVStore

    def __init__(self, mimir: Mimir, namespace: Namespace | str = ("llamaindex", "docs")) -> None:
        super().__init__(MimirKVStore(mimir, namespace))

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
                what cannot be stored; nothing was stored.
        """
        docs = list(docs)
        if not all(isinstance(doc, BaseNode) for doc in docs):
            raise InvalidArgument("a document store takes nodes")
        new = [] if allow_update else [doc.node_id for doc in docs]

        def attempt() -> None:
            seen = self._seen_infos(doc.ref_doc_id for doc in docs)
            seen += self._kvstore.seen(new, self._node_collection)
            self._check_new(new)
            nodes, hashes, infos = self._prepare_kv_pairs(docs, True, store_text)
            # hashes last: a document whose hash is there counts as done
            puts = self._puts(self._node_collection, nodes)
            puts += self._puts(self._ref_doc_collection, infos)
            puts += self._puts(self._metadata_collection, hashes)
            self._kvstore.apply(puts, unchanged=seen)

        retry_conflicts(attempt)

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
        if retry_conflicts(lambda: self._erase([doc_id])) == 0 and raise_error:
            raise ValueError("no such node")

    def delete_ref_doc(self, ref_doc_id: str, raise_error: bool = True) -> None:
        """Erases a document and all of its nodes for good.

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
            return info is not None

        if not retry_conflicts(attempt) and raise_error:
            raise ValueError("no such document")

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

    def _seen_infos(self, ref_doc_ids: Iterable[str | None]) -> list[Seen]:
        """What there is of documents, to be asked before it is read."""
        names = {ref for ref in ref_doc_ids if ref is not None}
        return self._kvstore.seen(names, self._ref_doc_collection)

    def _check_new(self, ids: Sequence[str]) -> None:
        if any(self._kvstore.get_many(ids, self._node_collection)):
            raise InvalidArgument("a node of this id already exists", hint="see allow_update")

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
        emptied = [*ref_doc_ids, *(ref for ref, info in infos.items() if not info.node_ids)]
        deletes = [(self._ref_doc_collection, ref) for ref in emptied]
        for place in (self._node_collection, self._metadata_collection):
            deletes += [(place, doc_id) for doc_id in (*doc_ids, *emptied)]
        kept = [(ref, info.to_dict()) for ref, info in infos.items() if ref not in emptied]
        return self._kvstore.apply(self._puts(self._ref_doc_collection, kept), deletes, expected)

    def _take_out(self, doc_id: str, ref: str, infos: dict[str, RefDocInfo]) -> None:
        """Takes a node out of its document's info, read into `infos` where it is not there yet."""
        info = infos.get(ref) or self.get_ref_doc_info(ref)
        if info is not None:
            infos[ref] = info
            info.node_ids = [one for one in info.node_ids if one != doc_id]

    @staticmethod
    def _puts(collection: str, pairs: Iterable[Pair]) -> list[Put]:
        return [(collection, key, value) for key, value in pairs]


def _media(node: BaseNode) -> dict[str, str]:
    """The bytes of a node's media by field, in base64."""
    return {name: b64encode(data).decode("ascii") for name, data in media_of(node).items()}


def _node(stored: dict[str, Any]) -> BaseNode:
    media = stored.pop(_MEDIA, {})
    node: BaseNode = json_to_doc(stored)
    for name, data in media.items():
        getattr(node, name).data = b64decode(data)
    return node
