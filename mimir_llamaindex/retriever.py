"""`MimirRetriever`: hybrid recall, spread along documents and threads, as a retriever."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.settings import Settings
from llama_index.core.vector_stores.types import MetadataFilters

from mimir_core import DEFAULT_NAMESPACE, Mimir, Namespace
from mimir_core.errors import InvalidArgument, InvalidText, NotSerializable
from mimir_llamaindex.embedding import MimirEmbedding, handles, hinting
from mimir_llamaindex.filters import where
from mimir_llamaindex.nodes import from_memory
from mimir_llamaindex.vaults import namespace_in
from mimir_llamaindex.vectorstore import MimirVectorStore

__all__ = ["MimirRetriever"]


class MimirRetriever(BaseRetriever):
    """Finds by meaning and by words at once; what is found makes its neighbours likelier.

    Neighbours are the turns of a thread, or the chunks of a document. Nodes of every kind are
    found, also where an index holds `IndexNode`s or `ImageNode`s, to which its own retriever would
    restrict itself. Memories that no index stored come as text nodes, their thread as their source.

    Args:
        mimir: An open vault; its embedder embeds the queries.
        namespace: Where to look. For that of a vector store see `from_vector_store`.
        similarity_top_k: How many nodes at most, 1 to 10,000.
        filters: What the metadata must fit; see `mimir_llamaindex.filters`.
        alpha: What counts: from 0, words alone, to 1, vectors alone.
        spread: How strongly scores spread to neighbours; 0 not at all.
        options: Those of `BaseRetriever`: `callback_manager`, `object_map`, `objects`, `verbose`.

    Raises:
        InvalidArgument, InvalidNamespace, InvalidFilter: when it is made.
        InvalidArgument, InvalidText, InvalidVector: at a query, for a number outside its range, or
            for what cannot be searched with.
        SpaceMismatch: at a query, where the namespace holds vectors of another model.
    """

    def __init__(
        self,
        mimir: Mimir,
        namespace: Namespace | str = DEFAULT_NAMESPACE,
        *,
        similarity_top_k: int = 5,
        filters: MetadataFilters | None = None,
        alpha: float = 0.5,
        spread: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        place = namespace_in(mimir, namespace)
        self._model: BaseEmbedding = MimirEmbedding(mimir)
        self._handle = handles(mimir, self._model)
        self._asked: dict[str, Any] = {
            "namespace": place, "k": similarity_top_k, "where": where(filters),
            "balance": alpha, "spread": spread,
        }  # fmt: skip

    @classmethod
    def from_vector_store(
        cls, store: MimirVectorStore, embed_model: BaseEmbedding | None = None, **options: Any
    ) -> MimirRetriever:
        """Over the nodes of a vector store.

        Args:
            store: The store of an index.
            embed_model: The index's embedding model; the store's if not given, if that has none
                the one in `Settings`.
            options: Those of the class.

        Raises:
            InvalidArgument: the store is something else.
            InvalidFilter: as the class does.
            ImportError: no model is given, here or to the store, and that of `Settings`, OpenAI's
                unless another was put there, is not installed.
        """
        if not isinstance(store, MimirVectorStore):
            raise InvalidArgument("from_vector_store takes a `MimirVectorStore`")
        retriever = cls(store.client, store.namespace, **options)
        own = store.model if isinstance(store.model, BaseEmbedding) else None
        retriever._model = embed_model or own or Settings.embed_model
        retriever._handle = handles(store.client, store.model)
        return retriever

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        vector = query_bundle.embedding
        if vector is None:
            texts = _texts(query_bundle)
            vector = self._model.get_agg_embedding_from_queries(texts)
        return self._recalled(query_bundle.query_str, vector)

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        vector = query_bundle.embedding
        if vector is None:
            texts = _texts(query_bundle)
            vector = await self._model.aget_agg_embedding_from_queries(texts)
        return await asyncio.to_thread(self._recalled, query_bundle.query_str, vector)

    def _recalled(self, text: str, vector: list[float]) -> list[NodeWithScore]:
        words = text if text.strip() else None  # a bundle may hold an embedding alone
        mode = "dense" if words is None else "hybrid"
        with hinting():
            hits = self._handle(len(vector)).recall(words, mode=mode, vector=vector, **self._asked)
        return [NodeWithScore(node=from_memory(hit.memory), score=hit.score) for hit in hits]

    def __reduce__(self) -> NoReturn:
        raise NotSerializable("a retriever on an open Mimir cannot be pickled or copied")


def _texts(query_bundle: QueryBundle) -> list[str]:
    """What is to be embedded. Raises InvalidText if there is nothing."""
    texts = [text for text in query_bundle.embedding_strs if text.strip()]
    if not texts:
        raise InvalidText("the query is empty", hint="say what to look for")
    return texts
