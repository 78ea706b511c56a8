"""What each class keeps of a text goes by its own verbs: no second copy stays behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from langchain_classic.embeddings import CacheBackedEmbeddings
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, index
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import Generation

from mimir_core import Mimir
from mimir_langchain import (
    MimirByteStore,
    MimirCache,
    MimirChatMessageHistory,
    MimirMemory,
    MimirStore,
    MimirSummaryMemory,
    MimirVectorStore,
    blobs,
)

from ..vault.autopsy import autopsy
from ..vault.vaults import PASSPHRASE, create, state_of
from .conftest import WordEmbeddings
from .talking import Listener

pytestmark = pytest.mark.filterwarnings("ignore:.*deprecated")

WORD = "Quetzalcoatl"
SAID = f"the cat is called {WORD}"
PLACE = ("pets",)


def replaced_document(mimir: Mimir) -> None:
    """A document in whose place another is put."""
    store = MimirVectorStore(mimir)
    store.add_texts([SAID], [{"name": WORD}], ids=["1"])
    store.add_texts(["the dog"], ids=["1"])


def deleted_document(mimir: Mimir) -> None:
    """A document that was replaced, and is deleted."""
    store = MimirVectorStore(mimir, WordEmbeddings())
    store.add_texts([SAID], ids=["1"])
    store.add_texts([SAID + "!"], ids=["1"])
    store.delete(["1"])


def indexed_document(mimir: Mimir) -> None:
    """A document that `index` no longer finds in its source."""
    records = InMemoryRecordManager("notes")
    records.create_schema()
    store = MimirVectorStore(mimir)
    for texts in ([SAID, "the dog"], ["the dog"]):
        documents = [Document(text, metadata={"source": "notes"}) for text in texts]
        index(documents, records, store, cleanup="full", key_encoder="sha256")


def replaced_bytes(mimir: Mimir) -> None:
    """A value in parts that a short one replaces."""
    store = MimirByteStore(mimir)
    store.mset([(WORD * 200, SAID.encode() * 50), ("b", SAID.encode() * 50)])
    store.mset([("b", b"the dog")])
    store.mdelete([WORD * 200])


def cached_vectors(mimir: Mimir) -> None:
    """The vector of a text, under the key that LangChain gives it."""
    store = MimirByteStore(mimir)
    cached = CacheBackedEmbeddings.from_bytes_store(
        WordEmbeddings(), store, namespace="words", key_encoder="sha256"
    )
    cached.embed_documents([SAID])
    store.mdelete(list(store.yield_keys(prefix="words")))
    assert mimir.stats().memories == 0


def cached_answer(mimir: Mimir) -> None:
    """An answer in parts that another replaces, and one that goes with all."""
    cache = MimirCache(mimir)
    cache.update(SAID, "model", [Generation(text=SAID * 50)])
    cache.update(SAID, "model", [Generation(text="a cat")])
    assert len(list(mimir.memories())) == 1
    cache.update("who?", "model", [Generation(text=SAID * 50)])
    cache.clear()
    assert mimir.stats().memories == 0


def session(mimir: Mimir) -> None:
    """A session that is assigned, and one that is cleared."""
    history = MimirChatMessageHistory(mimir, WORD)
    history.add_messages([HumanMessage(SAID, id=WORD)])
    history.add_messages([AIMessage("", additional_kwargs={"a": WORD})])
    history.messages = [HumanMessage(SAID)]
    history.clear()


def memory(mimir: Mimir) -> None:
    """A chain's thread."""
    chain = MimirMemory(mimir)
    chain.save_context({"input": SAID}, {"output": [{"type": "text", "text": WORD}]})
    chain.clear()


def summary(mimir: Mimir) -> None:
    """A turn that stands in the third summary after it."""
    chain = MimirSummaryMemory(mimir, llm=Listener(responses=[SAID] * 4), last_turns=0)
    chain.save_context({"input": SAID}, {"output": "ah"})
    for _ in range(3):
        chain.save_context({"input": "it rains"}, {"output": "indeed"})
    turn = mimir.thread("default", namespace=("langchain", "summary"))[0]
    mimir.forget(turn.id, cascade=True)
    assert len(list(mimir.memories())) == 7


def cleared_summary(mimir: Mimir) -> None:
    """Turns and summary of a thread."""
    chain = MimirSummaryMemory(mimir, llm=Listener(responses=[SAID]), last_turns=0)
    chain.save_context({"input": SAID}, {"output": "ah"})
    chain.clear()


def replaced_item(mimir: Mimir) -> None:
    """An item that another replaces, without its time to live and its vectors."""
    store = MimirStore(mimir)
    store.put((WORD,), "kept" + WORD, {"deep": {"name": WORD}}, ttl=5)
    store.put(PLACE, "1", {"name": SAID, "deep": {"er": [WORD]}}, ttl=5)
    store.put(PLACE, "1", {"name": "Rex"}, index=False)
    store.delete((WORD,), "kept" + WORD)
    assert mimir.stats().memories == 1


def expired_item(mimir: Mimir) -> None:
    """An item whose time is over, with the lease that names it."""
    store = MimirStore(mimir)
    store.put((WORD,), WORD, {"name": SAID}, ttl=0)
    store.sweep_ttl()
    assert mimir.stats().memories == 0


CASES: list[Callable[[Mimir], None]] = [
    replaced_document, deleted_document, indexed_document, replaced_bytes, cached_vectors,
    cached_answer, session, memory, summary, cleared_summary, replaced_item, expired_item,
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_class_keeps_no_second_copy(
    path: Path, monkeypatch: pytest.MonkeyPatch, case: Callable[[Mimir], None]
) -> None:
    """After a class's own verb no live memory holds the word, and no key opens an erased one."""
    monkeypatch.setattr(blobs, "PART_BYTES", 64)
    with create(path) as mimir:
        case(mimir)
        left = [
            [each.content, each.attachment, each.key, each.thread, each.namespace, each.metadata]
            for each in mimir.memories()
        ]
        assert WORD.lower() not in repr(left).lower()
        state = state_of(mimir)
        erased = [number for number in range(len(state.catalog)) if state.is_erased(number)]
    assert erased
    needles = {"word": WORD.encode(), "lower": WORD.lower().encode()}
    assert autopsy(path, PASSPHRASE, needles, erased) == {"opens": [], "graph": []}
