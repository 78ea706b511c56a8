"""The adapter's overhead is measured against the same work by the core."""

from __future__ import annotations

import asyncio
import json
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from bench import langchain
from mimir_core import Mimir
from mimir_langchain import MimirVectorStore

from .conftest import TURNS


def test_every_figure_is_there(turns_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both percentages, the medians behind them and the longest block are numbers."""
    monkeypatch.setattr(langchain, "ROUNDS", 1)
    monkeypatch.setattr(langchain, "AT_ONCE", 4)
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


def test_a_difference_shows() -> None:
    """Work that takes longer in the adapter than in the core is a positive percentage."""
    result = langchain.compare("x", range(5), lambda _: sum(range(200_000)), lambda _: None)
    assert result["x_percent"] > 0
    assert result["x_adapter_ms"] > result["x_core_ms"]


def test_a_blocked_loop_shows() -> None:
    """A retriever that works on the loop's own thread is seen to block it."""

    class Blocking(BaseRetriever):
        def _get_relevant_documents(self, query: str, **_: Any) -> list[Document]:
            return []

        async def _aget_relevant_documents(self, query: str, **_: Any) -> list[Document]:
            time.sleep(0.02)
            return []

    assert asyncio.run(langchain.longest_gap(Blocking(), ["a", "b"])) > 20
