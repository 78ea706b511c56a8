"""MimirStore in its vault: restarts, no plaintext at rest, users apart, threads and processes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from langgraph.store.base import GetOp, PutOp, SearchOp

from mimir_core import Mimir
from mimir_core.errors import NotFound, VaultBusy, VaultClosed
from mimir_langchain import MimirStore

from ..vault.scan import scan, text_forms
from ..vault.vaults import create, reopen

PLACE = ("users", "ana")
ROOT = Path(__file__).parents[2]


def snapshot(store: MimirStore) -> dict[str, Any]:
    """All that a store shows, without renewing anything."""
    items = store.search((), limit=1_000, refresh_ttl=False)
    ranked = store.search((), query="the cat", limit=1_000, refresh_ttl=False)
    return {
        "items": [item.dict() for item in items],
        "ranked": [item.dict() for item in ranked],
        "namespaces": store.list_namespaces(limit=1_000),
    }


def test_everything_is_there_after_a_restart(path: Path) -> None:
    """Items, times, order, scores, namespaces and what is left of a time to live survive."""
    with create(path) as mimir:
        store = MimirStore(mimir)
        for n in range(30):
            store.put(("users", f"u{n % 3}\n"), f"k{n}", {"text": f"the cat {n}"}, ttl=n or None)
        store.put(("users", "u0\n"), "k0", {"text": "again"}, index=False)
        store.delete(("users", "u1\n"), "k1")
        before = snapshot(store)
    with reopen(path) as mimir:
        assert snapshot(MimirStore(mimir)) == before
        assert len(before["items"]) == 29


def test_no_word_stands_in_the_file(folder: Path) -> None:
    """Labels, keys, values, fields, filters and queries are in no byte on disk, open or closed."""
    words = ["Quetzalcoatlus", "zirconiumfactory", "unicyclefield", "passportkeyname", "Rumpel"]
    needles = {word: text_forms(word) for word in words}
    place, key = ("Rumpel\n", "passportkeyname"), f"passportkeyname{'x' * 2_000}"
    value = {"unicyclefield": "zirconiumfactory", "text": "the Quetzalcoatlus flew"}
    mimir = create(folder / "v")
    store = MimirStore(mimir)
    store.put(place, key, value, ttl=5)
    store.put(place, "passportkeyname", value, index=False)
    store.search((), query="Quetzalcoatlus", filter={"unicyclefield": "zirconiumfactory"})
    store.put(place, "passportkeyname", {"unicyclefield": "else"})
    assert scan(folder, needles) == {}
    mimir.close()
    assert scan(folder, needles) == {}


def test_users_of_one_vault_are_apart(path: Path) -> None:
    """Nothing of one user's namespace is found below another's, by any read."""
    with create(path) as mimir:
        store = MimirStore(mimir)
        for user in ("ana", "anabel", "bo"):
            text = f"the secret of {user}"
            store.put(("users", user, "facts"), "k", {"text": text, "user": user})
        for user in ("ana", "anabel", "bo"):
            place = ("users", user)
            for found in (
                store.search(place, limit=100),
                store.search(place, query="the secret of bo ana anabel", limit=100),
                store.search(place, filter={"user": {"$ne": "nobody"}}, limit=100),
            ):
                assert [item.value["user"] for item in found] == [user]
            assert store.list_namespaces(prefix=place) == [(*place, "facts")]


def test_a_delete_leaves_nothing(folder: Path) -> None:
    """After a delete the vault has no memory of the item, its lease or its vectors."""
    with create(folder / "v") as mimir:
        store = MimirStore(mimir)
        store.put(PLACE, "k", {"text": "cat"}, ttl=5)
        store.delete(PLACE, "k")
        store.delete(PLACE, "k")
        assert mimir.stats().memories == 0
        assert store.search((), query="cat") == []


def test_a_write_that_fails_leaves_all_as_it_was(mimir: Mimir) -> None:
    """Where the vault refuses, the whole batch has not happened."""
    store = MimirStore(mimir)
    store.put(PLACE, "old", {"n": 1}, ttl=5)
    with (
        patch.object(Mimir, "replace", side_effect=VaultBusy("another writer")),
        pytest.raises(VaultBusy),
    ):
        store.batch([PutOp(PLACE, "new", {}), PutOp(PLACE, "old", None)])
    assert [item.key for item in store.search(())] == ["old"]


def test_a_delete_is_repeated_when_another_was_faster(mimir: Mimir) -> None:
    """What another store deletes or writes between looking and erasing makes no error."""
    store, other = MimirStore(mimir), MimirStore(mimir)
    store.put(PLACE, "a", {"n": 1})
    store.put(PLACE, "b", {"n": 1})
    replace, calls = Mimir.replace, []

    def late(self: Mimir, *args: Any, **kwargs: Any) -> list[str]:
        if not calls:
            calls.append(1)
            other.delete(PLACE, "a")
            other.put(PLACE, "b", {"n": 2})
        return replace(self, *args, **kwargs)

    with patch.object(Mimir, "replace", late):
        store.batch([PutOp(PLACE, "a", None), PutOp(PLACE, "b", None)])
    assert store.search(()) == []


def test_it_gives_up_in_the_end(mimir: Mimir) -> None:
    """A vault that always changes in between ends in an error, not in a loop."""
    store = MimirStore(mimir)
    store.put(PLACE, "a", {})
    with (
        patch.object(Mimir, "replace", side_effect=NotFound("no such memory")),
        pytest.raises(NotFound),
    ):
        store.delete(PLACE, "a")


def test_a_closed_vault_says_so(mimir: Mimir) -> None:
    """After closing the vault every operation raises VaultClosed."""
    store = MimirStore(mimir)
    mimir.close()
    for operation in (
        lambda: store.put(PLACE, "k", {}),
        lambda: store.get(PLACE, "k"),
        lambda: store.search((), query="x"),
        store.list_namespaces,
        store.sweep_ttl,
    ):
        with pytest.raises(VaultClosed):
            operation()


def test_threads_and_stores_share_a_vault(mimir: Mimir) -> None:
    """Writers and readers of several stores on many threads lose nothing and mix nothing."""
    stores = [MimirStore(mimir) for _ in range(3)]

    def work(n: int) -> None:
        store = stores[n % 3]
        place = ("t", str(n % 4))
        store.put(place, str(n), {"n": n, "text": f"cat {n}"})
        assert store.get(place, str(n)).value["n"] == n
        assert all(item.namespace == place for item in store.search(place, query=f"cat {n}"))
        if n % 5 == 0:
            store.delete(place, str(n))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(120)))
    left = {int(item.key) for item in stores[0].search((), limit=1_000)}
    assert left == {n for n in range(120) if n % 5}


async def test_tasks_give_what_a_sequence_gives(folder: Path) -> None:
    """Fifty concurrent tasks leave the same items, and read the same, as one after the other."""
    with create(folder / "one") as one, create(folder / "other") as other:
        store, sequential = MimirStore(one), MimirStore(other)
        values = {str(n): {"text": f"cat number {n}", "n": n} for n in range(50)}
        await asyncio.gather(*(store.aput(PLACE, key, value) for key, value in values.items()))
        for key, value in values.items():
            sequential.put(PLACE, key, value)
        queries = [f"number {n}" for n in range(50)]
        found = await asyncio.gather(*(store.asearch(PLACE, query=q, limit=3) for q in queries))
        expected = [sequential.search(PLACE, query=q, limit=3) for q in queries]
        assert [[i.score for i in page] for page in found] == [
            [i.score for i in page] for page in expected
        ]
        items = await store.asearch(PLACE, limit=100)
        assert {item.key: item.value for item in items} == values
        await asyncio.gather(*(store.adelete(PLACE, key) for key in values))
        assert await store.alist_namespaces() == []


WRITER = """
import sys
from pathlib import Path
from mimir_langchain import MimirStore
from tests.vault.vaults import reopen

with reopen(Path(sys.argv[1])) as mimir:
    store = MimirStore(mimir)
    print("ready", flush=True)
    for n in range(int(sys.argv[3])):
        store.put((sys.argv[2],), str(n), {"text": f"cat {n}", "by": sys.argv[2]})
        store.put(("both",), "shared", {"by": sys.argv[2], "n": n}, ttl=5)
        store.get(("both",), "shared")
        if n % 4 == 3:
            store.delete((sys.argv[2],), str(n))
"""


def test_processes_share_a_vault(path: Path) -> None:
    """Two processes that put, renew and delete at once lose nothing, and a third sees it all."""
    create(path).close()
    command = [sys.executable, "-c", WRITER, str(path)]
    start: Callable[[str], subprocess.Popen[bytes]] = lambda name: subprocess.Popen(  # noqa: E731
        [*command, name, "16"], cwd=ROOT, stdout=subprocess.PIPE
    )
    with reopen(path) as mimir:
        store = MimirStore(mimir)
        writers = [start("one"), start("two")]
        while any(writer.poll() is None for writer in writers):
            for item in store.search(("one",), query="cat", limit=50):
                assert item.value["by"] == "one"
        assert [writer.wait() for writer in writers] == [0, 0]
        for writer in writers:
            writer.communicate()
        kept = {str(n) for n in range(16) if n % 4 != 3}
        for name in ("one", "two"):
            assert {item.key for item in store.search((name,), limit=100)} == kept
        assert store.get(("both",), "shared").value["n"] == 15
        assert len(store.search(("both",))) == 1


def test_values_are_json_in_the_vault(mimir: Mimir) -> None:
    """A store's items are ordinary memories: the text that is indexed, and the value beside it."""
    store = MimirStore(mimir, index={"fields": ["text"]})
    store.put(PLACE, "k", {"text": "the cat", "n": 1})
    store.put(PLACE, "plain", {"n": 2}, index=False)
    place = ("langgraph", "store", *PLACE)
    memory, plain = mimir.get(key="k", namespace=place), mimir.get(key="plain", namespace=place)
    assert memory.content == "the cat"
    assert json.loads(memory.attachment or b"") == ["k", {"text": "the cat", "n": 1}]
    assert json.loads(plain.content) == ["plain", {"n": 2}]
    assert mimir.recall("cat", namespace=place)[0].id == memory.id


def test_results_of_a_batch_stand_in_its_order(mimir: Mimir) -> None:
    """Each result stands where its operation stood; an empty batch has none."""
    store = MimirStore(mimir)
    store.put(PLACE, "k", {"n": 1})
    ops = [PutOp(PLACE, "x", {}), SearchOp(PLACE), GetOp(PLACE, "k"), GetOp(PLACE, "none")]
    kinds = [type(each).__name__ for each in store.batch(ops)]
    assert kinds == ["NoneType", "list", "Item", "NoneType"]
    assert store.batch([]) == []
    assert asyncio.run(store.abatch(iter([GetOp(PLACE, "k")])))[0].value == {"n": 1}
