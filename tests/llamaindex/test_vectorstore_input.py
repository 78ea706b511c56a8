"""Bad input: a typed error, nothing lost, nothing told."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.schema import IndexNode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import VectorStoreQuery

from mimir_core import Mimir
from mimir_core.errors import (
    InputError,
    InvalidArgument,
    InvalidNamespace,
    MimirError,
    NotSerializable,
    SpaceMismatch,
    VaultClosed,
)
from mimir_llamaindex import MimirVectorStore

from .conftest import Call, node

CANARY = "wombat"
NAN, INF = float("nan"), float("inf")


@pytest.fixture
def filled(store: MimirVectorStore) -> MimirVectorStore:
    """A store of one node."""
    store.add([node("kept", f"a {CANARY} digs", [1.0, 0.0], "doc", name=CANARY)])
    return store


def linked_twice() -> TextNode:
    made = node("new", CANARY, [1.0, 0.0])
    made.relationships[NodeRelationship.SOURCE] = [RelatedNodeInfo(node_id=CANARY)]
    return made


BAD_NODES: dict[str, Callable[[], Any]] = {
    "no embedding": lambda: TextNode(text=CANARY),
    "an empty embedding": lambda: node("new", CANARY, []),
    "NaN": lambda: node("new", CANARY, [NAN, 1.0]),
    "infinite": lambda: node("new", CANARY, [1.0, -INF]),
    "too large for 32 bits": lambda: node("new", CANARY, [1e39, 0.0]),
    "zeros": lambda: node("new", CANARY, [0.0, 0.0]),
    "no node": lambda: CANARY,
    "surrogates": lambda: node("new", f"{CANARY}\ud800", [1.0, 0.0]),
    "surrogates in metadata": lambda: node("new", CANARY, [1.0, 0.0], a=f"{CANARY}\ud800"),
    "NaN in metadata": lambda: node("new", CANARY, [1.0, 0.0], a=NAN),
    "a huge integer": lambda: node("new", CANARY, [1.0, 0.0], a=1 << 70),
    "an object in metadata": lambda: node("new", CANARY, [1.0, 0.0], a=object()),
    "metadata that hold themselves": lambda: node("new", CANARY, [1.0, 0.0], a=_endless()),
    "metadata too large": lambda: node("new", CANARY, [1.0, 0.0], a="x" * (2 << 20)),
    "a text too large": lambda: node("new", "x " * (5 << 20), [1.0, 0.0]),
    "two sources": linked_twice,
    "an object behind it": lambda: IndexNode(
        id_="new", text=CANARY, index_id="x", obj=lambda: CANARY, embedding=[1.0, 0.0]
    ),
}


def _endless() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


@pytest.mark.parametrize("kind", BAD_NODES)
async def test_a_bad_node_is_refused(filled: MimirVectorStore, call: Call, kind: str) -> None:
    """Nothing of a batch with a bad node is stored, and the error does not show its content."""
    good = node("good", "a good one", [0.0, 1.0])
    with pytest.raises(InputError) as caught:
        await call(filled.add, [good, BAD_NODES[kind](), node("kept", "replaced", [0.0, 1.0])])
    assert CANARY not in str(caught.value)
    assert [found.text for found in filled.get_nodes()] == [f"a {CANARY} digs"]


async def test_another_length_is_refused(filled: MimirVectorStore, call: Call) -> None:
    """Embeddings of another length mix neither in a batch nor with those that are stored."""
    wide = node("wide", "wide", [1.0, 0.0, 0.0])
    with pytest.raises(SpaceMismatch):
        await call(filled.add, [wide])
    with pytest.raises(InputError):
        await call(filled.add, [node("good", "good", [1.0, 0.0]), wide])
    with pytest.raises(SpaceMismatch):
        await call(filled.query, VectorStoreQuery(query_embedding=[1.0, 0.0, 0.0]))
    assert [found.node_id for found in filled.get_nodes()] == ["kept"]


def models(mimir: Mimir, namespace: str) -> list[MimirVectorStore]:
    """Stores on one namespace, each for another model of the same dimension."""
    named = MockEmbedding(2)
    named.model_name = "another"
    models: list[Any] = [None, "a", "b", MockEmbedding(2), named]
    return [MimirVectorStore(mimir, namespace, model=model) for model in models]


@pytest.mark.parametrize("first", range(5))
async def test_another_model_is_refused(mimir: Mimir, call: Call, first: int) -> None:
    """A namespace that holds vectors of one model takes none of another, and finds none by it."""
    others = models(mimir, "n")
    kept = others.pop(first)
    await call(kept.add, [node("kept", "a wombat", [1.0, 0.0])])
    query = VectorStoreQuery(query_embedding=[1.0, 0.0])
    for other in others:
        with pytest.raises(SpaceMismatch, match="give the store the `model`"):
            await call(other.add, [node("new", "another", [1.0, 0.0])])
        with pytest.raises(SpaceMismatch, match="give the store the `model`"):
            await call(other.query, query)
        by_words = VectorStoreQuery(query_str="wombat", mode="sparse")
        assert (await call(other.query, by_words)).ids == ["kept"]
    assert (await call(models(mimir, "n")[first].query, query)).ids == ["kept"]


@pytest.mark.parametrize(
    "options",
    [
        {"query_embedding": [NAN, 1.0]},
        {"query_embedding": [INF, 1.0]},
        {"query_embedding": [0.0, 0.0]},
        {"query_embedding": []},
        {"query_embedding": 1.0},
        {"query_embedding": CANARY},
        {"query_embedding": [[1.0, 0.0]]},
        {"similarity_top_k": 0},
        {"similarity_top_k": -1},
        {"similarity_top_k": 10_001},
        {"similarity_top_k": 1.5},
        {"similarity_top_k": None},
        {"node_ids": "kept"},
        {"node_ids": [1]},
        {"doc_ids": "doc"},
        {"doc_ids": [{"$ne": "x"}]},
        {"query_embedding": None},
        {"query_embedding": None, "query_str": CANARY},
        {"query_embedding": None, "doc_ids": ["doc"], "similarity_top_k": 0},
        {"query_str": f"{CANARY}\ud800", "mode": "sparse"},
        {"query_str": f"{CANARY}\ud800", "mode": "hybrid"},
    ],
)
async def test_a_bad_query_is_refused(
    filled: MimirVectorStore, call: Call, options: dict[str, Any]
) -> None:
    """A query that cannot be answered is a typed error that does not show it."""
    query = VectorStoreQuery(**{"query_embedding": [1.0, 0.0], **options})
    with pytest.raises(InputError) as caught:
        await call(filled.query, query)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("wrong", [None, 1, {"$ne": "x"}, ["doc"]])
async def test_a_bad_id_deletes_nothing(filled: MimirVectorStore, call: Call, wrong: Any) -> None:
    """What is no id selects nothing, least of all everything."""
    with pytest.raises(InputError):
        await call(filled.delete, wrong)
    with pytest.raises(InputError):
        await call(filled.delete_nodes, [wrong])
    with pytest.raises(InputError):
        await call(filled.get_nodes, [wrong])
    assert len(filled.get_nodes()) == 1


@pytest.mark.parametrize("namespace", ["", (), ("a", ""), "a.b", ("a", 1), None, ("a",) * 17])
def test_a_bad_namespace_is_refused(mimir: Mimir, namespace: Any) -> None:
    """A store with an impossible namespace is not made."""
    with pytest.raises(InvalidNamespace):
        MimirVectorStore(mimir, namespace)


@pytest.mark.parametrize("model", ["", 1, object()])
def test_a_bad_model_is_refused(mimir: Mimir, model: Any) -> None:
    """A model is an embedding model or a name."""
    with pytest.raises(InvalidArgument):
        MimirVectorStore(mimir, model=model)


async def test_a_closed_vault_says_so(filled: MimirVectorStore, call: Call) -> None:
    """After the vault is closed every call raises."""
    filled.client.close()
    with pytest.raises(VaultClosed):
        await call(filled.query, VectorStoreQuery(query_embedding=[1.0, 0.0]))
    with pytest.raises(VaultClosed):
        await call(filled.add, [node("new", "new", [1.0, 0.0])])
    with pytest.raises(VaultClosed):
        await call(filled.clear)


def test_a_store_cannot_be_copied_out(filled: MimirVectorStore) -> None:
    """Pickle and deepcopy raise, and no key or handle leaves by the framework's own state."""
    for way in (
        pickle.dumps,
        copy.deepcopy,
        lambda it: it.__getstate__(),
        lambda it: it.__reduce_ex__(4),
    ):
        with pytest.raises(NotSerializable):
            way(filled)


def test_a_store_shows_nothing(mimir: Mimir) -> None:
    """Neither repr nor a dump shows content, namespace or model."""
    store = MimirVectorStore(mimir, (CANARY, "nested"), model=f"{CANARY}-model")
    store.add([node(CANARY, f"a {CANARY} digs", [1.0, 0.0], CANARY, name=CANARY)])
    shown = [repr(store), str(store), store.to_json(), str(store.model_dump()), str(dict(store))]
    assert CANARY not in "".join(shown)
    assert set(store.model_dump()) == {
        "stores_text", "is_embedding_query", "flat_metadata", "class_name"
    }  # fmt: skip


def test_persisting_writes_nothing(filled: MimirVectorStore, folder: Any) -> None:
    """What other stores write in plain text is in the vault already."""
    before = sorted(folder.iterdir())
    filled.persist(str(folder / "vector_store.json"))
    assert sorted(folder.iterdir()) == before


def test_errors_are_ours() -> None:
    """All that is raised here belongs to one tree."""
    assert issubclass(InputError, MimirError)
    assert issubclass(InputError, ValueError)
