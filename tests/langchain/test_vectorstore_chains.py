"""The store stands wherever LangChain's own classes and chains take a VectorStore."""

from __future__ import annotations

import datetime as dt

import pytest
from langchain_classic.chains import create_retrieval_chain
from langchain_classic.chains.combine_documents import create_stuff_documents_chain
from langchain_classic.embeddings import CacheBackedEmbeddings
from langchain_classic.memory import VectorStoreRetrieverMemory
from langchain_classic.retrievers import (
    EnsembleRetriever,
    ParentDocumentRetriever,
    TimeWeightedVectorStoreRetriever,
)
from langchain_core._api import LangChainDeprecationWarning
from langchain_core.documents import Document
from langchain_core.example_selectors import (
    MaxMarginalRelevanceExampleSelector,
    SemanticSimilarityExampleSelector,
)
from langchain_core.language_models import FakeListChatModel
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.stores import InMemoryByteStore, InMemoryStore
from langchain_text_splitters import CharacterTextSplitter

from mimir_core import Mimir
from mimir_langchain import MimirRetriever, MimirVectorStore

from .conftest import ANIMALS, WordEmbeddings

QUERY = "what is the cat called"


def test_a_retrieval_chain_answers_from_it(store: MimirVectorStore) -> None:
    """The chain hands the recalled documents to the model."""
    prompt = ChatPromptTemplate.from_template("{context}\n\n{input}")
    answer = create_stuff_documents_chain(FakeListChatModel(responses=["Pixel"]), prompt)
    chain = create_retrieval_chain(store.as_retriever(search_type="hybrid"), answer)
    result = chain.invoke({"input": QUERY})
    assert result["answer"] == "Pixel"
    assert result["context"][0] == ANIMALS[0]


def test_parents_are_found_by_their_parts(mimir: Mimir) -> None:
    """ParentDocumentRetriever keeps the parts in the store and finds whole documents by them."""
    whole = Document(page_content="The cat sleeps.\n\nA crow sits on the roof.\n\nIt rains.")
    retriever = ParentDocumentRetriever(
        vectorstore=MimirVectorStore(mimir),
        docstore=InMemoryStore(),
        child_splitter=CharacterTextSplitter(chunk_size=20, chunk_overlap=0),
    )
    retriever.add_documents([whole])
    assert mimir.stats().memories == 3
    assert [each.page_content for each in retriever.invoke("crow")] == [whole.page_content]


def test_time_weights_documents(mimir: Mimir) -> None:
    """TimeWeightedVectorStoreRetriever ranks by relevance and by when it was last asked for."""
    retriever = TimeWeightedVectorStoreRetriever(vectorstore=MimirVectorStore(mimir), k=1)
    now = dt.datetime.now()
    long_ago = {"last_accessed_at": now - dt.timedelta(days=300)}
    retriever.add_documents([Document(page_content="the cat is old", metadata=long_ago)])
    retriever.add_documents([Document(page_content="the cat is new")])
    assert [each.page_content for each in retriever.invoke("the cat")] == ["the cat is new"]


def test_several_retrievers_work_together(store: MimirVectorStore, mimir: Mimir) -> None:
    """EnsembleRetriever fuses the store's documents with recalled memories."""
    mimir.remember("the cat likes fish")
    documents, memories = store.as_retriever(search_kwargs={"k": 1}), MimirRetriever(mimir, k=1)
    both = EnsembleRetriever(retrievers=[documents, memories], weights=[0.5, 0.5])
    found = both.invoke("cat called")
    assert {each.page_content for each in found} == {
        "the cat is called Pixel",
        "the cat likes fish",
    }


def test_langchains_vector_memory_writes_and_reads(mimir: Mimir) -> None:
    """VectorStoreRetrieverMemory stores exchanges in the vault and recalls them."""
    retriever = MimirVectorStore(mimir).as_retriever(search_kwargs={"k": 1})
    with pytest.warns(LangChainDeprecationWarning):
        memory = VectorStoreRetrieverMemory(retriever=retriever)
    memory.save_context({"input": "my cat is called Pixel"}, {"output": "lovely"})
    memory.save_context({"input": "it rains"}, {"output": "take a coat"})
    [shown] = memory.load_memory_variables({"input": "my cat"}).values()
    assert shown == "input: my cat is called Pixel\noutput: lovely"


def test_cached_embeddings_are_the_same_model(mimir: Mimir, words: WordEmbeddings) -> None:
    """CacheBackedEmbeddings over a model read what the model alone wrote, and the reverse."""
    cached = CacheBackedEmbeddings.from_bytes_store(
        words, InMemoryByteStore(), key_encoder="sha256"
    )
    MimirVectorStore.from_documents(ANIMALS[:2], words, mimir=mimir)
    store = MimirVectorStore.from_documents(ANIMALS[2:], cached, mimir=mimir)
    assert {each.id for each in store.similarity_search("animal")} == {"cat", "dog", "crow", "eel"}


@pytest.mark.parametrize(
    "selector", [SemanticSimilarityExampleSelector, MaxMarginalRelevanceExampleSelector]
)
def test_selectors_choose_examples(
    mimir: Mimir,
    words: WordEmbeddings,
    selector: type[SemanticSimilarityExampleSelector | MaxMarginalRelevanceExampleSelector],
) -> None:
    """LangChain's example selectors make a store of the class and search it."""
    examples = [{"input": "happy", "output": "sad"}, {"input": "tall", "output": "short"}]
    chosen = selector.from_examples(examples, words, MimirVectorStore, k=1, mimir=mimir)
    assert chosen.select_examples({"input": "tall"}) == examples[1:]
