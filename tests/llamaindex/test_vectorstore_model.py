"""The store against the simplest store there could be: a dict of nodes, searched one by one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import (
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)

from mimir_core import KdfProfile, Mimir
from mimir_core.embedding import HashEmbedder
from mimir_llamaindex import MimirVectorStore

from .conftest import node

NAMES = count()
ids = st.sampled_from(["a", "b", "c", "d", ""])
documents = st.sampled_from(["x", "y", ""])
colours = st.sampled_from(["red", "blue"])
vectors = st.lists(st.integers(-3, 3), min_size=3, max_size=3).filter(any)
nodes = st.builds(lambda id_, vector, document, colour: node(
    id_, f"{id_} of {document}", vector, document, colour=colour), ids, vectors, documents, colours
)  # fmt: skip
steps = st.one_of(
    st.tuples(st.just("add"), st.lists(nodes, max_size=4)),
    st.tuples(st.just("delete"), documents),
    st.tuples(st.just("delete_nodes"), st.none() | st.lists(ids, max_size=3),
              st.none() | colours),
    st.tuples(st.just("clear")),
)  # fmt: skip


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mimir]:
    """One vault for all examples, each in a namespace of its own."""
    path = tmp_path_factory.mktemp("model") / "vault.mimir"
    fast = KdfProfile.INSECURE_FOR_TESTS
    with Mimir.create(path, "a passphrase", embedder=HashEmbedder(8), profile=fast) as mimir:
        yield mimir


def coloured(colour: str | None) -> MetadataFilters | None:
    if colour is None:
        return None
    return MetadataFilters(filters=[MetadataFilter(key="colour", value=colour)])


def apply(held: dict[str, TextNode], step: tuple[Any, ...]) -> dict[str, TextNode]:
    """What a step does to a dict."""
    match step:
        case ("add", added):
            return held | {each.node_id: each for each in added}
        case ("delete", document):
            return {id_: each for id_, each in held.items()
                    if each.ref_doc_id != (document or None) or not document}  # fmt: skip
        case ("delete_nodes", None, None):
            return held
        case ("delete_nodes", chosen, colour):
            return {id_: each for id_, each in held.items() if not (
                (chosen is None or id_ in chosen)
                and (colour is None or each.metadata["colour"] == colour))}  # fmt: skip
    return {}


def cosine(one: list[float], other: list[float]) -> float:
    return float(np.dot(one, other) / np.linalg.norm(one) / np.linalg.norm(other))


@settings(max_examples=40)
@given(st.lists(steps, max_size=6), vectors, st.none() | colours, st.lists(documents, max_size=2))
def test_the_store_is_a_dict_of_nodes(
    vault: Mimir,
    story: list[tuple[Any, ...]],
    asked: list[float],
    colour: str | None,
    of: list[str],
) -> None:
    """After any story it holds the nodes a dict would, and finds those that a full search finds."""
    store, held = MimirVectorStore(vault, ("model", str(next(NAMES)))), dict[str, TextNode]()
    for step in story:
        held = apply(held, step)
        name, *arguments = step
        if name == "delete_nodes":
            arguments[1] = coloured(arguments[1])
        getattr(store, name)(*arguments)
    stored = {each.node_id: each for each in store.get_nodes()}
    assert stored == {
        id_: each.model_copy(update={"embedding": None}) for id_, each in held.items()
    }
    query = VectorStoreQuery(
        [float(each) for each in asked], 10, doc_ids=of or None, filters=coloured(colour)
    )
    found = store.query(query)
    expected = {
        id_: cosine(asked, each.get_embedding())
        for id_, each in held.items()
        if (colour is None or each.metadata["colour"] == colour)
        and (not of or each.ref_doc_id in of)
    }
    assert dict(zip(found.ids or [], found.similarities or [], strict=True)) == pytest.approx(
        expected, abs=0.02
    )
    assert found.similarities == sorted(found.similarities or [], reverse=True)
