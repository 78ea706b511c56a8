"""The document store keeps nodes whole, with hashes and documents, and deletes for good."""

from __future__ import annotations

import copy
import datetime as dt
import pickle
import threading
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.constants import DATA_KEY, TYPE_KEY
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageDocument,
    ImageNode,
    IndexNode,
    MediaResource,
    Node,
    NodeRelationship,
    TextNode,
)
from llama_index.core.storage.docstore.keyval_docstore import KVDocumentStore

from mimir_core import Mimir
from mimir_core.errors import InvalidArgument, NotSerializable
from mimir_llamaindex import MimirDocumentStore
from mimir_llamaindex.docstore import content_id

from ..vault.vaults import create, reopen
from .conftest import ASYNC, Call
from .watched import Watched, found_in

ASYNC["add_documents"] = "async_add_documents"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(200))

NODES: dict[str, BaseNode] = {
    "document": Document(text="hello", metadata={"page": 1}, excluded_llm_metadata_keys=["page"]),
    "text": TextNode(text="a chunk", metadata={"tags": ["a"]}, start_char_idx=3, end_char_idx=9),
    "embedded": TextNode(text="a chunk", embedding=[0.25, -1.0]),
    "index": IndexNode(text="to another", index_id="i", obj=TextNode(text="inner")),
    "image": ImageNode(text="cat", image="aGVsbG8="),
    "image document": ImageDocument(image=b64encode(PNG).decode(), metadata={"at": "home"}),
    "media bytes": Node(
        text_resource=MediaResource(text="x"), image_resource=MediaResource(data=PNG)
    ),
    "document with bytes": Document(text="d", audio_resource=MediaResource(data=b"RIFF")),
    "empty": TextNode(text=""),
}


@pytest.fixture
def docs(mimir: Mimir) -> MimirDocumentStore:
    """An empty store."""
    return MimirDocumentStore(mimir)


def family() -> tuple[Document, TextNode, TextNode]:
    """A document and two nodes made from it."""
    parent = Document(text="hello world", id_="d1", metadata={"foo": "bar"})
    children = [
        TextNode(text="hello", id_="d2", metadata={"foo": "bar"}),
        TextNode(text="world", id_="d3", metadata={"node": "info"}),
    ]
    for child in children:
        child.relationships[NodeRelationship.SOURCE] = parent.as_related_node_info()
    return parent, children[0], children[1]


def left(docs: MimirDocumentStore) -> tuple[set[str], set[str], set[str]]:
    """The ids in the collections of nodes, hashes and document infos."""
    collections = (docs._node_collection, docs._metadata_collection, docs._ref_doc_collection)
    nodes, hashes, infos = (set(docs._kvstore.get_all(collection=name)) for name in collections)
    return nodes, hashes, infos


@pytest.mark.parametrize("kind", NODES)
async def test_comes_back_whole(docs: MimirDocumentStore, call: Call, kind: str) -> None:
    """A node comes back equal and of its kind, with metadata, relations and media bytes."""
    node = NODES[kind]
    await call(docs.add_documents, [node])
    for found in (await call(docs.get_document, node.node_id), docs.docs[node.node_id]):
        assert type(found) is type(node)
        assert found == node
        assert found.hash == node.hash
    (found,) = await call(docs.get_nodes, [node.node_id])
    assert found == node
    if isinstance(node, Node):
        assert isinstance(found, Node)
        for name in ("image_resource", "audio_resource"):
            assert getattr(found, name) == getattr(node, name)


async def test_add_and_get(docs: MimirDocumentStore, call: Call) -> None:
    """Documents and nodes are found by id; what is not there raises or is None."""
    doc = Document(text="hello world", id_="d1", metadata={"foo": "bar"})
    node = TextNode(text="my node", id_="d2", metadata={"node": "info"})
    await call(docs.add_documents, [doc, node])
    assert await call(docs.get_document, "d1") == doc
    assert await call(docs.get_document, "d2") == node
    assert docs.docs == {"d1": doc, "d2": node}
    assert await call(docs.document_exists, "d1")
    assert not await call(docs.document_exists, "d3")
    assert await call(docs.get_document, "d3", raise_error=False) is None
    with pytest.raises(ValueError, match="no such"):
        await call(docs.get_document, "d3")
    assert await call(docs.get_nodes, ["d2", "d3", "d1"], raise_error=False) == [node, doc]
    with pytest.raises(ValueError, match="no such"):
        await call(docs.get_nodes, ["d2", "d3"])
    assert await call(docs.get_node_dict, {0: "d2", 7: "d1"}) == {0: node, 7: doc}


async def test_update(docs: MimirDocumentStore, call: Call) -> None:
    """A node of a known id replaces the older one, unless it must not."""
    await call(docs.add_documents, [TextNode(text="one", id_="n")])
    await call(docs.add_documents, [TextNode(text="two", id_="n"), TextNode(text="three", id_="n")])
    assert (await call(docs.get_document, "n")).text == "three"
    with pytest.raises(InvalidArgument, match="a node of this id already exists"):
        await call(
            docs.add_documents,
            [TextNode(text="x", id_="new"), TextNode(text="four", id_="n")],
            allow_update=False,
        )
    with pytest.raises(InvalidArgument):
        await call(docs.add_documents, [TextNode(text="x", id_="new"), "no node"])
    assert [node.text for node in docs.docs.values() if isinstance(node, TextNode)] == ["three"]


async def test_delete_document(docs: MimirDocumentStore, call: Call) -> None:
    """A deleted document is in no collection; another stays."""
    await call(docs.add_documents, [Document(text="a", id_="d1"), TextNode(text="b", id_="d2")])
    await call(docs.delete_document, "d1")
    assert left(docs) == ({"d2"}, {"d2"}, set())
    with pytest.raises(ValueError, match="no such"):
        await call(docs.delete_document, "d1")
    await call(docs.delete_document, "d1", raise_error=False)


@pytest.mark.parametrize("with_document", [True, False])
async def test_delete_ref_doc(docs: MimirDocumentStore, call: Call, with_document: bool) -> None:
    """With a document go all of its nodes, whether or not it is in the store itself."""
    parent, one, two = family()
    other = TextNode(text="other", id_="o")
    await call(docs.add_documents, [parent, one, two, other][0 if with_document else 1 :])
    assert (await call(docs.get_ref_doc_info, "d1")).node_ids == ["d2", "d3"]
    assert await call(docs.ref_doc_exists, "d1")
    await call(docs.delete_ref_doc, "d1")
    assert left(docs) == ({"o"}, {"o"}, set())
    assert not await call(docs.ref_doc_exists, "d1")
    with pytest.raises(ValueError, match="no such"):
        await call(docs.delete_ref_doc, "d1")
    await call(docs.delete_ref_doc, "d1", raise_error=False)


async def test_last_node_takes_its_document(docs: MimirDocumentStore, call: Call) -> None:
    """A document's info forgets a deleted node, and goes with the last one."""
    await call(docs.add_documents, list(family()))
    await call(docs.delete_document, "d2")
    assert (await call(docs.get_ref_doc_info, "d1")).node_ids == ["d3"]
    assert left(docs) == ({"d1", "d3"}, {"d1", "d3"}, {"d1"})
    await call(docs.delete_document, "d3")
    assert left(docs) == (set(), set(), set())


async def test_nodes_that_moved(docs: MimirDocumentStore, call: Call) -> None:
    """Nodes that are deleted with their former document leave the one they moved to."""
    _, *nodes = family()
    await call(docs.add_documents, nodes)
    new = Document(text="new", id_="d9").as_related_node_info()
    stays = TextNode(text="stays", id_="d4")
    for node in (*nodes, stays):
        node.relationships[NodeRelationship.SOURCE] = new
    await call(docs.add_documents, [*nodes, stays])
    await call(docs.delete_ref_doc, "d1")
    assert left(docs) == ({"d4"}, {"d4"}, {"d9"})
    assert (await call(docs.get_ref_doc_info, "d9")).node_ids == ["d4"]


async def test_ref_doc_info_grows(docs: MimirDocumentStore, call: Call) -> None:
    """Nodes of one document that are added one after the other are all in its info, once."""
    _, one, two = family()
    await call(docs.add_documents, [one])
    await call(docs.add_documents, [two, one])
    infos = await call(docs.get_all_ref_doc_info)
    assert {key: sorted(info.node_ids) for key, info in infos.items()} == {"d1": ["d2", "d3"]}
    assert infos["d1"].metadata["foo"] == "bar"


async def test_hashes(docs: MimirDocumentStore, call: Call) -> None:
    """Hashes are kept of what is added and can be set."""
    doc = Document(text="hello", id_="d1")
    await call(docs.add_documents, [doc])
    assert await call(docs.get_document_hash, "d1") == doc.hash
    assert await call(docs.get_document_hash, "d2") is None
    await call(docs.set_document_hash, "d2", "h2")
    await call(docs.set_document_hashes, {"d3": "h3", "d4": "h4"})
    hashes = {doc.hash: "d1", "h2": "d2", "h3": "d3", "h4": "d4"}
    assert await call(docs.get_all_document_hashes) == hashes


async def test_without_text(docs: MimirDocumentStore, call: Call) -> None:
    """Hashes alone can be kept, and deleting their document deletes them."""
    await call(docs.add_documents, [Document(text="hello", id_="d1")], store_text=False)
    assert docs.docs == {}
    assert await call(docs.get_document_hash, "d1")
    await call(docs.delete_document, "d1")
    assert left(docs) == (set(), set(), set())


async def test_same_content_twice(docs: MimirDocumentStore, call: Call) -> None:
    """Two documents of the same content share a hash and stay two documents."""
    await call(docs.add_documents, [Document(text="same", id_=name) for name in ("a", "b")])
    assert len(await call(docs.get_all_document_hashes)) == 1
    assert left(docs)[1] == {"a", "b"}
    await call(docs.delete_document, "a")
    assert left(docs) == ({"b"}, {"b"}, set())


async def test_few_transactions(mimir: Mimir, docs: MimirDocumentStore, call: Call) -> None:
    """Adding is one transaction, and so is deleting a document with all of its nodes."""
    parent, *_ = family()
    nodes = [TextNode(text=f"chunk {n}", id_=f"n{n}") for n in range(200)]
    for node in nodes:
        node.relationships[NodeRelationship.SOURCE] = parent.as_related_node_info()
    before = mimir.stats().commits
    await call(docs.add_documents, [parent, *nodes])
    assert mimir.stats().commits == before + 1
    await call(docs.delete_ref_doc, "d1")
    assert mimir.stats().commits == before + 2
    assert mimir.stats().memories == 0


def test_concurrent_adds(mimir: Mimir, docs: MimirDocumentStore) -> None:
    """Nodes of one document that threads add at once, each to its store, are all in its info."""
    parent, *_ = family()
    stores = [MimirDocumentStore(mimir) for _ in range(12)]
    nodes = [TextNode(text=f"chunk {n}", id_=f"n{n}") for n in range(12)]
    for node in nodes:
        node.relationships[NodeRelationship.SOURCE] = parent.as_related_node_info()
    threads = [
        threading.Thread(target=store.add_documents, args=([node],))
        for store, node in zip(stores, nodes, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    info = docs.get_ref_doc_info("d1")
    assert info is not None
    assert sorted(info.node_ids) == sorted(node.node_id for node in nodes)


async def test_dates_and_odd_ids(docs: MimirDocumentStore, call: Call) -> None:
    """Dates in metadata become text, and any string is an id."""
    for name in ("a.b/c", "x" * 5_000, "\ud800", "#"):
        node = TextNode(text="hi", id_=name, metadata={"on": dt.date(2026, 11, 22)})
        await call(docs.add_documents, [node])
        assert (await call(docs.get_document, name)).metadata == {"on": "2026-11-22"}
        await call(docs.delete_document, name)


async def test_what_cannot_be_kept(mimir: Mimir, docs: MimirDocumentStore, call: Call) -> None:
    """A node that cannot be stored is refused before any of its batch is."""
    before = mimir.stats().commits
    bad = TextNode(text="hi", metadata={"secretive": object()})
    with pytest.raises(InvalidArgument) as caught:
        await call(docs.add_documents, [TextNode(text="good"), bad])
    assert "secretive" not in str(caught.value)
    assert mimir.stats().commits == before


async def test_long_document(docs: MimirDocumentStore, call: Call) -> None:
    """A document of more than 8 MiB is kept whole."""
    doc = Document(text="word " * 2_000_000, id_="long")
    await call(docs.add_documents, [doc])
    assert await call(docs.get_document, "long") == doc


LEGACY: list[tuple[type[BaseNode], dict[str, Any]]] = [
    (Document, {}), (TextNode, {}), (ImageNode, {"image": None}), (IndexNode, {"index_id": "i"})
]  # fmt: skip


@pytest.mark.parametrize(("kind", "extra"), LEGACY)
def test_legacy_records(
    docs: MimirDocumentStore, kind: type[BaseNode], extra: dict[str, Any]
) -> None:
    """Records of LlamaIndex's first format, moved here as they are, can be read."""
    data = {"text": "hello", "extra_info": {}, "doc_id": "d", "relationships": {}, **extra}
    record = {TYPE_KEY: kind.get_type(), DATA_KEY: data}
    docs._kvstore.put("d", record, collection=docs._node_collection)
    found = docs.get_document("d")
    assert isinstance(found, kind)
    assert found.id_ == "d"
    old = {"doc_ids": ["a"], "extra_info": {"x": 1}}
    docs._kvstore.put("r", old, collection=docs._ref_doc_collection)
    info = docs.get_ref_doc_info("r")
    assert info is not None
    assert (info.node_ids, info.metadata) == (["a"], {"x": 1})


def test_unknown_kind(docs: MimirDocumentStore) -> None:
    """A record of a kind of node that LlamaIndex does not know is refused."""
    record = {TYPE_KEY: "not-a-node", DATA_KEY: {"text": "x"}}
    docs._kvstore.put("d", record, collection=docs._node_collection)
    with pytest.raises(ValueError, match="Unknown"):
        docs.get_document("d")


async def test_off_the_event_loop(mimir: Mimir) -> None:
    """The async methods leave the event loop's thread alone."""
    watched = Watched(mimir)
    docs = MimirDocumentStore(watched)  # type: ignore[arg-type]  # it does all that a Mimir does
    watched.threads.clear()
    await docs.async_add_documents(list(family()))
    assert await docs.aget_document("d1")
    assert len(await docs.aget_nodes(["d1", "d2"])) == 2
    assert await docs.aget_document_hash("d1")
    assert await docs.aget_all_document_hashes()
    assert await docs.aget_all_ref_doc_info()
    await docs.aset_document_hashes({"x": "h"})
    await docs.adelete_document("d2")
    await docs.adelete_ref_doc("d1")
    assert watched.worked_elsewhere()


def test_lasts_and_is_sealed(path: Path, tmp_path: Path) -> None:
    """Opened again, everything is there; no file shows any of it, and `persist` writes none."""
    word = "axolotldocument"
    node = TextNode(text=word, id_=word + "id", metadata={word + "key": word + "value"})
    gone = TextNode(text=word, id_=word + "gone")
    node.relationships[NodeRelationship.SOURCE] = Document(text=word).as_related_node_info()
    with create(path) as mimir:
        docs = MimirDocumentStore(mimir)
        docs.add_documents([node, gone])
        docs.delete_document(gone.node_id)
        docs.persist(str(tmp_path / "docstore.json"))
    assert found_in(path.parent, word) == {}
    assert list(tmp_path.iterdir()) == []
    with reopen(path) as mimir:
        assert MimirDocumentStore(mimir).docs == {node.node_id: node}


def test_is_a_docstore(mimir: Mimir, docs: MimirDocumentStore) -> None:
    """It is LlamaIndex's document store, true even when empty, and apart by namespace."""
    assert isinstance(docs, KVDocumentStore)
    assert docs
    assert not hasattr(docs, "__len__")
    docs.add_documents([TextNode(text="x")])
    assert MimirDocumentStore(mimir, ("other",)).docs == {}


@pytest.mark.parametrize("copied", [pickle.dumps, copy.deepcopy])
def test_no_copies_of_the_store(docs: MimirDocumentStore, copied: Any) -> None:
    """A store is not pickled or copied, because its vault is open here only."""
    with pytest.raises(NotSerializable):
        copied(docs)


def test_content_id() -> None:
    """A chunk's id depends on its document's id and content and its number, and nothing else."""
    doc = Document(text="hello", id_="d")
    assert content_id(0, doc) == content_id(0, Document(text="hello", id_="d"))
    others = [Document(text="hello", id_="e"), Document(text="hullo", id_="d")]
    assert len({content_id(n, one) for one in (doc, *others) for n in range(3)}) == 9
