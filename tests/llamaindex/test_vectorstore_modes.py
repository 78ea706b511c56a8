"""Query modes: words, vectors, both, and unlike each other."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import (
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)

from mimir_core import Mimir
from mimir_core.errors import InputError, InvalidArgument, InvalidText
from mimir_llamaindex import MimirVectorStore

from .conftest import Call, node

Mode = VectorStoreQueryMode
PETS = MetadataFilters(filters=[MetadataFilter(key="kind", value="pet")])


@pytest.fixture
def foxes(store: MimirVectorStore) -> MimirVectorStore:
    """Two nodes about foxes, whose vectors point away from the query's."""
    store.add([
        node("wall", "a wall of grey stones", [1.0, 0.1], kind="pet"),
        node("door", "the door stands open", [1.0, 0.3]),
        node("dog", "the quick brown fox jumped over the lazy dog", [0.1, 1.0], kind="pet"),
        node("hound", "a hound and a fox, and another fox", [0.2, 1.0]),
    ])  # fmt: skip
    return store


def asked(mode: Mode | str, text: str | None = None, k: int = 4, **options: Any) -> Any:
    return VectorStoreQuery(
        query_embedding=[1.0, 0.0], query_str=text, mode=mode, similarity_top_k=k, **options
    )


@pytest.mark.parametrize("mode", [Mode.SPARSE, Mode.TEXT_SEARCH, "sparse", "text_search"])
async def test_words_alone(foxes: MimirVectorStore, call: Call, mode: Mode) -> None:
    """A sentence finds the nodes that share its words, best first, and no others."""
    result = await call(foxes.query, asked(mode, "who is the fox?"))
    assert set(result.ids) == {"dog", "hound"}
    assert result.similarities == sorted(result.similarities, reverse=True)
    assert (await call(foxes.query, asked(mode, "zebra"))).ids == []


@pytest.mark.parametrize("mode", [Mode.SPARSE, Mode.TEXT_SEARCH])
async def test_words_need_no_embedding(foxes: MimirVectorStore, call: Call, mode: Mode) -> None:
    """A query by words works without an embedding, with filters, and takes its own top k."""
    query = VectorStoreQuery(query_str="fox", mode=mode, sparse_top_k=1, similarity_top_k=5)
    assert (await call(foxes.query, query)).ids == ["hound"]
    query = VectorStoreQuery(query_str="fox", mode=mode, similarity_top_k=5, filters=PETS)
    assert (await call(foxes.query, query)).ids == ["dog"]


async def test_hybrid_finds_by_both(foxes: MimirVectorStore, call: Call) -> None:
    """Between words and vectors, what either finds is found, and both orders have a say."""
    result = await call(foxes.query, asked(Mode.HYBRID, "fox"))
    assert sorted(result.ids) == ["dog", "door", "hound", "wall"]
    assert result.similarities == sorted(result.similarities, reverse=True)


async def test_alpha_goes_from_words_to_vectors(foxes: MimirVectorStore, call: Call) -> None:
    """At 0 the words decide, at 1 the vectors do."""
    words = await call(foxes.query, asked(Mode.HYBRID, "fox", alpha=0.0))
    vectors = await call(foxes.query, asked(Mode.HYBRID, "fox", alpha=1.0))
    assert words.ids[:2] == ["hound", "dog"]
    assert vectors.ids == (await call(foxes.query, asked(Mode.DEFAULT))).ids
    neutral = await call(foxes.query, asked(Mode.HYBRID, "fox", alpha=0.5))
    unsaid = await call(foxes.query, asked(Mode.HYBRID, "fox"))
    assert neutral.ids == unsaid.ids


async def test_hybrid_takes_filters_and_its_own_top_k(foxes: MimirVectorStore, call: Call) -> None:
    """`hybrid_top_k` comes before `similarity_top_k`, filters hold."""
    result = await call(foxes.query, asked(Mode.HYBRID, "fox", k=4, hybrid_top_k=2))
    assert len(result.ids) == 2
    assert set((await call(foxes.query, asked(Mode.HYBRID, "fox", filters=PETS))).ids) == {
        "wall", "dog"
    }  # fmt: skip


async def test_hybrid_does_not_spread(mimir: Mimir, call: Call) -> None:
    """Only the query counts: chunks of one document are found as those of many are."""
    texts = ["a fox at dawn", "mist and reeds", "stones", "an open door"]
    found = []
    for names in ("xxxx", "abcd"):
        store = MimirVectorStore(mimir, names)
        rows = zip(range(4), texts, names, strict=True)
        await call(store.add, [node(str(n), text, [1.0, n], of) for n, text, of in rows])
        result = await call(store.query, asked(Mode.HYBRID, "fox"))
        found.append((result.ids, result.similarities))
    assert found[0] == found[1]


@pytest.fixture
def doubles(store: MimirVectorStore) -> MimirVectorStore:
    """Two nodes that are alike and one that is not."""
    store.add([
        node("a", "alike", [1.0, 0.05]),
        node("b", "alike", [1.0, 0.06]),
        node("c", "unlike", [0.4, -1.0]),
    ])  # fmt: skip
    return store


@pytest.mark.parametrize(
    ("of_query", "given", "expected"),
    [
        (0.1, {}, ["a", "c"]),
        (1.0, {}, ["a", "b"]),
        (None, {"mmr_threshold": 0.1}, ["a", "c"]),
        (None, {"mmr_threshold": 1.0}, ["a", "b"]),
        (1.0, {"mmr_threshold": 0.0}, ["a", "c"]),
        (0.0, {"mmr_threshold": 1}, ["a", "b"]),
        (None, {}, ["a", "c"]),
        (0.9, {"mmr_threshold": None}, ["a", "c"]),
    ],
)
async def test_mmr_prefers_what_is_unlike(
    doubles: MimirVectorStore,
    call: Call,
    of_query: float | None,
    given: dict[str, float | None],
    expected: list[str],
) -> None:
    """A low threshold passes over a double; that of the call comes before that of the query."""
    query = asked(Mode.MMR, k=2, mmr_threshold=of_query)
    result = await call(doubles.query, query, **given)
    assert result.ids == expected
    assert result.similarities[0] == pytest.approx(0.998, abs=0.01)


async def test_mmr_takes_filters(foxes: MimirVectorStore, call: Call) -> None:
    """Only what fits is chosen among."""
    assert set((await call(foxes.query, asked(Mode.MMR, filters=PETS))).ids) == {"wall", "dog"}


@pytest.mark.parametrize(
    "mode", ["svm", "logistic_regression", "linear_regression", "semantic_hybrid", "other", None]
)
async def test_other_modes_are_refused(foxes: MimirVectorStore, call: Call, mode: str) -> None:
    """A mode that the store lacks is an error, never another mode's result."""
    with pytest.raises(InvalidArgument, match="mode"):
        await call(foxes.query, asked(mode, "fox"))


@pytest.mark.parametrize("mode", [Mode.SPARSE, Mode.TEXT_SEARCH, Mode.HYBRID])
@pytest.mark.parametrize("text", [None, "", " \n"])
async def test_words_are_needed(
    foxes: MimirVectorStore, call: Call, mode: Mode, text: str | None
) -> None:
    """A mode that searches words refuses a query without any."""
    with pytest.raises(InvalidText):
        await call(foxes.query, asked(mode, text))


@pytest.mark.parametrize("mode", [Mode.HYBRID, Mode.MMR])
async def test_an_embedding_is_needed(foxes: MimirVectorStore, call: Call, mode: Mode) -> None:
    """A mode that searches vectors refuses a query without one."""
    with pytest.raises(InputError):
        await call(foxes.query, VectorStoreQuery(query_str="fox", mode=mode))


@pytest.mark.parametrize(
    ("options", "given"),
    [
        ({"mode": Mode.HYBRID, "alpha": 1.5}, {}),
        ({"mode": Mode.HYBRID, "alpha": -0.1}, {}),
        ({"mode": Mode.HYBRID, "alpha": float("nan")}, {}),
        ({"mode": Mode.MMR, "mmr_threshold": 2}, {}),
        ({"mode": Mode.MMR}, {"mmr_threshold": -1}),
        ({"mode": Mode.MMR}, {"mmr_threshold": "high"}),
        ({"mode": Mode.HYBRID, "hybrid_top_k": 0}, {}),
        ({"mode": Mode.SPARSE, "sparse_top_k": 0}, {}),
    ],
)
async def test_numbers_have_ranges(
    foxes: MimirVectorStore, call: Call, options: dict[str, Any], given: dict[str, Any]
) -> None:
    """A weight or count outside its range is an error."""
    with pytest.raises(InvalidArgument):
        await call(foxes.query, asked(text="fox", **options), **given)


def test_nodes_without_words_are_not_found_by_words(store: MimirVectorStore) -> None:
    """What stands for a missing text has no words."""
    store.add([TextNode(id_="blank", text=" ", embedding=[1.0, 0.0]), node("x", "fox", [0.0, 1.0])])
    for text in ("\N{MIDDLE DOT}", "fox"):
        found = store.query(VectorStoreQuery(query_str=text, mode=Mode.SPARSE, similarity_top_k=5))
        assert "blank" not in (found.ids or [])
