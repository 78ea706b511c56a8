"""The key-value store keeps any JSON under any string, whole, apart and sealed."""

from __future__ import annotations

import copy
import datetime as dt
import pickle
import threading
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.storage.kvstore.types import BaseKVStore

from mimir_core import Mimir
from mimir_core.errors import InvalidArgument, NotSerializable
from mimir_llamaindex import MimirKVStore

from ..vault.vaults import create, reopen
from .conftest import Call
from .watched import Watched, found_in

STRANGE = ["", " ", ".", "a.b", "docstore/data", "#", "#" + "0" * 64, "Ä", "A\u0308", "\0",
           "\ud800", "日本", "k" * 1_024, "k" * 1_025, "k" * 100_000, "../x", "🐈"]  # fmt: skip
BIG = {"text": "long enough to need pieces " * 400_000}
assert len(BIG["text"]) > 2 * (4 << 20)


@pytest.fixture
def kv(mimir: Mimir) -> MimirKVStore:
    """An empty store."""
    return MimirKVStore(mimir)


async def test_put_get_delete(kv: MimirKVStore, call: Call) -> None:
    """What is put is found under its key and no other, until it is deleted."""
    await call(kv.put, "a", {"x": 1})
    await call(kv.put, "b", {"y": [1, None, "z", {"deep": True}]})
    assert await call(kv.get, "a") == {"x": 1}
    assert await call(kv.get, "c") is None
    assert await call(kv.get_all) == {"a": {"x": 1}, "b": {"y": [1, None, "z", {"deep": True}]}}
    assert await call(kv.delete, "a") is True
    assert await call(kv.delete, "a") is False
    assert await call(kv.get, "a") is None
    assert list(await call(kv.get_all)) == ["b"]


async def test_replace(kv: MimirKVStore, call: Call) -> None:
    """The latest value of a key is its value."""
    await call(kv.put, "a", {"x": 1})
    await call(kv.put, "a", {"x": 2})
    assert await call(kv.get_all) == {"a": {"x": 2}}


async def test_collections_apart(kv: MimirKVStore, call: Call) -> None:
    """A collection knows nothing of another's keys, and one nobody used is empty."""
    await call(kv.put, "a", {"x": 1}, collection="one")
    await call(kv.put, "a", {"x": 2}, collection="two")
    assert await call(kv.get, "a", collection="one") == {"x": 1}
    assert await call(kv.get, "a") is None
    assert await call(kv.get_all, collection="never used") == {}
    assert await call(kv.delete, "a", collection="never used") is False
    assert await call(kv.delete, "a", collection="one") is True
    assert await call(kv.get_all, collection="two") == {"a": {"x": 2}}


@pytest.mark.parametrize("batch_size", [1, 2, 1_000])
async def test_put_all(kv: MimirKVStore, call: Call, batch_size: int) -> None:
    """Many values are put with any batch size; of a repeated key the last counts."""
    pairs = [(str(number % 7), {"n": number}) for number in range(10)]
    await call(kv.put_all, pairs, batch_size=batch_size)
    assert await call(kv.get_all) == {str(n % 7): {"n": n} for n in range(10)}
    await call(kv.put_all, [])
    assert len(await call(kv.get_all)) == 7


def test_put_all_is_one_transaction(mimir: Mimir, kv: MimirKVStore) -> None:
    """A run is stored in as few transactions as can be: each of up to 1,024 values."""
    before = mimir.stats().commits
    kv.put_all((str(number), {"n": number}) for number in range(300))
    assert mimir.stats().commits == before + 1
    kv.put_all([(str(number), {"n": number}) for number in range(1_100)])
    assert mimir.stats().commits == before + 3
    assert len(kv.get_all()) == 1_100


@pytest.mark.parametrize("name", STRANGE, ids=ascii)
def test_any_string_is_a_name(kv: MimirKVStore, name: str) -> None:
    """Any string is a key and any string a collection."""
    kv.put(name, {"x": 1}, collection=name)
    assert kv.get(name, collection=name) == {"x": 1}
    assert kv.get_all(collection=name) == {name: {"x": 1}}
    assert kv.delete(name, collection=name)
    assert kv.get_all(collection=name) == {}


def test_names_apart(kv: MimirKVStore) -> None:
    """Names that look alike are still different keys and different collections."""
    for name in STRANGE:
        kv.put_all([(name, {"c": name[:3], "k": name[:3]}) for name in STRANGE], collection=name)
        kv.put("mine", {"c": name[-9:]}, collection=name)
    for name in STRANGE:
        assert set(kv.get_all(collection=name)) == {*STRANGE, "mine"}
        assert kv.get("mine", collection=name) == {"c": name[-9:]}


def test_names_of_digests_and_pieces(kv: MimirKVStore) -> None:
    """A key that looks like what the store itself calls long keys and pieces does not meet them."""
    long = "k" * 1_025
    digest = "#" + sha256(long.encode()).hexdigest()
    piece = "#" + sha256(b"big").hexdigest() + ".0"
    values = {long: {"n": 1}, digest: {"n": 2}, "big": BIG, piece: {"n": 3}}
    kv.put_all(list(values.items()))
    assert kv.get_all() == values
    assert [kv.get(key) for key in values] == list(values.values())
    assert kv.delete(piece)
    assert kv.get("big") == BIG


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(STRANGE[:8]) | st.text(max_size=5)
OBJECTS = st.dictionaries(st.text(), JSON, max_size=3)
STEPS = st.lists(st.tuples(NAMES, st.none() | OBJECTS), max_size=6)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One vault for many examples."""
    with create(tmp_path_factory.mktemp("kv") / "vault.mimir") as mimir:
        yield mimir


@given(steps=STEPS, pairs=st.lists(st.tuples(NAMES, OBJECTS), max_size=4))
def test_like_a_dict(
    shared: Mimir, steps: list[tuple[str, Any]], pairs: list[tuple[str, Any]]
) -> None:
    """After any puts and deletes a collection holds what a dict would."""
    kv, model = MimirKVStore(shared, ("tests", f"at{shared.stats().commits}")), {}
    for key, value in steps:
        if value is None:
            assert kv.delete(key) is (model.pop(key, None) is not None)
        else:
            kv.put(key, value)
            model[key] = value
    kv.put_all(pairs)
    model.update(pairs)
    assert kv.get_all() == model


async def test_copies(kv: MimirKVStore, call: Call) -> None:
    """Neither what was put nor what was got is the stored value itself."""
    value = {"list": [1]}
    await call(kv.put, "a", value)
    value["list"].append(2)
    (await call(kv.get, "a"))["list"].append(3)
    (await call(kv.get_all))["a"]["list"].append(4)
    assert await call(kv.get, "a") == {"list": [1]}


async def test_big_value(mimir: Mimir, kv: MimirKVStore, call: Call) -> None:
    """A value of more than 8 MiB comes back whole and leaves nothing when it goes."""
    await call(kv.put, "big", BIG)
    assert await call(kv.get, "big") == BIG
    assert await call(kv.get_all) == {"big": BIG}
    await call(kv.put, "big", {"text": "short"})
    assert await call(kv.get_all) == {"big": {"text": "short"}}
    assert mimir.stats().memories == 1
    await call(kv.put, "big", BIG)
    assert await call(kv.delete, "big")
    assert mimir.stats().memories == 0


def test_big_value_is_never_torn(mimir: Mimir) -> None:
    """A reader beside a writer sees one value of a key or the other, never a mixture."""
    kv, other = MimirKVStore(mimir), MimirKVStore(mimir)
    sizes = (9 << 20, 1, 5 << 20)
    values = [{"text": chr(97 + n) * size} for n, size in enumerate(sizes)]
    kv.put("big", values[0])
    writer = threading.Thread(target=lambda: [other.put("big", values[n % 3]) for n in range(6)])
    writer.start()
    while writer.is_alive():
        assert kv.get("big") in values
        assert kv.get_all()["big"] in values
    writer.join()


@pytest.mark.parametrize(
    ("key", "value"),
    [(7, {}), (None, {}), ("k", None), ("k", [1]), ("k", "v"), ("k", {"secretive": object()}),
     ("k", {("secretive", 1): 1})],
)  # fmt: skip
async def test_bad_input(
    mimir: Mimir, kv: MimirKVStore, call: Call, key: Any, value: Any
) -> None:
    """What cannot be kept is refused with the reason, without its content, before any write."""
    before = mimir.stats().commits
    with pytest.raises(InvalidArgument) as caught:
        await call(kv.put, key, value)
    assert "secretive" not in str(caught.value)
    with pytest.raises(InvalidArgument):
        await call(kv.put_all, [("good", {}), (key, value)])
    assert mimir.stats().commits == before


@pytest.mark.parametrize("bad", [None, 7, b"k"])
async def test_bad_names(kv: MimirKVStore, call: Call, bad: Any) -> None:
    """A key or collection that is no string is refused by every method."""
    with pytest.raises(InvalidArgument):
        await call(kv.get, bad)
    with pytest.raises(InvalidArgument):
        await call(kv.delete, bad)
    with pytest.raises(InvalidArgument):
        await call(kv.get_all, collection=bad)


def test_dates_become_text(kv: MimirKVStore) -> None:
    """What JSON does not know but has a text is kept as that."""
    kv.put("a", {"at": dt.date(2026, 11, 22), "path": Path("/tmp/x"), "set": {1}})
    assert kv.get("a") == {"at": "2026-11-22", "path": "/tmp/x", "set": [1]}


async def test_off_the_event_loop(mimir: Mimir) -> None:
    """The async methods leave the event loop's thread alone."""
    watched = Watched(mimir)
    kv = MimirKVStore(watched)  # type: ignore[arg-type]  # it does all that a Mimir does
    watched.threads.clear()
    await kv.aput("a", {"x": 1})
    await kv.aput_all([("b", {}), ("c", {})])
    assert await kv.aget("a") == {"x": 1}
    assert len(await kv.aget_all()) == 3
    assert await kv.adelete("a")
    assert watched.worked_elsewhere()
    assert {"replace", "get_many", "keys"} <= set(watched.calls)


def test_lasts(path: Path) -> None:
    """A store opened again holds what it held."""
    with create(path) as mimir:
        MimirKVStore(mimir).put_all([("a", {"x": 1}), ("big", BIG)])
    with reopen(path) as mimir:
        assert MimirKVStore(mimir).get_all() == {"a": {"x": 1}, "big": BIG}


def test_sealed(path: Path) -> None:
    """Neither keys nor collections nor values are found in any file, nor what was deleted."""
    words = ("axolotlkey", "axolotlcollection", "axolotlvalue", "axolotlfield")
    with create(path) as mimir:
        kv = MimirKVStore(mimir)
        for key in ("axolotlkey", "axolotlkey" * 300):
            kv.put(key, {"axolotlfield": "axolotlvalue"}, collection="axolotlcollection")
        kv.put("axolotlkey2", {"axolotlfield": "axolotlvalue " * 400_000})
        kv.delete("axolotlkey", collection="axolotlcollection")
    assert found_in(path.parent, *words) == {}


def test_embeddings_cache(path: Path) -> None:
    """As an embedding model's cache it spares work, and the texts that are its keys are sealed."""

    class Counting(MockEmbedding):
        count: int = 0

        def _get_text_embedding(self, text: str) -> list[float]:
            self.count += 1
            return [0.5] * self.embed_dim

    with create(path) as mimir:
        model = Counting(embed_dim=4, embeddings_cache=MimirKVStore(mimir))
        assert model.get_text_embedding("the axolotltext") == [0.5] * 4
        assert model.get_text_embedding("the axolotltext") == [0.5] * 4
        assert model.count == 1
        long = "axolotltext " * 2_000
        assert model.get_text_embedding_batch([long, "the axolotltext", long]) == [[0.5] * 4] * 3
        assert model.count == 3
    with reopen(path) as mimir:
        model = Counting(embed_dim=4, embeddings_cache=MimirKVStore(mimir))
        model.get_text_embedding(long)
        assert model.count == 0
    assert found_in(path.parent, "axolotltext") == {}


@pytest.mark.parametrize("copied", [pickle.dumps, copy.copy, copy.deepcopy])
def test_no_copies_of_the_store(kv: MimirKVStore, copied: Any) -> None:
    """A store is not pickled or copied, because its vault is open here only."""
    with pytest.raises(NotSerializable):
        copied(kv)


def test_is_a_kvstore(mimir: Mimir, kv: MimirKVStore) -> None:
    """It is a LlamaIndex store, true even when empty, and shows nothing of what it holds."""
    assert isinstance(kv, BaseKVStore)
    assert kv
    assert not hasattr(kv, "__len__")
    kv.put("axolotl", {"axolotl": "axolotl"})
    assert "axolotl" not in repr(kv) + str(vars(kv))
    assert MimirKVStore(mimir, "one label").get_all() == {}


def test_namespaces_apart(mimir: Mimir) -> None:
    """Two stores of one vault are apart by namespace, and two of one namespace are the same."""
    one, two = MimirKVStore(mimir, ("a",)), MimirKVStore(mimir, ("b",))
    one.put("k", {"x": 1})
    assert two.get("k") is None
    assert MimirKVStore(mimir, "a").get("k") == {"x": 1}
