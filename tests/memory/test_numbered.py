"""Of many things handed in, an error names the one that is bad: its number and its field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mimir_core import Item, Mimir
from mimir_core.embedding import FunctionEmbedder
from mimir_core.errors import (
    DuplicateKey,
    InputError,
    InvalidArgument,
    InvalidFilter,
    InvalidMetadata,
    InvalidNamespace,
    InvalidText,
    InvalidVector,
    MimirError,
    NotFound,
)
from mimir_core.seen import Seen

SECRET = "xylophone"
ID = "ab" * 32
BAD: list[tuple[Item, type[InputError], str]] = [
    (Item(SECRET, metadata={"ok": 1, "stars": float("nan")}), InvalidMetadata, "'stars'"),
    (Item(SECRET, metadata={"who": {SECRET: object()}}), InvalidMetadata, "'who'"),
    (Item(SECRET, metadata={"a\nb": "\ud800"}), InvalidMetadata, r"'a\nb'"),
    (Item(SECRET, metadata={"long" * 50: 1 << 70}), InvalidMetadata, "'longlong"),
    (Item(SECRET, metadata={"ok": 1, "$no": 1}), InvalidMetadata, "name 1"),
    (Item(f"{SECRET}\ud800"), InvalidText, "text"),
    (Item(" "), InvalidText, "text"),
    (Item("x" * (9 << 20)), InvalidText, "text"),
    (Item(SECRET, key="k" * 2_000), InvalidArgument, "key"),
    (Item(SECRET, thread=""), InvalidArgument, "thread"),
    (Item(SECRET, namespace=("fine", f"{SECRET}.")), InvalidNamespace, "label 1"),
    (Item(SECRET, time="yesterday"), InvalidArgument, "time"),
    (Item(SECRET, derived_from=[ID, SECRET]), InvalidArgument, "derived_from 1"),
    (Item(SECRET, vector=[[1.0] * 32, [0.0] * 32]), InvalidVector, "vector 1"),
    (Item(SECRET, attachment=SECRET), InvalidArgument, "attachment"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("item", "kind", "field"), BAD)
def test_a_bad_item_among_many_is_named(
    mimir: Mimir, item: Item, kind: type[InputError], field: str
) -> None:
    """Number and field stand in the message, class and hint are as alone, no value shows."""
    items = [Item(f"fine {number}") for number in range(40)]
    items[17] = item
    for store in (mimir.remember_many, mimir.replace):
        with pytest.raises(kind) as caught:
            store(items) if store == mimir.remember_many else mimir.replace(items, ids=[])
        assert str(caught.value).startswith("item 17: ")
        assert field in str(caught.value)
        assert SECRET not in str(caught.value)
        assert len(str(caught.value)) < 400
        assert caught.value.hint == kind("").hint or kind in (InvalidText, InvalidArgument)
    with pytest.raises(kind) as alone:
        mimir.remember_many([item])
    assert not str(alone.value).startswith("item")
    assert mimir.stats().memories == 0


def test_of_items_with_one_key_both_are_named(mimir: Mimir) -> None:
    """Two items of one namespace and key are named by their numbers."""
    items = [Item("a", key="1"), Item("b", key=SECRET), Item("c"), Item("d", key=SECRET)]
    with pytest.raises(DuplicateKey, match="items 1 and 3"):
        mimir.remember_many(items)


LISTS: list[tuple[type[MimirError], str, Callable[[Mimir], object]]] = [
    (InvalidArgument, "id 1", lambda m: m.get_many([ID, SECRET])),
    (InvalidArgument, "id 1", lambda m: m.vectors([ID, SECRET])),
    (InvalidArgument, "id 1", lambda m: m.recall("x", among=[ID, SECRET])),
    (InvalidArgument, "id 1", lambda m: m.forget([ID, SECRET])),
    (NotFound, "id 1", lambda m: m.forget([m.remember("x"), ID])),
    (NotFound, "id 1", lambda m: m.vectors([m.remember("x"), ID])),
    (DuplicateKey, "ids 0 and 2", lambda m: m.forget([ID, "cd" * 32, ID])),
    (InvalidArgument, "key 1", lambda m: m.get_many(keys=["k", ""])),
    (InvalidArgument, "key 1", lambda m: m.forget(keys=["k", ""])),
    (InvalidArgument, "key 1", lambda m: m.known(["k", "\ud800"])),
    (InvalidArgument, "key 1", lambda m: m.seen(["k", ""])),
    (InvalidArgument, "what was seen 1",
     lambda m: m.replace([], ids=[], unchanged=[Seen(None, "n"), Seen("no", "n")])),
    (InvalidFilter, "value 2", lambda m: m.recall("x", where={"a": {"$in": [1, 2, object()]}})),
    (InvalidNamespace, "label 1", lambda m: m.recall("x", namespace=("a", "b."))),
]  # fmt: skip


@pytest.mark.parametrize("case", range(len(LISTS)))
def test_a_bad_entry_of_any_list_is_named(mimir: Mimir, case: int) -> None:
    """Ids, keys, what was seen, values of a filter, labels: the message has the number alone."""
    kind, number, call = LISTS[case]
    with pytest.raises(kind) as caught:
        call(mimir)
    assert str(caught.value).startswith(number)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("bad", [[0.0] * 4, [float("inf")] * 4, [1.0] * 3, ["a"] * 4, None])
def test_a_bad_vector_of_an_embedder_is_named(mimir: Mimir, bad: Any) -> None:
    """A model that fails for one text of many is told which item that was."""

    class Model(FunctionEmbedder):
        def embed_documents(self, texts: Any) -> Any:
            return [bad if "bad" in text else [1.0, 2.0, 3.0, 4.0] for text in texts]

    handle = mimir.with_embedder(Model("model", lambda texts: [[1.0] * 4] * len(texts)))
    items = [Item("fine"), Item(b"bytes"), Item("fine"), Item("bad"), Item("fine")]
    with pytest.raises(InvalidVector, match="item 3: "):
        handle.remember_many(items)
    rows = FunctionEmbedder("f", lambda texts: np.array([[1.0]] * 2 + [[0.0]]), dimension=1)
    with pytest.raises(InvalidVector, match="vector 2 "):
        rows.embed_documents(["a", "b", "c"])
