"""What LangChain's interface costs: the adapter and the core do the same work in turn.

Both embed with the built-in model, as in use. Adding fills two namespaces of one vault; queries
search the same one. Medians, of batches of 256 turns and of single queries.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from tqdm.auto import tqdm

from bench.latency import PROFILE, K
from bench.turns import PASSPHRASE, queries, read_turns
from mimir_core import Item, Mimir
from mimir_langchain import MimirRetriever, MimirVectorStore

ROUNDS = 3
BATCH = 256
AT_ONCE = 50
TICK = 1e-3
NAMESPACE = ("langchain", "vectors")
CORE = ("core",)
Work = TypeVar("Work")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Adds the turns by both, then queries by both, then asks many questions at once.

    Returns `add_percent` of a batch; `query_percent` of a similarity search, `hybrid_percent` of a
    hybrid search and `invoke_percent` of a retriever's `invoke`, callbacks included, each of a
    recall of the same mode; the medians behind them in milliseconds; `loop_blocked_ms`, the longest
    that 50 concurrent `ainvoke`s kept the event loop from anything else, and the median of the
    rounds' longest.
    """
    turns = read_turns(arguments.turns, arguments.count)
    texts = queries(arguments.turns, arguments.count)
    documents = [as_document(number, turn) for number, turn in enumerate(turns)]
    with (
        tempfile.TemporaryDirectory() as folder,
        Mimir.create(Path(folder) / "bench.mimir", PASSPHRASE, profile=PROFILE) as mimir,
    ):
        mimir.embedder.embed_query("warm up")
        store = MimirVectorStore(mimir, namespace=NAMESPACE)
        batches = [documents[at : at + BATCH] for at in range(0, len(documents), BATCH)]
        added = compare(
            "add", batches, store.add_documents, lambda batch: mimir.remember_many(items(batch))
        )
        mimir.checkpoint()
        asked = query(mimir, store, texts * ROUNDS)
        return {"count": len(turns)} | added | asked | loop_blocked(mimir, texts)


def as_document(number: int, turn: dict[str, Any]) -> Document:
    """A turn as a document: everything but its text is metadata."""
    names = ("conversation", "id", "time", "speaker")
    metadata = {name: turn[name] for name in names if turn.get(name) is not None}
    return Document(id=str(number), page_content=turn["text"], metadata=metadata)


def items(documents: Sequence[Document]) -> list[Item]:
    """The same as memories of the core, under the same keys."""
    return [Item(each.page_content, CORE, key=each.id, metadata=each.metadata)
            for each in documents]  # fmt: skip


def query(mimir: Mimir, store: MimirVectorStore, texts: list[str]) -> dict[str, float]:
    """A similarity search, a hybrid search, and a retriever's `invoke`, each beside its recall."""

    def recall(mode: str) -> Callable[[str], object]:
        return lambda text: mimir.recall(text, k=K, mode=mode, namespace=NAMESPACE)

    invoke = MimirRetriever(mimir, namespace=NAMESPACE, k=K).invoke
    return (
        compare("query", texts, lambda text: store.similarity_search(text, K), recall("dense"))
        | compare("hybrid", texts, lambda text: store.hybrid_search(text, K), recall("hybrid"))
        | compare("invoke", texts, invoke, recall("hybrid"))
    )


def compare(
    name: str,
    work: Sequence[Work],
    adapter: Callable[[Work], object],
    core: Callable[[Work], object],
) -> dict[str, float]:
    """Does each piece of work by both, in changing order.

    Returns the median difference in percent of the core's median, and both medians.
    """
    ours: list[float] = []
    bare: list[float] = []
    for number, piece in enumerate(tqdm(work, desc=name, disable=None)):
        both = [(adapter, ours), (core, bare)]
        for action, times in both if number % 2 else reversed(both):
            start = time.perf_counter()
            action(piece)
            times.append(1e3 * (time.perf_counter() - start))
    return {
        f"{name}_percent": float(100 * np.median(np.subtract(ours, bare)) / np.median(bare)),
        f"{name}_adapter_ms": float(np.median(ours)),
        f"{name}_core_ms": float(np.median(bare)),
    }


def loop_blocked(mimir: Mimir, texts: Sequence[str]) -> dict[str, float]:
    """The longest gap between two turns of the event loop while 50 `ainvoke`s run, less the tick.

    Other processes' work lengthens some rounds, hence the median beside the longest.
    """
    retriever = MimirRetriever(mimir, namespace=NAMESPACE, k=K)
    asked = [texts[number % len(texts)] for number in range(AT_ONCE)]
    gaps = [asyncio.run(longest_gap(retriever, asked)) for _ in range(2 * ROUNDS)]
    return {"loop_blocked_ms": max(gaps), "loop_blocked_median_ms": float(np.median(gaps))}


async def longest_gap(retriever: BaseRetriever, texts: Sequence[str]) -> float:
    """Asks all at once while a ticker runs; returns its longest delay in milliseconds."""
    gaps = [0.0]

    async def tick() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(TICK)
            now = time.perf_counter()
            gaps.append(1e3 * (now - last - TICK))
            last = now

    ticker = asyncio.create_task(tick())
    await asyncio.sleep(0)
    await asyncio.gather(*map(retriever.ainvoke, texts))
    await asyncio.sleep(TICK)  # the last gap ends
    ticker.cancel()
    with suppress(asyncio.CancelledError):
        await ticker
    return max(gaps)
