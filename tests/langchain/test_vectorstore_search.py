"""Searches by vector, by words and by both; their scores, their types, and their async twins."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.runnables import RunnableParallel, RunnablePassthrough
from langchain_core.vectorstores import InMemoryVectorStore, VectorStoreRetriever
from pydantic import ValidationError

from mimir_core import Mimir
from mimir_core.errors import InputError, InvalidArgument, InvalidVector
from mimir_langchain import MimirVectorStore

from .conftest import ANIMALS, WordEmbeddings

QUERY = "what is the cat called"

QUERIES = ("one", "two", "four", "five", "six", "seven")


def ids(documents: list[Document]) -> list[str | None]:
    return [document.id for document in documents]


@pytest.fixture
def pair(mimir: Mimir) -> tuple[MimirVectorStore, InMemoryVectorStore]:
    """60 documents of random vectors in Mimir and in LangChain's own store."""
    model = DeterministicFakeEmbedding(size=16)
    documents = [
        Document(id=str(n), page_content=f"text {n}", metadata={"n": n}) for n in range(60)
    ]
    ours = MimirVectorStore.from_documents(documents, model, mimir=mimir)
    return ours, InMemoryVectorStore.from_documents(documents, model)


@pytest.mark.parametrize("query", ["one", "two", "three", "four"])
def test_scores_are_cosines(
    pair: tuple[MimirVectorStore, InMemoryVectorStore], query: str
) -> None:
    """Scores equal those of LangChain's own store but for the rounding of stored vectors."""
    ours, theirs = (store.similarity_search_with_score(query, k=60) for store in pair)
    exact = {document.id: score for document, score in theirs}
    assert len(ours) == 60
    assert all(score == pytest.approx(exact[document.id], abs=0.01) for document, score in ours)
    assert [score for _, score in ours] == sorted((score for _, score in ours), reverse=True)
    assert all(type(score) is float for _, score in ours)


@pytest.mark.parametrize("diversity", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_mmr_chooses_as_langchain_does(
    pair: tuple[MimirVectorStore, InMemoryVectorStore], diversity: float
) -> None:
    """Maximal marginal relevance chooses what InMemoryVectorStore chooses, in its order.

    (For queries at which no two choices are so near that the rounding of vectors decides.)
    """
    for query in QUERIES:
        options: dict[str, Any] = {"k": 6, "fetch_k": 25, "lambda_mult": diversity}
        ours, theirs = (store.max_marginal_relevance_search(query, **options) for store in pair)
        assert ids(ours) == ids(theirs)
        vector = DeterministicFakeEmbedding(size=16).embed_query(query)
        by_vector = pair[0].max_marginal_relevance_search_by_vector(vector, **options)
        assert ids(by_vector) == ids(theirs)


def test_mmr_takes_unlike_documents(mimir: Mimir) -> None:
    """Of two that say the same, one is taken when diversity counts, both when it does not."""
    store = MimirVectorStore(mimir)
    store.add_texts(["the cat sleeps", "the cat sleeps", "the cat eats fish"], ids=["a", "b", "c"])
    diverse = store.max_marginal_relevance_search("the cat sleeps", k=2, lambda_mult=0.1)
    alike = store.max_marginal_relevance_search("the cat sleeps", k=2, lambda_mult=1.0)
    assert set(ids(diverse)) in ({"a", "c"}, {"b", "c"})
    assert set(ids(alike)) == {"a", "b"}
    assert store.max_marginal_relevance_search("cat", k=0) == []


def test_a_vector_finds_what_its_text_does(mimir: Mimir, words: WordEmbeddings) -> None:
    """Searching by vector equals searching by the text it stands for."""
    store = MimirVectorStore.from_documents(ANIMALS, words, mimir=mimir)
    vector = words.embed_query(QUERY)
    assert store.similarity_search_by_vector(vector) == store.similarity_search(QUERY)
    by_vector = store.similarity_search_with_score_by_vector(vector, k=2)
    assert by_vector == store.similarity_search_with_score(QUERY, k=2)
    assert store.embeddings is words


def test_relevance_lies_between_0_and_1(
    pair: tuple[MimirVectorStore, InMemoryVectorStore], recwarn: pytest.WarningsRecorder
) -> None:
    """Relevance is (1 + cosine) / 2, never outside 0 to 1, and a threshold cuts there."""
    store = pair[0]
    cosines = [score for _, score in store.similarity_search_with_score("text 7", k=60)]
    found = store.similarity_search_with_relevance_scores("text 7", k=60)
    assert [score for _, score in found] == pytest.approx([(1 + c) / 2 for c in cosines], abs=0.01)
    assert all(0 <= score <= 1 for _, score in found)
    middle = found[30][1]
    cut = store.similarity_search_with_relevance_scores("text 7", k=60, score_threshold=middle)
    assert cut == found[:31]
    assert not recwarn.list


def test_hybrid_counts_words_and_vectors(mimir: Mimir) -> None:
    """A rare word decides when words count, likeness when vectors alone do."""
    model = DeterministicFakeEmbedding(size=16)
    store = MimirVectorStore(mimir, model)
    store.add_texts([f"the report of week {n}" for n in range(30)] + ["order ZX-81 was sent"])
    assert store.hybrid_search("ZX-81", k=1)[0].page_content == "order ZX-81 was sent"
    by_words = store.hybrid_search("ZX-81 report", k=5, balance=0.0)
    assert by_words[0].page_content == "order ZX-81 was sent"
    by_vectors = store.hybrid_search("ZX-81 report", k=5, balance=1.0)
    assert ids(by_vectors)[0] == ids(store.similarity_search("ZX-81 report", k=5))[0]


SEARCHES: list[tuple[str, dict[str, Any]]] = [
    ("similarity", {"k": 2}),
    ("similarity", {"k": 2, "filter": {"legs": {"$lt": 4}}}),
    ("similarity_score_threshold", {"score_threshold": 0.5}),
    ("mmr", {"k": 2, "fetch_k": 3, "lambda_mult": 0.4}),
    ("mmr", {"k": 2, "filter": lambda document: document.metadata["legs"] == 4}),
    ("hybrid", {"k": 3}),
    ("hybrid", {"k": 3, "balance": 0.2, "filter": {"pet": True}}),
]


@pytest.mark.parametrize(("kind", "options"), SEARCHES)
async def test_every_type_of_search(
    store: MimirVectorStore, kind: str, options: dict[str, Any]
) -> None:
    """`search`, the retriever and their async twins give the same documents for each type."""
    expected = store.search(QUERY, kind, **options)
    retriever = store.as_retriever(search_type=kind, search_kwargs=options)
    assert expected != []
    assert await store.asearch(QUERY, kind, **options) == expected
    assert retriever.invoke(QUERY) == expected
    assert await retriever.ainvoke(QUERY) == expected
    assert retriever.batch([QUERY, QUERY]) == [expected, expected]
    assert retriever.invoke(QUERY, k=1) == expected[:1]
    assert retriever.tags == ["MimirVectorStore", "MimirEmbeddings"]


async def test_the_async_twins_equal_the_sync_methods(
    mimir: Mimir, words: WordEmbeddings
) -> None:
    """Adding, reading, searching and deleting work as well when awaited."""
    store = await MimirVectorStore.afrom_documents(ANIMALS, words, mimir=mimir)
    vector = words.embed_query(QUERY)
    assert await store.aadd_texts(["it rains"], ids=["rain"]) == ["rain"]
    assert await store.aget_by_ids(["cat", "yeti"]) == ANIMALS[:1]
    assert await store.asimilarity_search(QUERY) == store.similarity_search(QUERY)
    scored = store.similarity_search_with_score(QUERY, k=3)
    assert await store.asimilarity_search_with_score(QUERY, k=3) == scored
    relevant = store.similarity_search_with_relevance_scores(QUERY)
    assert await store.asimilarity_search_with_relevance_scores(QUERY) == relevant
    assert await store.asimilarity_search_by_vector(vector) == store.similarity_search(QUERY)
    diverse = store.max_marginal_relevance_search(QUERY, k=2)
    assert await store.amax_marginal_relevance_search(QUERY, k=2) == diverse
    assert await store.amax_marginal_relevance_search_by_vector(vector, k=2) == diverse
    assert await store.ahybrid_search(QUERY, 2) == store.hybrid_search(QUERY, 2)
    assert await store.adelete(["cat"]) is True
    assert await store.aget_by_ids(["cat"]) == []


async def test_fifty_at_once_equal_one_by_one(mimir: Mimir, words: WordEmbeddings) -> None:
    """50 concurrent `ainvoke`s find what sequential ones do, all off the event loop's thread."""
    store = MimirVectorStore(mimir, words)
    store.add_texts([f"note {n} on subject {n % 7}" for n in range(70)])
    queries = [f"subject {n % 7} note {n}" for n in range(50)]
    for kind in ("similarity", "hybrid"):
        retriever = store.as_retriever(search_type=kind)
        expected = [retriever.invoke(query) for query in queries]
        words.threads.clear()
        assert await asyncio.gather(*map(retriever.ainvoke, queries)) == expected
        assert threading.get_ident() not in words.threads


async def test_a_users_model_is_asked_at_the_same_time(mimir: Mimir) -> None:
    """A model that may wait for a network is not asked one query after the other."""
    both = threading.Barrier(2, timeout=20)

    class Meeting(WordEmbeddings):
        def embed_query(self, text: str) -> list[float]:
            if text == QUERY:
                both.wait()
            return super().embed_query(text)

    retriever = MimirVectorStore.from_documents(ANIMALS, Meeting(), mimir=mimir).as_retriever()
    found = await asyncio.gather(retriever.ainvoke(QUERY), retriever.ainvoke(QUERY))
    assert found[0] == found[1]


def test_a_chain_of_runnables_recalls(store: MimirVectorStore) -> None:
    """The retriever stands in a chain like any other."""

    def joined(found: list[Document]) -> str:
        return " | ".join(each.page_content for each in found)

    context = store.as_retriever(search_kwargs={"k": 1}) | joined
    chain = RunnableParallel(context=context, question=RunnablePassthrough())
    assert chain.invoke(QUERY) == {"context": "the cat is called Pixel", "question": QUERY}


def test_langchains_own_retriever_works_on_it(store: MimirVectorStore) -> None:
    """A VectorStoreRetriever made by hand searches the store."""
    plain = VectorStoreRetriever(vectorstore=store, search_kwargs={"k": 1})
    assert ids(plain.invoke(QUERY)) == ["cat"]


BAD_SEARCHES: list[Callable[[MimirVectorStore], object]] = [
    lambda store: store.similarity_search(QUERY, k=0),
    lambda store: store.similarity_search(""),
    lambda store: store.similarity_search(QUERY, filters={"legs": 4}),
    lambda store: store.hybrid_search(QUERY, where={"legs": 4}),
    lambda store: store.hybrid_search(QUERY, balance=2.0),
    lambda store: store.max_marginal_relevance_search(QUERY, filtr={"legs": 4}),
    lambda store: store.similarity_search_by_vector([0.1] * 32, score_threshold=0.5),
]


@pytest.mark.parametrize("call", BAD_SEARCHES)
def test_a_bad_search_finds_nothing_but_an_error(
    store: MimirVectorStore, call: Callable[[MimirVectorStore], object]
) -> None:
    """An empty query, a range passed, or an unknown option is refused, not ignored."""
    with pytest.raises(InputError):
        call(store)


@pytest.mark.parametrize(
    "vector", [[0.1] * 31, [float("nan")] * 32, [0.0] * 32, ["a"] * 32, [], 5, np.ones((2, 32))]
)
def test_a_bad_vector_is_refused(store: MimirVectorStore, vector: Any) -> None:
    """A query vector of another size, not finite, zero or no numbers is refused."""
    with pytest.raises(InvalidVector):
        store.similarity_search_by_vector(vector)
    with pytest.raises(InvalidVector):
        store.max_marginal_relevance_search_by_vector(vector)


def test_unknown_types_of_search_are_refused(store: MimirVectorStore) -> None:
    """A type that no store knows is refused by `search` and by the retriever."""
    with pytest.raises(ValueError, match="not allowed"):
        store.search(QUERY, "psychic")
    with pytest.raises(ValidationError, match="hybrid"):
        store.as_retriever(search_type="psychic")


def test_a_retriever_ignores_no_option(store: MimirVectorStore) -> None:
    """An option that stands in the wrong place, or is misspelt, is refused."""
    with pytest.raises(ValidationError):
        store.as_retriever(filter={"legs": 4})
    with pytest.raises(InvalidArgument):
        store.as_retriever(search_kwargs={"filters": {}}).invoke(QUERY)
