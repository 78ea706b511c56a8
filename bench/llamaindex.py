"""What LlamaIndex's interface costs: the adapter and the core do the same work in turn.

Both embed with the built-in model, as in use. Adding fills two namespaces of one vault; queries
search the same one. Medians, of batches of 256 turns and of single queries.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from llama_index.core import VectorStoreIndex
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryResult
from tqdm.auto import tqdm

from bench.latency import PROFILE, K
from bench.turns import PASSPHRASE, queries, read_turns
from mimir_core import Item, Mimir
from mimir_llamaindex import MimirEmbedding, MimirRetriever, MimirVectorStore

ROUNDS = 3
BATCH = 256
AT_ONCE = 50
TICK = 1e-3
NAMESPACE = ("llamaindex", "vectors")
CORE = ("core",)
Work = TypeVar("Work")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Adds the turns by both, then queries by both, then asks many questions at once.

    Returns `add_percent` of a batch inserted into an index; `query_percent` of the store's query,
    the text's embedding included, `index_percent` of the index's own retriever, both of a dense
    recall, and `retriever_percent` of our retriever, of a hybrid one; the medians behind them in
    milliseconds; `loop_blocked_ms`, the longest that 50 concurrent `aquery`s kept the event loop
    from anything else.
    """
    turns = read_turns(arguments.turns, arguments.count)
    texts = queries(arguments.turns, arguments.count)
    nodes = [as_node(number, turn) for number, turn in enumerate(turns)]
    with (
        tempfile.TemporaryDirectory() as folder,
        Mimir.create(Path(folder) / "bench.mimir", PASSPHRASE, profile=PROFILE) as mimir,
    ):
        model = MimirEmbedding(mimir)
        model.get_query_embedding("warm up")
        store = MimirVectorStore(mimir, NAMESPACE, model=model)
        index = VectorStoreIndex.from_vector_store(store, model)
        batches = [nodes[at : at + BATCH] for at in range(0, len(nodes), BATCH)]
        added = compare(
            "add", batches, index.insert_nodes, lambda batch: mimir.remember_many(items(batch))
        )
        mimir.checkpoint()
        return (
            {"count": len(turns)}
            | added
            | query(index, store, model, texts * ROUNDS)
            | {"loop_blocked_ms": loop_blocked_ms(store, model, texts)}
        )


def as_node(number: int, turn: dict[str, Any]) -> TextNode:
    """A turn as a node of its conversation.

    Everything but its text is metadata, under names that neither side embeds with the text.
    """
    given = {"id": turn["id"], "time": turn.get("time"), "by": turn["speaker"]}
    source = RelatedNodeInfo(node_id=turn["conversation"])
    return TextNode(
        id_=str(number), text=turn["text"], metadata=given,
        excluded_embed_metadata_keys=list(given),
        relationships={NodeRelationship.SOURCE: source},
    )  # fmt: skip


def items(nodes: Sequence[TextNode]) -> list[Item]:
    """The same as memories of the core, under the same keys and in the same threads."""
    return [Item(each.text, CORE, key=each.id_, thread=each.ref_doc_id, metadata=each.metadata)
            for each in nodes]  # fmt: skip


def query(
    index: VectorStoreIndex, store: MimirVectorStore, model: MimirEmbedding, texts: list[str]
) -> dict[str, float]:
    """The store's query, the index's retriever, and our retriever, each beside its recall."""

    def recall(mode: str) -> Callable[[str], object]:
        return lambda text: store.client.recall(text, k=K, mode=mode, namespace=NAMESPACE)

    ours = MimirRetriever.from_vector_store(store, similarity_top_k=K).retrieve
    theirs = index.as_retriever(similarity_top_k=K).retrieve
    return (
        compare("query", texts, lambda text: store.query(as_query(model, text)), recall("dense"))
        | compare("index", texts, theirs, recall("dense"))
        | compare("retriever", texts, ours, recall("hybrid"))
    )


def as_query(model: MimirEmbedding, text: str) -> VectorStoreQuery:
    """A text as the query that an index makes of it."""
    return VectorStoreQuery(model.get_query_embedding(text), similarity_top_k=K, query_str=text)


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


def loop_blocked_ms(store: MimirVectorStore, model: MimirEmbedding, texts: Sequence[str]) -> float:
    """The longest gap between two turns of the event loop while 50 `aquery`s run, less the tick.

    Of several rounds the median, for other processes' work lengthens some.
    """

    async def ask(text: str) -> VectorStoreQueryResult:
        vector = await model.aget_query_embedding(text)
        return await store.aquery(VectorStoreQuery(vector, similarity_top_k=K))

    asked = [texts[number % len(texts)] for number in range(AT_ONCE)]
    rounds = [asyncio.run(longest_gap(map(ask, asked))) for _ in range(2 * ROUNDS)]
    return float(np.median(rounds))


async def longest_gap(calls: Iterable[Coroutine[Any, Any, object]]) -> float:
    """Awaits all at once while a ticker runs; returns its longest delay in milliseconds."""
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
    await asyncio.gather(*calls)
    await asyncio.sleep(TICK)  # the last gap ends
    ticker.cancel()
    with suppress(asyncio.CancelledError):
        await ticker
    return max(gaps)
