"""The sealed graph of a vector space."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimir_core.crypto.aead import OpenFailed
from mimir_core.crypto.graph import open_graph, seal_graph


@given(space=st.integers(0, 15), data=st.binary(max_size=500))
def test_a_graph_gives_back_its_data(space: int, data: bytes) -> None:
    """The key returned opens the graph of that space."""
    key, sealed = seal_graph(space, data)
    assert len(sealed) == len(data) + 16
    assert open_graph(key, space, sealed) == data


def test_a_graph_opens_for_its_space_and_key_alone() -> None:
    """Another space, another graph's key or a changed bit is refused."""
    key, sealed = seal_graph(1, b"links")
    other_key, _ = seal_graph(1, b"links")
    attempts = [(key, 2, sealed), (other_key, 1, sealed), (key, 1, sealed[:-1])]
    for bit in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        attempts.append((key, 1, bytes(changed)))
    for attempt in attempts:
        with pytest.raises(OpenFailed):
            open_graph(*attempt)


def test_every_graph_has_a_key_of_its_own() -> None:
    """Sealing the same graph twice draws two keys."""
    assert len({seal_graph(0, b"links")[0] for _ in range(50)}) == 50
