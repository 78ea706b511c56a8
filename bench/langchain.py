"""What LangChain's interface costs: the adapter and the core do the same work in turn.

Both embed with the built-in model, as in use. Adding fills two namespaces of one vault; queries
search the same one. Medians, of batches of 256 turns and of single queries.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from langchain_core.documents import Document

from bench.adapters import CORE, ROUNDS, compare, loop_blocked
from bench.latency import PROFILE, K
from bench.peers.protocol import metadata
from bench.sides import batches
from bench.turns import PASSPHRASE, queries, read_turns
from mimir_core import Item, Mimir
from mimir_langchain import MimirRetriever, MimirVectorStore

NAMESPACE = ("langchain", "vectors")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Adds the turns by both, then queries by both, then asks many questions at once.

    Returns `add_percent` of a batch; `query_percent` of a similarity search, `hybrid_percent` of a
    hybrid search and `invoke_percent` of a retriever's `invoke`, callbacks included, each of a
    recall of the same mode; the medians behind them in milliseconds; `loop_blocked_ms`, the longest
    that 50 concurrent `ainvoke`s kept the event loop from anything else, and the median of the
    rounds' longest.
    """
    turns = read_turns(arguments.turns, arguments.count, K)
    texts = queries(arguments.turns, arguments.count)
    documents = [as_document(number, turn) for number, turn in enumerate(turns)]
    with (
        tempfile.TemporaryDirectory() as folder,
        Mimir.create(Path(folder) / "bench.mimir", PASSPHRASE, profile=PROFILE) as mimir,
    ):
        mimir.embedder.embed_query("warm up")
        store = MimirVectorStore(mimir, namespace=NAMESPACE)
        added = compare(
            "add",
            batches(documents),
            lambda batch: store.add_documents(list(batch)),
            lambda batch: mimir.remember_many(items(batch)),
        )
        mimir.checkpoint()
        asked = query(mimir, store, texts * ROUNDS)
        retriever = MimirRetriever(mimir, namespace=NAMESPACE, k=K)
        return {"count": len(turns)} | added | asked | loop_blocked(retriever.ainvoke, texts)


def as_document(number: int, turn: dict[str, Any]) -> Document:
    """A turn as a document: everything but its text is metadata."""
    return Document(id=str(number), page_content=turn["text"], metadata=metadata(turn))


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
