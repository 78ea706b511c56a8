"""The adapter's overhead is measured against the same work by the core."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from llama_index.core import VectorStoreIndex

from bench import adapters, llamaindex
from mimir_core import Mimir
from mimir_llamaindex import MimirEmbedding, MimirVectorStore

from .conftest import TURNS


def test_every_figure_is_there(turns_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The percentages, the medians behind them and the longest block are numbers."""
    monkeypatch.setattr(llamaindex, "ROUNDS", 1)
    monkeypatch.setattr(adapters, "ROUNDS", 1)
    monkeypatch.setattr(adapters, "AT_ONCE", 4)
    result = llamaindex.run(Namespace(turns=turns_file, count=len(TURNS)))
    assert json.loads(json.dumps(result)) == result
    assert result["count"] == len(TURNS)
    names = ("add", "query", "embedding", "index", "retriever")
    expected = {f"{name}_{part}" for name in names for part in ("percent", "adapter_ms", "core_ms")}
    assert set(result) == expected | {"count", "loop_blocked_ms", "loop_blocked_median_ms"}
    assert result["loop_blocked_ms"] >= result["loop_blocked_median_ms"] >= 0
    assert all(result[f"{name}_core_ms"] > 0 for name in names)


def test_both_do_the_same_work(mimir: Mimir) -> None:
    """The index's nodes and the core's items have the same texts, vectors, threads and hits."""
    nodes = [llamaindex.as_node(number, turn) for number, turn in enumerate(TURNS)]
    model = MimirEmbedding(mimir)
    store = MimirVectorStore(mimir, llamaindex.NAMESPACE, model=model)
    VectorStoreIndex.from_vector_store(store, model).insert_nodes(nodes)
    mimir.remember_many(llamaindex.items(nodes))
    ours, core = (
        list(mimir.memories(namespace=place)) for place in (llamaindex.NAMESPACE, llamaindex.CORE)
    )
    assert [(each.key, each.text, each.thread) for each in ours] == [
        (each.key, each.text, each.thread) for each in core
    ]
    vectors = [mimir.vectors([each.id for each in side]) for side in (ours, core)]
    np.testing.assert_allclose(vectors[0], vectors[1], atol=0.02)
    found = store.query(llamaindex.as_query(model, "the harbour"))
    hits = mimir.recall("the harbour", k=5, mode="dense", namespace=llamaindex.CORE)
    assert found.ids == [hit.memory.key for hit in hits]
