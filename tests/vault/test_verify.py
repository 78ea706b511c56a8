"""Verification compares what is in memory with what the log says."""

from __future__ import annotations

import numpy as np

from mimir_core import Item, Mimir
from mimir_core.intake import check_items

from .vaults import EMBEDDER


def test_metadata_of_the_catalog_is_that_of_the_log(mimir: Mimir) -> None:
    """A catalog that holds other metadata than the log is reported, memory by memory."""
    mimir.remember("a cat", metadata={"n": 1, "tags": ["x", {"y": None}]}, thread="t", key="k")
    mimir.remember("a dog", metadata={"n": True})
    assert mimir.verify().ok
    with mimir._vault.view() as state:
        state.catalog._time.view[0] += 1
    assert [problem.split(": ")[1] for problem in mimir.verify().problems] == [
        "the catalog holds other metadata than the log"
    ]


def test_metadata_handed_out_is_the_callers_own(mimir: Mimir) -> None:
    """Changing what a memory carries changes neither the vault nor the next answer."""
    id_ = mimir.remember("a cat", metadata={"tags": ["x"]})
    mimir.get(id_).metadata["tags"].append("y")
    assert mimir.get(id_).metadata == {"tags": ["x"]}


def test_many_fields_are_read_from_the_record(mimir: Mimir) -> None:
    """A memory's metadata is the same whether few or many fields are known."""
    first = mimir.remember("a cat", metadata={"n": 1.5, "when": None})
    before = mimir.get(first)
    mimir.remember("a dog", metadata={f"field{n}": n for n in np.arange(40).tolist()})
    assert mimir.get(first) == before
    assert mimir.verify().ok


def test_a_text_without_a_vector_is_reported(mimir: Mimir) -> None:
    """Texts that no dense recall can find are counted until they are embedded; bytes need none."""
    mimir.remember(b"bytes")
    mimir._vault.append(check_items([Item("a cat"), Item("!"), Item(b"")], EMBEDDER), None)
    assert mimir.verify().problems == ("texts without a vector: 2",)
    assert mimir.reembed() == 2
    assert mimir.verify().ok
    assert len(mimir.recall("cat", mode="dense")) == 2
