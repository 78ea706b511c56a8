"""What the core refuses of many items is named by its number in the caller's own list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage

from mimir_core import Mimir
from mimir_core.errors import InputError
from mimir_llamaindex import MimirVectorStore

from .conftest import node
from .test_numbers import AT, among, chat, good_node, made, message, remembered, set_chat

LONG = ChatMessage("x" * (9 << 20))


def add(mimir: Mimir, items: list[Any]) -> Any:
    return MimirVectorStore(mimir).add(items)


@pytest.mark.parametrize(
    ("call", "bad", "good"),
    [
        (add, node("x", "x", [float("nan"), 0.0]), good_node),
        (add, node("x", "x", [1.0]), good_node),
        (add, node("x", "\ud800", [1.0, 0.0]), good_node),
        (add, node("x", "x", [1.0, 0.0], v=1 << 70), good_node),
        (add, node("x", "x " * (5 << 20), [1.0, 0.0]), good_node),
        (chat, LONG, message),
        (set_chat, LONG, message),
        (remembered, LONG, message),
    ],
)
async def test_the_number_is_that_of_the_callers_list(
    mimir: Mimir, call: Any, bad: Any, good: Callable[[int], Any]
) -> None:
    """Items that were passed over before the core do not shift the number."""
    before = mimir.stats().commits
    with pytest.raises(InputError, match=rf"^item {AT}: "):
        await made(call, mimir, among(bad, good))
    assert mimir.stats().commits == before
