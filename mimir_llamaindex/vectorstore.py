"""`MimirVectorStore`: the nodes of an index, sealed in a vault."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Final, NoReturn

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)

from mimir_core import Hit, Memory, Mimir, Namespace
from mimir_core.errors import InvalidArgument, InvalidVector, NotFound, NotSerializable
from mimir_llamaindex.batches import each, item, listed, numbers_of, renumbered
from mimir_llamaindex.docstore import MimirDocumentStore
from mimir_llamaindex.embedding import handles, hinting
from mimir_llamaindex.filters import DOCUMENT, where
from mimir_llamaindex.nodes import from_memory, key_of, to_item
from mimir_llamaindex.scrubs import late, scrub_last
from mimir_llamaindex.vaults import is_text, namespace_in

__all__ = ["MimirVectorStore"]

DEFAULT_NAMESPACE: Final[Namespace] = ("llamaindex", "vectors")
DEFAULT_ALPHA: Final = 0.5
DEFAULT_MMR_THRESHOLD: Final = 0.5
MAX_K: Final = 10_000

Mode = VectorStoreQueryMode
Result = VectorStoreQueryResult


class MimirVectorStore(BasePydanticVectorStore):
    """A vector store in an open vault: whole nodes, found by vectors and by words.

    A node's id is its key, so that adding it again replaces it. Nodes come back as they went in:
    of their own class, images and all, without their embedding. One whose text has no visible
    character is found by its vector, its metadata and its id.

    Modes are DEFAULT, whose similarity is the cosine; SPARSE and TEXT_SEARCH, where it is BM25;
    HYBRID, with `alpha` from 0, words alone, to 1, vectors alone; and MMR, with `mmr_threshold`
    from 0, unlike each other, to 1, like the query. Others are refused. A query with ids, documents
    or filters and no embedding lists what fits, in the order it was stored, at similarity 1.

    Args:
        mimir: An open vault.
        namespace: Where the nodes are; it holds vectors of one model.
        model: What makes the embeddings: the embedding model of the index, or any name for it.
            Vectors under another name are then refused here. Without it, only vectors of another
            length are. With a `MimirEmbedding`, `Mimir.recall` finds the nodes, too.
        docstore: The document store beside it. An index that keeps its texts here tells it a
            document's hash, and never tells it that the document was deleted. With it, the hash
            goes with the last node of a document, unless the store has the document itself.

    Raises:
        InvalidNamespace, InvalidArgument.
    """

    stores_text: bool = True
    is_embedding_query: bool = True
    flat_metadata: bool = False

    _mimir: Mimir = PrivateAttr()
    _namespace: Namespace = PrivateAttr()
    _model: BaseEmbedding | str | None = PrivateAttr()
    _docstore: MimirDocumentStore | None = PrivateAttr()
    _handle: Callable[[int], Mimir] = PrivateAttr()

    def __init__(
        self,
        mimir: Mimir,
        namespace: Namespace | str = DEFAULT_NAMESPACE,
        *,
        model: BaseEmbedding | str | None = None,
        docstore: MimirDocumentStore | None = None,
    ) -> None:
        if docstore is not None and not isinstance(docstore, MimirDocumentStore):
            raise InvalidArgument("docstore is a `MimirDocumentStore`")
        super().__init__()  # type: ignore[call-arg]  # every field has a default here
        self._namespace = namespace_in(mimir, namespace)
        self._mimir = mimir
        self._model = model
        self._docstore = docstore
        self._handle = handles(mimir, model)

    @classmethod
    def class_name(cls) -> str:
        return "MimirVectorStore"

    @property
    def client(self) -> Mimir:
        """The open vault."""
        return self._mimir

    @property
    def namespace(self) -> Namespace:
        """Where the nodes are."""
        return self._namespace

    @property
    def model(self) -> BaseEmbedding | str | None:
        """What makes the embeddings, as it was given."""
        return self._model

    # Writing

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Stores nodes with their embeddings; one with a known id replaces the older.

        Of nodes with the same id the last counts. Up to 2,048 are one transaction.

        Returns:
            The ids, in the order given.

        Raises:
            InvalidVector: a node has no embedding, or one of another length, with a number that
                is not finite, or without direction; nothing was written.
            InvalidMetadata, InvalidText, InvalidArgument: something cannot be stored; nothing was.
            SpaceMismatch: the namespace holds vectors of another model; nothing was written.
            ScrubPending: all are stored, but the older are not yet scrubbed from the journal.
        """
        nodes = listed(nodes, "nodes")
        items = list(each(lambda node: to_item(node, self._namespace), nodes))
        numbers = numbers_of(nodes)
        latest = list({one.key: at for at, one in enumerate(items)}.values())
        if items:
            with item(numbers[0]):
                handle = self._space_of(nodes[0].embedding)
            with hinting(), late(), renumbered([numbers[at] for at in latest]):
                handle.remember_many([items[at] for at in latest])
        return [node.node_id for node in nodes]

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Erases the nodes of a source document.

        Raises:
            InvalidArgument: the id is no text.
            ScrubPending: erased and invisible, but old pages still stand in the journal.
        """
        if not isinstance(ref_doc_id, str):
            raise InvalidArgument("the id of a document is a text")
        with scrub_last():
            self._forget(namespace=self._namespace, where=_of_documents([ref_doc_id]))
            self._forget_hashes([ref_doc_id])

    def delete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **delete_kwargs: Any,
    ) -> None:
        """Erases nodes by ids, by filters, or those that fit both. Without either it erases none.

        Raises:
            InvalidArgument: the ids are no list of texts.
            InvalidFilter.
            ScrubPending: erased and invisible, but old pages still stand in the journal.
        """
        condition = where(filters)
        keys = None if node_ids is None and condition is not None else _keys(node_ids)
        documents = self._documents(keys, condition)
        with scrub_last():
            if keys is None:
                self._forget(namespace=self._namespace, where=condition)
            elif condition is None:
                self._forget(keys=keys, namespace=self._namespace)
            else:
                self._forget_among(keys, condition)
            self._forget_hashes(documents)

    def clear(self, **kwargs: Any) -> None:
        """Erases every node of the namespace.

        Raises:
            ScrubPending: erased and invisible, but old pages still stand in the journal.
        """
        documents = self._documents(None, None)
        with scrub_last():
            self._forget(namespace=self._namespace)
            self._forget_hashes(documents)

    # Reading

    def get_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **kwargs: Any,
    ) -> list[BaseNode]:
        """The nodes of these ids, in their order, or all, that fit the filters.

        Unknown ids are passed over.

        Raises:
            InvalidArgument: the ids are no list of texts.
            InvalidFilter.
        """
        keys = None if node_ids is None else _keys(node_ids)
        return [from_memory(memory) for memory in self._memories(keys, where(filters))]

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """What answers a query, best first, as nodes, similarities and ids.

        Args:
            query: An embedding, a text, or both, as the mode needs; `similarity_top_k` from 1 to
                10,000. Ids, document ids and filters must all fit; an empty list of ids is none.
            kwargs: `mmr_threshold`, before that of the query.

        Raises:
            InvalidArgument: for an unsupported mode, a number outside its range, or a query that
                asks for nothing.
            InvalidText, InvalidVector, InvalidFilter: for what cannot be searched with.
            SpaceMismatch: the namespace holds vectors of another model.
        """
        keys = _keys(query.node_ids) or None
        condition = _condition(query)
        mode = _mode(query)
        if mode is Mode.DEFAULT and query.query_embedding is None:
            return self._listed(query, keys, condition)
        known = None if keys is None else self._mimir.known(keys, namespace=self._namespace)
        among = None if known is None else [id_ for id_ in known if id_ is not None]
        options: dict[str, Any] = {
            "namespace": self._namespace, "where": condition, "among": among
        }  # fmt: skip
        if mode in (Mode.SPARSE, Mode.TEXT_SEARCH):
            k = query.similarity_top_k if query.sparse_top_k is None else query.sparse_top_k
            hits = self._mimir.recall(query.query_str, k=k, mode="lexical", **options)
            return _result((hit.memory for hit in hits), [hit.score for hit in hits])
        return self._nearest(mode, query, kwargs, options)

    def _nearest(
        self, mode: Mode, query: VectorStoreQuery, kwargs: dict[str, Any], options: dict[str, Any]
    ) -> VectorStoreQueryResult:
        """What a vector finds, with words in a hybrid query."""
        k, text = query.similarity_top_k, None
        if mode is Mode.HYBRID:
            k = k if query.hybrid_top_k is None else query.hybrid_top_k
            balance = DEFAULT_ALPHA if query.alpha is None else query.alpha
            options |= {"balance": balance, "spread": 0.0}
            text = query.query_str or ""
        elif mode is Mode.MMR:
            options["diversity"] = _diversity(kwargs.get("mmr_threshold", query.mmr_threshold))
        vector = query.query_embedding
        with hinting():
            hits = self._space_of(vector).recall(
                text, k=k, mode="dense" if text is None else "hybrid", vector=vector, **options
            )
        return _result((hit.memory for hit in hits), [_similarity(mode, hit) for hit in hits])

    def _listed(
        self, query: VectorStoreQuery, keys: list[str] | None, condition: dict[str, Any] | None
    ) -> VectorStoreQueryResult:
        if keys is None and condition is None:
            raise InvalidArgument("a query has an embedding, ids, documents or filters")
        k = query.similarity_top_k
        if not isinstance(k, int) or not 1 <= k <= MAX_K:
            raise InvalidArgument(f"similarity_top_k is a whole number from 1 to {MAX_K}")
        found = list(islice(self._memories(keys, condition), k))
        return _result(found, [1.0] * len(found))

    # The same in a thread, so that an event loop goes on

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        return await asyncio.to_thread(self.add, nodes, **kwargs)

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        await asyncio.to_thread(self.delete, ref_doc_id, **delete_kwargs)

    async def adelete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **delete_kwargs: Any,
    ) -> None:
        await asyncio.to_thread(self.delete_nodes, node_ids, filters, **delete_kwargs)

    async def aclear(self, **kwargs: Any) -> None:
        await asyncio.to_thread(self.clear, **kwargs)

    async def aget_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **kwargs: Any,
    ) -> list[BaseNode]:
        return await asyncio.to_thread(self.get_nodes, node_ids, filters, **kwargs)

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        return await asyncio.to_thread(self.query, query, **kwargs)

    # Inside

    def _space_of(self, vector: Any) -> Mimir:
        """The handle for vectors as long as this one."""
        try:
            return self._handle(len(vector))
        except TypeError:
            raise InvalidVector("an embedding is a list of numbers") from None

    def _memories(
        self, keys: list[str] | None, condition: dict[str, Any] | None
    ) -> Iterable[Memory]:
        if keys is None:
            return self._mimir.memories(namespace=self._namespace, where=condition)
        if condition is None:
            found = self._mimir.get_many(keys=keys, namespace=self._namespace)
        else:
            found = self._mimir.get_many(self._fitting(keys, condition))
        return (memory for memory in found if memory is not None)

    def _fitting(self, keys: list[str], condition: dict[str, Any]) -> list[str]:
        """The memories of these keys that fit, by id and in this order; none is opened."""
        fits = self._mimir.forget(namespace=self._namespace, where=condition, dry_run=True)
        known = self._mimir.known(keys, namespace=self._namespace)
        allowed = set(fits.ids)
        return [id_ for id_ in known if id_ in allowed and id_ is not None]

    def _forget_among(self, keys: list[str], condition: dict[str, Any]) -> None:
        while ids := self._fitting(keys, condition):
            with suppress(NotFound):  # one went meanwhile: look again
                self._forget(ids)
                return

    def _forget(self, *args: Any, **selected: Any) -> None:
        with late():
            self._mimir.forget(*args, **selected)

    def _documents(self, keys: list[str] | None, condition: dict[str, Any] | None) -> set[str]:
        """The source documents of nodes, if there is somebody to tell that they go."""
        if self._docstore is None:
            return set()
        found = self._memories(keys, condition)
        return {memory.metadata[DOCUMENT] for memory in found if DOCUMENT in memory.metadata}

    def _forget_hashes(self, documents: Iterable[str]) -> None:
        """Of those that have no node left here."""
        if self._docstore is not None:
            there = self._mimir.threads(namespace=self._namespace)
            self._docstore.forget_hashes([one for one in documents if key_of(one) not in there])

    def __getstate__(self) -> NoReturn:
        raise NotSerializable("a store on an open Mimir cannot be pickled or copied")


def _keys(node_ids: Iterable[str] | None) -> list[str]:
    """Each id's key, once."""
    return list(dict.fromkeys(key_of(node_id) for node_id in _listed_ids(node_ids)))


def _listed_ids(ids: Iterable[str] | None) -> list[str]:
    return list(each(_checked_id, [] if ids is None else listed(ids, "ids")))


def _checked_id(id_: object) -> str:
    if not isinstance(id_, str):
        raise InvalidArgument("an id is a text")
    return id_


def _of_documents(ids: Sequence[str]) -> dict[str, Any]:
    """Nodes of these documents; one whose id nobody can have has none."""
    return {DOCUMENT: {"$in": [id_ for id_ in ids if is_text(id_)]}}


def _condition(query: VectorStoreQuery) -> dict[str, Any] | None:
    """Filters and documents of a query, which must both fit."""
    condition = where(query.filters)
    documents = _listed_ids(query.doc_ids)
    return {**_of_documents(documents), **(condition or {})} if documents else condition


_MODES: Final = (Mode.DEFAULT, Mode.SPARSE, Mode.TEXT_SEARCH, Mode.HYBRID, Mode.MMR)


def _mode(query: VectorStoreQuery) -> Mode:
    """The mode of a query. Raises InvalidArgument unless it is one of ours."""
    if isinstance(query.mode, str):  # another's `==` may do anything
        with suppress(ValueError):
            mode = Mode(query.mode)
            if mode in _MODES:
                return mode
    names = " ".join(mode.name for mode in _MODES)
    raise InvalidArgument("the store does not support this query mode", hint=f"known: {names}")


def _diversity(threshold: object) -> float:
    """What the core calls the rest of LlamaIndex's threshold. Raises InvalidArgument."""
    if threshold is None:
        threshold = DEFAULT_MMR_THRESHOLD
    if not isinstance(threshold, (int, float)) or not 0 <= threshold <= 1:
        raise InvalidArgument("mmr_threshold is a number from 0 to 1")
    return 1.0 - threshold


def _similarity(mode: Mode, hit: Hit) -> float:
    return hit.score if mode is Mode.HYBRID else hit.channels["dense"]


def _result(memories: Iterable[Memory], similarities: list[float]) -> VectorStoreQueryResult:
    nodes = [from_memory(memory) for memory in memories]
    return Result(nodes=nodes, similarities=similarities, ids=[node.node_id for node in nodes])
