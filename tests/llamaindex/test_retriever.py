"""Hybrid recall as a retriever, over indexes of every kind of node and over plain memories."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import pytest
from llama_index.core import MockEmbedding, Settings, VectorStoreIndex
from llama_index.core.chat_engine import CondensePlusContextChatEngine, ContextChatEngine
from llama_index.core.llms import MockLLM
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import (
    ImageNode,
    IndexNode,
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters

from mimir_core import FunctionEmbedder, Item, Mimir
from mimir_core.errors import (
    InvalidArgument,
    InvalidFilter,
    InvalidNamespace,
    InvalidText,
    NotSerializable,
    SpaceMismatch,
)
from mimir_llamaindex import MimirEmbedding, MimirRetriever, MimirVectorStore

from .conftest import Call

DAY = ["Shall we paint tomorrow?", "Yes, I bring the brushes", "And I bring lemonade"]


@pytest.fixture
def talk(mimir: Mimir) -> Mimir:
    """A thread of three turns, and turns of others about other things."""
    mimir.remember_many(
        [Item(text, thread="monday", metadata={"by": "Ana"}) for text in DAY]
        + [Item(f"something else number {n}", thread=f"t{n}") for n in range(20)]
    )
    return mimir


def chunks(document: str, *texts: str) -> list[TextNode]:
    made = [TextNode(id_=f"{document}-{n}", text=text) for n, text in enumerate(texts)]
    for each in made:
        each.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=document)
    return made


@pytest.fixture
def mixed(mimir: Mimir) -> VectorStoreIndex:
    """An index with text, image and index nodes, as `insert_nodes` fills it."""
    model = MimirEmbedding(mimir)
    index = VectorStoreIndex.from_vector_store(MimirVectorStore(mimir, model=model), model)
    index.insert_nodes([
        *chunks("lake", "a lake in the morning", "mist and reeds"),
        ImageNode(id_="photo", text="a photo of the lake", image="aGk="),
        IndexNode(id_="pointer", text="more about the lake", index_id="elsewhere"),
    ])  # fmt: skip
    return index


def over(index: VectorStoreIndex, **options: Any) -> MimirRetriever:
    store = index.vector_store
    assert isinstance(store, MimirVectorStore)
    return MimirRetriever.from_vector_store(store, **options)


async def test_plain_memories_are_found(talk: Mimir, call: Call) -> None:
    """Turns come as text nodes, best first, with metadata, score and their thread as source."""
    found = await call(MimirRetriever(talk, similarity_top_k=3).retrieve, "brushes to paint")
    assert [type(each) for each in found] == [NodeWithScore] * 3
    assert {each.text for each in found[:2]} == set(DAY[:2])
    assert found[0].node.metadata == {"by": "Ana"}
    assert found[0].node.ref_doc_id == "monday"
    scores = [each.score for each in found]
    assert scores == sorted(scores, reverse=True)


async def test_it_finds_what_recall_finds(talk: Mimir, call: Call) -> None:
    """A retriever returns the hits of `Mimir.recall`, in their order."""
    for text in (*DAY, "something else number 7"):
        found = await call(MimirRetriever(talk).retrieve, text)
        hits = talk.recall(text)
        assert [(each.node_id, each.score) for each in found] == [
            (hit.id, pytest.approx(hit.score, abs=1e-5)) for hit in hits
        ]


async def test_scores_spread_to_neighbours(talk: Mimir, call: Call) -> None:
    """A turn beside a hit is found by spreading, and is not where nothing spreads."""
    text = "brushes"
    with_spread = await call(MimirRetriever(talk, alpha=0.0, spread=1.0).retrieve, text)
    without = await call(MimirRetriever(talk, alpha=0.0, spread=0.0).retrieve, text)
    scores = [{each.text: each.score for each in found} for found in (with_spread, without)]
    assert with_spread[0].text == without[0].text == DAY[1]
    assert scores[0].get(DAY[2], 0) > scores[1].get(DAY[2], 0)


async def test_scores_spread_along_a_document(mixed: VectorStoreIndex, call: Call) -> None:
    """The chunk after the one that a query names is likelier than without it."""
    found = {each.node_id: each.score for each in await call(over(mixed).retrieve, "morning")}
    alone = over(mixed, spread=0.0)
    plain = {each.node_id: each.score for each in await call(alone.retrieve, "morning")}
    assert found["lake-1"] > plain["lake-1"]


async def test_no_kind_of_node_vanishes(mixed: VectorStoreIndex, call: Call) -> None:
    """Text nodes are found beside image and index nodes, where the index's own retriever fails."""
    found = await call(over(mixed).retrieve, "the lake")
    assert {type(each.node) for each in found} == {TextNode, ImageNode, IndexNode}
    assert {each.node_id for each in found} >= {"lake-0", "photo", "pointer"}
    restricted = mixed.as_retriever(similarity_top_k=5).retrieve("the lake")
    assert {each.node_id for each in restricted} == {"photo", "pointer"}


async def test_an_index_node_leads_on(mixed: VectorStoreIndex, call: Call) -> None:
    """What an index node points to is retrieved in its place, as by any retriever."""
    behind = TextNode(id_="behind", text="the whole story of the lake")
    retriever = over(mixed, object_map={"elsewhere": behind})
    ids = {each.node_id for each in await call(retriever.retrieve, "more about the lake")}
    assert "behind" in ids
    assert "pointer" not in ids


async def test_filters_hold(talk: Mimir, call: Call) -> None:
    """Only what fits is found."""
    by_ana = MetadataFilters(filters=[MetadataFilter(key="by", value="Ana")])
    found = await call(MimirRetriever(talk, filters=by_ana).retrieve, "something else")
    assert {each.text for each in found} == set(DAY)


async def test_alpha_goes_from_words_to_vectors(talk: Mimir, call: Call) -> None:
    """At 1 the order is that of the vectors alone."""
    found = await call(MimirRetriever(talk, alpha=1.0, spread=0.0).retrieve, DAY[0])
    hits = talk.recall(DAY[0], mode="dense")
    assert [each.node_id for each in found] == [hit.id for hit in hits]


async def test_a_given_embedding_is_used(mixed: VectorStoreIndex, mimir: Mimir, call: Call) -> None:
    """A bundle's own embedding spares embedding, with words or without."""
    vector = mimir.embedder.embed_query("mist and reeds").tolist()
    for text in ("", "zebra"):
        found = await call(over(mixed, spread=0.0).retrieve, QueryBundle(text, embedding=vector))
        assert found[0].node_id == "lake-1"


async def test_other_texts_can_be_embedded(mixed: VectorStoreIndex, call: Call) -> None:
    """A query transform's texts take the place of the question's."""
    bundle = QueryBundle("zebra", custom_embedding_strs=["mist and reeds"])
    found = await call(over(mixed, spread=0.0).retrieve, bundle)
    assert found[0].node_id == "lake-1"


async def test_any_embedding_model_fits(mimir: Mimir, call: Call) -> None:
    """The index's own model embeds the query: that of the store, a given one, or the settings'."""
    model = MockEmbedding(embed_dim=5)
    store = MimirVectorStore(mimir, "mock", model=model)
    VectorStoreIndex.from_vector_store(store, model).insert_nodes(chunks("d", "a", "b"))
    for given in ({}, {"embed_model": model}):
        found = await call(MimirRetriever.from_vector_store(store, **given).retrieve, "a query")
        assert len(found) == 2
    unnamed = MimirVectorStore(mimir, "unnamed")
    VectorStoreIndex.from_vector_store(unnamed, model).insert_nodes(chunks("d", "a", "b"))
    before = Settings._embed_model
    try:
        Settings.embed_model = model
        assert len(await call(MimirRetriever.from_vector_store(unnamed).retrieve, "a query")) == 2
    finally:
        Settings._embed_model = before
    with pytest.raises(SpaceMismatch):
        await call(MimirRetriever(mimir, "mock").retrieve, "a query")


async def test_engines_take_it(talk: Mimir) -> None:
    """It serves a query engine and the chat engines, sync and async."""
    retriever, llm = MimirRetriever(talk, similarity_top_k=2), MockLLM(max_tokens=8)
    engine = RetrieverQueryEngine.from_args(retriever, llm=llm)
    for response in (engine.query("brushes"), await engine.aquery("brushes")):
        assert response.source_nodes[0].text == DAY[1]
    for kind in (ContextChatEngine, CondensePlusContextChatEngine):
        chat = kind.from_defaults(retriever=retriever, llm=llm)
        for response in (chat.chat("brushes"), await chat.achat("brushes")):
            assert len(response.source_nodes) == 2


async def test_the_event_loop_goes_on(mimir: Mimir) -> None:
    """Queries are embedded in another thread than the loop's."""
    threads: list[int] = []

    def documents(texts: list[str]) -> list[list[float]]:
        threads.append(threading.get_ident())
        return [[1.0, float(len(text))] for text in texts]

    handle = mimir.with_embedder(FunctionEmbedder("lengths", documents, dimension=2))
    handle.remember("a memory", namespace="n")
    threads.clear()
    assert len(await MimirRetriever(handle, "n").aretrieve("a query")) == 1
    assert threads
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("query", ["", " \n", QueryBundle(""), QueryBundle("", embedding=None)])
async def test_an_empty_query_is_refused(talk: Mimir, call: Call, query: Any) -> None:
    """There is nothing to look for."""
    with pytest.raises(InvalidText):
        await call(MimirRetriever(talk).retrieve, query)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"namespace": "a.b"}, InvalidNamespace),
        ({"namespace": None}, InvalidNamespace),
        ({"filters": {"a": 1}}, InvalidFilter),
    ],
)
def test_bad_options_are_refused(mimir: Mimir, options: Any, error: type[Exception]) -> None:
    """What cannot be searched with fails when the retriever is made."""
    with pytest.raises(error):
        MimirRetriever(mimir, **options)


@pytest.mark.parametrize(
    "options", [{"similarity_top_k": 0}, {"alpha": 2.0}, {"spread": -1.0}, {"alpha": None}]
)
async def test_bad_numbers_are_refused(talk: Mimir, call: Call, options: Any) -> None:
    """A weight or count outside its range is an error."""
    with pytest.raises(InvalidArgument):
        await call(MimirRetriever(talk, **options).retrieve, "brushes")


def test_only_a_store_is_a_store(mimir: Mimir) -> None:
    """`from_vector_store` takes our own store."""
    with pytest.raises(InvalidArgument):
        MimirRetriever.from_vector_store(mimir)  # type: ignore[arg-type]


def test_it_cannot_be_copied_out(talk: Mimir) -> None:
    """Pickle and deepcopy raise."""
    for way in (pickle.dumps, copy.deepcopy):
        with pytest.raises(NotSerializable):
            way(MimirRetriever(talk))
    assert "paint" not in repr(MimirRetriever(talk))
