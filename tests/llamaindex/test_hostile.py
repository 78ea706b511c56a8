"""Values that misbehave, models inside of models, and names that nobody can have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.schema import TextNode
from llama_index.core.storage.chat_store.base_db import MessageStatus
from llama_index.core.vector_stores.types import (
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)
from pydantic import BaseModel

from mimir_core import Mimir
from mimir_core.errors import InputError
from mimir_llamaindex import (
    MimirChatStore,
    MimirDocumentStore,
    MimirFileSystem,
    MimirIndexStore,
    MimirIngestionCache,
    MimirKVStore,
    MimirMemoryBlock,
    MimirVectorStore,
)

from .conftest import node

IMPOSSIBLE = ["", "\ud800", "x" * 5_000, "\0"]


class Hostile:
    """Compares with nothing."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("hostile")

    __hash__ = None  # type: ignore[assignment]  # that is the point


class Untold(dict[str, Any]):
    """A dict that does not say what it holds."""

    def items(self) -> Any:
        raise RuntimeError("hostile")

    keys = __iter__ = items


class Undumped(BaseModel):
    """A model that cannot be dumped."""

    def model_dump(self, **options: Any) -> Any:
        raise KeyError("hostile")


class Weather(BaseModel):
    """A model all of whose fields have their defaults."""

    city: str = "Oslo"
    celsius: float = 0.0


BAD: dict[str, Callable[[], Any]] = {
    "array": lambda: np.ones(3),
    "hostile": Hostile,
    "list of hostile": lambda: [Hostile()],
}
ODD: dict[str, Callable[[], Any]] = BAD | {"untold dict": Untold, "undumped model": Undumped}


def query(**fields: Any) -> VectorStoreQuery:
    """A query whose fields nobody checked."""
    made = VectorStoreQuery(query_embedding=[1.0, 0.0])
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def filters(name: str, value: Any) -> MetadataFilters:
    """Filters one field of which nobody checked."""
    leaf = MetadataFilter(key="a", value=["x"], operator="in")
    group = MetadataFilters(filters=[leaf])
    object.__setattr__(group if name == "condition" else leaf, name, value)
    return group


USES: dict[str, Callable[[Mimir, Any], Any]] = {
    "status": lambda m, bad: MimirChatStore(m).get_messages("s", bad),
    "session": lambda m, bad: MimirChatStore(m).get_messages(bad),
    "limit": lambda m, bad: MimirChatStore(m).get_messages("s", limit=bad),
    "mode": lambda m, bad: MimirVectorStore(m).query(query(mode=bad)),
    "threshold": lambda m, bad: MimirVectorStore(m).query(query(mode="mmr", mmr_threshold=bad)),
    "alpha": lambda m, bad: MimirVectorStore(m).query(
        query(mode="hybrid", query_str="x", alpha=bad)
    ),
    "query's ids": lambda m, bad: MimirVectorStore(m).query(query(node_ids=bad)),
    "query's documents": lambda m, bad: MimirVectorStore(m).query(query(doc_ids=bad)),
    "node ids": lambda m, bad: MimirVectorStore(m).get_nodes(bad),
    "document": lambda m, bad: MimirVectorStore(m).delete(bad),
    "nodes": lambda m, bad: MimirVectorStore(m).add(bad),
    "filter's value": lambda m, bad: MimirVectorStore(m).get_nodes(filters=filters("value", [bad])),
    "operator": lambda m, bad: MimirVectorStore(m).get_nodes(filters=filters("operator", bad)),
    "condition": lambda m, bad: MimirVectorStore(m).get_nodes(filters=filters("condition", bad)),
    "block's session": lambda m, bad: MimirMemoryBlock(m).aput([ChatMessage("x")], session_id=bad),
    "block's messages": lambda m, bad: MimirMemoryBlock(m).aput(bad),
    "block's question": lambda m, bad: MimirMemoryBlock(m).aget(bad),
    "key": lambda m, bad: MimirKVStore(m).get(bad),
    "keys": lambda m, bad: MimirKVStore(m).get_many(bad),
    "pairs": lambda m, bad: MimirKVStore(m).put_all(bad),
    "pair": lambda m, bad: MimirKVStore(m).put_all([bad]),
    "documents": lambda m, bad: MimirDocumentStore(m).add_documents(bad),
    "document's id": lambda m, bad: MimirDocumentStore(m).get_document(bad),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("use", USES)
async def test_a_hostile_argument_is_refused(mimir: Mimir, use: str, kind: str) -> None:
    """Where a caller's value is compared or gone through, what misbehaves is a typed error."""
    before = mimir.stats().commits
    with pytest.raises(InputError) as caught:
        await _awaited(USES[use](mimir, BAD[kind]()))
    assert "hostile" not in str(caught.value)
    assert mimir.stats().commits == before


async def _outcome(call: Callable[[], Any]) -> Exception | None:
    """The error that comes out of a call, if one does."""
    try:
        await _awaited(call())
    except Exception as error:
        return error
    return None


async def _awaited(result: Any) -> Any:
    return await result if hasattr(result, "__await__") else result


def holds(mimir: Mimir, value: Any) -> list[Callable[[], Any]]:
    """Every class that keeps a value inside of something, told to keep it."""
    return [
        lambda: MimirChatStore(mimir).add_message(
            "s", ChatMessage("x", additional_kwargs={"v": value})
        ),
        lambda: MimirVectorStore(mimir).add(
            [TextNode(id_="n", text="x", embedding=[1.0, 0.0], metadata={"v": value})]
        ),
        lambda: MimirDocumentStore(mimir).add_documents(
            [TextNode(id_="n", text="x", metadata={"v": value})]
        ),
        lambda: MimirKVStore(mimir).put("k", {"v": value}),
    ]


@pytest.mark.parametrize("kind", ODD)
async def test_a_hostile_value_inside_is_refused_or_kept(mimir: Mimir, kind: str) -> None:
    """What cannot be kept is a typed error that shows nothing of it; no other error comes out."""
    for keep in holds(mimir, ODD[kind]()):
        before = mimir.stats().memories
        outcome = await _outcome(keep)
        kept = mimir.stats().memories - before
        if isinstance(outcome, InputError):
            assert "hostile" not in str(outcome)
            assert kept == 0
        else:  # pydantic knows what is in them
            assert (outcome is None, kind in BAD, kept > 0) == (True, False, True)


@pytest.mark.parametrize("value", [Weather(), [Weather()], {"deep": [{"er": Weather()}]}])
async def test_models_inside_keep_what_equals_their_defaults(mimir: Mimir, value: Any) -> None:
    """A model inside of a message, metadata or a value comes back with all of its fields."""
    for keep in holds(mimir, value):
        await _awaited(keep())
    (message,) = await MimirChatStore(mimir).get_messages("s")
    (found,) = MimirVectorStore(mimir).get_nodes()
    kept = MimirDocumentStore(mimir).docs["n"]
    at_rest = (MimirKVStore(mimir).get("k") or {})["v"]
    for whole in (message.additional_kwargs["v"], found.metadata["v"], kept.metadata["v"], at_rest):
        assert str({"city": "Oslo", "celsius": 0.0}) in str(whole)


@pytest.mark.parametrize("name", IMPOSSIBLE, ids=ascii)
async def test_nothing_has_an_impossible_name(mimir: Mimir, name: str) -> None:
    """Reading and deleting what nobody can have finds and deletes nothing, and raises nothing."""
    chat, block, vectors = MimirChatStore(mimir), MimirMemoryBlock(mimir), MimirVectorStore(mimir)
    await chat.add_message("s", ChatMessage("x"))
    await block.aput([ChatMessage("x")])
    vectors.add([node("n", "x", [1.0, 0.0], "doc")])
    before = mimir.stats().memories
    assert await chat.get_messages(name) == await chat.delete_oldest_messages(name, 1) == []
    assert await chat.archive_oldest_messages(name, 1) == []
    assert await chat.count_messages(name) == 0
    assert await chat.delete_message(name, 0) is None
    for status in (None, *MessageStatus):
        await chat.delete_messages(name, status)
    assert await block.aget([ChatMessage("x")], session_id=name) == ""
    vectors.delete(name)
    vectors.delete_nodes([name])
    assert vectors.get_nodes([name]) == []
    for fields in ({"node_ids": [name]}, {"doc_ids": [name]}):
        assert vectors.query(query(**fields)).ids == []
        assert vectors.query(VectorStoreQuery(**fields)).ids == []  # type: ignore[arg-type]
    docs = MimirDocumentStore(mimir)
    assert docs.get_document(name, raise_error=False) is docs.get_document_hash(name) is None
    assert docs.get_ref_doc_info(name) is None
    docs.delete_document(name, raise_error=False)
    docs.delete_ref_doc(name, raise_error=False)
    MimirIngestionCache(mimir).delete_documents([name])
    assert MimirIndexStore(mimir).get_index_struct(name) is None
    assert MimirKVStore(mimir).delete(name) is False
    assert not MimirFileSystem(mimir).exists(f"/a/{name}")
    assert mimir.stats().memories == before


@pytest.mark.parametrize("name", IMPOSSIBLE[:3], ids=ascii)
async def test_nothing_is_kept_under_an_impossible_name(mimir: Mimir, name: str) -> None:
    """Writing into a session that a vault cannot name is refused."""
    for write in (
        MimirChatStore(mimir).add_message(name, ChatMessage("x")),
        MimirChatStore(mimir).set_messages(name, [ChatMessage("x")]),
        MimirMemoryBlock(mimir).aput([ChatMessage("x")], session_id=name),
        MimirMemoryBlock(mimir).aput(
            [ChatMessage("x")], session_id=name, from_short_term_memory=True
        ),
    ):
        with pytest.raises(InputError):
            await write
    assert mimir.stats().memories == 0
