"""The retriever recalls memories of any namespace, and shows nothing of the vault itself."""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.load import dumps
from langchain_core.runnables import ConfigurableField
from langchain_core.tools import create_retriever_tool
from langchain_tests.integration_tests import RetrieversIntegrationTests
from pydantic import ValidationError

from mimir_core import FunctionEmbedder, Item, Mimir
from mimir_core.errors import InputError, InvalidArgument, InvalidFilter, NotSerializable
from mimir_langchain import MimirRetriever, MimirVectorStore

from ..vault.vaults import reopen
from .conftest import ANIMALS, WordEmbeddings

WHEN = dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)
TALK = [
    Item("I adopted a cat yesterday", thread="monday", metadata={"speaker": "Ana"}, time=WHEN),
    Item("lovely, what is it called?", thread="monday", metadata={"speaker": "Bo"}, time=WHEN),
    Item("Pixel, like the dots", thread="monday", metadata={"speaker": "Ana"}, time=WHEN),
    Item("the harbour freezes in winter", thread="tuesday", metadata={"speaker": "Bo"}, time=WHEN),
    Item("eels swim under the ice", thread="tuesday", metadata={"speaker": "Ana"}, time=WHEN),
]


@pytest.fixture
def talk(mimir: Mimir) -> Mimir:
    """A vault with two conversations in the default namespace."""
    mimir.remember_many(TALK)
    return mimir


class TestStandard(RetrieversIntegrationTests):
    """LangChain's own suite."""

    @pytest.fixture(autouse=True)
    def _vault(self, talk: Mimir) -> None:
        self._mimir = talk

    @property
    def retriever_constructor(self) -> type[MimirRetriever]:
        return MimirRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"mimir": self._mimir}

    @property
    def retriever_query_example(self) -> str:
        return "what is the cat called"


def test_a_document_tells_where_it_is_from(talk: Mimir) -> None:
    """Text, fields, score, id, time and thread of the memory are in the document."""
    [found] = MimirRetriever(talk).invoke("who adopted a cat", k=1)
    [hit] = talk.recall("who adopted a cat", k=1)
    assert found == Document(
        id=hit.id,
        page_content="I adopted a cat yesterday",
        metadata={
            "speaker": "Ana",
            "score": hit.score,
            "id": hit.id,
            "time": "2024-05-01T12:00:00+00:00",
            "thread": "monday",
        },
    )


def test_fields_of_the_memory_win(mimir: Mimir) -> None:
    """A memory's own `score` or `id` is not hidden by the retriever's."""
    id_ = mimir.remember("five stars for the harbour", metadata={"score": 5, "id": "r1"})
    [found] = MimirRetriever(mimir).invoke("harbour")
    assert (found.metadata["score"], found.metadata["id"], found.id) == (5, "r1", id_)


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_it_recalls_as_the_vault_does(talk: Mimir, mode: str) -> None:
    """Documents are the hits of `Mimir.recall`, spread along threads included, in its order."""
    hits = talk.recall("what is the cat called", k=5, mode=mode)
    found = MimirRetriever(talk, mode=mode, k=5).invoke("what is the cat called")
    assert [each.id for each in found] == [hit.id for hit in hits]
    again = MimirRetriever(talk, k=5).invoke("what is the cat called", mode=mode)
    assert again == found


async def test_a_call_in_async_takes_the_same_options(talk: Mimir) -> None:
    """`ainvoke` and `abatch` take `k`, `mode` and `where` as `invoke` does."""
    retriever = MimirRetriever(talk)
    options: dict[str, Any] = {"k": 1, "mode": "dense", "where": {"speaker": "Bo"}}
    expected = retriever.invoke("harbour", **options)
    assert len(expected) == 1
    assert await retriever.ainvoke("harbour", **options) == expected
    assert await retriever.abatch(["harbour"] * 2, **options) == [expected] * 2


def test_a_config_may_choose_its_fields(talk: Mimir) -> None:
    """LangChain's configurable fields set the thread or k of one run."""
    retriever = MimirRetriever(talk, mode="dense").configurable_fields(
        k=ConfigurableField(id="k"), thread=ConfigurableField(id="thread")
    )
    found = retriever.invoke("cat", config={"configurable": {"k": 2, "thread": "tuesday"}})
    assert [each.metadata["thread"] for each in found] == ["tuesday"] * 2


def test_thread_and_filter_narrow(talk: Mimir) -> None:
    """A thread and a filter hold before k is taken; the filter of a call holds besides."""
    everything = {"k": 5, "mode": "dense"}
    tuesday = MimirRetriever(talk, thread="tuesday", **everything)
    assert {each.metadata["thread"] for each in tuesday.invoke("cat")} == {"tuesday"}
    ana = MimirRetriever(talk, where={"speaker": "Ana"}, **everything)
    assert len(ana.invoke("harbour in winter")) == 3
    assert ana.invoke("harbour in winter", where={"speaker": "Bo"}) == []
    assert len(ana.invoke("harbour", where={})) == 3
    both = MimirRetriever(talk, **everything).invoke("harbour", where={"speaker": "Bo"})
    assert len(both) == 2


def test_namespaces_are_apart(talk: Mimir) -> None:
    """A retriever sees its own namespace, such as that of a vector store, and no other."""
    MimirVectorStore.from_documents(ANIMALS, mimir=talk)
    found = MimirRetriever(talk, namespace=("langchain", "vectors"), k=10).invoke("cat Pixel")
    assert {each.page_content for each in found} <= {each.page_content for each in ANIMALS}
    assert MimirRetriever(talk, namespace="nobody").invoke("cat") == []
    with pytest.raises(TypeError):
        MimirRetriever(talk).invoke("cat", namespace="nobody")


async def test_fifty_at_once_equal_one_by_one(talk: Mimir) -> None:
    """50 concurrent `ainvoke`s find what sequential ones do, embedding off the loop's thread."""
    words = WordEmbeddings()
    other = talk.with_embedder(
        FunctionEmbedder("words", words.embed_documents, words.embed_query, dimension=48)
    )
    other.remember_many([Item(f"note {n} on {n % 7}", namespace="notes") for n in range(60)])
    retriever = MimirRetriever(other, namespace="notes")
    queries = [f"note on {n % 7} or {n}" for n in range(50)]
    expected = [retriever.invoke(query) for query in queries]
    words.threads.clear()
    assert await asyncio.gather(*map(retriever.ainvoke, queries)) == expected
    assert words.threads
    assert threading.get_ident() not in words.threads


def test_it_outlives_the_process(talk: Mimir, path: Path) -> None:
    """After closing and opening, a new retriever finds the same."""
    before = MimirRetriever(talk).invoke("harbour in winter")
    talk.close()
    with reopen(path) as again:
        after = MimirRetriever(again).invoke("harbour in winter")
    assert [each.id for each in after] == [each.id for each in before]


def test_an_agent_may_call_it_as_a_tool(talk: Mimir) -> None:
    """LangChain's retriever tool answers with the texts."""
    tool = create_retriever_tool(MimirRetriever(talk, k=1), "recall", "Searches the memory.")
    assert tool.invoke({"query": "who adopted a cat"}) == "I adopted a cat yesterday"


def test_it_shows_nothing(talk: Mimir) -> None:
    """Neither repr, dump nor serialisation hold the vault, names or filters; no pickle."""
    retriever = MimirRetriever(
        talk, namespace="canary", thread="canary", where={"canary": "canary"}
    )
    shown = [repr(retriever), str(retriever), str(retriever.model_dump()), dumps(retriever)]
    assert all("canary" not in each and "Mimir " not in each for each in shown)
    with pytest.raises(NotSerializable):
        pickle.dumps(retriever)
    with pytest.raises(NotSerializable):
        copy.deepcopy(retriever)


def test_bad_input_is_refused(talk: Mimir) -> None:
    """No vault, an empty query, a k out of range, an unknown mode or filter: typed errors."""
    with pytest.raises(InvalidArgument):
        MimirRetriever("vault.mimir")  # type: ignore[arg-type]  # is what is tested
    for options in ({"k": "many"}, {"filter": {"speaker": "Ana"}}, {"where": ["canary"]}):
        with pytest.raises(ValidationError) as caught:
            MimirRetriever(talk, **options)
        assert "canary" not in str(caught.value)
    for name, value in (("k", 0), ("k", -1), ("mode", "psychic")):
        with pytest.raises(InvalidArgument):
            MimirRetriever(talk).invoke("cat", None, **{name: value})
    with pytest.raises(InvalidFilter):
        MimirRetriever(talk, where={"speaker": {"$like": "A%"}}).invoke("cat")
    for where in (None, {"speaker": "Ana"}):
        with pytest.raises(InvalidFilter):
            MimirRetriever(talk, where=where).invoke("cat", where=np.zeros(2))
    with pytest.raises(InputError):
        MimirRetriever(talk).invoke(" ")
