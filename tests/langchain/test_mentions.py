"""Copies that classes of LangChain and LangGraph keep in one vault all go with one forget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_classic.embeddings import CacheBackedEmbeddings
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import Generation
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph

from mimir_core import Mimir
from mimir_langchain import (
    MimirByteStore,
    MimirCache,
    MimirChatMessageHistory,
    MimirSaver,
    MimirStore,
    MimirVectorStore,
    blobs,
)

from ..vault.autopsy import autopsy
from ..vault.vaults import PASSPHRASE
from .conftest import WordEmbeddings

WORD = "Quetzalcoatl"
SAID = f"the cat is called {WORD}"


def chat(saver: MimirSaver) -> CompiledStateGraph[MessagesState, None, Any, Any]:
    """Answers with how many messages there are."""

    def answer(state: MessagesState) -> MessagesState:
        return {"messages": [AIMessage(f"{len(state['messages'])} messages")]}

    builder = StateGraph(MessagesState)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    builder.add_edge("answer", END)
    return builder.compile(checkpointer=saver)


def traces(mimir: Mimir) -> list[str]:
    """The live memories that hold the word anywhere, by namespace."""
    return [
        ".".join(memory.namespace)
        for memory in mimir.memories()
        if WORD.lower() in repr([memory.content, memory.attachment, memory.key, memory.thread,
                                 dict(memory.metadata)]).lower()
    ]  # fmt: skip


def test_copies_in_every_class_go(mimir: Mimir, path: Path) -> None:
    """Documents, vectors, checkpoints, histories, caches and stores: none keeps the word."""
    MimirVectorStore(mimir).add_documents([Document(SAID), Document("a dog")])
    words = WordEmbeddings()
    bytestore = MimirByteStore(mimir)
    for encoder in ("sha256", "blake2b", "sha512"):
        cached = CacheBackedEmbeddings.from_bytes_store(
            words, bytestore, namespace=f"m-{encoder}", key_encoder=encoder
        )
        cached.embed_documents([SAID, "a dog"])
    MimirChatMessageHistory(mimir, "s").add_messages([HumanMessage(SAID), HumanMessage("a dog")])
    MimirStore(mimir).put(("pets",), "1", {"name": WORD, "deep": {"er": [WORD]}})
    MimirStore(mimir).put(("pets",), "2", {"name": "Rex"})
    MimirCache(mimir).update("prompt", "model", [Generation(text=SAID)])
    graph = chat(MimirSaver(mimir))
    for name, text in (("told", SAID), ("other", "a dog")):
        graph.invoke({"messages": [HumanMessage(text)]}, {"configurable": {"thread_id": name}})
    before = mimir.stats().memories

    preview = mimir.forget(mentions=WORD, dry_run=True)
    assert {labels[:2] for labels in preview.namespaces} >= {
        ("langchain", "vectors"), ("langchain", "bytes"), ("langchain", "history"),
        ("langchain", "cache"), ("langgraph", "store"), ("langgraph", "checkpoints"),
    }  # fmt: skip
    assert preview.namespaces["langchain", "bytes"] == 3
    with mimir._vault.view() as state:
        found = [state.find(bytes.fromhex(id_)) for id_ in preview.ids]
        ordinals = [ordinal for ordinal in found if ordinal is not None]
    mimir.forget(preview.ids)

    assert traces(mimir) == []
    assert mimir.stats().memories == before - preview.count
    assert mimir.verify().ok
    assert MimirStore(mimir).get(("pets",), "2") is not None
    assert len(list(bytestore.yield_keys())) == 3
    mimir.close()
    needles = {"word": WORD.encode(), "lower": WORD.lower().encode()}
    assert autopsy(path, PASSPHRASE, needles, ordinals) == {"opens": [], "graph": []}


def test_threads_of_a_saver_go_on_after_it(mimir: Mimir) -> None:
    """The checkpoints that held the word are absent, not broken; other threads are whole."""
    graph = chat(MimirSaver(mimir))
    told, other = ({"configurable": {"thread_id": name}} for name in ("told", "other"))
    graph.invoke({"messages": [HumanMessage("a dog")]}, told)
    graph.invoke({"messages": [HumanMessage("a dog")]}, other)
    earlier = graph.get_state(told).values["messages"]
    graph.invoke({"messages": [HumanMessage(SAID)]}, told)
    mimir.forget(mentions=WORD)
    assert traces(mimir) == []
    left = graph.get_state(told)
    assert [m.content for m in left.values.get("messages", [])] == [m.content for m in earlier]
    assert len(list(graph.get_state_history(told))) > 0
    assert len(list(MimirSaver(mimir).list(None))) > 3
    assert len(graph.invoke({"messages": [HumanMessage("again")]}, told)["messages"]) == 4
    assert len(graph.invoke({"messages": [HumanMessage("again")]}, other)["messages"]) == 4


def test_a_value_in_parts_goes_whole(mimir: Mimir, monkeypatch: pytest.MonkeyPatch) -> None:
    """A phrase in one part, or across the cut between two, takes all parts along."""
    monkeypatch.setattr(blobs, "PART_BYTES", 64)
    store = MimirByteStore(mimir)
    names = {"first": 0, "middle": 100, "last": 190}
    store.mset([(name, bytes(at) + WORD.encode() + bytes(200 - at)) for name, at in names.items()])
    cuts = [(f"cut {at}", bytes(at) + WORD.encode() + bytes(100)) for at in range(40, 72)]
    store.mset([*cuts, ("other", bytes(300))])
    mimir.forget(mentions=WORD)
    assert list(store.yield_keys()) == ["other"]
    assert store.mget(["other", "cut 60"]) == [bytes(300), None]
    assert mimir.stats().memories == 5
