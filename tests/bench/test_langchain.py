"""The adapter's overhead is measured against the same work by the core."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import pytest

from bench import adapters, langchain
from mimir_core import Mimir
from mimir_langchain import MimirVectorStore

from .conftest import TURNS


def test_every_figure_is_there(turns_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both percentages, the medians behind them and the longest block are numbers."""
    monkeypatch.setattr(langchain, "ROUNDS", 1)
    monkeypatch.setattr(adapters, "ROUNDS", 1)
    monkeypatch.setattr(adapters, "AT_ONCE", 4)
    result = langchain.run(Namespace(turns=turns_file, count=len(TURNS)))
    assert json.loads(json.dumps(result)) == result
    assert result["count"] == len(TURNS)
    names = ("add", "query", "hybrid", "invoke")
    expected = {f"{name}_{part}" for name in names for part in ("percent", "adapter_ms", "core_ms")}
    assert set(result) == expected | {"count", "loop_blocked_ms", "loop_blocked_median_ms"}
    assert result["loop_blocked_ms"] >= result["loop_blocked_median_ms"] >= 0
    assert all(result[f"{name}_core_ms"] > 0 for name in names)


def test_both_do_the_same_work(mimir: Mimir) -> None:
    """The adapter's documents and the core's items leave the same memories and hits."""
    documents = [langchain.as_document(number, turn) for number, turn in enumerate(TURNS)]
    store = MimirVectorStore(mimir, namespace=langchain.NAMESPACE)
    store.add_documents(documents)
    mimir.remember_many(langchain.items(documents))
    ours, core = (
        [(each.key, each.text, each.metadata) for each in mimir.memories(namespace=place)]
        for place in (langchain.NAMESPACE, langchain.CORE)
    )
    assert ours == core
    hits = mimir.recall("the harbour", k=5, mode="dense", namespace=langchain.NAMESPACE)
    assert [each.id for each in store.similarity_search("the harbour", 5)] == [
        hit.memory.key for hit in hits
    ]
