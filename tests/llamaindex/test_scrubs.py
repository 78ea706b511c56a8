"""What is replaced or deleted beside a reader is done whole, and then the caller is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.data_structs import IndexDict
from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter

from mimir_core import Mimir
from mimir_core.errors import ScrubPending
from mimir_llamaindex import (
    MimirChatStore,
    MimirDocumentStore,
    MimirEmbedding,
    MimirFileSystem,
    MimirIndexStore,
    MimirIngestionCache,
    MimirKVStore,
    MimirMemoryBlock,
    MimirVectorStore,
    mimir_storage_context,
    scrub_last,
)
from mimir_llamaindex.kvstore import BATCH

from .conftest import node
from .reader import reading


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for a reader that stays."""
    monkeypatch.setattr("mimir_core.vault.vault.SCRUB_TIMEOUT", 0.05)


@dataclass(frozen=True)
class Case:
    """A call that replaces or deletes, with what was there before and is there after."""

    before: Callable[[Mimir], object]
    call: Callable[[Mimir], object]
    read: Callable[[Mimir], object]
    after: object


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


def said(mimir: Mimir) -> list[str | None]:
    return [message.content for message in run(MimirChatStore(mimir).get_messages("s", None))]


def added(texts: list[str]) -> Callable[[Mimir], object]:
    """Puts messages into the chat store."""
    return lambda m: run(MimirChatStore(m).set_messages("s", [ChatMessage(t) for t in texts]))


def nodes(mimir: Mimir) -> dict[str, str]:
    return {found.node_id: found.get_content() for found in MimirVectorStore(mimir).get_nodes()}


def documents(mimir: Mimir) -> dict[str, str]:
    return {key: doc.get_content() for key, doc in MimirDocumentStore(mimir).docs.items()}


def file(mimir: Mimir, name: str) -> object:
    files = MimirFileSystem(mimir)
    return files.cat(name) if files.exists(name) else None


def two_nodes(*texts: str) -> Callable[[Mimir], object]:
    return lambda m: MimirVectorStore(m).add(
        [node(str(n), text, [1.0, n], "doc") for n, text in enumerate(texts)]
    )


def docs(*texts: str) -> Callable[[Mimir], object]:
    return lambda m: MimirDocumentStore(m).add_documents(
        [Document(text=text, id_=str(n)) for n, text in enumerate(texts)]
    )


def pairs(count: int, value: int) -> Callable[[Mimir], object]:
    return lambda m: MimirKVStore(m).put_all([(str(n), {"v": value}) for n in range(count)])


def in_transaction(mimir: Mimir) -> None:
    files = MimirFileSystem(mimir)
    with files.transaction:
        for name in ("a", "b"):
            with files.open(name, "wb") as opened:
                opened.write(b"new")


def values(mimir: Mimir) -> set[int]:
    return {value["v"] for value in MimirKVStore(mimir).get_all().values()}


def cached(mimir: Mimir) -> object:
    found = MimirIngestionCache(mimir).get("k")
    return None if found is None else [each.get_content() for each in found]


def cache(text: str) -> Callable[[Mimir], object]:
    return lambda m: MimirIngestionCache(m).put("k", [Document(text=text, id_="d")])


def files(text: bytes) -> Callable[[Mimir], object]:
    return lambda m: MimirFileSystem(m).pipe({"a": text, "b": text})


CASES = {
    "add": Case(two_nodes("a", "b"), two_nodes("x", "y"), nodes, {"0": "x", "1": "y"}),
    "delete": Case(two_nodes("a", "b"), lambda m: MimirVectorStore(m).delete("doc"), nodes, {}),
    "delete_nodes": Case(
        two_nodes("a", "b"), lambda m: MimirVectorStore(m).delete_nodes(["0"]), nodes, {"1": "b"}
    ),
    "clear": Case(two_nodes("a"), lambda m: MimirVectorStore(m).clear(), nodes, {}),
    "set_messages": Case(added(["a", "b"]), added(["x"]), said, ["x"]),
    "delete_messages": Case(
        added(["a"]), lambda m: run(MimirChatStore(m).delete_messages("s")), said, []
    ),
    "delete_oldest": Case(
        added(["a", "b"]), lambda m: run(MimirChatStore(m).delete_oldest_messages("s", 1)),
        said, ["b"],
    ),
    "add_documents": Case(docs("a", "b"), docs("x", "y"), documents, {"0": "x", "1": "y"}),
    "delete_document": Case(
        docs("a", "b"), lambda m: MimirDocumentStore(m).delete_document("0"), documents, {"1": "b"}
    ),
    "put": Case(pairs(1, 1), lambda m: MimirKVStore(m).put("0", {"v": 2}), values, {2}),
    "put_all of several transactions": Case(pairs(BATCH + 9, 1), pairs(BATCH + 9, 2), values, {2}),
    "kv delete": Case(pairs(1, 1), lambda m: MimirKVStore(m).delete("0"), values, set()),
    "add_index_struct": Case(
        lambda m: MimirIndexStore(m).add_index_struct(IndexDict(index_id="i", summary="a")),
        lambda m: MimirIndexStore(m).add_index_struct(IndexDict(index_id="i", summary="x")),
        lambda m: [struct.summary for struct in MimirIndexStore(m).index_structs()], ["x"],
    ),
    "cache put": Case(cache("a"), cache("x"), cached, ["x"]),
    "cache delete": Case(
        cache("a"), lambda m: MimirIngestionCache(m).delete_documents(["d"]), cached, None
    ),
    "cache clear": Case(cache("a"), lambda m: MimirIngestionCache(m).clear(), cached, None),
    "two files": Case(
        files(b"old"), files(b"new"), lambda m: (file(m, "a"), file(m, "b")), (b"new", b"new")
    ),
    "two files of a transaction": Case(
        files(b"old"), in_transaction, lambda m: (file(m, "a"), file(m, "b")), (b"new", b"new")
    ),
    "two files copied": Case(
        lambda m: (files(b"old")(m), MimirFileSystem(m).pipe({"to/a": b"", "to/b": b""})),
        lambda m: MimirFileSystem(m).copy(["a", "b"], ["to/a", "to/b"]),
        lambda m: (file(m, "to/a"), file(m, "to/b")), (b"old", b"old"),
    ),
    "a file moved": Case(
        files(b"old"), lambda m: MimirFileSystem(m).mv("a", "b"),
        lambda m: (file(m, "a"), file(m, "b")), (None, b"old"),
    ),
    "rm": Case(
        files(b"old"), lambda m: MimirFileSystem(m).rm("a"),
        lambda m: (file(m, "a"), file(m, "b")), (None, b"old"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_reader_delays_scrubbing(mimir: Mimir, path: Path, name: str) -> None:
    """All of a call is done, and then it raises; at the end of a `scrub_last`, once."""
    case = CASES[name]
    for block in (False, True):
        case.before(mimir)
        with reading(path), ExitStack() as stack:
            stack.enter_context(pytest.raises(ScrubPending))
            if block:
                stack.enter_context(scrub_last())
                case.call(mimir)
                assert case.read(mimir) == case.after
            else:
                case.call(mimir)
        assert case.read(mimir) == case.after


def test_hashes_are_told_by_the_call_after_them(mimir: Mimir, path: Path) -> None:
    """LlamaIndex sets a document's hash before it stores it: both are done, then it is told."""
    store = MimirDocumentStore(mimir)
    store.set_document_hashes({"a": "1", "b": "1"})
    with reading(path):
        store.set_document_hashes({"a": "2"})
        store.set_document_hash("b", "2")
        with pytest.raises(ScrubPending):
            store.add_documents([Document(text="new", id_="new")])
        store.add_documents([Document(text="newer", id_="newer")])
    assert store.get_all_document_hashes()["2"] in ("a", "b")
    assert set(documents(mimir)) == {"new", "newer"}


def pipeline(mimir: Mimir) -> IngestionPipeline:
    model = MimirEmbedding(mimir)
    return IngestionPipeline(
        transformations=[SentenceSplitter(), model],
        docstore=MimirDocumentStore(mimir),
        vector_store=MimirVectorStore(mimir, model=model),
        cache=MimirIngestionCache(mimir),
        docstore_strategy=DocstoreStrategy.UPSERTS_AND_DELETE,
    )


OLD = [Document(text=f"old {name}", id_=name) for name in "abc"]
NEW = [Document(text="new a", id_="a"), Document(text="new b", id_="b")]


@pytest.mark.parametrize("awaited", [True, False])
def test_an_ingestion_is_finished_before_it_is_told(
    mimir: Mimir, path: Path, awaited: bool
) -> None:
    """In a `scrub_last` a run beside a reader changes and deletes all that it would without."""
    pipeline(mimir).run(documents=list(OLD))
    made = pipeline(mimir)
    ingest = (lambda: run(made.arun(documents=list(NEW)))) if awaited else (
        lambda: made.run(documents=list(NEW))
    )  # fmt: skip
    with reading(path), pytest.raises(ScrubPending), scrub_last():
        ingest()
    assert sorted(nodes(mimir).values()) == ["new a", "new b"]
    assert documents(mimir) == {"a": "new a", "b": "new b"}
    assert pipeline(mimir).run(documents=list(NEW)) == []


def test_an_ingestion_that_was_told_is_finished_by_the_next_run(mimir: Mimir, path: Path) -> None:
    """Without it the run stops where it is told, and the next one makes up for it."""
    pipeline(mimir).run(documents=OLD[:2])
    with reading(path), pytest.raises(ScrubPending):
        pipeline(mimir).run(documents=list(NEW))
    pipeline(mimir).run(documents=list(NEW))
    assert sorted(nodes(mimir).values()) == ["new a", "new b"]
    assert documents(mimir) == {"a": "new a", "b": "new b"}


def test_a_refresh_is_finished_before_it_is_told(mimir: Mimir, path: Path) -> None:
    """`refresh_ref_docs` deletes and inserts; in a `scrub_last` it does both of all documents."""
    model = MimirEmbedding(mimir)
    context = mimir_storage_context(mimir, model=model)
    index = VectorStoreIndex.from_documents(OLD[:2], storage_context=context, embed_model=model)
    with reading(path), pytest.raises(ScrubPending), scrub_last():
        assert index.refresh_ref_docs(NEW) == [True, True]
    assert sorted(nodes(mimir).values()) == ["new a", "new b"]


async def test_a_memory_block_replaces_nothing(mimir: Mimir, path: Path) -> None:
    """Remembering turns erases nothing, so no reader delays it."""
    with reading(path):
        await MimirMemoryBlock(mimir).aput([ChatMessage("a"), ChatMessage("b")])
    assert mimir.stats().memories == 2


def test_an_error_leaves_the_block_at_once(mimir: Mimir, path: Path) -> None:
    """Another error in a `scrub_last` is the one that is raised, and an outer block is told."""
    two_nodes("a")(mimir)

    def replaced_and_failed() -> None:
        with scrub_last():
            two_nodes("b")(mimir)
            raise RuntimeError

    def survived() -> None:
        with scrub_last(), suppress(RuntimeError):
            replaced_and_failed()

    with reading(path):
        with pytest.raises(RuntimeError):
            replaced_and_failed()
        with pytest.raises(ScrubPending):
            survived()
    assert nodes(mimir) == {"0": "b"}
