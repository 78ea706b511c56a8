"""What tests of LlamaIndex share: a store in an empty vault, nodes to fill it, sync and async."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode

from mimir_core import Mimir
from mimir_llamaindex import MimirVectorStore

Call = Callable[..., Awaitable[Any]]
ASYNC = {"add": "async_add"}
"""Twins that are not named by a leading "a"."""


@pytest.fixture
def store(mimir: Mimir) -> MimirVectorStore:
    """An empty store."""
    return MimirVectorStore(mimir)


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Call:
    """Calls a method by its sync name, or its async twin: `await call(store.query, query)`."""

    async def made(method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if request.param == "sync":
            return method(*args, **kwargs)
        name = method.__name__
        twin = getattr(method.__self__, ASYNC.get(name, f"a{name}"))  # type: ignore[attr-defined]
        assert inspect.iscoroutinefunction(twin)
        return await twin(*args, **kwargs)

    return made


def node(
    id_: str, text: str, embedding: list[float], document: str = "", **metadata: Any
) -> TextNode:
    """A text node with its embedding, from a source document if one is named."""
    made = TextNode(id_=id_, text=text, embedding=embedding, metadata=metadata)
    if document:
        made.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=document)
    return made


@pytest.fixture
def animals() -> list[TextNode]:
    """Four nodes of three documents, with metadata of each kind."""
    return [
        node("cat", "a cat sleeps on the warm sofa", [1, 0, 0], "pets", legs=4, kind="pet",
             tags=["soft", "small"], code="CAT-01", wild=False),
        node("dog", "a dog digs in the garden", [0.8, 0.6, 0], "pets", legs=4, kind="pet",
             tags=["loud"], code="DOG-02", weight=9.5),
        node("owl", "an owl hunts at night", [0, 1, 0], "birds", legs=2, kind="bird",
             tags=[], code="owl-03", wild=True),
        node("carp", "a carp swims in the pond", [0, 0, 1], "fish", kind="fish", note=""),
    ]  # fmt: skip
