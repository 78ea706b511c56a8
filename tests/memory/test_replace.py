"""Storing and forgetting in one transaction, attachments, and reading by many keys."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimir_core import Item, Mimir
from mimir_core.errors import DuplicateKey, InputError, InvalidArgument, NotFound
from mimir_core.intake import BATCH

from ..vault.vaults import EMBEDDER, contents, create, reopen


def test_new_and_old_change_places_in_one_commit(mimir: Mimir, path: Path) -> None:
    """The old thread goes and the new one stands, in a single commit; others are untouched."""
    mimir.remember_many([Item(f"old {n}", thread="t") for n in range(4)])
    kept = mimir.remember("kept", thread="other")
    commits = mimir.stats().commits
    ids = mimir.replace([Item(f"new {n}", thread="t") for n in range(3)], thread="t")
    assert mimir.stats().commits == commits + 1
    assert [memory.id for memory in mimir.thread("t")] == ids
    assert set(contents(mimir)) == {kept, *ids}
    assert not mimir.recall("old", mode="lexical")
    mimir.close()
    with reopen(path) as again:
        assert [memory.text for memory in again.thread("t")] == ["new 0", "new 1", "new 2"]


@pytest.mark.parametrize("selection", ["ids", "keys", "namespace", "where"])
def test_every_selection_of_forget_selects(mimir: Mimir, selection: str) -> None:
    """What is replaced may be named by ids, keys, namespace or filter."""
    old = mimir.remember("old", key="k", namespace="n", metadata={"stale": True})
    choices: dict[str, dict[str, Any]] = {
        "ids": {"ids": [old]},
        "keys": {"keys": ["k", "nobody"], "namespace": "n"},
        "namespace": {"namespace": "n"},
        "where": {"namespace": "n", "where": {"stale": True}},
    }
    (new,) = mimir.replace([Item("new", namespace="m")], **choices[selection])
    assert set(contents(mimir)) == {new}


def test_replacing_by_nothing_forgets(mimir: Mimir) -> None:
    """Without items it is a forget; without anything to forget, a remember."""
    old = mimir.remember("old")
    assert mimir.replace([], ids=[old]) == []
    assert not contents(mimir)
    assert set(mimir.replace([Item("new")], ids=[])) == set(contents(mimir))


def test_more_than_a_batch_is_still_one_commit(mimir: Mimir) -> None:
    """Vectors made in pieces belong to the right memories."""
    commits = mimir.stats().commits
    items = [Item(f"word{n}" if n % 2 else b"bytes") for n in range(BATCH + 40)]
    ids = mimir.replace(items, ids=[])
    assert mimir.stats().commits == commits + 1
    for n in (1, BATCH - 1, BATCH + 39):
        assert mimir.recall(f"word{n}", mode="dense", k=1)[0].id == ids[n]


def test_a_refused_replacement_changes_nothing(mimir: Mimir) -> None:
    """A bad item, an unknown id, a doubled key or no selection at all: nothing is written."""
    old = mimir.remember("old")
    before, commits = contents(mimir), mimir.stats().commits
    bad: list[tuple[type[Exception], list[Any], dict[str, Any]]] = [
        (InputError, [Item("fine"), Item("")], {"ids": [old]}),
        (InputError, ["text"], {"ids": [old]}),
        (NotFound, [Item("fine")], {"ids": [old, "0" * 64]}),
        (DuplicateKey, [Item("a", key="k"), Item("b", key="k")], {"ids": [old]}),
        (InvalidArgument, [Item("fine")], {}),
        (InvalidArgument, [Item("fine")], {"keys": "k"}),
        (InvalidArgument, [Item("fine")], {"keys": ["k"], "ids": [old]}),
        (InvalidArgument, [Item("fine")], {"keys": ["k"], "where": {"n": 1}}),
        (InvalidArgument, [Item("fine")], {"namespace": "default", "where": {}}),
    ]
    for error, items, selection in bad:
        with pytest.raises(error):
            mimir.replace(items, **selection)
    with patch.object(EMBEDDER, "embed_documents", side_effect=KeyError), pytest.raises(KeyError):
        mimir.replace([Item("fine")], ids=[old])
    assert contents(mimir) == before
    assert mimir.stats().commits == commits


def test_keys_that_nobody_has_are_passed_over(mimir: Mimir) -> None:
    """Forgetting many keys forgets those that exist, with what they superseded."""
    first = mimir.remember("one", key="k")
    second = mimir.remember("two", key="k", keep_history=True)
    other = mimir.remember("other", key="l")
    assert set(mimir.forget(keys=["k", "nobody", "l"]).ids) == {first, second, other}
    assert mimir.forget(keys=["k"]).count == 0
    assert mimir.forget(keys=[]).count == 0


def test_an_attachment_comes_back_and_is_not_searched(mimir: Mimir, path: Path) -> None:
    """An attachment is sealed beside the text, found by no search, gone with the text."""
    id_ = mimir.remember("a cat", attachment=b'{"secret": "zebra"}', metadata={"n": 1})
    empty = mimir.remember("a dog", attachment=b"")
    assert mimir.get(id_).attachment == b'{"secret": "zebra"}'
    assert mimir.get(empty).attachment == b""
    assert mimir.get(mimir.remember("a bird")).attachment is None
    assert mimir.recall("cat")[0].memory.attachment == mimir.get(id_).attachment
    assert not mimir.recall("zebra", mode="lexical")
    mimir.close()
    assert b"zebra" not in path.read_bytes()
    with reopen(path) as again:
        assert again.get(id_).attachment == b'{"secret": "zebra"}'
        assert again.verify().ok
        again.forget(id_)
        with pytest.raises(NotFound):
            again.get(id_)


def test_many_are_read_at_once(mimir: Mimir) -> None:
    """By ids or by keys, in the order asked for, None for what there is not."""
    ids = mimir.remember_many([Item(f"n{n}", key=f"k{n}", namespace="n") for n in range(4)])
    mimir.forget(ids[2])
    found = mimir.get_many(keys=["k3", "k2", "nobody", "k0", "k3"], namespace="n")
    assert [m and m.id for m in found] == [ids[3], None, None, ids[0], ids[3]]
    found = mimir.get_many([ids[1], "0" * 64, ids[2]])
    assert [m and m.id for m in found] == [ids[1], None, None]
    assert mimir.get_many([]) == mimir.get_many(keys=[]) == []
    with pytest.raises(InvalidArgument):
        mimir.get_many()


def test_keys_are_listed_in_the_order_stored(mimir: Mimir) -> None:
    """The keys of a namespace, of those below it on request, and of nobody else."""
    for namespace, key in ((("a",), "x"), (("a", "b"), "y"), (("ab",), "z"), (("a",), "w")):
        mimir.remember("text", namespace=namespace, key=key)
    mimir.remember("no key", namespace="a")
    mimir.remember("again", namespace="a", key="x")
    assert mimir.keys(namespace="a") == ["w", "x"]
    assert mimir.keys(namespace="a", descendants=True) == ["y", "w", "x"]
    assert mimir.keys() == []


def test_the_last_of_a_thread(mimir: Mimir) -> None:
    """The newest n memories of a thread, oldest first."""
    ids = [mimir.remember(f"turn {n}", thread="t") for n in range(5)]
    for last in (0, 1, 3, 5, 9):
        newest = mimir.thread("t", last=last)
        assert [memory.id for memory in newest] == ids[max(5 - last, 0) :]
    with pytest.raises(InvalidArgument):
        mimir.thread("t", last=-1)


@settings(max_examples=15)
@given(st.lists(st.tuples(st.sets(st.integers(0, 9)), st.sets(st.integers(0, 9))), max_size=8))
def test_replacements_equal_a_dict(steps: list[tuple[set[int], set[int]]]) -> None:
    """Any run of replacements by key leaves what a plain dict would hold."""

    oracle: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder, create(Path(folder) / "v.mimir") as mimir:
        for number, (put, drop) in enumerate(steps):
            items = [Item(f"{n} {number}", key=str(n), namespace="n") for n in sorted(put)]
            mimir.replace(items, keys=[str(n) for n in drop], namespace="n")
            for n in drop:
                oracle.pop(str(n), None)
            oracle |= {str(item.key): str(item.content) for item in items}
        assert {str(m.key): m.text for m in mimir.memories(namespace="n")} == oracle
        assert mimir.verify().ok
