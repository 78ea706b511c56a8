"""`MimirVectorStore`: sealed documents wherever a chain takes a VectorStore."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables import run_in_executor
from langchain_core.vectorstores import VectorStore
from langchain_core.vectorstores.utils import maximal_marginal_relevance

from mimir_core import Embedder, Hit, KdfProfile, Memory, Mimir, Namespace
from mimir_core.errors import InvalidArgument, NotFound
from mimir_langchain.documents import as_documents, as_ids, as_items, as_keys, as_texts
from mimir_langchain.embeddings import MimirEmbeddings, embedder_of
from mimir_langchain.filters import Filter, as_document, narrowed
from mimir_langchain.naming import items_are
from mimir_langchain.retriever import MimirVectorStoreRetriever
from mimir_langchain.vaults import is_name, namespace_in

NAMESPACE: Namespace = ("langchain", "vectors")

_MEMORY_ID = re.compile("[0-9a-f]{64}")


class MimirVectorStore(VectorStore):
    """Documents in an encrypted vault, found by vectors, by words, or by both.

    Setup:
        pip install 'mimir-sealed[langchain]'

    Key init args:
        mimir: An open vault, which other stores may share.
        embedding: The user's Embeddings; the vault's own embedder, which runs on this machine, if
            not given. A namespace holds vectors of one model.
        namespace: Where the documents live, apart from all others in the vault.
        space: What to call the vectors of `embedding`; by default its class and model. Needed if
            its model can change without a change of those.

    Instantiate:
        mimir = Mimir.create("agent.mimir", passphrase)
        store = MimirVectorStore(mimir)

    Add:
        store.add_documents([Document(id="1", page_content="the cat is called Pixel")])

        A document replaces the one of the same id, which is erased. Its text must hold a visible
        character and its metadata only what a filter can compare: text, numbers, bools, None,
        dates, and lists and dicts of them. Otherwise nothing of the call is written.

    Delete:
        store.delete(ids=["1"])
        store.delete()  # all of the namespace

        What is deleted is erased from the file.

    Search:
        store.similarity_search("what is the cat's name?", k=1)
        store.max_marginal_relevance_search("what is the cat's name?", k=2, fetch_k=20)
        store.hybrid_search("what is the cat's name?", k=1)  # vectors and words (BM25) together

    Filter:
        store.similarity_search("cats", filter={"page": {"$gte": 3}, "author": "Ana"})
        store.similarity_search("cats", filter=lambda document: "Pixel" in document.page_content)

        See `mimir_langchain.filters.Filter`. Filters apply before k is taken.

    Score:
        store.similarity_search_with_score("what is the cat's name?")

        Scores are cosines, from -1 to 1, larger is nearer. Relevance, as in
        `similarity_search_with_relevance_scores` and `score_threshold`, is (1 + cosine) / 2.

    Async:
        await store.asimilarity_search("what is the cat's name?")

        Every method has its async twin, which runs in a worker thread.

    Retriever:
        store.as_retriever(search_type="hybrid", search_kwargs={"k": 3})

        Search types: similarity, similarity_score_threshold, mmr, hybrid.

    Texts go to the model of `embedding`, and callbacks carry documents to whoever traces the chain;
    nothing else leaves the vault.

    Raises:
        InvalidArgument: `mimir` is no open vault, or `embedding` no Embeddings.
    """

    def __init__(
        self,
        mimir: Mimir,
        embedding: Embeddings | None = None,
        *,
        namespace: Namespace | str = NAMESPACE,
        space: str | None = None,
    ) -> None:
        self._namespace = namespace_in(mimir, namespace)
        self._embeddings = MimirEmbeddings(mimir) if embedding is None else embedding
        embedder = embedder_of(self._embeddings, space)
        self._mimir = mimir.with_embedder(embedder)
        # The vault's own embedder reads a long text window by window, so the core calls it.
        self._foreign: Embedder | None = (
            None if isinstance(self._embeddings, MimirEmbeddings) else embedder
        )

    @classmethod
    def from_path(
        cls,
        path: str | Path,
        passphrase: str,
        embedding: Embeddings | None = None,
        *,
        profile: KdfProfile = KdfProfile.STANDARD,
        **options: Any,
    ) -> MimirVectorStore:
        """Opens a vault, or creates it if there is none, for this store; `close` it when done.

        Args:
            path: The vault's file.
            passphrase: What opens it.
            embedding: As the class has it.
            profile: Cost of the passphrase's Argon2id.
            options: `namespace` and `space`, as the class has them.
        """
        opener = Mimir.open if Path(path).exists() else Mimir.create
        mimir = opener(path, passphrase, profile=profile)
        try:
            return cls(mimir, embedding, **options)
        except BaseException:
            mimir.close()
            raise

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings | None = None,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        mimir: Mimir | None = None,
        **options: Any,
    ) -> MimirVectorStore:
        """A store in the open vault `mimir`, with these texts; `options` are the class's."""
        store = cls(mimir, embedding, **options)  # type: ignore[arg-type]  # which refuses None
        store.add_texts(texts, metadatas, ids=ids)
        return store

    @classmethod
    def from_documents(
        cls, documents: Iterable[Document], embedding: Embeddings | None = None, **options: Any
    ) -> MimirVectorStore:
        """The same with documents."""
        ids = options.pop("ids", None)
        store = cls(options.pop("mimir", None), embedding, **options)
        store.add_documents(documents, ids=ids)
        return store

    @classmethod
    async def afrom_texts(
        cls,
        texts: list[str],
        embedding: Embeddings | None = None,
        metadatas: list[dict[str, Any]] | None = None,
        **options: Any,
    ) -> MimirVectorStore:
        """`from_texts` in a worker thread."""
        return await run_in_executor(None, cls.from_texts, texts, embedding, metadatas, **options)

    @classmethod
    async def afrom_documents(
        cls, documents: Iterable[Document], embedding: Embeddings | None = None, **options: Any
    ) -> MimirVectorStore:
        """`from_documents` in a worker thread."""
        return await run_in_executor(None, cls.from_documents, documents, embedding, **options)

    def close(self) -> None:
        """Closes the vault, for everyone who shares it."""
        self._mimir.close()

    @property
    def embeddings(self) -> Embeddings:
        """What embeds documents and queries."""
        return self._embeddings

    # Adding and deleting

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Adds texts, or replaces those of the same ids; returns their ids.

        Args:
            texts: What to add, each with a visible character.
            metadatas: Fields of each text.
            ids: Up to 1,024 bytes each; where there is none, a random UUID. Of an id given twice
                the last text stays.
            kwargs: Such as `batch_size`, which `index()` passes; not needed here.

        Raises:
            InvalidArgument, InvalidText, InvalidMetadata, InvalidVector: nothing was written; the
                error says the number of the document, counted from 0, and its field.
            SpaceMismatch: the namespace holds vectors of another model.
            ScrubPending: all are stored, but old pages of what they replaced still stand in the
                journal.
        """
        contents = as_texts(texts)
        keys = as_keys(ids, len(contents))
        with items_are(lambda number: f"document {number}"):
            vectors = self._vectors(contents)
        items = as_items(contents, metadatas, keys, vectors, self._namespace)
        with items_are([f"document {number}" for number in items]):
            self._mimir.remember_many(items.values())
        return keys

    def add_documents(self, documents: Iterable[Document], **kwargs: Any) -> list[str]:
        """Adds documents, or replaces those of the same ids; returns their ids.

        Args:
            documents: What to add; they stay as they are.
            kwargs: As in `add_texts`; `ids` count instead of the documents' own.
        """
        batch, ids = as_documents(documents), kwargs.pop("ids", None)
        if not isinstance(ids, str):  # which is refused below
            ids = list(() if ids is None else ids) or [document.id for document in batch]
        texts = [document.page_content for document in batch]
        return self.add_texts(texts, [each.metadata for each in batch], ids=ids, **kwargs)

    def delete(self, ids: Iterable[str] | None = None, **kwargs: Any) -> bool:
        """Erases the documents of these ids; all of the namespace if `ids` is None.

        Ids that nobody has, or can have, are passed over.

        Raises:
            InvalidArgument: any other selection, or an id that is no string; nothing was erased.
            ScrubPending: erased and invisible, but old pages still stand in the journal.
        """
        _refuse(kwargs)
        if ids is None:
            self._mimir.forget(namespace=self._namespace)
            return True
        wanted = as_ids(ids)
        try:
            self._mimir.forget(keys=filter(is_name, wanted), namespace=self._namespace)
        finally:  # even if that has still to be scrubbed
            if unnamed := self._unnamed(wanted):
                self._mimir.forget(list(unnamed))
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The documents of these ids, in their order.

        Ids that nobody has, or can have, are passed over. Raises InvalidArgument for one that is no
        string.
        """
        wanted = as_ids(ids)
        names = list(filter(is_name, wanted))
        memories = self._mimir.get_many(keys=names, namespace=self._namespace)
        found = dict(zip(names, memories, strict=True))
        unnamed = self._unnamed(wanted)
        either = [found.get(id_) or unnamed.get(id_) for id_ in wanted]
        return [as_document(memory) for memory in either if memory is not None]

    # Searching

    def similarity_search(
        self, query: str, k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[Document]:
        """The k documents nearest to a query, nearest first."""
        return _documents(self.similarity_search_with_score(query, k, filter, **kwargs))

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The same with their cosines, from -1 to 1."""
        _refuse(kwargs)
        return _scored(self._recall(query, k, filter, mode="dense"))

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[Document]:
        """The k documents nearest to a vector, nearest first."""
        return _documents(
            self.similarity_search_with_score_by_vector(embedding, k, filter, **kwargs)
        )

    def similarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = 4, filter: Filter = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The same with their cosines, from -1 to 1."""
        _refuse(kwargs)
        return _scored(self._recall(None, k, filter, mode="dense", vector=embedding))

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter = None,
        **kwargs: Any,
    ) -> list[Document]:
        """Of the `fetch_k` nearest documents, k that are near the query and unlike each other.

        Args:
            lambda_mult: From 0, where only being unlike counts, to 1, where only nearness does.
        """
        vector = self._mimir.embedder.embed_query(query).tolist()
        return self.max_marginal_relevance_search_by_vector(
            vector, k, fetch_k, lambda_mult, filter, **kwargs
        )

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Filter = None,
        **kwargs: Any,
    ) -> list[Document]:
        """The same for a vector."""
        _refuse(kwargs)
        while True:
            hits = self._recall(None, fetch_k, filter, mode="dense", vector=embedding)
            with suppress(NotFound):  # one was deleted meanwhile: look again
                vectors = self._mimir.vectors([hit.id for hit in hits])
                break
        query = np.asarray(embedding, np.float32)
        chosen = maximal_marginal_relevance(query, vectors.tolist(), lambda_mult, k)
        return [as_document(hits[number].memory) for number in chosen]

    def hybrid_search(
        self, query: str, k: int = 4, filter: Filter = None, balance: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """The k documents that answer a query best by vectors and words together.

        Args:
            balance: From 0, where words alone count, to 1, where vectors alone do.
        """
        _refuse(kwargs)
        hits = self._recall(query, k, filter, mode="hybrid", balance=balance)
        return [as_document(hit.memory) for hit in hits]

    async def ahybrid_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """The same in a worker thread."""
        return await run_in_executor(None, self.hybrid_search, query, k, **kwargs)

    def search(self, query: str, search_type: str, **kwargs: Any) -> list[Document]:
        """Searches by type: similarity, similarity_score_threshold, mmr or hybrid."""
        if search_type == "hybrid":
            return self.hybrid_search(query, **kwargs)
        return super().search(query, search_type, **kwargs)

    async def asearch(self, query: str, search_type: str, **kwargs: Any) -> list[Document]:
        """The same in a worker thread."""
        return await run_in_executor(None, self.search, query, search_type, **kwargs)

    def as_retriever(self, **kwargs: Any) -> MimirVectorStoreRetriever:
        """A retriever over this store; besides LangChain's search types it knows "hybrid"."""
        tags = kwargs.pop("tags", None) or self._get_retriever_tags()
        return MimirVectorStoreRetriever(vectorstore=self, tags=tags, **kwargs)

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return _relevance

    def _vectors(self, texts: list[str]) -> list[Any]:
        """Vectors of the bare texts by the user's model; None for each where the core embeds."""
        if self._foreign is None or not texts:
            return [None for _ in texts]
        return list(self._foreign.embed_documents(texts))

    def _unnamed(self, ids: Iterable[str]) -> dict[str, Memory]:
        """Memories without a key, by their ids, which are their documents': others stored them."""
        wanted = {id_ for id_ in ids if isinstance(id_, str) and _MEMORY_ID.fullmatch(id_)}
        return {
            memory.id: memory
            for memory in self._mimir.get_many(wanted)
            if memory is not None and memory.key is None and memory.namespace == self._namespace
        }

    def _recall(self, query: str | None, k: int, filter: Filter, **options: Any) -> list[Hit]:
        among = narrowed(self._mimir, self._namespace, filter)
        return self._mimir.recall(query, k=k, namespace=self._namespace, **among, **options)

    def __repr__(self) -> str:
        return "<MimirVectorStore>"


def _refuse(options: dict[str, Any]) -> None:
    """A misspelt filter must not let everything through. Raises InvalidArgument."""
    if options:
        raise InvalidArgument(f"unknown option: {', '.join(sorted(options))}")


def _scored(hits: Iterable[Hit]) -> list[tuple[Document, float]]:
    return [(as_document(hit.memory), hit.channels["dense"]) for hit in hits]


def _documents(scored: Iterable[tuple[Document, float]]) -> list[Document]:
    return [document for document, _ in scored]


def _relevance(cosine: float) -> float:
    """From 0 to 1; rounded vectors have cosines that pass 1 by a hair."""
    return min(1.0, max(0.0, (1.0 + cosine) / 2))
