"""All classes of both frameworks share one open vault, and none touches another's memories."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.documents import Document as LangChainDocument
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import HumanMessage
from langchain_core.outputs import Generation
from langgraph.checkpoint.base import empty_checkpoint
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.data_structs import IndexDict
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import VectorStoreQuery

import mimir_langchain
import mimir_llamaindex
from mimir_core import Mimir
from mimir_llamaindex import (
    MimirChatStore,
    MimirDocumentStore,
    MimirEmbedding,
    MimirFileSystem,
    MimirIndexStore,
    MimirIngestionCache,
    MimirKVStore,
    MimirMemoryBlock,
    MimirRetriever,
    MimirVectorStore,
    mimir_storage_context,
)

from ..vault.vaults import MEMORY_FOLDER, create

Contents = dict[str, tuple[Any, ...]]
SESSION, KEY = "u1", "k1"  # the same for all: nothing but the namespace keeps them apart


@dataclass(frozen=True)
class Part:
    """One class at work: where it lives, how it writes a text, reads all, and erases."""

    name: str
    home: tuple[str, ...]
    write: Callable[[Mimir, str], object]
    read: Callable[[Mimir], object]
    erase: Callable[[Mimir], object] | None = None


def thread(mimir: Mimir, home: tuple[str, ...]) -> list[str]:
    """What the session's thread says."""
    return [memory.text for memory in mimir.thread(SESSION, namespace=home)]


# LlamaIndex


def vectors(mimir: Mimir) -> MimirVectorStore:
    return MimirVectorStore(mimir)


def add_node(mimir: Mimir, text: str) -> None:
    vector = mimir.embedder.embed_query(text).tolist()
    vectors(mimir).add([TextNode(id_=KEY, text=text, embedding=vector)])


def near(mimir: Mimir) -> object:
    query = mimir.embedder.embed_query("door").tolist()
    found = vectors(mimir).query(VectorStoreQuery(query_embedding=query, similarity_top_k=9))
    return found.ids, found.similarities


def put_index(mimir: Mimir, text: str) -> None:
    MimirIndexStore(mimir).add_index_struct(IndexDict(index_id=KEY, summary=text))


def put_file(mimir: Mimir, text: str) -> None:
    MimirFileSystem(mimir).pipe(f"/{KEY}", text.encode())


def whole_index(mimir: Mimir, text: str) -> None:
    context = mimir_storage_context(mimir, ("app",))
    model = MimirEmbedding(mimir)
    VectorStoreIndex.from_documents(
        [Document(id_=KEY, text=text)],
        storage_context=context,
        embed_model=model,
        store_nodes_override=True,
    )
    context.persist()


def whole_index_read(mimir: Mimir) -> object:
    docs = mimir_storage_context(mimir, ("app",)).docstore.docs
    return sorted(node.get_content() for node in docs.values())


def chat(mimir: Mimir, text: str) -> None:
    asyncio.run(MimirChatStore(mimir).add_message(SESSION, ChatMessage(text)))
    asyncio.run(MimirChatStore(mimir).archive_oldest_messages(SESSION, 1))


def chat_read(mimir: Mimir) -> object:
    messages = asyncio.run(MimirChatStore(mimir).get_messages(SESSION, None))
    return [message.content for message in messages]


def block_read(mimir: Mimir) -> object:
    return asyncio.run(MimirMemoryBlock(mimir).aget([ChatMessage("door")], session_id=SESSION))


LLAMAINDEX = [
    Part("MimirVectorStore", ("llamaindex", "vectors"), add_node, near,
         lambda m: vectors(m).clear()),
    Part("MimirRetriever", ("notes",),
         lambda m, text: m.remember(text, namespace=("notes",), thread=SESSION, key=KEY),
         lambda m: [node.text for node in MimirRetriever(m, ("notes",)).retrieve("door")]),
    Part("MimirChatStore", ("llamaindex", "chat"), chat, chat_read,
         lambda m: asyncio.run(MimirChatStore(m).delete_messages(SESSION))),
    Part("MimirMemoryBlock", ("llamaindex", "memory"),
         lambda m, text: asyncio.run(
             MimirMemoryBlock(m).aput([ChatMessage(text)], session_id=SESSION)),
         block_read),
    Part("MimirKVStore", ("llamaindex", "kv"),
         lambda m, text: MimirKVStore(m).put(KEY, {"text": text}),
         lambda m: MimirKVStore(m).get_all(),
         lambda m: MimirKVStore(m).delete(KEY)),
    Part("MimirDocumentStore", ("llamaindex", "docs"),
         lambda m, text: MimirDocumentStore(m).add_documents([Document(id_=KEY, text=text)]),
         lambda m: {key: node.get_content() for key, node in MimirDocumentStore(m).docs.items()},
         lambda m: MimirDocumentStore(m).delete_document(KEY)),
    Part("MimirIndexStore", ("llamaindex", "index"), put_index,
         lambda m: [struct.summary for struct in MimirIndexStore(m).index_structs()],
         lambda m: MimirIndexStore(m).delete_index_struct(KEY)),
    Part("MimirFileSystem", ("llamaindex", "files"), put_file,
         lambda m: MimirFileSystem(m).cat(f"/{KEY}") if MimirFileSystem(m).exists(KEY) else None,
         lambda m: MimirFileSystem(m).rm(f"/{KEY}")),
    Part("MimirIngestionCache", ("llamaindex", "cached"),
         lambda m, text: MimirIngestionCache(m, ("llamaindex", "cached")).put(
             KEY, [TextNode(id_=KEY, text=text)]),
         lambda m: MimirIngestionCache(m, ("llamaindex", "cached")).get(KEY),
         lambda m: MimirIngestionCache(m, ("llamaindex", "cached")).clear()),
    Part("mimir_storage_context", ("app",), whole_index, whole_index_read),
]  # fmt: skip


# LangChain and LangGraph


def langchain(name: str, mimir: Mimir, *arguments: Any, **options: Any) -> Any:
    return getattr(mimir_langchain, name)(mimir, *arguments, **options)


def exchange(memory: Any, text: str) -> None:
    memory.save_context({"input": text}, {"output": f"yes, {text}"})


def summary(mimir: Mimir) -> Any:
    model = FakeListChatModel(responses=["a summary of the door"])
    return langchain("MimirSummaryMemory", mimir, llm=model, thread=SESSION)


def ask_agent(mimir: Mimir, text: str) -> None:
    model = FakeListChatModel(responses=["the door is blue"])
    middleware = langchain("MimirMemoryMiddleware", mimir, user=None)
    create_agent(model, middleware=[middleware]).invoke({"messages": [HumanMessage(text)]})


def checkpoint(mimir: Mimir, text: str) -> None:
    config = {"configurable": {"thread_id": SESSION, "checkpoint_ns": ""}}
    state = empty_checkpoint() | {"channel_values": {"a": text}, "channel_versions": {"a": "1"}}
    langchain("MimirSaver", mimir).put(config, state, {"source": "input"}, {"a": "1"})


def checkpoints(mimir: Mimir) -> object:
    config = {"configurable": {"thread_id": SESSION}}
    return [found.checkpoint["channel_values"] for found in
            langchain("MimirSaver", mimir).list(config)]  # fmt: skip


def documents(mimir: Mimir, text: str) -> None:
    store = langchain("MimirVectorStore", mimir)
    store.add_documents([LangChainDocument(text)], ids=[KEY])


LANGCHAIN = [
    Part("MimirVectorStore", ("langchain", "vectors"), documents,
         lambda m: [d.page_content for d in
                    langchain("MimirVectorStore", m).similarity_search("door")],
         lambda m: langchain("MimirVectorStore", m).delete([KEY])),
    Part("MimirRetriever", ("pages",),
         lambda m, text: m.remember(text, namespace=("pages",), thread=SESSION, key=KEY),
         lambda m: [d.page_content for d in
                    langchain("MimirRetriever", m, namespace=("pages",)).invoke("door")]),
    Part("MimirChatMessageHistory", ("langchain", "history"),
         lambda m, text: langchain("MimirChatMessageHistory", m, SESSION).add_user_message(text),
         lambda m: [str(x.text) for x in langchain("MimirChatMessageHistory", m, SESSION).messages],
         lambda m: langchain("MimirChatMessageHistory", m, SESSION).clear()),
    Part("MimirMemory", ("langchain", "memory"),
         lambda m, text: exchange(langchain("MimirMemory", m, thread=SESSION), text),
         lambda m: thread(m, ("langchain", "memory")),
         lambda m: langchain("MimirMemory", m, thread=SESSION).clear()),
    Part("MimirSummaryMemory", ("langchain", "summary"),
         lambda m, text: exchange(summary(m), text),
         lambda m: thread(m, ("langchain", "summary")),
         lambda m: summary(m).clear()),
    Part("MimirByteStore", ("langchain", "bytes"),
         lambda m, text: langchain("MimirByteStore", m).mset([(KEY, text.encode())]),
         lambda m: langchain("MimirByteStore", m).mget([KEY]),
         lambda m: langchain("MimirByteStore", m).mdelete([KEY])),
    Part("MimirCache", ("langchain", "cache"),
         lambda m, text: langchain("MimirCache", m).update(KEY, "", [Generation(text=text)]),
         lambda m: str(langchain("MimirCache", m).lookup(KEY, "")),
         lambda m: langchain("MimirCache", m).clear()),
    Part("MimirStore", ("langgraph", "store"),
         lambda m, text: langchain("MimirStore", m).put((SESSION,), KEY, {"text": text}),
         lambda m: str(langchain("MimirStore", m).search((SESSION,))),
         lambda m: langchain("MimirStore", m).delete((SESSION,), KEY)),
    Part("MimirSaver", ("langgraph", "checkpoints"), checkpoint, checkpoints,
         lambda m: langchain("MimirSaver", m).delete_thread(SESSION)),
    Part("MimirMemoryMiddleware", ("langgraph", "memory"), ask_agent,
         lambda m: sorted(x.text for x in
                          m.memories(namespace=("langgraph", "memory"), descendants=True))),
]  # fmt: skip

PARTS = LLAMAINDEX + LANGCHAIN
NAMES = [f"{part.home[0]} {part.name}" for part in PARTS]


@pytest.fixture(scope="module")
def shared() -> Iterator[Mimir]:
    """One vault into which every class has written."""
    with TemporaryDirectory(dir=MEMORY_FOLDER) as name, create(Path(name) / "v.mimir") as mimir:
        for part in PARTS:
            part.write(mimir, "the door is red")
        yield mimir


def beyond(mimir: Mimir, home: tuple[str, ...]) -> Contents:
    """Everything in the vault that is not below a namespace."""
    return {
        m.id: (m.content, m.time, m.namespace, m.thread, m.key, dict(m.metadata), m.attachment)
        for m in mimir.memories()
        if m.namespace[: len(home)] != home
    }


@pytest.mark.parametrize("part", PARTS, ids=NAMES)
def test_writing_and_erasing_change_nothing_elsewhere(shared: Mimir, part: Part) -> None:
    """What one class writes is its own: all others read what they read, to the last byte."""
    steps: list[Callable[[], object]] = [lambda: part.write(shared, "the door is green and blue")]
    if part.erase is not None:
        steps += [lambda: part.erase(shared), lambda: part.write(shared, "the door is red")]  # type: ignore[misc]
    others = [other for other in PARTS if other is not part]
    for step in steps:
        before = beyond(shared, part.home), [other.read(shared) for other in others]
        own = part.read(shared)
        step()
        assert (beyond(shared, part.home), [other.read(shared) for other in others]) == before
        assert part.read(shared) != own


def test_every_class_is_among_them() -> None:
    """No exported class is left out, but those that store nothing."""
    nothing = {"MimirEmbedding", "MimirEmbeddings"}
    for package, parts in ((mimir_llamaindex, LLAMAINDEX), (mimir_langchain, LANGCHAIN)):
        names = {name for name in package.__all__ if name.lower().startswith("mimir")}
        assert {part.name for part in parts} == names - nothing
