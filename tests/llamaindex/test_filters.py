"""Metadata filters: every operator and condition against a plain reading of the table."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)

from mimir_core.errors import InvalidFilter
from mimir_core.index.filters import compile_filter
from mimir_llamaindex import MimirVectorStore
from mimir_llamaindex.filters import DOCUMENT, MAX_DEPTH, field_name, where

from .conftest import Call, node

Op = FilterOperator
AND, OR, NOT = FilterCondition.AND, FilterCondition.OR, FilterCondition.NOT
MISSING = object()
EMPTY = (None, "", [])


def leaf(key: str, operator: Op, value: Any = None) -> MetadataFilter:
    return MetadataFilter(key=key, operator=operator, value=value)


def group(*parts: Any, condition: FilterCondition | None = AND) -> MetadataFilters:
    return MetadataFilters(filters=list(parts), condition=condition)


def equal(left: Any, right: Any) -> bool:
    """Equality as the table means it: a number is no text, 1 is True."""
    return isinstance(left, str) == isinstance(right, str) and bool(left == right)


def within(field: Any, value: Any) -> bool:
    if isinstance(field, str):
        return isinstance(value, str) and value in field
    return isinstance(field, list) and any(
        type(each) is not bool and equal(each, value) for each in field
    )


def ordered(field: Any, value: Any) -> bool:
    number = (int, float)
    return (isinstance(field, str) and isinstance(value, str)) or (
        isinstance(field, number) and isinstance(value, number) and not isinstance(field, bool)
    )


def expected(part: MetadataFilter, metadata: dict[str, Any]) -> bool:
    """What the table says, read as plain Python."""
    field, value = metadata.get(part.key, MISSING), part.value
    present = field is not MISSING
    match part.operator:
        case Op.EQ:
            return present and equal(field, value)
        case Op.NE:
            return not present or not equal(field, value)
        case Op.IN:
            return present and any(equal(field, each) for each in value)
        case Op.NIN:
            return not present or not any(equal(field, each) for each in value)
        case Op.GT:
            return ordered(field, value) and field > value
        case Op.GTE:
            return ordered(field, value) and field >= value
        case Op.LT:
            return ordered(field, value) and field < value
        case Op.LTE:
            return ordered(field, value) and field <= value
        case Op.CONTAINS:
            return within(field, value)
        case Op.ANY:
            return any(within(field, each) for each in value)
        case Op.ALL:
            return present and field is not None and all(within(field, each) for each in value)
        case Op.TEXT_MATCH:
            return isinstance(field, str) and value in field
        case Op.TEXT_MATCH_INSENSITIVE:
            return isinstance(field, str) and value.casefold() in field.casefold()
        case _:
            return not present or any(field == each for each in EMPTY)


def holds(filters: MetadataFilters, metadata: dict[str, Any]) -> bool | None:
    """What the whole filter says, None if it says nothing."""
    found = [
        holds(part, metadata) if isinstance(part, MetadataFilters) else expected(part, metadata)
        for part in filters.filters
    ]
    parts = [part for part in found if part is not None]
    if not parts:
        return None
    if filters.condition is OR:
        return any(parts)
    return not any(parts) if filters.condition is NOT else all(parts)


keys = st.sampled_from(["rank", "weight", "tags", "", "$ne", ":ref", DOCUMENT])
texts = st.sampled_from(["", "a", "A", "ab", "c' OR '1'='1", "ß"])
numbers = st.sampled_from([0, 1, 2, -1, 1.0, 2.5])
lists = st.lists(texts, max_size=3) | st.lists(st.sampled_from([0, 1, 2]), max_size=3)
fields = st.none() | texts | numbers | st.booleans() | lists
single = texts | numbers
leaves = st.one_of(
    st.builds(leaf, keys, st.sampled_from([Op.EQ, Op.NE]), single | st.none()),
    st.builds(leaf, keys, st.sampled_from([Op.GT, Op.LT, Op.GTE, Op.LTE, Op.CONTAINS]), single),
    st.builds(leaf, keys, st.sampled_from([Op.IN, Op.NIN, Op.ANY, Op.ALL]), lists),
    st.builds(leaf, keys, st.sampled_from([Op.TEXT_MATCH, Op.TEXT_MATCH_INSENSITIVE]), texts),
    st.builds(leaf, keys, st.just(Op.IS_EMPTY)),
)
groups = st.recursive(
    st.builds(lambda parts, how: group(*parts, condition=how), st.lists(leaves, max_size=3),
              st.sampled_from([AND, OR, NOT, None])),
    lambda inner: st.builds(lambda parts, how: group(*parts, condition=how),
                            st.lists(inner | leaves, max_size=3),
                            st.sampled_from([AND, OR, NOT, None])),
    max_leaves=6,
)  # fmt: skip


@given(groups, st.dictionaries(keys, fields))
def test_filters_mean_what_the_table_says(
    filters: MetadataFilters, metadata: dict[str, Any]
) -> None:
    """Any filter, nested any way, holds for metadata exactly where a plain reading says so."""
    condition = where(filters)
    named = {field_name(key): value for key, value in metadata.items()}
    found = condition is None or compile_filter(condition).matches(named)
    assert found == (holds(filters, metadata) is not False)
    assert (condition is None) == (holds(filters, metadata) is None)


ROWS = {
    "n1": {"rank": "a", "weight": 1.0, "tags": ["alpha", "beta"], "code": "ABC123", "open": True},
    "n2": {"rank": "b", "weight": 2.0, "tags": ["beta"], "code": "abc456", "note": None},
    "n3": {"rank": "c", "weight": 3, "tags": [], "code": "XYZ789", "open": False, "note": ""},
}
CASES: list[tuple[str, MetadataFilters, str]] = [
    ("equal", group(leaf("rank", Op.EQ, "a")), "n1"),
    ("an integer equals a float", group(leaf("weight", Op.EQ, 2)), "n2"),
    ("1 stands for True", group(leaf("open", Op.EQ, 1)), "n1"),
    ("0 stands for False", group(leaf("open", Op.IN, [0])), "n3"),
    ("not equal", group(leaf("rank", Op.NE, "a")), "n2 n3"),
    ("not equal to True", group(leaf("open", Op.NE, 1)), "n2 n3"),
    ("greater", group(leaf("weight", Op.GT, 2)), "n3"),
    ("greater or equal", group(leaf("weight", Op.GTE, 2)), "n2 n3"),
    ("less", group(leaf("weight", Op.LT, 1.1)), "n1"),
    ("less or equal", group(leaf("weight", Op.LTE, 2.0)), "n1 n2"),
    ("texts have an order", group(leaf("rank", Op.GT, "a")), "n2 n3"),
    ("a range on another type", group(leaf("rank", Op.GT, 1)), ""),
    ("a range of text on numbers", group(leaf("weight", Op.LT, "9")), ""),
    ("in", group(leaf("rank", Op.IN, ["a", "c", "z"])), "n1 n3"),
    ("in one", group(leaf("rank", Op.IN, ["b"])), "n2"),
    ("in nothing", group(leaf("rank", Op.IN, [])), ""),
    ("not in", group(leaf("rank", Op.NIN, ["c"])), "n1 n2"),
    ("contains", group(leaf("tags", Op.CONTAINS, "beta")), "n1 n2"),
    ("contains no part of an element", group(leaf("tags", Op.CONTAINS, "bet")), ""),
    ("any", group(leaf("tags", Op.ANY, ["alpha", "gamma"])), "n1"),
    ("any of nothing", group(leaf("tags", Op.ANY, [])), ""),
    ("all", group(leaf("tags", Op.ALL, ["beta", "alpha"])), "n1"),
    ("all of nothing", group(leaf("tags", Op.ALL, [])), "n1 n2 n3"),
    ("all of nothing in None", group(leaf("note", Op.ALL, [])), "n3"),
    ("text match", group(leaf("code", Op.TEXT_MATCH, "ABC")), "n1"),
    ("text match, case aside", group(leaf("code", Op.TEXT_MATCH_INSENSITIVE, "aBc")), "n1 n2"),
    ("text match on a number", group(leaf("weight", Op.TEXT_MATCH, "1")), ""),
    ("text match on a list", group(leaf("tags", Op.TEXT_MATCH, "beta")), ""),
    ("text match on a number, case aside",
     group(leaf("weight", Op.TEXT_MATCH_INSENSITIVE, "1")), ""),
    ("is empty: missing", group(leaf("nowhere", Op.IS_EMPTY)), "n1 n2 n3"),
    ("is empty: None, missing and no text", group(leaf("note", Op.IS_EMPTY)), "n1 n2 n3"),
    ("is empty: a list", group(leaf("tags", Op.IS_EMPTY)), "n3"),
    ("equal on a missing key", group(leaf("nowhere", Op.EQ, "a")), ""),
    ("not equal on a missing key", group(leaf("nowhere", Op.NE, "a")), "n1 n2 n3"),
    ("not in on a missing key", group(leaf("nowhere", Op.NIN, ["a", "b"])), "n1 n2 n3"),
    ("NOT equal on a missing key", group(leaf("nowhere", Op.EQ, "a"), condition=NOT), "n1 n2 n3"),
    ("and", group(leaf("rank", Op.NE, "a"), leaf("weight", Op.GTE, 2.5)), "n3"),
    ("no condition is and",
     group(leaf("rank", Op.NE, "a"), leaf("weight", Op.LTE, 2), condition=None), "n2"),
    ("and with a missing key", group(leaf("nowhere", Op.NE, "x"), leaf("rank", Op.EQ, "b")), "n2"),
    ("a contradiction", group(leaf("rank", Op.EQ, "a"), leaf("rank", Op.EQ, "b")), ""),
    ("or", group(leaf("rank", Op.EQ, "a"), leaf("rank", Op.EQ, "c"), condition=OR), "n1 n3"),
    ("not: none of them",
     group(leaf("rank", Op.EQ, "a"), leaf("weight", Op.EQ, 2), condition=NOT), "n3"),
    ("nested", group(group(leaf("rank", Op.EQ, "a"), leaf("rank", Op.EQ, "b"), condition=OR),
                     leaf("weight", Op.GT, 1)), "n2"),
    ("nested not", group(group(leaf("rank", Op.EQ, "a"), condition=NOT),
                         leaf("weight", Op.LT, 3)), "n2"),
    ("three levels", group(leaf("rank", Op.EQ, "c"), group(leaf("weight", Op.LT, 2), group(
        leaf("tags", Op.CONTAINS, "alpha"))), condition=OR), "n1 n3"),
    ("a group of nothing", group(group(), leaf("rank", Op.EQ, "a")), "n1"),
    ("or a group of nothing", group(group(), leaf("rank", Op.EQ, "a"), condition=OR), "n1"),
    ("hostile quotes", group(leaf("rank", Op.EQ, "c' OR '1'='1")), ""),
    ("a hostile key", group(leaf("rank' OR '1'='1", Op.EQ, "c")), ""),
    ("an operator of the core as a value", group(leaf("rank", Op.EQ, "$ne")), ""),
    ("an operator of the core as a key", group(leaf("$not", Op.EQ, "a")), ""),
]  # fmt: skip


@pytest.fixture
def filled(store: MimirVectorStore) -> MimirVectorStore:
    """Three nodes with metadata of each kind."""
    store.add([node(id_, "lorem ipsum", [1.0, 0.0], **row) for id_, row in ROWS.items()])
    return store


@pytest.mark.parametrize(("filters", "ids"), [case[1:] for case in CASES],
                         ids=[case[0] for case in CASES])  # fmt: skip
async def test_a_store_filters(
    filled: MimirVectorStore, call: Call, filters: MetadataFilters, ids: str
) -> None:
    """A store returns exactly the nodes that fit, without an error for any type."""
    assert {found.node_id for found in await call(filled.get_nodes, filters=filters)} == set(
        ids.split()
    )


def test_no_parts_are_no_filter() -> None:
    """No filter, and one without parts, let everything through."""
    assert where(None) is None
    assert where(group()) is None
    assert where(group(group(), group(group(), condition=NOT), condition=OR)) is None


@pytest.mark.parametrize("key", ["", "$ne", ":", ":ref_doc_id", "::", "a.b", "ref_doc_id"])
def test_any_key_can_be_filtered(store: MimirVectorStore, key: str) -> None:
    """Names that the core keeps for itself, and those of our own fields, are a user's too."""
    made = TextNode(id_="one", text="text", embedding=[1.0], metadata={key: "value"})
    other = node("two", "text", [1.0], document="value")
    store.add([made, other])
    found = store.get_nodes(filters=group(leaf(key, Op.EQ, "value")))
    assert [each.node_id for each in found] == ["one"]
    assert found[0].metadata == {key: "value"}


def test_field_names_stay_apart() -> None:
    """Different keys have different fields, none of them that of the source document."""
    names = ["", ":", "::", "$", ":$", "a", ":a", DOCUMENT, "none", ":none", "ref_doc_id"]
    fields = [field_name(name) for name in names]
    assert len(set(fields)) == len(names)
    assert not {DOCUMENT, ":none"} & set(fields)


def deep(levels: int, condition: FilterCondition = AND) -> MetadataFilters:
    """Groups one in the other, around the leaf that takes most levels of the core's filter."""
    found: Any = leaf("tags", Op.ANY, ["alpha", "gamma"])
    for _ in range(levels):
        found = group(found, condition=condition)
    return found


@pytest.mark.parametrize(
    "filters",
    [
        group(leaf("rank", Op.IN, "a")),
        group(leaf("rank", Op.ANY, None)),
        group(leaf("rank", Op.GT, None)),
        group(leaf("rank", Op.LTE, ["a"])),
        group(leaf("rank", Op.TEXT_MATCH, 1)),
        group(leaf("rank", Op.TEXT_MATCH_INSENSITIVE, None)),
        group(MetadataFilter.model_construct(key="rank", value="a", operator="~")),
        MetadataFilters.model_construct(filters=[leaf("rank", Op.EQ, "a")], condition="xor"),
        deep(200),
        {"rank": "a"},
    ],
)  # fmt: skip
async def test_a_wrong_filter_is_refused(
    filled: MimirVectorStore, call: Call, filters: MetadataFilters
) -> None:
    """What no filter can mean is a typed error, and deletes nothing."""
    with pytest.raises(InvalidFilter):
        await call(filled.get_nodes, filters=filters)
    with pytest.raises(InvalidFilter):
        await call(filled.delete_nodes, filters=filters)
    assert len(filled.get_nodes()) == len(ROWS)


@pytest.mark.parametrize(("condition", "ids"), [(AND, "n1"), (OR, "n1"), (NOT, "n2 n3")])
async def test_filters_nest_to_the_limit_and_no_deeper(
    filled: MimirVectorStore, call: Call, condition: FilterCondition, ids: str
) -> None:
    """Groups of any condition nest 29 levels deep, with documents beside, and 30 are refused."""
    limit, beyond = deep(MAX_DEPTH, condition), deep(MAX_DEPTH + 1, condition)
    assert MAX_DEPTH == 29
    assert {each.node_id for each in await call(filled.get_nodes, filters=limit)} == {*ids.split()}
    query = VectorStoreQuery(filters=limit, doc_ids=["none"], similarity_top_k=3)
    assert (await call(filled.query, query)).ids == []
    with pytest.raises(InvalidFilter):
        await call(filled.get_nodes, filters=beyond)


def test_negations_in_every_second_level(filled: MimirVectorStore) -> None:
    """NOT within OR within NOT, to the limit, means what a plain reading says."""
    found: Any = group(leaf("rank", Op.NE, "b"), leaf("weight", Op.GT, 2), condition=NOT)
    for level in range(MAX_DEPTH - 1):
        found = group(found, leaf("nowhere", Op.EQ, level), condition=(OR, NOT)[level % 2])
    fitting = {name for name, row in ROWS.items() if holds(found, row)}
    assert 0 < len(fitting) < len(ROWS)
    assert {each.node_id for each in filled.get_nodes(filters=found)} == fitting
