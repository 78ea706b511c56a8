"""The vector store's contract, row by row, sync and async."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import (
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryResult,
)

from mimir_core import Mimir
from mimir_core.errors import ScrubPending
from mimir_llamaindex import MimirVectorStore
from mimir_llamaindex.filters import _OPERATORS

from .conftest import Call, node


def equals(**fields: Any) -> MetadataFilters:
    return MetadataFilters(
        filters=[MetadataFilter(key=key, value=value) for key, value in fields.items()]
    )


def ids(result: VectorStoreQueryResult) -> list[str]:
    """The ids, after a look at the three lists being one."""
    assert result.nodes is not None
    assert result.ids == [found.node_id for found in result.nodes]
    assert len(result.similarities or []) == len(result.nodes)
    return list(result.ids)


def near(*embedding: float, k: int = 10, **options: Any) -> VectorStoreQuery:
    return VectorStoreQuery(query_embedding=list(embedding), similarity_top_k=k, **options)


EVERYTHING = ["cat", "dog", "owl", "carp"]


async def test_the_nearest_come_first(
    store: MimirVectorStore, animals: list[TextNode], call: Call
) -> None:
    """A query returns all nodes by falling cosine, as floats between -1 and 1."""
    assert await call(store.add, animals) == EVERYTHING
    result = await call(store.query, near(0.6, 0.8, 0))
    assert ids(result) == ["dog", "owl", "cat", "carp"]
    assert result.similarities == pytest.approx([0.96, 0.8, 0.6, 0.0], abs=0.01)
    assert [type(each) for each in result.similarities] == [float] * 4


async def test_length_of_embeddings_does_not_matter(store: MimirVectorStore, call: Call) -> None:
    """Similarity is the cosine also of vectors that are not of length 1."""
    await call(store.add, [node("a", "one", [3.0, 0.0]), node("b", "two", [0.1, 0.1])])
    result = await call(store.query, near(200.0, 0.0))
    assert result.similarities == pytest.approx([1.0, 0.7071], abs=0.01)


async def test_similarity_top_k_limits(
    store: MimirVectorStore, animals: list[TextNode], call: Call
) -> None:
    """A query returns so many nodes at most, the best of those that fit the filter."""
    await call(store.add, animals)
    assert ids(await call(store.query, near(1, 0, 0, k=1))) == ["cat"]
    assert ids(await call(store.query, near(0, 1, 0, k=1, filters=equals(kind="pet")))) == ["dog"]
    assert ids(await call(store.query, near(1, 0, 0, k=10_000)))[0] == "cat"


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (equals(kind="pet"), ["cat", "dog"]),
        (equals(legs=4, code="DOG-02"), ["dog"]),
        (equals(legs=4, kind="bird"), []),
        (equals(legs=2, nowhere="x"), []),
        (equals(kind="c' OR '1'='1"), []),
    ],
)
async def test_filters_hold_in_a_query(
    store: MimirVectorStore,
    animals: list[TextNode],
    call: Call,
    filters: MetadataFilters,
    expected: list[str],
) -> None:
    """A query finds only what fits its filters, and empty lists where nothing does."""
    await call(store.add, animals)
    result = await call(store.query, near(1, 0, 0, filters=filters))
    assert ids(result) == expected
    if not expected:
        assert (result.nodes, result.similarities, result.ids) == ([], [], [])


async def test_a_query_without_an_embedding_lists_what_fits(
    store: MimirVectorStore, animals: list[TextNode], call: Call
) -> None:
    """Filters, ids or documents alone select nodes in the order stored, all at similarity 1."""
    await call(store.add, animals)
    by_filter = await call(
        store.query, VectorStoreQuery(filters=equals(kind="pet"), similarity_top_k=9)
    )
    assert ids(by_filter) == ["cat", "dog"]
    assert by_filter.similarities == [1.0, 1.0]
    first = await call(store.query, VectorStoreQuery(filters=equals(kind="pet")))
    assert ids(first) == ["cat"]
    by_ids = VectorStoreQuery(node_ids=["owl", "none", "cat"], similarity_top_k=9)
    assert ids(await call(store.query, by_ids)) == ["owl", "cat"]
    both = VectorStoreQuery(doc_ids=["pets", "fish"], filters=equals(legs=4), similarity_top_k=9)
    assert ids(await call(store.query, both)) == ["cat", "dog"]
    nothing = VectorStoreQuery(filters=equals(kind="none"), similarity_top_k=9)
    assert ids(await call(store.query, nothing)) == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, EVERYTHING),
        ({"node_ids": []}, EVERYTHING),
        ({"doc_ids": []}, EVERYTHING),
        ({"node_ids": [], "doc_ids": []}, EVERYTHING),
        ({"node_ids": ["owl", "cat", "none"]}, ["cat", "owl"]),
        ({"node_ids": ["none"]}, []),
        ({"doc_ids": ["pets"]}, ["cat", "dog"]),
        ({"doc_ids": ["fish", "birds", "none"]}, ["owl", "carp"]),
        ({"doc_ids": ["none"]}, []),
        ({"doc_ids": ["pets"], "node_ids": ["dog", "owl"]}, ["dog"]),
        ({"doc_ids": ["pets", "birds"], "node_ids": ["dog", "owl"],
          "filters": equals(legs=2)}, ["owl"]),
        ({"node_ids": ["cat"], "filters": equals(legs=2)}, []),
    ],
)  # fmt: skip
async def test_ids_and_documents_are_honoured(
    store: MimirVectorStore,
    animals: list[TextNode],
    call: Call,
    options: dict[str, Any],
    expected: list[str],
) -> None:
    """Node ids, document ids and filters must all fit; an empty list of ids lets all through."""
    await call(store.add, animals)
    assert sorted(ids(await call(store.query, near(1, 0.5, 0.2, **options)))) == sorted(expected)


async def test_adding_an_id_again_replaces(
    store: MimirVectorStore, animals: list[TextNode], call: Call
) -> None:
    """The newer text, vector, metadata and document take the place of the older ones."""
    await call(store.add, animals)
    await call(store.add, [node("cat", "a cat swims", [0, 0, 1], "other", legs=3)])
    assert sorted(ids(await call(store.query, near(1, 0, 0)))) == sorted(EVERYTHING)
    (found,) = await call(store.get_nodes, ["cat"])
    assert (found.text, found.metadata, found.ref_doc_id) == ("a cat swims", {"legs": 3}, "other")
    assert ids(await call(store.query, near(0, 0, 1, k=2))) in (["carp", "cat"], ["cat", "carp"])
    assert ids(await call(store.query, near(0, 0, 1, doc_ids=["pets"]))) == ["dog"]
    assert ids(await call(store.query, near(0, 0, 1, filters=equals(kind="pet")))) == ["dog"]


async def test_of_equal_ids_in_one_call_the_last_counts(
    store: MimirVectorStore, call: Call
) -> None:
    """A batch that names an id twice stores its last node and returns an id for each."""
    twice = [node("a", "first", [1.0, 0.0]), node("a", "second", [0.0, 1.0])]
    assert await call(store.add, twice) == ["a", "a"]
    assert [found.text for found in await call(store.get_nodes)] == ["second"]


async def test_nothing_can_be_added(store: MimirVectorStore, call: Call) -> None:
    """An empty batch stores nothing, and an empty store answers with empty lists."""
    assert await call(store.add, []) == []
    assert ids(await call(store.query, near(1, 0))) == []
    assert await call(store.get_nodes) == []


async def test_deleting_a_document(
    store: MimirVectorStore, animals: list[TextNode], call: Call
) -> None:
    """All nodes of the document go, no other; an unknown document is no error."""
    await call(store.add, [*animals, node("loose", "without a document", [1, 1, 1])])
    await call(store.delete, "pets")
    assert ids(await call(store.query, near(1, 0, 0))) == ["loose", "owl", "carp"]
    await call(store.delete, "pets")
    await call(store.delete, "None")
    assert len(await call(store.get_nodes)) == 3


async def test_deleting_nodes_by_id(
    store: MimirVectorStore, animals: list[TextNode], call: Call
) -> None:
    """Ids that exist go, others are passed over."""
    await call(store.add, animals)
    await call(store.delete_nodes, ["nobody"])
    assert len(await call(store.get_nodes)) == 4
    await call(store.delete_nodes, ["cat", "nobody", "owl", "cat"])
    assert ids(await call(store.query, near(1, 0, 0))) == ["dog", "carp"]


@pytest.mark.parametrize("arguments", [(), (None, None), ([],), ([], None)])
async def test_deleting_without_a_selection_deletes_nothing(
    store: MimirVectorStore, animals: list[TextNode], call: Call, arguments: tuple[Any, ...]
) -> None:
    """Neither no argument nor an empty list nor a filter without parts wipes the store."""
    await call(store.add, animals)
    await call(store.delete_nodes, *arguments)
    await call(store.delete_nodes, filters=MetadataFilters(filters=[]))
    await call(store.delete_nodes, filters=MetadataFilters(filters=[MetadataFilters(filters=[])]))
    await call(store.delete_nodes, [], equals(kind="pet"))
    assert len(await call(store.get_nodes)) == 4


async def test_deleting_by_ids_and_filters_is_and(
    store: MimirVectorStore, animals: list[TextNode], call: Call
) -> None:
    """With ids and filters only a node that has both goes; filters alone delete all that fit."""
    await call(store.add, animals)
    await call(store.delete_nodes, ["cat", "owl"], equals(kind="bird"))
    assert sorted(found.node_id for found in store.get_nodes()) == ["carp", "cat", "dog"]
    await call(store.delete_nodes, ["carp"], equals(kind="pet"))
    assert len(store.get_nodes()) == 3
    await call(store.delete_nodes, filters=equals(kind="pet"))
    assert [found.node_id for found in store.get_nodes()] == ["carp"]


@pytest.mark.parametrize(
    ("node_ids", "filters", "expected"),
    [
        (["owl", "cat"], None, ["owl", "cat"]),
        (["nobody"], None, []),
        ([], None, []),
        (None, None, EVERYTHING),
        (None, equals(legs=4), ["cat", "dog"]),
        (["owl", "dog"], equals(legs=4), ["dog"]),
        (["carp"], equals(legs=4), []),
        (["cat", "dog"], equals(legs=999), []),
    ],
)
async def test_getting_nodes(
    store: MimirVectorStore,
    animals: list[TextNode],
    call: Call,
    node_ids: list[str] | None,
    filters: MetadataFilters | None,
    expected: list[str],
) -> None:
    """Nodes come in the order of the ids, or in that they were stored, if they fit the filters."""
    await call(store.add, animals)
    found = await call(store.get_nodes, node_ids, filters)
    assert [each.node_id for each in found] == expected


async def test_clearing(store: MimirVectorStore, animals: list[TextNode], call: Call) -> None:
    """Nothing is left of the namespace, others keep theirs, and it can be filled again."""
    other = MimirVectorStore(store.client, ("llamaindex", "vectors", "below"))
    await call(store.add, animals)
    await call(other.add, animals[:1])
    await call(store.clear)
    assert await call(store.get_nodes) == []
    assert ids(await call(store.query, near(1, 0, 0))) == []
    assert len(await call(other.get_nodes)) == 1
    await call(store.add, animals[:1])
    await call(store.clear)
    await call(store.add, [node("wide", "another model's", [1, 0, 0, 0])])
    assert ids(await call(store.query, near(1, 0, 0, 0))) == ["wide"]


async def test_further_arguments_are_ignored(
    store: MimirVectorStore, animals: list[TextNode], call: Call
) -> None:
    """Arguments meant for other stores do no harm, in async methods neither."""
    await call(store.add, animals, index_id="42")
    assert await call(store.get_nodes, ["cat"], index_id="42")
    assert ids(await call(store.query, near(1, 0, 0, k=1), index_id="42")) == ["cat"]
    await call(store.delete_nodes, ["cat"], index_id="42")
    await call(store.delete, "pets", index_id="42")
    await call(store.clear, index_id="42")
    assert await call(store.get_nodes) == []


async def test_namespaces_keep_stores_apart(mimir: Mimir, call: Call) -> None:
    """Two stores on one vault share neither ids nor documents nor the length of vectors."""
    first, second = MimirVectorStore(mimir, ("a",)), MimirVectorStore(mimir, "b")
    await call(first.add, [node("x", "in the first", [1, 0], "doc")])
    await call(second.add, [node("x", "in the second", [1, 0, 0], "doc")])
    await call(first.delete, "doc")
    assert await call(first.get_nodes) == []
    assert [found.text for found in await call(second.get_nodes, ["x"])] == ["in the second"]


async def test_another_reader_delays_scrubbing(
    store: MimirVectorStore, path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a reader keeps old pages, replacing or erasing a node is done, and says so."""
    monkeypatch.setattr("mimir_core.vault.vault.SCRUB_TIMEOUT", 0.05)
    await call(store.add, [node("a", "first", [1, 0], "doc"), node("b", "other", [1, 0], "doc")])
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        with pytest.raises(ScrubPending):
            await call(store.add, [node("a", "second", [1, 0], "doc")])
        with pytest.raises(ScrubPending):
            await call(store.delete_nodes, ["b"])
    assert [found.text for found in await call(store.get_nodes)] == ["second"]


def test_an_empty_store_is_true(store: MimirVectorStore) -> None:
    """An empty store has no length: LlamaIndex would replace it by one that keeps plain text."""
    assert bool(store)
    assert not hasattr(store, "__len__")


def test_operators_of_filters_are_all_there() -> None:
    """No operator of the framework is unknown to us."""
    assert set(_OPERATORS) == set(FilterOperator)
