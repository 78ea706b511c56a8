"""Copies that classes of LlamaIndex keep in one vault all go with one forget."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from llama_index.core import Document
from llama_index.core.ingestion import DocstoreStrategy, IngestionCache, IngestionPipeline
from llama_index.core.llms import ChatMessage
from llama_index.core.node_parser import SentenceSplitter

from mimir_core import Mimir
from mimir_llamaindex import (
    MimirChatStore,
    MimirDocumentStore,
    MimirEmbedding,
    MimirFileSystem,
    MimirKVStore,
    MimirVectorStore,
    filesystem,
    kvstore,
)

from ..vault.autopsy import autopsy
from ..vault.vaults import PASSPHRASE

WORD = "Quetzalcoatl"
SAID = f"The cat is called {WORD}. It sleeps."


def traces(mimir: Mimir) -> list[str]:
    """The live memories that hold the word anywhere, by namespace."""
    return [
        ".".join(memory.namespace)
        for memory in mimir.memories()
        if WORD.lower() in repr([memory.content, memory.attachment, memory.key, memory.thread,
                                 dict(memory.metadata)]).lower()
    ]  # fmt: skip


def test_copies_in_every_class_go(mimir: Mimir, path: Path) -> None:
    """Documents, nodes, vectors, ingestion cache, cached vectors, chats and files: none stays."""
    documents = MimirDocumentStore(mimir)
    pipeline = IngestionPipeline(
        transformations=[SentenceSplitter(), MimirEmbedding(mimir)],
        docstore=documents,
        vector_store=MimirVectorStore(mimir),
        cache=IngestionCache(cache=MimirKVStore(mimir, "cache")),
        docstore_strategy=DocstoreStrategy.UPSERTS,
    )
    pipeline.run(documents=[Document(id_="told", text=SAID), Document(id_="other", text="A dog.")])
    cached = MimirEmbedding(mimir, embeddings_cache=MimirKVStore(mimir, "embedded"))
    cached.get_text_embedding_batch([SAID, "A dog."])
    chats = MimirChatStore(mimir)
    asyncio.run(chats.set_messages("s", [ChatMessage(SAID), ChatMessage("A dog.")]))
    files = MimirFileSystem(mimir)
    for name, text in (("told", SAID), ("other", "A dog.")):
        with files.open(f"/{name}.txt", "wb") as stream:
            stream.write(text.encode())
    preview = mimir.forget(mentions=WORD, dry_run=True)
    places = {labels[0] for labels in preview.namespaces}
    assert places >= {"llamaindex", "cache", "embedded"}
    with mimir._vault.view() as state:
        found = [state.find(bytes.fromhex(id_)) for id_ in preview.ids]
        ordinals = [ordinal for ordinal in found if ordinal is not None]
    mimir.forget(preview.ids)

    assert traces(mimir) == []
    assert mimir.verify().ok
    assert set(documents.docs) == {"other"}
    assert documents.get_document("told", raise_error=False) is None
    assert documents.get_document_hash("told") is None
    assert documents.get_ref_doc_info("told") is None
    assert documents.get_document_hash("other") is not None
    assert [message.content for message in asyncio.run(chats.get_messages("s"))] == ["A dog."]
    assert files.ls("/", detail=False) == ["/other.txt"]
    assert files.read("/other.txt") == b"A dog."
    mimir.close()
    needles = {"word": WORD.encode(), "lower": WORD.lower().encode()}
    assert autopsy(path, PASSPHRASE, needles, ordinals) == {"opens": [], "graph": []}


def test_what_lies_beside_a_document_goes_within_the_namespace(mimir: Mimir) -> None:
    """A namespace bounds what goes, with descendants the whole document store."""
    documents = MimirDocumentStore(mimir)
    documents.add_documents([Document(id_="told", text=SAID)])
    documents.set_document_hash("told", "1" * 64)
    data = ("llamaindex", "docs", "docstore/data")
    assert mimir.forget(mentions=WORD, namespace=data, dry_run=True).namespaces == {data: 1}
    below = mimir.forget(mentions=WORD, namespace=data[:2], descendants=True, dry_run=True)
    assert below.namespaces == {data: 1, (*data[:2], "docstore/metadata"): 1}


def test_a_value_in_pieces_goes_whole(mimir: Mimir, monkeypatch: pytest.MonkeyPatch) -> None:
    """A phrase in one piece of a value or file, or across a cut, takes all pieces along."""
    monkeypatch.setattr(kvstore, "PIECE_BYTES", 64)
    monkeypatch.setattr(filesystem, "PIECE_BYTES", 64)
    values, files = MimirKVStore(mimir), MimirFileSystem(mimir)
    values.put("other", {"text": "x" * 300})
    files.write("/other", b"x" * 300)
    before = mimir.stats().memories
    for at in range(0, 300, 5):
        text = f"{'x' * at} {WORD} {'y' * (300 - at)}"
        values.put(f"told {at}", {"text": text})
        files.write(f"/told {at}", text.encode())
    mimir.forget(mentions=WORD)
    assert set(values.get_all()) == {"other"}
    assert values.get("told 50") is None
    assert files.ls("/", detail=False) == ["/other"]
    assert files.read("/other") == b"x" * 300
    assert traces(mimir) == []
    assert mimir.stats().memories == before
