"""Of many items the bad one is named by its number in the caller's own list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.schema import TextNode

from mimir_core import Mimir
from mimir_core.errors import InputError
from mimir_llamaindex import (
    MimirChatStore,
    MimirDocumentStore,
    MimirEmbedding,
    MimirKVStore,
    MimirMemoryBlock,
    MimirVectorStore,
)
from mimir_llamaindex.batches import renumbered

from .conftest import node

AT = 317


def among(bad: Any, good: Callable[[int], Any]) -> list[Any]:
    """500 items, the 318th of which is bad."""
    return [bad if number == AT else good(number) for number in range(500)]


def message(number: int) -> ChatMessage:
    return ChatMessage("" if number % 3 else str(number))  # most have nothing to remember


def good_node(number: int) -> TextNode:
    return node(str(number // 2), str(number), [1.0, 0.0])  # each id twice: the last one counts


MESSAGES = {
    "an object": ChatMessage("x", additional_kwargs={"v": object()}),
    "no message": "x",
}
NODES = {
    "no node": "x",
    "no embedding": TextNode(text="x"),
    "object": node("x", "x", [1.0, 0.0], v=object()),
}
PAIRS = {"no pair": 3, "key": (3, {}), "value": ("k", 3), "object": ("k", {"v": object()})}


def chat(m: Mimir, items: list[Any]) -> Any:
    return MimirChatStore(m).add_messages("s", items)


def remembered(m: Mimir, items: list[Any]) -> Any:
    return MimirMemoryBlock(m).aput(items)


def set_chat(m: Mimir, items: list[Any]) -> Any:
    return MimirChatStore(m).set_messages("s", items)


CASES: list[tuple[Callable[[Mimir, list[Any]], Any], Any, Callable[[int], Any]]] = [
    *((chat, bad, message) for bad in MESSAGES.values()),
    *((set_chat, bad, message) for bad in MESSAGES.values()),
    (remembered, "x", message),
    *((lambda m, items: MimirVectorStore(m).add(items), bad, good_node) for bad in NODES.values()),
    (lambda m, items: MimirVectorStore(m).get_nodes(items), 3, str),
    (lambda m, items: MimirVectorStore(m).delete_nodes(items), None, str),
    *((lambda m, items: MimirDocumentStore(m).add_documents(items), bad, good_node)
      for bad in (NODES["no node"], NODES["object"])),
    (lambda m, items: MimirDocumentStore(m).add_documents(items, store_text=False),
     node("x", "x", [1.0], "doc", v=object()), lambda number: node(str(number), "x", [1.0], "doc")),
    (lambda m, items: MimirDocumentStore(m).get_nodes(items), 3, str),
    *((lambda m, items: MimirKVStore(m).put_all(items), bad, lambda n: (str(n), {"n": n}))
      for bad in PAIRS.values()),
    (lambda m, items: MimirKVStore(m).get_many(items), 3, str),
    *((lambda m, items: MimirEmbedding(m, embed_batch_size=7).get_text_embedding_batch(items),
       bad, str) for bad in (" ", 3, "\ud800")),
    (lambda m, items: MimirEmbedding(m).aget_text_embedding_batch(items), " ", str),
]  # fmt: skip


async def made(call: Any, mimir: Mimir, items: list[Any]) -> None:
    """Calls, and awaits what is to be awaited."""
    result = call(mimir, items)
    if hasattr(result, "__await__"):
        await result


@pytest.mark.parametrize(("call", "bad", "good"), CASES)
async def test_the_number_is_that_of_the_callers_list(
    mimir: Mimir, call: Any, bad: Any, good: Callable[[int], Any]
) -> None:
    """The error names the item, whatever became of those before it; nothing is written."""
    before = mimir.stats().commits
    with pytest.raises(InputError, match=rf"^item {AT}: ") as caught:
        await made(call, mimir, among(bad, good))
    assert caught.value.hint is not None
    assert mimir.stats().commits == before
    with pytest.raises(InputError) as alone:
        await made(call, mimir, [bad])
    assert not str(alone.value).startswith("item")


def test_a_node_that_exists_is_named(mimir: Mimir) -> None:
    """Where nodes must be new, the one that is not is named."""
    store = MimirDocumentStore(mimir)
    store.add_documents([TextNode(id_="old", text="x")])
    nodes = among(TextNode(id_="old", text="y"), lambda number: TextNode(text=str(number)))
    with pytest.raises(InputError, match=rf"^item {AT}: a node of this id already exists"):
        store.add_documents(nodes, allow_update=False)


def test_a_field_is_named(mimir: Mimir) -> None:
    """Of metadata the field that cannot be stored is named, and its value is not shown."""
    bad = node("x", "x", [1.0, 0.0], page=3, weather={"deep": [object()]}, last="wombat")
    with pytest.raises(InputError, match=r"^item 1: metadata\['weather'\]: ") as caught:
        MimirVectorStore(mimir).add([good_node(0), bad])
    assert "wombat" not in str(caught.value)


def test_the_cores_numbers_are_translated() -> None:
    """A number of the core becomes that of the caller's list, with class and hint kept."""
    for numbers, text, expected in (
        ([4, 9], "item 1: bad", "item 9: bad"),
        ([7], "bad", "item 7: bad"),
        ([None], "bad", "bad"),
        ([4, 9], "two of them are bad", "two of them are bad"),
    ):
        with pytest.raises(InputError) as caught, renumbered(numbers):
            raise InputError(text, hint="help")
        assert (caught.value.args[0], caught.value.hint) == (expected, "help")
