"""A deleted or replaced document leaves neither its hash nor anything cached, and can come back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import Document, SummaryIndex, VectorStoreIndex
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import IndexNode, NodeRelationship, RelatedNodeInfo, TextNode

from mimir_core import Mimir
from mimir_core.errors import InvalidArgument
from mimir_llamaindex import (
    MimirDocumentStore,
    MimirEmbedding,
    MimirIngestionCache,
    MimirVectorStore,
    mimir_storage_context,
)

from ..vault.vaults import create, reopen
from .conftest import ASYNC, Call
from .test_docstore import family
from .test_ingestion import Loud

ASYNC["delete_ref_doc"] = "adelete_ref_doc"
DOCS = ("llamaindex", "docs")


def documents(*texts: str) -> list[Document]:
    """Documents named by their first word."""
    return [Document(text=text, id_=text.split()[0]) for text in texts]


def index_of(mimir: Mimir, docs: Sequence[Document], **options: Any) -> VectorStoreIndex:
    model = MimirEmbedding(mimir)
    context = mimir_storage_context(mimir, model=model)
    return VectorStoreIndex.from_documents(
        docs, storage_context=context, embed_model=model, **options
    )


def hashes(mimir: Mimir) -> set[str]:
    """The documents of which there is a hash."""
    return set(MimirDocumentStore(mimir).get_all_document_hashes().values())


def texts(mimir: Mimir) -> list[str]:
    return sorted(found.get_content() for found in MimirVectorStore(mimir).get_nodes())


# An index of a storage context


@pytest.mark.parametrize("from_docstore", [True, False])
async def test_a_deleted_document_leaves_no_hash_and_comes_back(
    mimir: Mimir, call: Call, from_docstore: bool
) -> None:
    """`delete_ref_doc` takes the hash along, and `refresh_ref_docs` brings the document back."""
    docs = documents("yes", "no")
    index = index_of(mimir, docs)
    await call(index.delete_ref_doc, "yes", delete_from_docstore=from_docstore)
    assert hashes(mimir) == {"no"}
    assert all(memory.key != "yes" for memory in mimir.memories(namespace=DOCS, descendants=True))
    assert await call(index.refresh_ref_docs, docs) == [True, False]
    assert texts(mimir) == ["no", "yes"]
    assert await call(index.refresh_ref_docs, docs) == [False, False]


async def test_the_last_node_takes_the_hash(mimir: Mimir, call: Call) -> None:
    """Deleted node by node, by ids or filters, a document's hash goes with its last node."""
    splitter = SentenceSplitter(chunk_size=20, chunk_overlap=0)
    index = index_of(mimir, documents("long " + "word " * 40, "no"), transformations=[splitter])
    store = MimirVectorStore(mimir)
    *most, last = [found.node_id for found in store.get_nodes() if found.ref_doc_id == "long"]
    assert most
    await call(index.delete_nodes, most, delete_from_docstore=True)
    assert hashes(mimir) == {"long", "no"}
    await call(index.delete_nodes, [last], delete_from_docstore=True)
    assert hashes(mimir) == {"no"}
    await call(index.vector_store.clear)
    assert hashes(mimir) == set()


async def test_what_another_index_keeps_stays(mimir: Mimir, call: Call) -> None:
    """A document whose nodes stand in the document store keeps its hash until these go."""
    docs = documents("yes", "no")
    context = mimir_storage_context(mimir, model=MimirEmbedding(mimir))
    summary = SummaryIndex.from_documents(docs, storage_context=context)
    index = VectorStoreIndex.from_documents(
        docs, storage_context=context, embed_model=MimirEmbedding(mimir)
    )
    await call(index.delete_ref_doc, "yes", delete_from_docstore=True)
    assert "yes" in hashes(mimir)
    assert len(summary.as_retriever().retrieve("yes")) == 2
    await call(summary.delete_ref_doc, "yes", delete_from_docstore=True)
    assert MimirDocumentStore(mimir).get_document_hash("yes") is None


async def test_an_index_that_keeps_its_nodes(mimir: Mimir, call: Call) -> None:
    """With `store_nodes_override` nodes and hash go if they are to, and stay if not."""
    index = index_of(mimir, documents("yes", "no"), store_nodes_override=True)
    await call(index.delete_ref_doc, "yes")
    await call(index.delete_ref_doc, "no", delete_from_docstore=True)
    store = MimirDocumentStore(mimir)
    assert store.get_document_hash("yes") is not None
    assert store.get_document_hash("no") is None
    assert [doc.get_content() for doc in store.docs.values()] == ["yes"]


def test_a_store_by_itself_has_nobody_to_tell(mimir: Mimir) -> None:
    """Only a Mimir document store is told; without one a vector store deletes as ever."""
    with pytest.raises(InvalidArgument):
        MimirVectorStore(mimir, docstore="docs")  # type: ignore[arg-type]
    MimirDocumentStore(mimir).set_document_hash("x", "hash")
    MimirVectorStore(mimir).delete("x")
    assert hashes(mimir) == {"x"}
    MimirVectorStore(mimir, docstore=MimirDocumentStore(mimir)).delete("x")
    assert hashes(mimir) == set()


# The cache of an ingestion


def pipeline(mimir: Mimir, strategy: DocstoreStrategy, **options: Any) -> IngestionPipeline:
    model = MimirEmbedding(mimir)
    return IngestionPipeline(
        transformations=[SentenceSplitter(), model],
        docstore=MimirDocumentStore(mimir),
        vector_store=MimirVectorStore(mimir, model=model),
        cache=MimirIngestionCache(mimir),
        docstore_strategy=strategy,
        **options,
    )


def everything(mimir: Mimir) -> str:
    """All that the vault holds, whatever holds it."""
    return "\n".join(str((m.content, m.attachment, m.key)) for m in mimir.memories())


@pytest.mark.parametrize(
    "strategy", [DocstoreStrategy.UPSERTS, DocstoreStrategy.UPSERTS_AND_DELETE]
)
async def test_nothing_is_left_of_a_replaced_document(
    mimir: Mimir, call: Call, strategy: DocstoreStrategy
) -> None:
    """After an ingestion of the changed document no record of the vault holds the older text."""
    made = pipeline(mimir, strategy)
    await call(made.run, documents=documents("note axolotl", "other wombat"))
    assert everything(mimir).count("axolotl") > 3
    await call(made.run, documents=documents("note newt", "other wombat"))
    assert "axolotl" not in everything(mimir)
    assert texts(mimir) == ["note newt", "other wombat"]


async def test_nothing_is_left_of_a_removed_document(mimir: Mimir, call: Call) -> None:
    """What is no longer among the documents is in no store and in no cache."""
    made = pipeline(mimir, DocstoreStrategy.UPSERTS_AND_DELETE)
    await call(made.run, documents=documents("note axolotl", "other wombat"))
    await call(made.run, documents=documents("other wombat"))
    assert "axolotl" not in everything(mimir)


async def test_duplicates_only(mimir: Mimir, call: Call) -> None:
    """Where LlamaIndex leaves the older vectors, the cache of the older document goes, too."""
    made = pipeline(mimir, DocstoreStrategy.DUPLICATES_ONLY)
    await call(made.run, documents=documents("note axolotl"))
    await call(made.run, documents=documents("note newt"))
    kept = mimir.memories(namespace=DOCS, descendants=True)
    assert not any("axolotl" in str(m.content) for m in kept)


async def test_the_cache_still_spares_work(mimir: Mimir, call: Call) -> None:
    """The same documents again are not transformed again, and both documents share an entry."""
    cache, loud = MimirIngestionCache(mimir), Loud()
    made = IngestionPipeline(transformations=[SentenceSplitter(), loud], cache=cache)
    first = await call(made.run, documents=documents("a", "b"))
    assert await call(made.run, documents=documents("a", "b")) == first
    assert loud._runs == [2]
    cache.delete_documents(["b", "nobody", "\ud800"])
    assert mimir.stats().memories == 1  # which entries had "a" is known by random tokens only
    await call(made.run, documents=documents("a", "b"))
    assert loud._runs == [2, 2]
    cache.clear()
    assert mimir.stats().memories == 0


async def test_deleting_empties_the_cache(mimir: Mimir, call: Call) -> None:
    """Deleting a document, a node of it, or all of its nodes erases what is cached of it."""
    store, cache = MimirDocumentStore(mimir), MimirIngestionCache(mimir)
    parent, one, two = family()
    for name, id_ in (("delete_document", "d1"), ("delete_document", "d2"),
                      ("delete_ref_doc", "d1")):  # fmt: skip
        store.add_documents([parent, one, two])
        cache.put("key", [one, two])
        cache.put("other", [TextNode(text="other", id_="o")], collection="more")
        await call(getattr(store, name), id_)
        assert cache.get("key") is None
        assert cache.get("other", collection="more") is not None
    cache.put("key", [Document(text="alone", id_="d7")])
    await call(store.delete_ref_doc, "d7", raise_error=False)
    assert cache.get("key") is None


def test_an_entry_that_is_put_again(mimir: Mimir) -> None:
    """The newest nodes of a key are kept, filed under their own documents."""
    cache = MimirIngestionCache(mimir)
    cache.put("key", [Document(text="one", id_="1")])
    cache.put("key", [Document(text="two", id_="2")])
    cache.delete_documents(["1"])
    (found,) = cache.get("key") or ()
    assert found.get_content() == "two"
    cache.delete_documents(["2"])
    assert cache.get("key") is None
    assert mimir.stats().memories == 0


def test_collections_are_cleared_apart(mimir: Mimir) -> None:
    """Clearing a collection leaves what another holds of the same document."""
    cache = MimirIngestionCache(mimir)
    for name in (None, "other", "cache/tokens"):
        cache.put("key", [Document(text=str(name), id_="1")], collection=name)
    cache.clear()
    assert cache.get("key") is None
    assert len(cache.get("key", collection="other") or ()) == 1
    cache.delete_documents(["1"])
    assert cache.get("key", collection="cache/tokens") is None
    assert mimir.stats().memories == 0


def test_an_ingestion_of_many_documents(mimir: Mimir) -> None:
    """An entry of more documents than one transaction holds is found, and goes, as any other."""
    cache = MimirIngestionCache(mimir)
    cache.put("key", [Document(text=str(n), id_=str(n)) for n in range(1_500)])
    assert len(cache.get("key") or ()) == 1_500
    cache.delete_documents(["1499"])
    assert cache.get("key") is None


def test_it_lasts(path: Path) -> None:
    """Opened again, a deletion reaches what was cached before."""
    with create(path) as mimir:
        MimirIngestionCache(mimir).put("key", [Document(text="x", id_="1")])
    with reopen(path) as mimir:
        MimirDocumentStore(mimir).delete_document("1", raise_error=False)
        assert MimirIngestionCache(mimir).get("key") is None


async def test_what_an_index_does_not_tell(mimir: Mimir, call: Call) -> None:
    """Copies that no index deletes, of index nodes and ingested documents, go in a call."""
    model = MimirEmbedding(mimir)
    context = mimir_storage_context(mimir, model=model)
    index = VectorStoreIndex([], storage_context=context, embed_model=model)
    linked = IndexNode(text="axolotl", index_id="other")
    linked.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id="card")
    index.insert_nodes([linked])
    pipeline(mimir, DocstoreStrategy.UPSERTS).run(documents=documents("note axolotl"))
    for name in ("card", "note"):
        await call(index.delete_ref_doc, name, delete_from_docstore=True)
        await call(context.docstore.delete_ref_doc, name, raise_error=False)
        await call(context.docstore.delete_document, name, raise_error=False)
    assert "axolotl" not in everything(mimir)
    assert hashes(mimir) == set()
