"""A storage context lies in one vault: loaded again it is equal, and nothing lies elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from llama_index.core import (
    Document,
    MockEmbedding,
    SimpleKeywordTableIndex,
    StorageContext,
    SummaryIndex,
    VectorStoreIndex,
    load_index_from_storage,
    load_indices_from_storage,
)
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.graph_stores.types import EntityNode, Relation
from llama_index.core.llms import MockLLM
from llama_index.core.schema import ImageNode
from llama_index.core.vector_stores.types import VectorStoreQuery

from mimir_core import Mimir
from mimir_core.errors import InvalidNamespace, SpaceMismatch
from mimir_llamaindex import (
    MimirDocumentStore,
    MimirEmbedding,
    MimirFileSystem,
    MimirIndexStore,
    MimirKVStore,
    mimir_storage_context,
)

from ..vault.vaults import create, reopen
from .watched import found_in

CANARY = "axolotlcanary"
TEXTS = {
    "cats": f"A cat sleeps on the warm sofa. {CANARY}",
    "dogs": "A dog digs holes in the garden.",
    "owls": "An owl hunts mice at night.",
}


def corpus() -> list[Document]:
    """Three documents about animals."""
    return [
        Document(text=text, id_=name, metadata={f"{CANARY}field": f"{CANARY}value {name}"})
        for name, text in TEXTS.items()
    ]


def test_every_store_is_in_the_vault(mimir: Mimir) -> None:
    """All stores are Mimir's, and none is replaced by a plain one for being empty."""
    context = mimir_storage_context(mimir)
    stores = [context.docstore, context.index_store, *context.vector_stores.values()]
    stores += [context.graph_store, context.property_graph_store]
    assert [type(store).__module__.split(".")[0] for store in stores] == ["mimir_llamaindex"] * 6
    assert all(stores)
    assert set(context.vector_stores) == {"default", "image"}
    again = StorageContext.from_defaults(
        docstore=context.docstore,
        index_store=context.index_store,
        vector_store=context.vector_store,
        image_store=context.vector_stores["image"],
        graph_store=context.graph_store,
        property_graph_store=context.property_graph_store,
    )
    assert again == context


def test_indices_are_loaded_again(path: Path) -> None:
    """Indices of several kinds are found again after a restart and answer as before."""
    with create(path) as mimir:
        model = MimirEmbedding(mimir)
        context = mimir_storage_context(mimir, model=model)
        vectors = VectorStoreIndex.from_documents(
            corpus(), storage_context=context, embed_model=model
        )
        SummaryIndex.from_documents(corpus(), storage_context=context).set_index_id("summary")
        keywords = SimpleKeywordTableIndex.from_documents(
            corpus(), storage_context=context, llm=MockLLM()
        )
        keywords.set_index_id("keywords")
        vectors.set_index_id("vectors")
        before = vectors.as_retriever(similarity_top_k=3).retrieve("Where does the dog dig?")
    assert found_in(path.parent, CANARY) == {}
    with reopen(path) as mimir:
        model = MimirEmbedding(mimir)
        context = mimir_storage_context(mimir, model=model)
        index = load_index_from_storage(context, "vectors", embed_model=model)
        after = index.as_retriever(similarity_top_k=3).retrieve("Where does the dog dig?")
        assert [hit.node for hit in after] == [hit.node for hit in before]
        assert after[0].node.ref_doc_id == "dogs"
        index = load_index_from_storage(context, "keywords", llm=MockLLM())
        (hit,) = index.as_retriever(retriever_mode="simple").retrieve("owl")
        assert hit.node.ref_doc_id == "owls"
        index = load_index_from_storage(context, "summary")
        assert len(index.as_retriever().retrieve("all")) == 3
        loaded = load_indices_from_storage(context, embed_model=model, llm=MockLLM())
        assert {index.index_id for index in loaded} == {"vectors", "keywords", "summary"}


async def test_documents_come_and_go(path: Path) -> None:
    """A document deleted from an index is gone from documents, vectors and the file."""
    with create(path) as mimir:
        model = MimirEmbedding(mimir)
        context = mimir_storage_context(mimir)
        index = VectorStoreIndex.from_documents(
            corpus(), storage_context=context, embed_model=model, store_nodes_override=True
        )
        assert set(index.ref_doc_info) == set(TEXTS)
        await index.ainsert(Document(text="a carp swims", id_="carps"))
        index.update_ref_doc(Document(text="a dog barks", id_="dogs"))
        index.delete_ref_doc("cats", delete_from_docstore=True)
        await index.adelete_ref_doc("owls", delete_from_docstore=True)
        assert set(index.ref_doc_info) == {"carps", "dogs"}
        hits = await index.as_retriever(similarity_top_k=9).aretrieve("a cat")
        assert {hit.node.ref_doc_id for hit in hits} == {"carps", "dogs"}
        assert {node.get_content() for node in context.docstore.docs.values()} == {
            "a carp swims",
            "a dog barks",
        }
        assert not any(CANARY in memory.text for memory in mimir.memories())
    assert found_in(path.parent, CANARY, "garden") == {}


def test_persist_writes_nothing_outside(path: Path, tmp_path: Path) -> None:
    """`persist` keeps the graphs in the vault and writes no file, wherever it is told to."""
    with create(path) as mimir:
        model = MimirEmbedding(mimir)
        context = mimir_storage_context(mimir)
        VectorStoreIndex.from_documents(corpus(), storage_context=context, embed_model=model)
        context.graph_store.upsert_triplet(CANARY, "lives in", "water")
        assert context.property_graph_store is not None
        context.property_graph_store.upsert_nodes([EntityNode(name=CANARY), EntityNode(name="b")])
        context.property_graph_store.upsert_relations(
            [Relation(label="KNOWS", source_id=CANARY, target_id="b")]
        )
        context.persist(tmp_path / "storage")
        context.persist(str(tmp_path / "storage"), fs=MimirFileSystem(mimir, ("elsewhere",)))
        assert MimirFileSystem(mimir, ("elsewhere",)).find("/") == []
    assert list(tmp_path.iterdir()) == []
    assert found_in(path.parent, CANARY) == {}
    with reopen(path) as mimir:
        context = mimir_storage_context(mimir)
        known = {CANARY: [[CANARY, "lives in", "water"]]}
        assert context.graph_store.get_rel_map([CANARY]) == known
        assert context.property_graph_store is not None
        (triplet,) = context.property_graph_store.get_triplets(entity_names=[CANARY])
        assert triplet[1].label == "KNOWS"
        assert len(context.property_graph_store.get()) == 2


def test_plain_stores_would_show(tmp_path: Path) -> None:
    """The search for canaries finds them in what LlamaIndex's own stores persist."""
    context = StorageContext.from_defaults()
    SummaryIndex.from_documents(corpus(), storage_context=context)
    context.persist(tmp_path)
    assert "docstore.json" in found_in(tmp_path, CANARY)[CANARY]


def test_contexts_apart(mimir: Mimir) -> None:
    """Two contexts of one vault share nothing; two of one namespace share everything."""
    model = MimirEmbedding(mimir)
    one, two = mimir_storage_context(mimir, ("ana",)), mimir_storage_context(mimir, "ben")
    VectorStoreIndex.from_documents(
        corpus(), storage_context=one, embed_model=model, store_nodes_override=True
    )
    one.graph_store.upsert_triplet("a", "b", "c")
    one.persist()
    assert two.docstore.docs == {}
    assert two.index_store.index_structs() == []
    assert two.vector_store.get_nodes() == []
    assert mimir_storage_context(mimir, "ben").graph_store.get("a") == []
    same = mimir_storage_context(mimir, "ana")
    assert same.docstore.docs == one.docstore.docs
    assert len(same.vector_store.get_nodes()) == 3
    assert same.graph_store.get("a") == [["b", "c"]]


@pytest.mark.parametrize("place", [None, 7, (), ("a", ""), ("a.b",), "\0", ("a",) * 17])
def test_bad_namespace(mimir: Mimir, place: Any) -> None:
    """A namespace that cannot be is refused at once, by each of the classes."""
    for made in (
        mimir_storage_context,
        MimirKVStore,
        MimirDocumentStore,
        MimirIndexStore,
        MimirFileSystem,
    ):
        with pytest.raises(InvalidNamespace):
            made(mimir, place)


def test_image_store(mimir: Mimir) -> None:
    """Images' vectors, which another model makes, lie apart from the texts'."""
    context = mimir_storage_context(mimir)
    VectorStoreIndex.from_documents(
        corpus(), storage_context=context, embed_model=MimirEmbedding(mimir)
    )
    image = ImageNode(id_="i", image="aGVsbG8=", embedding=[1.0, 0.0, 0.0], text="a cat")
    context.vector_stores["image"].add([image])
    query = VectorStoreQuery(query_embedding=[1.0, 0.1, 0.0], similarity_top_k=5)
    found = context.vector_stores["image"].query(query)
    assert found.ids == ["i"]
    assert found.nodes is not None
    assert found.nodes[0].image == "aGVsbG8="
    assert len(context.vector_store.get_nodes()) == 3


@pytest.mark.parametrize("model", ["another", MockEmbedding(embed_dim=8)])
def test_model(mimir: Mimir, model: BaseEmbedding | str) -> None:
    """A context that is told its model refuses to mix another's vectors in."""
    context = mimir_storage_context(mimir, model=MimirEmbedding(mimir))
    VectorStoreIndex.from_documents(
        corpus(), storage_context=context, embed_model=MimirEmbedding(mimir)
    )
    other = mimir_storage_context(mimir, model=model)
    query = VectorStoreQuery(query_embedding=[1.0] * 32)
    assert context.vector_store.query(query).ids
    with pytest.raises(SpaceMismatch):
        other.vector_store.query(query)
