"""Behind a `VectorStoreIndex`: a real corpus, restarts, deletions, and no plain text."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import MockEmbedding, StorageContext, VectorStoreIndex
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import BaseNode, Document, TextNode
from llama_index.core.vector_stores.types import VectorStoreQuery

from bench.turns import read_lines
from mimir_core import KdfProfile, Mimir
from mimir_core.embedding import HashEmbedder
from mimir_llamaindex import MimirEmbedding, MimirVectorStore

from .conftest import Call, node

DATA = Path(__file__).parents[3] / "shared" / "data" / "locomo_dev_turns.jsonl.gz"
PASSPHRASE = "a passphrase for tests"
CANARY = "quokkaphone"
SPLIT = [SentenceSplitter(chunk_size=64, chunk_overlap=8)]


def opened(path: Path) -> Mimir:
    make = Mimir.open if path.exists() else Mimir.create
    return make(path, PASSPHRASE, embedder=HashEmbedder(64), profile=KdfProfile.INSECURE_FOR_TESTS)


def index_of(mimir: Mimir) -> VectorStoreIndex:
    """An index over what the vault holds."""
    model = MimirEmbedding(mimir)
    return VectorStoreIndex.from_vector_store(MimirVectorStore(mimir, model=model), model)


def sessions() -> list[Document]:
    """One document a session of real conversations, one of them with a canary."""
    if not DATA.exists():
        pytest.skip(f"{DATA} is not there")
    texts: dict[str, list[str]] = {}
    for turn in read_lines(DATA):
        session = f"{turn['conversation']}/{turn['session']}"
        texts.setdefault(session, []).append(f"{turn['speaker']}: {turn['text']}")
    chosen = list(texts.items())[:20]
    chosen[3][1].insert(2, f"Melanie: My {CANARY} plays a tune.")
    return [
        Document(id_=id_, text="\n".join(lines), metadata={"session": id_, "turns": len(lines)})
        for id_, lines in chosen
    ]


def whole(result: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Everything a retriever's caller sees."""
    return [(each.node.to_dict(), round(each.score or 0.0, 4)) for each in result]


def everything_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


QUESTIONS = ["When did Caroline go to the support group?", "What does Melanie paint?", CANARY]


def test_a_corpus_survives_a_restart(folder: Path) -> None:
    """Ingested, closed and opened again, an index answers as before, with nothing in plain text."""
    path, documents = folder / "agent.mimir", sessions()
    with opened(path) as mimir:
        storage = StorageContext.from_defaults(vector_store=MimirVectorStore(mimir))
        index = VectorStoreIndex.from_documents(
            documents, storage, embed_model=MimirEmbedding(mimir), transformations=SPLIT
        )
        before = [whole(index.as_retriever(similarity_top_k=5).retrieve(q)) for q in QUESTIONS]
        stored = len(index.vector_store.get_nodes())
        index.storage_context.vector_store.persist(str(folder / "plain.json"))
    assert stored > len(documents)
    data = everything_in(folder)
    for word in (CANARY, "Caroline", "Melanie", "conv-26", "llamaindex", "session"):
        assert word.encode() not in data
    with opened(path) as mimir:
        model = MimirEmbedding(mimir)
        again = VectorStoreIndex.from_vector_store(MimirVectorStore(mimir), model)
        retriever = again.as_retriever(similarity_top_k=5)
        assert [whole(retriever.retrieve(question)) for question in QUESTIONS] == before
        assert len(again.vector_store.get_nodes()) == stored


async def test_a_deleted_document_is_gone(folder: Path) -> None:
    """After `delete_ref_doc` no way leads to it: index, words, recall, ids; others stay."""
    path, documents = folder / "agent.mimir", sessions()
    gone = documents[3].doc_id
    with opened(path) as mimir:
        index = index_of(mimir)
        for document in documents:
            index.insert_nodes(SPLIT[0].get_nodes_from_documents([document]))
        space = ("llamaindex", "vectors")
        (hit,) = mimir.recall(CANARY, mode="lexical", namespace=space)
        with_canary = hit.memory.key
        assert with_canary is not None
        before = len(index.vector_store.get_nodes())
        await index.adelete_ref_doc(gone)
        assert len(index.vector_store.get_nodes()) < before
        assert index.vector_store.get_nodes([with_canary]) == []
        assert mimir.recall(CANARY, mode="lexical", namespace=space) == []
        assert all(CANARY not in hit.text for hit in mimir.recall(CANARY, k=500, namespace=space))
        retriever = index.as_retriever(similarity_top_k=1000)
        found = [*retriever.retrieve(CANARY), *await retriever.aretrieve(CANARY)]
        assert gone not in {each.node.ref_doc_id for each in found}
        assert {each.node.ref_doc_id for each in found} == {d.doc_id for d in documents} - {gone}
        assert mimir.verify().ok
    with opened(path) as mimir:
        assert all(
            CANARY not in str(memory.content) + str(memory.attachment)
            for memory in mimir.memories()
        )
        assert mimir.thread(gone, namespace=("llamaindex", "vectors")) == []


async def test_engines_answer(folder: Path) -> None:
    """Query and chat engines work on the store, sync and async, with a model of no provider."""
    with opened(folder / "agent.mimir") as mimir:
        index = index_of(mimir)
        index.insert_nodes(SPLIT[0].get_nodes_from_documents(sessions()[:5]))
        llm = MockLLM(max_tokens=16)
        question = f"Who has a {CANARY}?"
        engine = index.as_query_engine(llm=llm, vector_store_query_mode="hybrid", alpha=0.2)
        for response in (engine.query(question), await engine.aquery(question)):
            assert any(CANARY in source.text for source in response.source_nodes)
        for mode in ("context", "condense_plus_context", "condense_question"):
            chat = index.as_chat_engine(chat_mode=mode, llm=llm, similarity_top_k=3)
            assert str(chat.chat(question))
            response = await chat.achat(question)
            assert len(response.source_nodes) == 3 or mode == "condense_question"


async def test_async_ingestion(folder: Path) -> None:
    """An index that is built and filled asynchronously holds what the other holds."""
    documents = sessions()[:4]
    with opened(folder / "agent.mimir") as mimir:
        nodes = SPLIT[0].get_nodes_from_documents(documents)
        one, two = MimirVectorStore(mimir, "one"), MimirVectorStore(mimir, "two")
        model = MimirEmbedding(mimir)
        VectorStoreIndex.from_vector_store(one, model).insert_nodes(nodes)
        await VectorStoreIndex.from_vector_store(two, model).ainsert_nodes(nodes)
        assert one.get_nodes() == two.get_nodes()


def test_an_update_keeps_one_version(folder: Path) -> None:
    """`update_ref_doc` leaves the new chunks of a document and none of the old."""
    with opened(folder / "agent.mimir") as mimir:
        index = index_of(mimir)
        index.insert(Document(id_="doc", text=f"the {CANARY} is old"))
        index.update_ref_doc(Document(id_="doc", text="something new"))
        assert [found.text for found in index.vector_store.get_nodes()] == ["something new"]
        assert not mimir.recall(CANARY, mode="lexical", namespace=("llamaindex", "vectors"))


def test_inserting_again_makes_no_duplicate(folder: Path) -> None:
    """A retry after a crash, with the same nodes, stores them once."""
    nodes = [TextNode(id_=f"n{n}", text=f"chunk number {n}") for n in range(5)]
    path = folder / "agent.mimir"
    for _ in range(2):
        with opened(path) as mimir:
            index_of(mimir).insert_nodes(nodes)
    with opened(path) as mimir:
        assert len(index_of(mimir).vector_store.get_nodes()) == 5


def test_recall_finds_nodes_of_the_vaults_own_model(folder: Path) -> None:
    """With `MimirEmbedding` as its model, the store's namespace is open to `Mimir.recall`."""
    with opened(folder / "agent.mimir") as mimir:
        index_of(mimir).insert_nodes([TextNode(id_="a", text=f"my {CANARY} plays a tune")])
        (hit,) = mimir.recall(f"a {CANARY}", mode="dense", namespace=("llamaindex", "vectors"))
        assert (hit.memory.key, hit.text) == ("a", f"my {CANARY} plays a tune")


def test_any_embedding_model_fits(folder: Path) -> None:
    """The index's own model counts, whatever the vault embeds with."""
    with opened(folder / "agent.mimir") as mimir:
        model = MockEmbedding(embed_dim=7)
        index = VectorStoreIndex.from_vector_store(MimirVectorStore(mimir, model=model), model)
        index.insert(Document(text="a text"))
        assert [each.text for each in index.as_retriever().retrieve("anything")] == ["a text"]


class Witness(TextNode):
    """A node that notes in which thread it is read and made."""

    @classmethod
    def class_name(cls) -> str:
        return "Witness"

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        THREADS.append(threading.get_ident())

    def get_content(self, *args: Any, **kwargs: Any) -> str:
        THREADS.append(threading.get_ident())
        return super().get_content(*args, **kwargs)


THREADS: list[int] = []


async def test_the_event_loop_goes_on(store: MimirVectorStore) -> None:
    """Async methods store and read nodes in other threads than the loop's."""
    witness = Witness(id_="w", text="seen", embedding=[1.0, 0.0])
    query = VectorStoreQuery(query_embedding=[1.0, 0.0])
    for call in (
        lambda: store.async_add([witness]),
        store.aget_nodes,
        lambda: store.aget_nodes(["w"]),
        lambda: store.aquery(query),
    ):
        THREADS.clear()
        await call()
        assert THREADS
        assert threading.get_ident() not in THREADS


async def test_concurrent_queries_equal_sequential_ones(folder: Path) -> None:
    """Fifty queries at once, while nodes are added elsewhere, answer as one after the other."""
    with opened(folder / "agent.mimir") as mimir:
        store, model = MimirVectorStore(mimir), MimirEmbedding(mimir)
        nodes = SPLIT[0].get_nodes_from_documents(sessions()[:8])
        VectorStoreIndex.from_vector_store(store, model).insert_nodes(nodes)
        modes = ["default", "hybrid", "sparse", "mmr"]
        queries = [
            VectorStoreQuery(model.get_query_embedding(found.text), 4, query_str=found.text,
                             mode=modes[number % 4])
            for number, found in enumerate(nodes[:50])
        ]  # fmt: skip
        assert len(queries) == 50
        sequential = [seen(store.query(query)) for query in queries]
        other = MimirVectorStore(mimir, "elsewhere")
        *found, _ = await asyncio.gather(
            *(store.aquery(query) for query in queries),
            other.async_add([node(str(n), "noise", [1.0, 0.0]) for n in range(20)]),
        )
        assert [seen(each) for each in found] == sequential


def seen(result: Any) -> tuple[list[str], list[float], list[BaseNode]]:
    return result.ids, [round(each, 4) for each in result.similarities], result.nodes


async def test_concurrent_writes_are_all_there(store: MimirVectorStore, call: Call) -> None:
    """Batches added at once, one id among them all, leave every id once."""
    batches = [
        [node(f"{b}-{n}", "text", [1.0, 0.0]) for n in range(5)]
        + [node("same", f"of batch {b}", [1.0, 0.0])]
        for b in range(8)
    ]
    await asyncio.gather(*(store.async_add(batch) for batch in batches))
    ids = [found.node_id for found in await call(store.get_nodes)]
    assert sorted(ids) == sorted([f"{b}-{n}" for b in range(8) for n in range(5)] + ["same"])
