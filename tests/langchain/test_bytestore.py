"""MimirByteStore: LangChain's own suites, odd keys, large values, erasure, what it shows."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langchain_tests.integration_tests import BaseStoreAsyncTests, BaseStoreSyncTests

from mimir_core import Mimir
from mimir_core.errors import (
    InvalidArgument,
    InvalidNamespace,
    NotSerializable,
    ScrubPending,
    VaultDamaged,
)
from mimir_langchain import MimirByteStore, blobs

from ..vault.vaults import create, reopen

LARGE = bytes(range(256)) * (70 << 10)  # 17.5 MiB: three parts
ODD_KEYS = ["", "plain", "x" * 1_020, "x" * 1_021, "y" * 5_000, "\ud800", "key ", "part 1 x", "é\0"]


class TestSync(BaseStoreSyncTests[bytes]):
    """The synchronous half."""

    @pytest.fixture
    def kv_store(self, mimir: Mimir) -> MimirByteStore:
        return MimirByteStore(mimir)

    @pytest.fixture
    def three_values(self) -> tuple[bytes, bytes, bytes]:
        return b"foo", b"", b"\0bar"


class TestAsync(BaseStoreAsyncTests[bytes]):
    """The asynchronous half."""

    @pytest.fixture
    async def kv_store(self, mimir: Mimir) -> MimirByteStore:
        return MimirByteStore(mimir)

    @pytest.fixture
    def three_values(self) -> tuple[bytes, bytes, bytes]:
        return b"foo", b"", b"\0bar"


def test_any_string_is_a_key(mimir: Mimir) -> None:
    """Empty, long, unencodable keys and such as look like ours hold values and are listed."""
    store = MimirByteStore(mimir)
    pairs = [(key, f"value {number}".encode()) for number, key in enumerate(ODD_KEYS)]
    store.mset(pairs)
    assert store.mget(ODD_KEYS) == [value for _, value in pairs]
    assert list(store.yield_keys()) == ODD_KEYS
    assert list(store.yield_keys(prefix="x")) == ["x" * 1_020, "x" * 1_021]
    assert list(store.yield_keys(prefix="\ud800")) == ["\ud800"]
    store.mdelete(ODD_KEYS[::2])
    assert list(store.yield_keys()) == ODD_KEYS[1::2]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.text(st.characters(), max_size=6), st.binary(max_size=20), max_size=8))
def test_equals_a_dict(mimir: Mimir, pairs: dict[str, bytes]) -> None:
    """After setting, getting and deleting, it holds what a dict would hold."""
    mimir.forget(namespace=("langchain", "bytes"))
    store, half = MimirByteStore(mimir), list(pairs)[::2]
    store.mset(list(pairs.items()))
    assert store.mget(list(pairs)) == list(pairs.values())
    store.mdelete(half)
    assert set(store.yield_keys()) == set(pairs) - set(half)


def test_the_last_of_equal_keys_counts(mimir: Mimir) -> None:
    """A batch that names a key twice stores its last value."""
    store = MimirByteStore(mimir)
    store.mset([("a", b"1"), ("b", b"2"), ("a", b"3")])
    assert store.mget(["a", "b", "a"]) == [b"3", b"2", b"3"]


def test_large_values(path: Path) -> None:
    """What passes the core's limit comes back whole after reopening, and shrinks and goes whole."""
    with create(path) as mimir:
        MimirByteStore(mimir).mset([("big", LARGE), ("small", b"x")])
    with reopen(path) as mimir:
        store = MimirByteStore(mimir)
        assert store.mget(["big", "small"]) == [LARGE, b"x"]
        assert list(store.yield_keys()) == ["big", "small"]
        assert mimir.stats().memories == 4
        store.mset([("big", LARGE[: 9 << 20])])
        assert mimir.stats().memories == 3
        assert store.mget(["big"]) == [LARGE[: 9 << 20]]
        store.mdelete(["big", "nobody", "big"])
        assert store.mget(["big", "small"]) == [None, b"x"]
        assert mimir.stats().memories == 1


def test_parts_of_two_values_never_join(mimir: Mimir, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large value one of whose parts is another value's, or gone, is an error, not bytes."""
    monkeypatch.setattr(blobs, "PART_BYTES", 1_000)
    store = MimirByteStore(mimir)
    store.mset([("a", LARGE[:2_500]), ("b", LARGE[:2_500])])
    place = ("langchain", "bytes")
    parts = [key for key in mimir.keys(namespace=place) if key.startswith("part 1 ")]
    mine, other = (mimir.get(key=key, namespace=place) for key in parts)
    mimir.remember(other.content, key=mine.key, namespace=place)
    with pytest.raises(VaultDamaged):
        store.mget(["a"])
    mimir.forget(key=other.key, namespace=place)
    with pytest.raises(VaultDamaged):
        store.mget(["b"])


@pytest.mark.parametrize("pairs", [[("a", "text")], [(1, b"x")], [("b", None)], [("b", 3)]])
def test_bad_pairs_store_nothing(mimir: Mimir, pairs: list[tuple[str, bytes]]) -> None:
    """A key that is no string or a value that is no bytes is refused before anything is stored."""
    store = MimirByteStore(mimir)
    with pytest.raises(InvalidArgument):
        store.mset([("good", b"1"), *pairs])
    assert list(store.yield_keys()) == []


def test_bad_arguments() -> None:
    """Something else than an open vault is refused."""
    with pytest.raises(InvalidArgument):
        MimirByteStore("vault.mimir")  # type: ignore[arg-type]


def test_namespaces_are_apart(mimir: Mimir) -> None:
    """Stores of two namespaces see nothing of each other; a bad namespace is refused."""
    first, second = (MimirByteStore(mimir, namespace=place) for place in ("a", ("a", "b")))
    first.mset([("k", b"1")])
    assert second.mget(["k"]) == [None]
    assert list(second.yield_keys()) == []
    with pytest.raises(InvalidNamespace):
        MimirByteStore(mimir, namespace="with.dot")


def test_a_pending_scrub_reaches_the_caller(mimir: Mimir) -> None:
    """Setting and deleting are done although old pages await scrubbing, and then say so."""
    store, inner = MimirByteStore(mimir), Mimir.replace
    store.mset([("a", b"1")])

    def pending(self: Mimir, *args: Any, **options: Any) -> Any:
        inner(self, *args, **options)
        raise ScrubPending("pending")

    with patch.object(Mimir, "replace", pending):
        with pytest.raises(ScrubPending):
            store.mset([("a", b"2"), ("b", b"3")])
        assert store.mget(["a", "b"]) == [b"2", b"3"]
        with pytest.raises(ScrubPending):
            store.mdelete(["a"])
    assert store.mget(["a", "b"]) == [None, b"3"]


async def test_async_works_in_worker_threads(mimir: Mimir) -> None:
    """No call touches the vault on the event loop's thread, and concurrent calls lose nothing."""
    store, seen = MimirByteStore(mimir), set[int]()
    inner = Mimir.get_many

    def noting(self: Mimir, *args: object, **options: object) -> object:
        seen.add(threading.get_ident())
        return inner(self, *args, **options)  # type: ignore[arg-type]

    with patch.object(Mimir, "get_many", noting):
        await asyncio.gather(*(store.amset([(str(n), bytes([n]))]) for n in range(20)))
        found = await asyncio.gather(*(store.amget([str(n)]) for n in range(20)))
    assert found == [[bytes([n])] for n in range(20)]
    assert sorted([key async for key in store.ayield_keys()]) == sorted(map(str, range(20)))
    assert seen
    assert threading.get_ident() not in seen


def test_nothing_outside_the_vault(folder: Path, path: Path) -> None:
    """Neither key nor value stands in any byte of any file."""
    with create(path) as mimir:
        MimirByteStore(mimir).mset([("canary-key", b"canary-value"), ("canary" * 300, b"x")])
    assert [file.name for file in folder.iterdir()] == [path.name]
    assert b"canary" not in path.read_bytes()


def test_it_is_neither_pickled_nor_shown(mimir: Mimir) -> None:
    """A repr holds nothing, and pickle and copy are refused."""
    store = MimirByteStore(mimir)
    assert repr(store) == "<MimirByteStore>"
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(NotSerializable):
            attempt(store)
