"""LangChain's indexing API with a record manager deletes from the store what it should."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, aindex, index

from mimir_core import Mimir
from mimir_langchain import MimirVectorStore

from .conftest import WordEmbeddings


def page(source: str, text: str) -> Document:
    return Document(page_content=text, metadata={"source": source})


FIRST = [page("a", "the cat sleeps"), page("a", "the cat eats"), page("b", "the dog barks")]


class Indexed:
    """A store and the manager of its records."""

    def __init__(self, mimir: Mimir) -> None:
        self._mimir = mimir
        self.store = MimirVectorStore(mimir, WordEmbeddings())
        self.records = InMemoryRecordManager(namespace="test")
        self.records.create_schema()

    def options(self, cleanup: str | None) -> dict[str, Any]:
        return {"cleanup": cleanup, "source_id_key": "source", "key_encoder": "sha256"}

    def run(self, documents: list[Document], cleanup: str | None) -> tuple[int, ...]:
        """Added, updated, skipped and deleted."""
        return tuple(
            index(documents, self.records, self.store, **self.options(cleanup)).values()  # type: ignore[arg-type]  # a TypedDict of ints
        )

    def texts(self) -> set[str]:
        return {memory.text for memory in self._mimir.memories()}


@pytest.fixture
def indexed(mimir: Mimir) -> Indexed:
    """Three pages of two sources, indexed."""
    each = Indexed(mimir)
    assert each.run(FIRST, None) == (3, 0, 0, 0)
    return each


def test_pages_that_stayed_are_skipped(indexed: Indexed) -> None:
    """Indexing the same again writes nothing."""
    for cleanup in (None, "incremental", "full", "scoped_full"):
        assert indexed.run(FIRST, cleanup) == (0, 0, 3, 0)


def test_incremental_cleanup_deletes_what_a_source_no_longer_says(indexed: Indexed) -> None:
    """Pages of a source that was seen go when they changed; other sources stay."""
    assert indexed.run([FIRST[0], page("a", "the cat purrs")], "incremental") == (1, 0, 1, 1)
    assert indexed.texts() == {"the cat sleeps", "the cat purrs", "the dog barks"}
    found = indexed.store.similarity_search("cat eats", k=9)
    assert {each.page_content for each in found} == indexed.texts()


@pytest.mark.parametrize("cleanup", ["full", "scoped_full"])
def test_full_cleanup_deletes_what_was_not_seen(indexed: Indexed, cleanup: str) -> None:
    """What the loader did not return goes; of sources it did not return, only in full cleanup."""
    result = indexed.run(FIRST[:1], cleanup)
    gone = 2 if cleanup == "full" else 1
    assert result == (0, 0, 1, gone)
    assert indexed.texts() == {FIRST[0].page_content} | (
        set() if cleanup == "full" else {FIRST[2].page_content}
    )


def test_full_cleanup_of_an_empty_source_empties_the_store(indexed: Indexed) -> None:
    """A loader that returns nothing leaves nothing."""
    assert indexed.run([], "full") == (0, 0, 0, 3)
    assert indexed.texts() == set()
    assert indexed.run(FIRST, "full") == (3, 0, 0, 0)
    assert len(indexed.texts()) == 3


def test_forced_updates_replace(indexed: Indexed) -> None:
    """`force_update` writes again under the same ids."""
    options = indexed.options("full") | {"force_update": True}
    result = index(FIRST, indexed.records, indexed.store, **options)
    assert result["num_updated"] == 3
    assert indexed.texts() == {each.page_content for each in FIRST}


async def test_the_async_api_cleans_up_too(mimir: Mimir) -> None:
    """`aindex` adds and deletes through the async twins."""
    each = Indexed(mimir)
    await aindex(FIRST, each.records, each.store, **each.options("incremental"))
    changed = [page("b", "the dog sleeps")]
    result = await aindex(changed, each.records, each.store, **each.options("incremental"))
    assert (result["num_added"], result["num_deleted"]) == (1, 1)
    assert each.texts() == {"the cat sleeps", "the cat eats", "the dog sleeps"}
