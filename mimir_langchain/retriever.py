"""LangChain retrievers: `MimirRetriever` over memories, and the one over a `MimirVectorStore`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import run_in_executor
from langchain_core.vectorstores import VectorStoreRetriever
from pydantic import ConfigDict, Field

from mimir_core import DEFAULT_NAMESPACE, Hit, Mimir
from mimir_langchain.vaults import check_vault

_STRICT = ConfigDict(arbitrary_types_allowed=True, extra="forbid", hide_input_in_errors=True)
"""A misspelt option must not let everything through, and no error shows what a filter holds."""


class MimirRetriever(BaseRetriever):
    """Recalls memories of any namespace: what `Mimir.remember` stored, or any class here.

    A document's id is its memory's id; its metadata are the memory's, and `score`, `id`, `time`
    (ISO 8601) and `thread` unless the memory has fields of these names.

    Setup:
        pip install 'mimir-sealed[langchain]'

    Key init args:
        mimir: An open vault.
        k: How many documents at most.
        mode: "hybrid" (vectors and words, spread along threads), "dense" or "lexical".
        namespace: Where to look.
        thread: Only this thread.
        where: A filter over metadata, as a dict; see `mimir_langchain.filters.Filter`.

    Instantiate:
        retriever = MimirRetriever(mimir, namespace=("langchain", "memory"), k=3)

    Search:
        retriever.invoke("what is the cat's name?")
        retriever.invoke("what is the cat's name?", k=1)

        A call takes `k` and `mode` in place of the constructor's, and a `where` that must hold
        besides the constructor's.

    Async:
        await retriever.ainvoke("what is the cat's name?")

        The recall runs in a worker thread.

    Callbacks carry the documents to whoever traces the chain.

    Raises:
        InvalidArgument: `mimir` is no open vault.
    """

    model_config = _STRICT

    k: int = 5
    mode: str = "hybrid"
    namespace: tuple[str, ...] | str = Field(DEFAULT_NAMESPACE, repr=False, exclude=True)
    thread: str | None = Field(None, repr=False, exclude=True)
    where: dict[str, Any] | None = Field(None, repr=False, exclude=True)
    # A field, and not a private attribute, so that `configurable_fields` can make a copy.
    mimir: Mimir = Field(repr=False, exclude=True)

    def __init__(self, mimir: Mimir, **options: Any) -> None:
        check_vault(mimir)
        super().__init__(**dict(options, mimir=mimir))

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        mode: str | None = None,
        where: Mapping[str, Any] | None = None,
    ) -> list[Document]:
        hits = self.mimir.recall(
            query,
            k=self.k if k is None else k,
            mode=self.mode if mode is None else mode,
            namespace=self.namespace,
            thread=self.thread,
            where=_both(self.where, where),
        )
        return [_document(hit) for hit in hits]

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        recall = partial(self._get_relevant_documents, run_manager=run_manager.get_sync())
        return await run_in_executor(None, recall, query, **kwargs)


class MimirVectorStoreRetriever(VectorStoreRetriever):
    """What `MimirVectorStore.as_retriever` makes: LangChain's retriever, and hybrid search."""

    model_config = _STRICT

    search_kwargs: dict[str, Any] = Field(default_factory=dict, repr=False, exclude=True)

    allowed_search_types: ClassVar[Sequence[str]] = (
        *VectorStoreRetriever.allowed_search_types,
        "hybrid",
    )

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        return self.vectorstore.search(query, self.search_type, **self.search_kwargs | kwargs)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        options = self.search_kwargs | kwargs
        return await self.vectorstore.asearch(query, self.search_type, **options)


def _both(
    standing: Mapping[str, Any] | None, added: Mapping[str, Any] | None
) -> Mapping[str, Any] | None:
    """The filter that lets through what both do; what is no filter is left to be refused."""
    parts = [part for part in (standing, added) if not _is_empty(part)]
    return {"$and": parts} if len(parts) == 2 else next(iter(parts), None)


def _is_empty(part: object) -> bool:
    return part is None or (isinstance(part, Mapping) and not len(part))


def _document(hit: Hit) -> Document:
    memory = hit.memory
    about = {
        "score": hit.score,
        "id": memory.id,
        "time": memory.time.isoformat(),
        "thread": memory.thread,
    }
    return Document(id=memory.id, page_content=memory.text, metadata={**about, **memory.metadata})
