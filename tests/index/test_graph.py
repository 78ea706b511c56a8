"""The bytes of a graph: a round trip, and nothing malformed ever reaches hnswlib."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimir_core.errors import VaultDamaged
from mimir_core.index import hnsw
from mimir_core.index.columns import VectorColumn
from mimir_core.index.graph import GraphState
from mimir_core.index.hnsw import HnswIndex

from .vectors import clustered, filled

VECTORS = clustered(600, 16)


@pytest.fixture(scope="module")
def column() -> VectorColumn:
    """600 rows, a third of them twins, one erased."""
    vectors = VECTORS.copy()
    vectors[400:] = vectors[:200]
    column = filled(vectors)
    column.zero([300])
    return column


@pytest.fixture(scope="module")
def state(column: VectorColumn) -> GraphState:
    """The graph of that column."""
    index = HnswIndex(column)
    index.extend()
    state = index.state()
    assert state is not None
    return state


def equal(one: GraphState, other: GraphState) -> bool:
    """Whether two states hold the same."""
    return all(np.array_equal(mine, vars(other)[name]) for name, mine in vars(one).items())


def test_bytes_round_trip(state: GraphState) -> None:
    """from_bytes(to_bytes(state)) is the state, and its bytes are the same again."""
    again = GraphState.from_bytes(state.to_bytes())
    assert equal(again, state)
    assert again.to_bytes() == state.to_bytes()


def test_an_attached_graph_gives_the_same_state(column: VectorColumn, state: GraphState) -> None:
    """hnswlib takes the links and gives back the same ones."""
    assert equal(HnswIndex.attach(column, state).state() or state, state)


def test_layout_of_a_known_graph() -> None:
    """The documented layout, byte by byte, of three nodes over four rows."""
    links = np.array([1, 2, 0, 2, 0, 1, 2, 0], np.uint32)
    state = GraphState(
        3, 2, 9, 4, 0, 5, np.array([0, 1, 3]), np.array([1, 0, 1], np.uint8),
        np.array([2, 2, 2, 1, 1], np.uint8), links,
    )  # fmt: skip
    header = bytes.fromhex("0100 0300 0200 0900 04000000 03000000 00000000 05000000 02000000")
    body = "08000000 0b 010001 0202020101 0100 0001 0000 02 00"
    assert state.to_bytes() == header + bytes.fromhex(body)


def test_large_numbers_take_more_bytes() -> None:
    """A link to node 199 is written as two bytes of LEB128."""
    links = np.array([199, 0], np.uint32)
    sizes = np.zeros(200, np.uint8)
    sizes[[0, 199]] = 1
    state = GraphState(4, 2, 2, 200, 0, 0, np.arange(200), np.zeros(200, np.uint8), sizes, links)
    assert state.to_bytes().endswith(b"\xc7\x01\x00")
    assert equal(GraphState.from_bytes(state.to_bytes()), state)


@pytest.fixture
def graph_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make even a small index search its graph."""
    monkeypatch.setattr(hnsw, "_ROWS_A_CANDIDATE", 0.001)


@pytest.mark.usefixtures("graph_is_used")
def test_malformed_bytes_are_refused_or_harmless(column: VectorColumn, state: GraphState) -> None:
    """Bytes changed anywhere give VaultDamaged, or an index that answers within its column."""
    data = bytearray(state.to_bytes())
    random = np.random.default_rng(7)
    outcomes = [survives(column, mutated(data, random)) for _ in range(1_500)]
    assert 0 < sum(outcomes) < len(outcomes)


def mutated(data: bytearray, random: np.random.Generator) -> bytes:
    """A copy with some bytes changed, most often in the header or the sizes, or cut."""
    copy = bytearray(data)
    for _ in range(random.integers(1, 4)):
        end = [32, 120, 1_200, len(copy)][random.integers(4)]
        copy[random.integers(min(end, len(copy)))] = random.choice([0, 1, 127, 128, 255, 3])
    if random.random() < 0.1:
        return bytes(copy[: random.integers(len(copy))])
    return bytes(copy)


def survives(column: VectorColumn, data: bytes) -> bool:
    """Attach, search, extend and take the state; False if the bytes were refused."""
    try:
        index = HnswIndex.attach(column, GraphState.from_bytes(data))
    except VaultDamaged:
        return False
    rows, _ = index.search(VECTORS[0], 20)
    assert len(rows) == 20
    assert rows.max() < len(column)
    index.extend()
    index.state()
    return True


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(data: bytes) -> None:
    """Random bytes are never a graph."""
    with pytest.raises(VaultDamaged):
        GraphState.from_bytes(data)


@given(st.binary(min_size=30, max_size=60))
def test_random_bytes_after_the_version_are_refused(data: bytes) -> None:
    """Not even with the right version."""
    with pytest.raises(VaultDamaged):
        GraphState.from_bytes(b"\x01\x00" + data)


@pytest.mark.parametrize(
    "change",
    [
        {"dimension": 8},
        {"m": 1},
        {"m": 8},
        {"ef_construction": 3},
        {"rows": 601},
        {"rows": 399},
        {"entry": 10_000},
        {"entry": -1},
    ],
)
def test_contradictions_are_refused(
    column: VectorColumn, state: GraphState, change: dict[str, int]
) -> None:
    """A number that does not fit the links or the column raises VaultDamaged."""
    with pytest.raises(VaultDamaged):
        HnswIndex.attach(column, replace(state, **change))


def test_an_entry_of_a_lower_level_is_refused(state: GraphState) -> None:
    """hnswlib would follow a null pointer from there."""
    with pytest.raises(VaultDamaged):
        replace(state, entry=int(np.argmin(state.levels)))


def test_links_that_mislead_are_refused(state: GraphState) -> None:
    """Links to a missing node, to itself, and to a node that is not on the level."""
    low = int(np.argmin(state.levels))
    for place, node in ((0, len(state.node_rows)), (0, 0), (-1, low)):
        links = state.links.copy()
        links[place] = node
        with pytest.raises(VaultDamaged):
            replace(state, links=links)


def test_a_graph_of_other_vectors_is_refused(state: GraphState) -> None:
    """A graph attaches only to a column whose rows it was made from."""
    with pytest.raises(VaultDamaged):
        HnswIndex.attach(filled(clustered(600, 16, seed=2)), state)


def test_a_graph_older_than_an_erasure_is_refused(state: GraphState) -> None:
    """A node whose row was erased since cannot be filled."""
    column = filled(VECTORS)
    column.zero([int(state.node_rows[5])])
    with pytest.raises(VaultDamaged):
        HnswIndex.attach(column, state)


def test_a_repr_holds_sizes_only(state: GraphState) -> None:
    """No link shows in the repr."""
    assert repr(state) == "GraphState(nodes=399, rows=600)"
