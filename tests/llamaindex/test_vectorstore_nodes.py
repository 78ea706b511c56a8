"""What goes in comes out: nodes of every class, whole."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.schema import (
    BaseNode,
    Document,
    ImageDocument,
    ImageNode,
    IndexNode,
    MediaResource,
    Node,
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.vector_stores.types import (
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)

from mimir_core import Mimir
from mimir_llamaindex import MimirVectorStore, nodes

from .conftest import Call

PICTURE = b"\x89PNG\r\n\x1a\n\x00\xff picture"


class Chapter(TextNode):
    """A user's own class of node."""

    number: int = 0

    @classmethod
    def class_name(cls) -> str:
        return "Chapter"


class Note(Document):
    """A user's own class of document, which says nothing of its name."""

    author: str = "nobody"


def related(**metadata: Any) -> RelatedNodeInfo:
    return RelatedNodeInfo(node_id="other", metadata=metadata, hash="abc", node_type="4")


NODES: dict[str, BaseNode] = {
    "text": TextNode(
        text="visible", start_char_idx=3, end_char_idx=9, mimetype="text/x",
        metadata={"z": 1, "a": [1, {"deep": None}], "m": "text", "flag": True},
        excluded_embed_metadata_keys=["z"], excluded_llm_metadata_keys=["a"],
        text_template="{content} | {metadata_str}", metadata_template="{key}={value}",
        metadata_separator="; ",
        relationships={
            NodeRelationship.SOURCE: related(path="x"), NodeRelationship.NEXT: related(),
            NodeRelationship.CHILD: [related(), related()],
        },
    ),
    "spaces around": TextNode(text="  \n visible \t "),
    "no text": TextNode(text=""),
    "blank text": TextNode(text=" \n\t "),
    "image": ImageNode(image="aGVsbG8=", image_mimetype="image/png", text_embedding=[1.0]),
    "image with text": ImageNode(text="a lake", image_url="http://localhost/x.png"),
    "index": IndexNode(text="to another", index_id="other"),
    "index with a node": IndexNode(
        text="to a node", index_id="n",
        obj=Node(image_resource=MediaResource(data=PICTURE), embedding=[1.0, 2.0]),
    ),
    "media": Node(
        text_resource=MediaResource(text="caption"), image_resource=MediaResource(data=PICTURE),
        audio_resource=MediaResource(data=b"sound", path=Path("a.wav")),
    ),
    "media without text": Node(image_resource=MediaResource(data=PICTURE)),
    "document": Document(text="a document", metadata={"doc_id": "mine", "ref_doc_id": "too"}),
    "image document": ImageDocument(text="t", image="aGVsbG8="),
    "own class": Chapter(text="in the beginning", number=7),
    "own document": Note(text="remember the milk", author="Ana"),
}  # fmt: skip


@pytest.mark.parametrize("kind", NODES)
async def test_a_node_comes_back_whole(store: MimirVectorStore, call: Call, kind: str) -> None:
    """Class, text, metadata in their order, relations, media and hash are those that went in."""
    given = NODES[kind].model_copy(update={"embedding": [1.0, 2.0]})
    await call(store.add, [given])
    (got,) = await call(store.get_nodes, [given.node_id])
    (found,) = (await call(store.query, VectorStoreQuery(query_embedding=[1.0, 1.0]))).nodes
    for back in (got, found):
        assert type(back) is type(given)
        assert back.embedding is None
        assert back == given.model_copy(update={"embedding": None})
        assert back.hash == given.hash
        assert list(back.metadata) == list(given.metadata)
    assert given.embedding == [1.0, 2.0]


def test_media_survive(store: MimirVectorStore) -> None:
    """The bytes of an image, which LlamaIndex's own dump leaves out, are there."""
    given = NODES["media"].model_copy(update={"embedding": [1.0]})
    store.add([given])
    (back,) = store.get_nodes()
    assert isinstance(back, Node)
    assert isinstance(given, Node)
    assert back.image_resource is not None
    assert back.image_resource.data == given.image_resource.data  # type: ignore[union-attr]


async def test_metadata_of_the_users_stay_theirs(store: MimirVectorStore, call: Call) -> None:
    """`doc_id`, `document_id` and `ref_doc_id` in metadata are ordinary fields."""
    metadata = {"doc_id": "1", "document_id": "2", "ref_doc_id": "3", "_node_type": "4"}
    given = TextNode(
        text="x", embedding=[1.0], metadata=metadata,
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id="real")},
    )  # fmt: skip
    await call(store.add, [given])
    (back,) = await call(store.get_nodes)
    assert back.metadata == metadata
    for key, value in metadata.items():
        fits = MetadataFilters(filters=[MetadataFilter(key=key, value=value)])
        assert await call(store.get_nodes, filters=fits)
    await call(store.delete, "3")
    assert await call(store.get_nodes)
    await call(store.delete, "real")
    assert not await call(store.get_nodes)


def test_metadata_become_plain(store: MimirVectorStore) -> None:
    """Dates, paths and tuples come back as the text and lists that JSON has for them."""
    day, path = dt.date(2026, 1, 2), Path("a/b")
    metadata = {"day": day, "path": path, "pair": (1, 2)}
    store.add([TextNode(text="x", embedding=[1.0], metadata=metadata)])
    (back,) = store.get_nodes()
    assert back.metadata == {"day": "2026-01-02", "path": "a/b", "pair": [1, 2]}
    fits = MetadataFilters(filters=[MetadataFilter(key="day", value="2026-01-01", operator=">")])
    assert store.get_nodes(filters=fits)


@pytest.mark.parametrize(
    "id_", ["", "x" * 5000, "sha256:" + "0" * 64, "a\nb\x00", "\ud800", "ä" * 600]
)
async def test_any_id_is_an_id(store: MimirVectorStore, call: Call, id_: str) -> None:
    """Ids of nodes and documents that are no keys of the core work like others."""
    source = RelatedNodeInfo(node_id=id_.replace("\ud800", "?"))
    given = TextNode(
        text="x", embedding=[1.0, 0.0], relationships={NodeRelationship.SOURCE: source}
    )
    given.id_ = id_.replace("\ud800", "?")
    await call(store.add, [given, TextNode(text="other", embedding=[1.0, 0.0])])
    assert [each.text for each in await call(store.get_nodes, [given.id_])] == ["x"]
    query = VectorStoreQuery(query_embedding=[1.0, 0.0], node_ids=[given.id_], similarity_top_k=5)
    assert (await call(store.query, query)).ids == [given.id_]
    assert await call(store.get_nodes, ["\ud800"]) == []
    await call(store.delete, source.node_id)
    assert [each.text for each in await call(store.get_nodes)] == ["other"]


def test_no_id_takes_the_place_of_another(store: MimirVectorStore) -> None:
    """An id that looks like what stands for a longer one is still another id."""
    long = "x" * 5000
    store.add([TextNode(id_=long, text="long", embedding=[1.0])])
    store.add([TextNode(id_=nodes.key_of(long), text="posing", embedding=[1.0])])
    assert [found.text for found in store.get_nodes()] == ["long", "posing"]


def test_a_class_that_is_gone_becomes_its_ancestor(
    store: MimirVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that does not know a user's class reads its nodes as the class it extends."""
    store.add([Chapter(id_="c", text="in the beginning", embedding=[1.0], metadata={"a": 1})])
    monkeypatch.setattr(nodes, "_descendants", lambda kind: iter([TextNode, Node]))
    (back,) = store.get_nodes()
    assert type(back) is TextNode
    assert (back.node_id, back.text, back.metadata) == ("c", "in the beginning", {"a": 1})


def test_the_newest_definition_of_a_class_counts(store: MimirVectorStore) -> None:
    """A class that is defined again, as in a notebook, makes the nodes."""

    def define() -> type[TextNode]:
        class Draft(TextNode):
            version: int = 0

        return Draft

    first = define()
    store.add([first(text="a draft", embedding=[1.0], version=1)])
    second = define()
    (back,) = store.get_nodes()
    assert type(back) is second
    assert first is not second


def test_other_memories_of_the_namespace_are_text_nodes(mimir: Mimir) -> None:
    """What something else stored there comes as a text node, its thread as its source."""
    mimir.remember("told elsewhere", namespace="shared", thread="monday", metadata={"by": "Ana"})
    (found,) = MimirVectorStore(mimir, "shared").get_nodes()
    assert type(found) is TextNode
    assert (found.text, found.ref_doc_id) == ("told elsewhere", "monday")
    assert found.metadata == {"by": "Ana"}
