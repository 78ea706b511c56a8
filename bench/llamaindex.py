"""What LlamaIndex's interface costs: the adapter and the core do the same work in turn.

Both embed with the built-in model, as in use. Adding fills two namespaces of one vault; queries
search the same one. Medians, of batches of 256 turns and of single queries.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from llama_index.core import VectorStoreIndex
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryResult

from bench.adapters import CORE, ROUNDS, compare, loop_blocked
from bench.latency import PROFILE, K
from bench.peers.protocol import metadata
from bench.sides import batches
from bench.turns import PASSPHRASE, queries, read_turns
from mimir_core import Item, Mimir
from mimir_llamaindex import MimirEmbedding, MimirRetriever, MimirVectorStore

NAMESPACE = ("llamaindex", "vectors")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Adds the turns by both, then queries by both, then asks many questions at once.

    Returns `add_percent` of a batch inserted into an index; `query_percent` of the store's query,
    the text's embedding included, and `embedding_percent` of that embedding alone, which LlamaIndex
    wraps in its instrumentation whatever the model; `index_percent` of the index's own retriever,
    of a dense recall, and `retriever_percent` of our retriever, of a hybrid one; the medians behind
    them in milliseconds; `loop_blocked_ms`, the longest that 50 concurrent `aquery`s kept the event
    loop from anything else, and the median of the rounds' longest.
    """
    turns = read_turns(arguments.turns, arguments.count, K)
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
        added = compare(
            "add",
            batches(nodes),
            index.insert_nodes,
            lambda batch: mimir.remember_many(items(batch)),
        )
        mimir.checkpoint()
        asked = query(index, store, model, texts * ROUNDS)
        blocked = loop_blocked(asking(store, model), texts)
        return {"count": len(turns)} | added | asked | blocked


def as_node(number: int, turn: dict[str, Any]) -> TextNode:
    """A turn as a node of its conversation.

    Everything but its text is metadata, under names that neither side embeds with the text.
    """
    given = metadata(turn)
    source = RelatedNodeInfo(node_id=given.pop("conversation"))
    if "speaker" in given:
        given["by"] = given.pop("speaker")
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
        | compare("embedding", texts, model.get_query_embedding, model.embedder.embed_query)
        | compare("index", texts, theirs, recall("dense"))
        | compare("retriever", texts, ours, recall("hybrid"))
    )


def as_query(model: MimirEmbedding, text: str) -> VectorStoreQuery:
    """A text as the query that an index makes of it."""
    return VectorStoreQuery(model.get_query_embedding(text), similarity_top_k=K, query_str=text)


def asking(
    store: MimirVectorStore, model: MimirEmbedding
) -> Callable[[str], Coroutine[Any, Any, object]]:
    """What embeds a text and asks the store for what is near it, off the event loop."""

    async def ask(text: str) -> VectorStoreQueryResult:
        vector = await model.aget_query_embedding(text)
        return await store.aquery(VectorStoreQuery(vector, similarity_top_k=K))

    return ask
