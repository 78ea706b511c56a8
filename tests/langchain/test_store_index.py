"""Semantic search of MimirStore: the vault's embedder, models of users, fields, and no index."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings
from langgraph.store.base import PutOp, SearchOp

from mimir_core import FunctionEmbedder, Mimir, MiniLM
from mimir_core.embedding import HashEmbedder
from mimir_core.errors import EmbeddingError, InvalidArgument, InvalidVector, SpaceMismatch
from mimir_langchain import MimirEmbeddings, MimirStore, store_index

from ..vault.vaults import create, reopen

PLACE = ("docs",)
WORDS = ["cat", "dog", "roof", "tea"]


def counts(texts: list[str]) -> list[list[float]]:
    """How often each word occurs: a model of a user's own, with vectors of any length."""
    return [[float(text.count(word)) for word in WORDS] for text in texts]


async def acounts(texts: list[str]) -> list[list[float]]:
    """The same, asynchronous."""
    await asyncio.sleep(0)
    return counts(texts)


class Counting(Embeddings):
    """The same as LangChain's Embeddings; notes on which threads it works, and how often."""

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.texts: list[str] = []
        self.model = "counts-1"

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.threads.add(threading.get_ident())
        self.texts += texts
        return counts(texts)

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def found(store: MimirStore, query: str, **kwargs: Any) -> list[tuple[str, float | None]]:
    """Keys and rounded scores of a ranked search."""
    items = store.search(PLACE, query=query, **kwargs)
    return [(i.key, None if i.score is None else round(i.score, 1)) for i in items]


def test_the_vaults_embedder_ranks_by_default(mimir: Mimir) -> None:
    """Without a word of configuration the whole value is searched, best first, with cosines."""
    store = MimirStore(mimir)
    store.put(PLACE, "cat", {"text": "Ana's cat is called Pixel"})
    store.put(PLACE, "tea", {"text": "green tea at night"})
    items = store.search(PLACE, query="green tea")
    assert [item.key for item in items] == ["tea", "cat"]
    assert items[0].score is not None
    assert items[1].score is not None
    assert 1 >= items[0].score > items[1].score


def test_the_real_model_finds_by_meaning(folder: Path) -> None:
    """The built-in MiniLM finds what shares no word with the query."""
    path = folder / "v"
    create(path).close()
    with reopen(path) as mimir:
        store = MimirStore(mimir, index={"embed": MiniLM(), "fields": ["text"]})
        store.put(PLACE, "pet", {"text": "Ana's kitten sleeps on the sofa"})
        store.put(PLACE, "car", {"text": "the engine needs new oil"})
        assert [i.key for i in store.search(PLACE, query="a cat", limit=1)] == ["pet"]


@pytest.mark.parametrize("embed", [counts, Counting(), FunctionEmbedder("c", counts, None, 4)])
def test_a_users_model_ranks(mimir: Mimir, embed: Any) -> None:
    """A function, an Embeddings and a Mimir embedder give cosines of their own vectors."""
    store = MimirStore(mimir, index={"dims": 4, "embed": embed, "fields": ["text"]})
    store.put(PLACE, "both", {"text": "cat dog"})
    store.put(PLACE, "cats", {"text": "cat cat cat"})
    store.put(PLACE, "roof", {"text": "roof"})
    assert found(store, "cat") == [("cats", 1.0), ("both", 0.7), ("roof", 0.0)]
    assert found(store, "cat", limit=1, offset=1) == [("both", 0.7)]


def test_a_provider_is_named_by_a_string(mimir: Mimir) -> None:
    """A string goes to LangGraph, which finds the provider, or says why not."""
    providers = {"p:counts": Counting()}
    with patch.object(store_index, "ensure_embeddings", providers.__getitem__):
        store = MimirStore(mimir, index={"dims": 4, "embed": "p:counts", "fields": ["text"]})
    store.put(PLACE, "cat", {"text": "cat"})
    assert found(store, "cat") == [("cat", 1.0)]
    with pytest.raises((ValueError, ImportError)):
        MimirStore(mimir, index={"dims": 4, "embed": "nobody:nothing"})


async def test_an_asynchronous_function_ranks(mimir: Mimir) -> None:
    """LangGraph's asynchronous embedding functions work through the asynchronous methods."""
    store = MimirStore(mimir, index={"dims": 4, "embed": acounts, "fields": ["text"]})
    await store.aput(PLACE, "cat", {"text": "cat"})
    await store.aput(PLACE, "dog", {"text": "dog cat"})
    items = await store.asearch(PLACE, query="dog")
    assert [item.key for item in items] == ["dog", "cat"]
    with pytest.raises(ValueError, match="async"):
        store.put(PLACE, "k", {"text": "cat"})


def test_each_field_has_a_vector_and_the_best_counts(mimir: Mimir) -> None:
    """Several fields, array elements included, are embedded apart."""
    store = MimirStore(
        mimir, index={"dims": 4, "embed": counts, "fields": ["title", "parts[*].text", "none"]}
    )
    value = {"title": "cat", "parts": [{"text": "dog"}, {"text": "tea"}], "else": "roof"}
    store.put(PLACE, "k", value)
    for query, score in (("cat", 1.0), ("dog", 1.0), ("tea", 1.0), ("roof", 0.0)):
        assert found(store, query) == [("k", score)]


def test_the_vaults_embedder_has_fields_too(mimir: Mimir) -> None:
    """Fields without a model of one's own are embedded apart by the vault's."""
    store = MimirStore(mimir, index={"fields": ["title", "text"]})
    store.put(PLACE, "k", {"title": "harbour", "text": "night", "other": "tea"})
    assert found(store, "harbour") == found(store, "night") == [("k", 1.0)]
    assert found(store, "tea") != [("k", 1.0)]


def test_a_put_says_what_is_indexed(mimir: Mimir) -> None:
    """A list of paths replaces the store's; False leaves an item unranked, at the end."""
    store = MimirStore(mimir, index={"dims": 4, "embed": counts, "fields": ["title"]})
    value = {"title": "cat", "text": "dog"}
    store.put(PLACE, "none", value, index=False)
    store.put(PLACE, "text", value, index=["text"])
    store.put(PLACE, "title", value)
    store.put(PLACE, "whole", value, index=["$"])
    store.put(PLACE, "empty", value, index=[])
    ranked = [("text", 1.0), ("whole", 0.7), ("title", 0.0)]
    assert found(store, "dog") == [*ranked, ("none", None), ("empty", None)]
    assert found(store, "dog", limit=2) == ranked[:2]
    assert found(store, "dog", limit=2, offset=2) == [("title", 0.0), ("none", None)]
    assert found(store, "dog", limit=2, offset=4) == [("empty", None)]


def test_old_vectors_go(mimir: Mimir) -> None:
    """A put with `index=False` or other fields leaves nothing of the vectors before."""
    store = MimirStore(mimir, index={"dims": 4, "embed": counts, "fields": ["a", "b"]})
    store.put(PLACE, "k", {"a": "cat", "b": "dog"})
    store.put(PLACE, "k", {"a": "tea"})
    assert found(store, "cat") == [("k", 0.0)]
    store.put(PLACE, "k", {"a": "tea"}, index=False)
    assert found(store, "tea") == [("k", None)]


@pytest.mark.parametrize("text", ["", " \n", None, [], {}, "without a known word"])
def test_what_has_no_vector_is_stored_all_the_same(mimir: Mimir, text: Any) -> None:
    """Blank texts, missing ones, and texts the model has no direction for are unranked."""
    store = MimirStore(mimir, index={"dims": 4, "embed": counts, "fields": ["text"]})
    store.put(PLACE, "k", {"text": text})
    assert found(store, "cat") == [("k", None)]
    assert found(store, "no known word") == [("k", None)]
    assert found(store, " ") == found(store, "") == [("k", None)]


def test_a_surrogate_is_indexed_as_it_can_be(mimir: Mimir) -> None:
    """A text with half a character is indexed by the rest and comes back whole."""
    store = MimirStore(mimir)
    store.put(PLACE, "k", {"text": "cat \ud800"})
    assert store.search(PLACE, query="cat \udfff cat")[0].value == {"text": "cat \ud800"}


def test_more_fields_than_vectors(mimir: Mimir) -> None:
    """An item of hundreds of texts is found by each of the first and all of the last."""
    store = MimirStore(mimir, index={"fields": ["parts[*]"]})
    store.put(PLACE, "k", {"parts": [f"part{n}" for n in range(300)]})
    assert found(store, "part5") == [("k", 1.0)]
    score = store.search(PLACE, query="part250")[0].score
    assert score is not None
    assert score > 0


def test_without_an_index_a_query_is_passed_over(mimir: Mimir) -> None:
    """`index=None` embeds nothing; a query then changes nothing, as in InMemoryStore."""
    store = MimirStore(mimir, index=None)
    store.put(PLACE, "a", {"text": "cat"})
    store.put(PLACE, "b", {"text": "dog"}, index=["text"])
    assert found(store, "dog") == [("a", None), ("b", None)]
    assert mimir.stats().vectors == {}
    assert store.index_config is store.embeddings is None


def test_an_index_may_come_later(mimir: Mimir) -> None:
    """What was stored without an index is unranked in a store with one, until put again."""
    MimirStore(mimir, index=None).put(PLACE, "a", {"text": "cat"})
    store = MimirStore(mimir, index={"dims": 4, "embed": counts, "fields": ["text"]})
    store.put(PLACE, "b", {"text": "dog"})
    assert found(store, "cat") == [("b", 0.0), ("a", None)]
    store.put(PLACE, "a", {"text": "cat"})
    assert found(store, "cat") == [("a", 1.0), ("b", 0.0)]


def test_models_do_not_mix(path: Path) -> None:
    """Another model on the same items is an error; the same one works after a restart."""
    with create(path) as mimir:
        MimirStore(mimir, index={"dims": 4, "embed": counts}).put(PLACE, "k", {"text": "cat"})
    with reopen(path) as mimir:
        with pytest.raises(SpaceMismatch):
            MimirStore(mimir).search(PLACE, query="cat")
        with pytest.raises(SpaceMismatch):
            MimirStore(mimir).put(PLACE, "other", {"text": "cat"})
        assert MimirStore(mimir).get(PLACE, "other") is None
        assert found(MimirStore(mimir, index={"dims": 4, "embed": counts}), "cat") == [("k", 1.0)]


def test_the_vaults_own_model_may_be_named(mimir: Mimir) -> None:
    """MimirEmbeddings stand for the vault's embedder: one space with the default."""
    MimirStore(mimir).put(PLACE, "k", {"text": "cat"})
    store = MimirStore(mimir, index={"embed": MimirEmbeddings(mimir)})
    assert store.search(PLACE, query="cat")[0].score is not None


@pytest.mark.parametrize(
    ("rows", "error"),
    [
        ([[1.0, 2.0]], InvalidVector), ([], EmbeddingError), ([[1.0] * 4] * 2, EmbeddingError),
        ([["a"] * 4], EmbeddingError), ([[float("nan")] * 4], InvalidVector),
        (None, EmbeddingError), ([[1.0], [1.0, 2.0]], EmbeddingError),
    ],
)  # fmt: skip
def test_a_broken_model_writes_nothing(mimir: Mimir, rows: Any, error: type[Exception]) -> None:
    """Rows of another number or size, or of no numbers, raise before anything is written."""
    store = MimirStore(mimir, index={"dims": 4, "embed": lambda texts: rows})
    with pytest.raises(error):
        store.batch([PutOp(PLACE, "plain", {}, index=False), PutOp(PLACE, "k", {"text": "cat"})])
    assert store.search(()) == []


@pytest.mark.parametrize(
    "index",
    [
        {"embed": 5}, {"embed": counts, "dims": 0}, {"embed": counts, "dims": "4"},
        {"fields": "text"}, {"fields": [1]},
    ],
)  # fmt: skip
def test_a_bad_index_is_refused(mimir: Mimir, index: Any) -> None:
    """A configuration that cannot be meant raises when the store is made."""
    with pytest.raises(InvalidArgument):
        MimirStore(mimir, index=index)


def test_each_text_of_a_batch_is_embedded_once(mimir: Mimir) -> None:
    """Texts that occur twice, in one item or two, are embedded once, and so are queries."""
    model = Counting()
    store = MimirStore(mimir, index={"dims": 4, "embed": model, "fields": ["a", "b"]})
    put = [PutOp(PLACE, key, {"a": "cat", "b": text}) for key, text in (("1", "cat"), ("2", "dog"))]
    store.batch([*put, SearchOp(PLACE, query="tea"), SearchOp(PLACE, query="tea")])
    assert model.texts == ["cat", "dog", "tea"]
    assert store.embeddings is model
    assert store.index_config == {"dims": 4, "embed": model, "fields": ["a", "b"]}


async def test_the_event_loop_embeds_nothing(mimir: Mimir) -> None:
    """Asynchronous calls give the synchronous results, and the model works on other threads."""
    model = Counting()
    store = MimirStore(mimir, index={"dims": 4, "embed": model, "fields": ["text"]})
    texts = {f"{n}": {"text": f"{'cat ' * n}dog"} for n in range(20)}
    await asyncio.gather(*(store.aput(PLACE, key, value) for key, value in texts.items()))
    found = await asyncio.gather(*(store.asearch(PLACE, query=q, limit=5) for q in WORDS * 5))
    assert threading.get_ident() not in model.threads
    assert model.threads
    assert found == [store.search(PLACE, query=q, limit=5) for q in WORDS * 5]


async def test_the_vaults_embedder_leaves_the_loop_alone(folder: Path) -> None:
    """The vault's own embedder, too, works on other threads."""
    threads: set[int] = set()

    def embed(texts: list[str]) -> Any:
        threads.add(threading.get_ident())
        return HashEmbedder(8).embed_documents(texts)

    with create(folder / "v").with_embedder(FunctionEmbedder("noted", embed, None, 8)) as mimir:
        store = MimirStore(mimir, index={"fields": ["a", "b"]})
        await store.aput(PLACE, "k", {"a": "cat", "b": "dog"})
        await store.aput(PLACE, "one", {"a": "cat"})
        assert len(await store.asearch(PLACE, query="cat")) == 2
    assert threads
    assert threading.get_ident() not in threads


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"index": {"text_fields": ["text"]}}, "index has no 'text_fields'"),
        ({"index": {"fields": ["text"], "distance_type": "l2"}}, "index has no 'distance_type'"),
        ({"index": {"dims": 4, "embed": counts, "field": ["text"]}}, "index has no 'field'"),
        ({"index": {7: ["text"]}}, "index has no 7"),
        ({"index": "text"}, "index is a dict"),
        ({"index": ["text"]}, "index is a dict"),
        ({"index": {"fields": np.array(["text"])}}, "the fields to index are a list of paths"),
        ({"index": {"fields": ["text", 7]}}, "field 1: "),
        ({"ttl": {"default_ttl": 5, "refresh": True}}, "ttl has no 'refresh'"),
        ({"ttl": 5}, "ttl is a dict"),
    ],
)
def test_a_configuration_that_is_not_known_is_refused(
    mimir: Mimir, options: Any, named: str
) -> None:
    """A key of another store's is no wish to embed the whole value, nor to keep it for ever."""
    with pytest.raises(InvalidArgument) as caught:
        MimirStore(mimir, **options)
    assert str(caught.value).startswith(named)
    assert mimir.stats().memories == 0


def test_every_key_of_langgraphs_is_known(mimir: Mimir) -> None:
    """What LangGraph's configurations name is taken."""
    index: Any = {"dims": 4, "embed": counts, "fields": ["text"]}
    ttl: Any = {"refresh_on_read": True, "default_ttl": 5, "sweep_interval_minutes": 1}
    assert MimirStore(mimir, index=index, ttl=ttl).ttl_config == ttl
    assert MimirStore(mimir, index={"fields": []}).index_config == {"fields": []}
