"""MimirStore: batches, copies, times, pages, names that need care, and bad input."""

from __future__ import annotations

import copy
import pickle
from collections import UserDict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.store.base import (
    GetOp,
    InvalidNamespaceError,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchOp,
)

from mimir_core import Mimir
from mimir_core.errors import (
    InputError,
    InvalidArgument,
    InvalidFilter,
    InvalidNamespace,
    NotSerializable,
)
from mimir_core.types import check_namespace
from mimir_langchain import MimirStore
from mimir_langchain.store_names import store_namespace, vault_namespace

from ..vault.vaults import create

PLACE = ("users", "ana")


@pytest.fixture
def store(mimir: Mimir) -> MimirStore:
    """A store over an empty vault."""
    return MimirStore(mimir)


def keys(found: list[Any]) -> list[str]:
    """The keys of items."""
    return [item.key for item in found]


def test_reads_see_the_state_before_the_batch(store: MimirStore) -> None:
    """A get, a search and a listing in one batch with a put do not see it."""
    store.put(PLACE, "old", {"n": 1})
    put, delete = PutOp(PLACE, "new", {"n": 2}), PutOp(PLACE, "old", None)
    reads = [GetOp(PLACE, "old"), SearchOp(PLACE), ListNamespacesOp(), GetOp(PLACE, "new")]
    got, found, listed, missing = store.batch([put, delete, *reads])[2:]
    assert got.value == {"n": 1}
    assert keys(found) == ["old"]
    assert listed == [PLACE]
    assert missing is None
    assert keys(store.search(PLACE)) == ["new"]


def test_the_last_of_duplicate_puts_wins(store: MimirStore) -> None:
    """Puts and deletes of one key in one batch leave what the last one says."""
    ops = [PutOp(PLACE, "k", {"n": n}) for n in range(3)]
    store.batch([*ops, PutOp(PLACE, "gone", {}), PutOp(PLACE, "gone", None)])
    assert store.get(PLACE, "k").value == {"n": 2}
    assert store.get(PLACE, "gone") is None


def test_all_writes_of_a_batch_are_one_transaction(store: MimirStore, mimir: Mimir) -> None:
    """Puts and deletes of a batch, with and without a time to live, are one commit."""
    store.put(PLACE, "old", {"n": 1}, ttl=5)
    before = mimir.stats().commits
    store.batch([PutOp(PLACE, "new", {}, ttl=5), PutOp(("b",), "k", {}), PutOp(PLACE, "old", None)])
    assert mimir.stats().commits == before + 1
    store.batch([GetOp(PLACE, "old"), PutOp(PLACE, "nobody", None)])
    assert mimir.stats().commits == before + 1


def test_a_put_again_keeps_when_it_was_created(store: MimirStore) -> None:
    """An update keeps `created_at` and moves `updated_at`; a delete in between starts anew."""
    store.put(PLACE, "k", {"n": 1})
    first = store.get(PLACE, "k")
    store.put(PLACE, "k", {"n": 2})
    second = store.get(PLACE, "k")
    assert first.created_at == first.updated_at == second.created_at < second.updated_at
    assert second.created_at.tzinfo is not None
    store.delete(PLACE, "k")
    store.put(PLACE, "k", {"n": 3})
    assert store.get(PLACE, "k").created_at > second.updated_at


def test_results_come_in_the_order_of_creation(store: MimirStore) -> None:
    """Updates do not move an item, in a batch or alone, and pages follow one another."""
    store.batch([PutOp(PLACE, key, {"n": 1}) for key in "abcdef"])
    for key in "eba":
        store.put(PLACE, key, {"n": 2})
    assert keys(store.search(PLACE)) == list("abcdef")
    assert keys(store.search(PLACE, limit=2, offset=3)) == ["d", "e"]
    assert keys(store.search(PLACE, filter={"n": 2}, limit=2, offset=1)) == ["b", "e"]
    assert store.search(PLACE, limit=0) == []
    assert store.search(PLACE, offset=6) == []


def test_many_items_are_found_in_order(store: MimirStore) -> None:
    """Beyond what is opened at a time, order, filter and pages still hold."""
    store.batch([PutOp(PLACE, f"{n:03}", {"odd": bool(n % 2)}, index=False) for n in range(600)])
    store.put(PLACE, "001", {"odd": False})
    assert keys(store.search(PLACE, limit=1_000)) == [f"{n:03}" for n in range(600)]
    odd = store.search(PLACE, filter={"odd": True}, limit=10, offset=289)
    assert keys(odd) == [f"{n:03}" for n in range(581, 600, 2)]


def test_values_are_copies(store: MimirStore) -> None:
    """Neither the value given nor a value handed out changes what is stored."""
    value: dict[str, Any] = {"list": [1], "deep": {"a": 1}}
    store.put(PLACE, "k", value)
    value["list"].append(2)
    store.get(PLACE, "k").value["deep"]["a"] = 9
    store.search(PLACE)[0].value.clear()
    assert store.get(PLACE, "k").value == {"list": [1], "deep": {"a": 1}}


def test_values_come_back_as_they_were(store: MimirStore) -> None:
    """Order of fields, numbers, other scripts and odd characters survive; tuples become lists."""
    value = {"z": 1, "a": 1.0, "b": True, "n": None, "big": 1 << 90, "text": "naïve 猫 \0 \ud800"}
    store.put(PLACE, "k", value)
    assert repr(store.get(PLACE, "k").value) == repr(value)
    store.put(PLACE, "k", UserDict({"t": (1, (2,)), "m": UserDict(a=1)}))  # type: ignore[arg-type]
    assert store.get(PLACE, "k").value == {"t": [1, [2]], "m": {"a": 1}}
    store.put(PLACE, "k", {})
    assert store.get(PLACE, "k").value == {}


@pytest.mark.parametrize(
    "label",
    ["new\nline", "e\u0301", "\x7f🦜", "é", "~x", "~", "a\\n", "\ud800", "*", "x" * 256, "a/b"],
)
def test_any_label_is_kept_apart(store: MimirStore, label: str) -> None:
    """Labels that the vault would change or refuse come back as they were given."""
    store.put(("a", label), "k", {"label": label})
    store.put(("a", f"{label}2"[-256:]), "k", {"label": "other"})
    assert store.get(("a", label), "k").namespace == ("a", label)
    assert [i.value for i in store.search(("a", label))] == [{"label": label}]
    assert ("a", label) in store.list_namespaces()


@given(st.text(min_size=1, max_size=12), st.sampled_from(["", "~", "\\", "e\u0301"]))
def test_labels_are_written_reversibly(text: str, start: str) -> None:
    """Any label comes back from how it is written in the vault, which takes it as it is."""
    label = (start + text).replace(".", "").replace("\0", "") or "x"
    place = vault_namespace(("root",), (label,))
    assert store_namespace(("root",), place) == (label,)
    assert check_namespace(place) == place
    assert place != ("root", "~leases")


@pytest.mark.parametrize("key", ["", "~", "~x", "k" * 5_000, "a\nb", "\ud800", "a.b", "é", "1"])
def test_any_string_is_a_key(store: MimirStore, key: str) -> None:
    """Empty, long and odd keys come back as they were given."""
    store.put(PLACE, key, {"n": 1})
    store.put(PLACE, f"{key}!", {"n": 2})
    assert store.get(PLACE, key).key == key
    assert sorted(keys(store.search(PLACE))) == sorted([key, f"{key}!"])
    store.delete(PLACE, key)
    assert keys(store.search(PLACE)) == [f"{key}!"]


def test_a_prefix_ends_at_a_label(store: MimirStore) -> None:
    """("a",) stands for itself and what is below it, not for ("ab",)."""
    for place in [("a",), ("ab",), ("a", "b"), ("a", "b", "c"), ("b", "a")]:
        store.put(place, "k", {})
    assert [i.namespace for i in store.search(("a",))] == [("a",), ("a", "b"), ("a", "b", "c")]
    assert store.list_namespaces(prefix=("a",)) == [("a",), ("a", "b"), ("a", "b", "c")]
    assert store.search(("a", "x")) == []
    assert len(store.search(())) == 5


def test_lists_and_single_labels_stand_for_namespaces(store: MimirStore) -> None:
    """A list is taken for a tuple, and a string for one label."""
    store.put(["docs", "a"], "k", {"n": 1})  # type: ignore[arg-type]
    store.put("docs", "k", {"n": 2})  # type: ignore[arg-type]
    assert store.get(("docs",), "k").value == {"n": 2}
    assert keys(store.search(["docs", "a"])) == ["k"]  # type: ignore[arg-type]
    suffix = MatchCondition("suffix", "a")  # type: ignore[arg-type]
    assert store.batch([ListNamespacesOp((suffix,))]) == [[("docs", "a")]]
    assert store.list_namespaces(prefix=["docs"]) == [("docs",), ("docs", "a")]  # type: ignore[arg-type]


def test_namespaces_match_wildcards_and_are_cut(store: MimirStore) -> None:
    """"*" stands for one label, `max_depth` cuts and merges, and what is empty is not listed."""
    for place in [("a", "b", "c"), ("a", "x", "c"), ("a", "b", "d", "e"), ("z",)]:
        store.put(place, "k", {})
    assert store.list_namespaces(prefix=("a", "*", "c")) == [("a", "b", "c"), ("a", "x", "c")]
    assert store.list_namespaces(suffix=("*", "e")) == [("a", "b", "d", "e")]
    assert store.list_namespaces(max_depth=2) == [("a", "b"), ("a", "x"), ("z",)]
    assert store.list_namespaces(max_depth=2, limit=1, offset=1) == [("a", "x")]
    store.delete(("z",), "k")
    assert store.list_namespaces(max_depth=1) == [("a",)]


BAD_PLACES: list[Any] = [
    ("langgraph", "x"), ("a.b",), ("a", ""), ("a", "\0"), (1,), (), None, ("a",) * 15, ("x" * 257,)
]  # fmt: skip


@pytest.mark.parametrize("place", BAD_PLACES)
def test_bad_namespaces_are_refused_in_a_direct_batch(store: MimirStore, place: Any) -> None:
    """What BaseStore would refuse is refused by `batch` too, before anything is written."""
    with pytest.raises(InvalidNamespaceError) as caught:
        store.batch([PutOp(PLACE, "k", {}), PutOp(place, "k", {})])
    assert isinstance(caught.value, InvalidNamespace)
    assert store.search(()) == []


@pytest.mark.parametrize("place", [("a.b",), ("a", ""), ("a", "\0"), (1,)])
def test_bad_namespaces_are_refused_in_reads(store: MimirStore, place: Any) -> None:
    """Gets, searches and patterns take no label that no item can have."""
    pattern = ListNamespacesOp((MatchCondition("prefix", place),))
    for op in (GetOp(place, "k"), SearchOp(place), pattern, PutOp(place, "k", None)):
        with pytest.raises(InvalidNamespaceError):
            store.batch([op])


@pytest.mark.parametrize("place", [("a",) * 15, ("x" * 257,), ("\n" * 200,), ("a",) * 200])
def test_nothing_lies_where_the_vault_has_no_room(store: MimirStore, place: Any) -> None:
    """A namespace too deep or too long holds nothing, as InMemoryStore has it; a put says why."""
    store.put(PLACE, "k", {"text": "cat"})
    assert store.get(place, "k") is None
    assert store.search(place) == store.search(place, query="cat") == []
    assert store.search(place, filter={"text": "cat"}, offset=1) == []
    assert store.list_namespaces(prefix=place) == []
    store.delete(place, "k")
    with pytest.raises(InvalidNamespaceError):
        store.put(place, "k", {})
    assert [item.key for item in store.search(())] == ["k"]


CYCLE: dict[str, Any] = {}
CYCLE["self"] = CYCLE
DEEP: dict[str, Any] = {}
for _ in range(2_000):
    DEEP = {"d": DEEP}
BAD_VALUES: list[Any] = [
    [], "text", 5, {1: "a"}, {"a": {2: "b"}}, {"a": [{3: 4}]}, {"s": {1}}, {"o": object()},
    {"b": b"bytes"}, {"n": float("nan")}, {"n": [float("inf")]}, CYCLE, DEEP, {"d": Path("x")},
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(BAD_VALUES)))
def test_values_that_json_does_not_hold_are_refused(store: MimirStore, number: int) -> None:
    """Such a value raises before anything of its batch is written."""
    with pytest.raises(InvalidArgument):
        store.batch([PutOp(PLACE, "good", {}), PutOp(PLACE, "bad", BAD_VALUES[number])])
    assert store.search(()) == []


BAD_OPS: list[Any] = [
    "op", None, GetOp(PLACE, 1), PutOp(PLACE, None, {}), SearchOp(PLACE, limit=-1),
    SearchOp(PLACE, offset=-1), SearchOp(PLACE, limit="5"), SearchOp(PLACE, limit=True),
    SearchOp(PLACE, query=5), SearchOp(PLACE, filter=["n"]), ListNamespacesOp(limit=-1),
    ListNamespacesOp(max_depth=-1), ListNamespacesOp((MatchCondition("infix", ("a",)),)),
    PutOp(PLACE, "k", {}, index=True), PutOp(PLACE, "k", {}, index="text"),
    PutOp(PLACE, "k", {}, index=[1]), PutOp(PLACE, "k", {}, ttl=-1), PutOp(PLACE, "k", {}, ttl="5"),
    PutOp(PLACE, "k", {}, ttl=float("nan")), PutOp(PLACE, "k", {"t": "x" * (9 << 20)}),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(BAD_OPS)))
def test_bad_operations_are_refused(store: MimirStore, number: int) -> None:
    """An operation that cannot be done raises before anything of its batch is written."""
    with pytest.raises(InputError):
        store.batch([PutOp(PLACE, "good", {}), BAD_OPS[number]])
    assert store.search(()) == []


def test_errors_show_nothing_of_the_content(store: MimirStore) -> None:
    """No label, key, value or filter stands in an error's text."""
    ops = [
        PutOp(("langgraph", "canary"), "k", {}),
        PutOp(("canary.x",), "k", {}),
        PutOp(PLACE, "k", {"canary": {1}}),
        SearchOp(PLACE, filter={"canary'": 1}),
        SearchOp(PLACE, filter={"n": {"$canary": 1}}),
    ]
    for op in ops:
        with pytest.raises(InputError) as caught:
            store.batch([op])
        assert "canary" not in str(caught.value)
        assert caught.value.__cause__ is None


@pytest.mark.parametrize("namespace", [(), "", ("a.b",), (1,), ("a",) * 17, None])
def test_a_store_needs_a_namespace_of_the_vault(mimir: Mimir, namespace: Any) -> None:
    """The vault's own rules hold for the store's root."""
    with pytest.raises((InvalidNamespace, TypeError)):
        MimirStore(mimir, namespace=namespace)


def test_a_store_needs_an_open_vault() -> None:
    """A path or nothing is no vault."""
    with pytest.raises(InvalidArgument):
        MimirStore("vault.mimir")  # type: ignore[arg-type]


def test_a_store_shows_and_copies_nothing(store: MimirStore) -> None:
    """Its repr is plain, and it refuses to be pickled or copied."""
    store.put(PLACE, "canary", {"text": "canary"})
    assert repr(store) == "<MimirStore>"
    for refused in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(NotSerializable):
            refused(store)


def test_a_filter_error_writes_nothing(store: MimirStore) -> None:
    """An unknown operator raises although no item could match."""
    with pytest.raises(InvalidFilter, match="Unsupported operator"):
        store.batch([PutOp(PLACE, "k", {}), SearchOp(("empty",), {"n": {"$in": [1]}})])
    assert store.get(PLACE, "k") is None


def test_two_stores_of_one_vault_are_apart(folder: Path) -> None:
    """Stores of different namespaces in one vault do not see each other, whole prefixes neither."""
    with create(folder / "v") as mimir:
        ana, bo = MimirStore(mimir, namespace=("ana",)), MimirStore(mimir, namespace="bo")
        ana.put(("notes",), "k", {"text": "the cat is called Pixel"})
        bo.put(("notes",), "k", {"text": "the dog is called Rex"}, ttl=5)
        assert [i.value["text"] for i in ana.search((), query="Rex the dog")] == [
            "the cat is called Pixel"
        ]
        assert ana.list_namespaces() == [("notes",)]
        bo.delete(("notes",), "k")
        assert bo.list_namespaces() == []
        assert ana.get(("notes",), "k") is not None
