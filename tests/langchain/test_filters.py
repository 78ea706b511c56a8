"""Filters let through what plain Python would, before k is taken, and never more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document

from mimir_core import Mimir
from mimir_core.errors import InvalidFilter
from mimir_langchain import MimirVectorStore

from ..vault.vaults import create
from .conftest import WordEmbeddings

ABSENT = object()
NUMBERS = [0, 1, 2.5, -1]
TEXTS = ["", "a", "ab", "b"]
SCALARS = [*NUMBERS, *TEXTS, True, False, None]
FIELDS: dict[str, list[Any]] = {
    "n": [0, 1, 1.0, 2.5, True, "a", None, ABSENT],
    "s": ["a", "ab", "b", 1, ABSENT],
    "l": [["a", 1], [], [True, None], "ab", ABSENT],
}
METADATA = [
    {name: value for name, value in zip(FIELDS, values, strict=True) if value is not ABSENT}
    for values in product(*FIELDS.values())
]


def same(one: Any, other: Any) -> bool:
    """Equality in which a bool is no number."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


def ordered(sign: str, value: Any, bound: Any) -> bool:
    """Order among numbers, or among texts."""
    kinds = [(int, float), (str,)]
    kind = next(kind for kind in kinds if isinstance(bound, kind))
    if not isinstance(value, kind) or isinstance(value, bool):
        return False
    answers = {"$lt": value < bound, "$lte": value <= bound, "$gt": value > bound}
    return bool({**answers, "$gte": value >= bound}[sign])


def contains(value: Any, part: Any) -> bool:
    if isinstance(value, str):
        return isinstance(part, str) and part in value
    return isinstance(value, list) and any(same(item, part) for item in value)


def holds(sign: str, value: Any, operand: Any) -> bool:
    """Whether one operator holds for a field's value, which may be absent."""
    if sign in ("$ne", "$nin"):
        return not holds({"$ne": "$eq", "$nin": "$in"}[sign], value, operand)
    if sign == "$exists":
        return (value is not ABSENT) is operand
    if value is ABSENT:
        return False
    if sign in ("$eq", "$in"):
        return any(same(value, one) for one in (operand if sign == "$in" else [operand]))
    if sign == "$contains":
        return contains(value, operand)
    return ordered(sign, value, operand)


def lets_through(spec: Mapping[str, Any], metadata: Mapping[str, Any]) -> bool:
    """The oracle: a filter as its definition reads."""
    found = []
    for name, operand in spec.items():
        if name in ("$and", "$or"):
            parts = [lets_through(part, metadata) for part in operand]
            found.append(all(parts) if name == "$and" else any(parts))
        elif name == "$not":
            found.append(not lets_through(operand, metadata))
        else:
            value = metadata.get(name, ABSENT)
            signs = operand if isinstance(operand, dict) else {"$eq": operand}
            found.append(all(holds(sign, value, each) for sign, each in signs.items()))
    return all(found)


scalars = st.sampled_from(SCALARS)
operators = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne"]), scalars | st.sampled_from([["a", 1], []])),
    st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(scalars, max_size=3)),
    st.tuples(
        st.sampled_from(["$lt", "$lte", "$gt", "$gte"]), st.sampled_from([*NUMBERS, *TEXTS])
    ),
    st.tuples(st.just("$contains"), scalars),
    st.tuples(st.just("$exists"), st.booleans()),
)
on_fields = st.dictionaries(
    st.sampled_from([*FIELDS, "unknown"]),
    scalars | st.lists(operators, min_size=1, max_size=2).map(dict),
    min_size=1,
    max_size=2,
)
filters = st.recursive(
    on_fields,
    lambda inner: st.one_of(
        st.builds(lambda sign, parts: {sign: parts}, st.sampled_from(["$and", "$or"]),
                  st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda part: {"$not": part}, inner),
    ),
    max_leaves=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MimirVectorStore]:
    """A document for each combination of values; its id is its number."""
    with create(tmp_path_factory.mktemp("filters") / "vault.mimir") as mimir:
        store = MimirVectorStore(mimir, WordEmbeddings(8))
        texts = [f"document {number}" for number in range(len(METADATA))]
        store.add_texts(texts, METADATA, ids=[str(number) for number in range(len(METADATA))])
        yield store


@given(spec=filters)
def test_a_dict_lets_through_what_it_says(many: MimirVectorStore, spec: dict[str, Any]) -> None:
    """A dict filter, and the same as a function, find the documents that plain Python picks."""
    expected = {str(n) for n, metadata in enumerate(METADATA) if lets_through(spec, metadata)}
    found = many.similarity_search("document", k=len(METADATA), filter=spec)
    assert {document.id for document in found} == expected
    assert all(lets_through(spec, document.metadata) for document in found)


@settings(max_examples=25)
@given(chosen=st.sets(st.integers(0, len(METADATA) - 1), max_size=5), k=st.integers(1, 6))
def test_a_function_is_asked_before_k_is_taken(
    many: MimirVectorStore, chosen: set[int], k: int
) -> None:
    """However far down the chosen ones rank, k of them are found if there are k."""
    found = many.similarity_search(
        "document", k=k, filter=lambda document: int(document.id or -1) in chosen
    )
    assert len(found) == min(k, len(chosen))
    assert {int(document.id or -1) for document in found} <= chosen


def test_a_function_sees_whole_documents(store: MimirVectorStore) -> None:
    """The function sees text, metadata and id, and may change them without effect."""
    seen: list[Document] = []

    def wants(document: Document) -> bool:
        seen.append(document.model_copy(deep=True))
        document.metadata.clear()
        return "Pixel" in document.page_content

    [found] = store.hybrid_search("animal on the roof", filter=wants)
    assert found.metadata == {"legs": 4, "pet": True}
    assert {document.id for document in seen} == {"cat", "dog", "crow", "eel"}
    assert found in seen


def test_an_error_in_a_function_reaches_the_caller(store: MimirVectorStore) -> None:
    """A function that fails does not let everything through."""
    with pytest.raises(KeyError):
        store.similarity_search("cat", filter=lambda document: document.metadata["wings"] > 1)


def test_an_empty_dict_lets_all_through_and_a_narrow_one_nothing(store: MimirVectorStore) -> None:
    """`{}` is no condition; a filter nobody satisfies finds nothing, by every search."""
    assert len(store.similarity_search("cat", filter={})) == 4
    for kind in ("similarity", "mmr", "hybrid"):
        assert store.search("cat", kind, filter={"legs": 3}) == []
        assert store.search("cat", kind, filter=lambda _: False) == []


@pytest.mark.parametrize(
    "spec",
    [
        ["legs", 4],
        "legs",
        4,
        {"legs": {"$near": 4}},
        {"$nor": [{"legs": 4}]},
        {"$and": []},
        {"$or": {"legs": 4}},
        {"legs": {}},
        {"legs": {"$in": 4}},
        {"legs": {"$exists": "yes"}},
        {"legs": float("nan")},
        {"legs": {"$gt": None}},
        {4: 4},
    ],
)
def test_what_is_no_filter_is_refused(store: MimirVectorStore, spec: Any) -> None:
    """Anything outside the dialect is an error, by every search."""
    for kind in ("similarity", "mmr", "hybrid"):
        with pytest.raises(InvalidFilter):
            store.search("cat", kind, filter=spec)


def test_icontains_ignores_case(mimir: Mimir) -> None:
    """`$icontains` finds a substring in any case, `$contains` in its own."""
    store = MimirVectorStore(mimir)
    store.add_texts(["one"], [{"title": "The Old Harbour"}])
    assert store.similarity_search("one", filter={"title": {"$icontains": "old harbour"}}) != []
    assert store.similarity_search("one", filter={"title": {"$contains": "old harbour"}}) == []
