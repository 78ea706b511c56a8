"""One bad part of a long list is named by its place in the caller's list, and nothing is stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.outputs import Generation
from langgraph.store.base import GetOp, PutOp, SearchOp

from mimir_core import Mimir
from mimir_core.errors import InputError
from mimir_langchain import (
    MimirByteStore,
    MimirCache,
    MimirChatMessageHistory,
    MimirStore,
    MimirVectorStore,
)

PLACE = ("docs",)
LONG = "x" * ((8 << 20) + 1)
HALF = "half \ud800"


def among(bad: Any, good: Any) -> list[Any]:
    """Five hundred, of which the 18th is bad; some that come before it are alike."""
    return [*[good] * 17, bad, *[good] * 482]


def added(text: Any = "fine", metadata: Any = None, id_: Any = None) -> Callable[[Mimir], Any]:
    """Adds five hundred texts, one bad."""

    def add(mimir: Mimir) -> None:
        texts, fields = among(text, "fine"), among(metadata, {"a": 1})
        ids = among("bad" if id_ is None else id_, "same")  # the last of the same counts
        MimirVectorStore(mimir).add_texts(texts, fields, ids=ids)

    return add


class Broken(Embeddings):
    """A model that has no vector for one text."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[float(text == "fine"), 0.0] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return [1.0, 0.0]


def messages(message: Any) -> Callable[[Mimir], Any]:
    """Adds five hundred messages, one bad."""
    batch = among(message, HumanMessage("fine"))
    return lambda mimir: MimirChatMessageHistory(mimir, "s").add_messages(batch)


def assigned(mimir: Mimir) -> None:
    """Assigns five hundred messages, one bad."""
    MimirChatMessageHistory(mimir, "s").messages = among(AIMessage(HALF), HumanMessage("fine"))


def pairs(pair: Any) -> Callable[[Mimir], Any]:
    """Sets five hundred pairs, one bad."""
    return lambda mimir: MimirByteStore(mimir).mset(among(pair, ("k", b"fine")))


def ops(op: Any) -> Callable[[Mimir], Any]:
    """A batch of five hundred, one bad."""
    batch = among(op, PutOp(PLACE, "k", {"n": 1}, index=False))
    return lambda mimir: MimirStore(mimir).batch(batch)


CASES: list[tuple[str, Callable[[Mimir], Any]]] = [
    ("document 17: ", added(text="")),
    ("document 17: ", added(text=HALF)),
    ("document 17: ", added(text=LONG)),
    ("document 17: ", added(text=7)),
    ("document 17: an id is", added(id_=7)),
    ("document 17: an id has", added(id_="x" * 1_025)),
    ("document 17: an id has", added(id_=HALF)),
    ("document 17: metadata", added(metadata={"stars": float("nan")})),
    ("document 17: metadata", added(metadata={"stars": object()})),
    ("document 17: metadata", added(metadata={"stars": [HALF]})),
    ("document 17: metadata", added(metadata=["stars"])),
    ("document 17: ", lambda mimir: MimirVectorStore(mimir).add_documents(
        among("text", Document("fine")))),
    ("document 17: ", lambda mimir: MimirVectorStore(mimir).add_documents(
        among(Document("x", metadata={"a": {1}}), Document("fine")))),
    ("the vector of document 17 ", lambda mimir: MimirVectorStore(mimir, Broken()).add_texts(
        among("bad", "fine"))),
    ("id 17: ", lambda mimir: MimirVectorStore(mimir).get_by_ids(among(7, "a"))),
    ("id 17: ", lambda mimir: MimirVectorStore(mimir).delete(among(None, "a"))),
    ("message 17: ", messages("text")),
    ("message 17: ", messages(HumanMessage(LONG))),
    ("message 17: ", messages(AIMessage(HALF))),
    ("message 17: ", messages(ToolMessage("x", tool_call_id="1", artifact=object()))),
    ("message 17: ", assigned),
    ("pair 17: ", pairs((7, b"x"))),
    ("pair 17: ", pairs(("k", "text"))),
    ("pair 17: ", pairs(("k",))),
    ("pair 17: ", pairs(([], b"x"))),
    ("key 17: ", lambda mimir: MimirByteStore(mimir).mget(among(7, "a"))),
    ("key 17: ", lambda mimir: MimirByteStore(mimir).mdelete(among([], "a"))),
    ("generation 17: ", lambda mimir: MimirCache(mimir).update(
        "q", "m", among("text", Generation(text="x")))),
    ("op 17: ", ops(PutOp(PLACE, "k", {"n": float("nan")}))),
    ("op 17: ", ops(PutOp(PLACE, "k", {"n": LONG}, index=False))),
    ("op 17: ", ops(PutOp(PLACE, 7, {}))),  # type: ignore[arg-type]  # is tested
    ("op 17: ", ops(PutOp(("a.b",), "k", {}))),
    ("op 17: field 1: ", ops(PutOp(PLACE, "k", {}, index=["a", 7]))),  # type: ignore[list-item]  # is tested
    ("op 17: ", ops(GetOp(("a.b",), "k"))),
    ("op 17: ", ops(SearchOp(PLACE, filter={"n": {"$no": 1}}))),
    ("op 17: ", ops("op")),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(CASES)))
def test_one_bad_of_many_is_named(mimir: Mimir, number: int) -> None:
    """The error begins with what it is about and its number in the caller's list."""
    named, call = CASES[number]
    with pytest.raises(InputError) as caught:
        call(mimir)
    assert str(caught.value).startswith(named)
    assert mimir.stats().memories == 0
