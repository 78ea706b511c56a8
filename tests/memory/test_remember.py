"""Remembering and reading back: fields, keys, threads, edges."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from mimir_core import EdgeKind, Item, Mimir
from mimir_core.errors import NotFound

from ..vault.vaults import EMBEDDER, contents, create, everything, reopen

NOON = dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)
FIELDS = {
    "string": "häuser 🏠",
    "number": 7,
    "ratio": -0.5,
    "yes": True,
    "nothing": None,
    "day": dt.date(2024, 2, 29),
    "instant": NOON,
    "list": ["a", 1, [2.5]],
    "nested": {"b": {"c": []}},
}


def test_every_field_comes_back(mimir: Mimir) -> None:
    """A memory comes back with all that it was given."""
    id_ = mimir.remember(
        "a cat", namespace=("ana", "chat"), thread="monday", key="pet", metadata=FIELDS, time=NOON
    )
    memory = mimir.get(id_)
    assert memory.content == memory.text == "a cat"
    assert (memory.namespace, memory.thread, memory.key) == (("ana", "chat"), "monday", "pet")
    assert memory.metadata == FIELDS
    assert memory.time == NOON
    assert mimir.get(key="pet", namespace=("ana", "chat")) == memory


def test_defaults_are_now_and_the_default_namespace(mimir: Mimir) -> None:
    """A bare memory happens now, in the default namespace, in no thread."""
    before = dt.datetime.now(dt.UTC)
    memory = mimir.get(mimir.remember("a cat"))
    assert before - dt.timedelta(seconds=1) < memory.time <= dt.datetime.now(dt.UTC)
    assert (memory.namespace, memory.thread, memory.key) == (("default",), None, None)


def test_bytes_are_stored_as_they_are(mimir: Mimir) -> None:
    """Bytes come back unchanged, are no text to search, and reopen."""
    data = bytes(range(256)) * 3
    id_ = mimir.remember(data, thread="t")
    assert mimir.get(id_).content == data
    assert "\ufffd" in mimir.get(id_).text
    assert not mimir.recall("anything", k=5)
    assert [memory.id for memory in mimir.thread("t")] == [id_]
    assert mimir.verify().ok


def test_what_is_stored_does_not_follow_the_callers_objects(mimir: Mimir) -> None:
    """Changing a metadata dict after the call changes nothing in the vault."""
    metadata = {"list": [1]}
    id_ = mimir.remember("a cat", metadata=metadata)
    metadata["list"].append(2)
    assert mimir.get(id_).metadata == {"list": [1]}
    assert [m.id for m in mimir.memories(namespace="default", where={"list": [1]})] == [id_]


def test_a_new_value_erases_the_old(mimir: Mimir) -> None:
    """A keyed memory supersedes the one before it, whose content is gone while its node stays."""
    old = mimir.remember("blue", key="colour")
    new = mimir.remember("green", key="colour")
    assert mimir.get(key="colour").id == new
    with pytest.raises(NotFound):
        mimir.get(old)
    (ancestor,) = mimir.lineage(new).ancestors
    assert (ancestor.id, ancestor.edges, ancestor.erased) == (old, (EdgeKind.SUPERSEDES,), True)
    assert not mimir.recall("blue", mode="lexical")
    assert mimir.verify().ok


def test_history_is_kept_when_asked_for(mimir: Mimir) -> None:
    """With `keep_history` the superseded memory stays readable, but the key names the newest."""
    old = mimir.remember("blue", key="colour")
    new = mimir.remember("green", key="colour", keep_history=True)
    assert mimir.get(key="colour").id == new
    assert mimir.get(old).text == "blue"
    assert not mimir.lineage(new).ancestors[0].erased


def test_forgetting_a_key_forgets_its_history(mimir: Mimir, path: Path) -> None:
    """Forgetting by key leaves no older value of it that would come back."""
    values = [mimir.remember(word, key="k", keep_history=True) for word in ("one", "two", "six")]
    other = mimir.remember("else", key="other", derived_from=[values[0]])
    assert set(mimir.forget(key="k").ids) == set(values)
    with pytest.raises(NotFound):
        mimir.get(key="k")
    assert mimir.get(other).text == "else"
    mimir.close()
    with reopen(path) as again:
        assert list(contents(again)) == [other]


def test_a_key_is_unique_within_its_namespace_only(mimir: Mimir) -> None:
    """The same key in two namespaces names two memories."""
    mimir.remember("blue", key="colour", namespace="ana")
    mimir.remember("green", key="colour", namespace="ben")
    assert mimir.get(key="colour", namespace="ana").text == "blue"
    assert mimir.get(key="colour", namespace="ben").text == "green"
    with pytest.raises(NotFound):
        mimir.get(key="colour")


def test_a_thread_is_ordered_and_follows(mimir: Mimir) -> None:
    """Memories of a thread follow each other in the order they were remembered."""
    ids = [mimir.remember(f"turn {n}", thread="t", time=100 - n) for n in range(5)]
    ids += mimir.remember_many([Item(f"turn {n}", thread="t") for n in range(5, 9)])
    assert [memory.id for memory in mimir.thread("t")] == ids
    ancestors = mimir.lineage(ids[-1]).ancestors
    assert [relative.id for relative in ancestors] == ids[-2::-1]
    assert {relative.edges for relative in ancestors} == {(EdgeKind.FOLLOWS,)}
    assert mimir.threads() == {"t": 9}
    assert mimir.thread("t", namespace="other") == []


def test_threads_of_one_name_in_two_namespaces_are_two(mimir: Mimir) -> None:
    """A thread's name belongs to its namespace."""
    mimir.remember("one", thread="t", namespace="ana")
    second = mimir.remember("two", thread="t", namespace="ben")
    assert [memory.id for memory in mimir.thread("t", namespace="ben")] == [second]
    assert mimir.lineage(second).ancestors == ()


def test_a_thread_goes_on_after_its_last_turn_was_forgotten(mimir: Mimir) -> None:
    """A new turn follows the forgotten head, so that the thread stays one."""
    first, second = (mimir.remember(word, thread="t") for word in ("one", "two"))
    mimir.forget(second)
    third = mimir.remember("three", thread="t")
    assert [memory.id for memory in mimir.thread("t")] == [first, third]
    assert [relative.id for relative in mimir.lineage(third).ancestors] == [second, first]


def test_lineage_goes_both_ways(mimir: Mimir) -> None:
    """Lineage names what a memory was made from and what was made from it, with distances."""
    a, b = (mimir.remember(word) for word in ("one", "two"))
    summary = mimir.remember("both", derived_from=[b, a, b])
    fact = mimir.remember("fact", derived_from=[summary])
    lineage = mimir.lineage(summary)
    assert {(r.id, r.distance, r.edges) for r in lineage.ancestors} == {
        (a, 1, (EdgeKind.DERIVES,)),
        (b, 1, (EdgeKind.DERIVES,)),
    }
    assert [(r.id, r.distance) for r in lineage.descendants] == [(fact, 1)]
    assert [r.id for r in mimir.lineage(a).descendants] == [summary, fact]


def test_a_vector_made_elsewhere_is_used(mimir: Mimir) -> None:
    """A vector that comes with the text stands for it in dense recall."""
    vector = EMBEDDER.embed_query("penguin")
    id_ = mimir.remember("a bird that swims", vector=vector)
    mimir.remember("a cat")
    assert mimir.recall("penguin", mode="dense", k=1)[0].id == id_


def test_a_large_batch_spans_transactions_and_reports_progress(mimir: Mimir) -> None:
    """More than 2,048 memories take several transactions, each reported, in order."""
    seen: list[tuple[int, int]] = []
    ids = mimir.remember_many(
        [Item(f"number {n}", thread=f"t{n % 3}") for n in range(2_100)],
        lambda done, total: seen.append((done, total)),
    )
    assert seen == [(2_048, 2_100), (2_100, 2_100)]
    assert len(set(ids)) == 2_100
    assert [memory.id for memory in mimir.thread("t1")] == ids[1::3]
    assert mimir.stats().memories == 2_100


def test_an_empty_batch_writes_nothing(mimir: Mimir) -> None:
    """No items, no commit."""
    commits = mimir.stats().commits
    assert mimir.remember_many([]) == []
    assert mimir.stats().commits == commits


def test_everything_survives_reopening(mimir: Mimir, path: Path) -> None:
    """What a caller sees is the same after close and open, and after a second handle wrote."""
    ids = [
        mimir.remember(f"cat {n}", thread="t", namespace=("a", "b"), metadata={"n": n}, time=n)
        for n in range(20)
    ]
    mimir.remember("made", derived_from=ids[:3], namespace=("a",))
    mimir.forget(ids[4:6])
    before = everything(mimir)
    mimir.close()
    with reopen(path) as second, reopen(path) as third:
        assert everything(second) == before
        fresh = third.remember("cat again", thread="t", namespace=("a", "b"))
        assert [m.id for m in second.thread("t", namespace=("a", "b"))][-1] == fresh
        assert everything(second) == everything(third)


def test_statistics_count(mimir: Mimir) -> None:
    """Statistics count memories, erased ones, namespaces, vectors and commits."""
    mimir.remember("one", namespace="ana")
    id_ = mimir.remember("two", namespace="ben")
    mimir.remember(b"three", namespace="ben")
    mimir.forget(id_)
    stats = mimir.stats()
    assert (stats.memories, stats.erased, stats.namespaces) == (2, 1, 2)
    assert sum(stats.vectors.values()) == 2
    assert (stats.vectors_lost, stats.tail) == (0, 3)
    assert mimir.namespaces() == {("ana",): 1, ("ben",): 1}
    mimir.checkpoint()
    assert mimir.stats().tail == 0
    assert mimir.stats().commits > stats.commits


@pytest.mark.parametrize("size", [1, 16_000, 16_256, 40_000, 8 << 20])
def test_texts_of_every_size_come_back(folder: Path, size: int) -> None:
    """From one byte to 8 MiB, across block boundaries."""
    text = "x" * size
    vector = np.ones(32, np.float32)
    with create(folder / "v.mimir") as mimir:
        id_ = mimir.remember(text, vector=vector)
        assert mimir.get(id_).text == text
    with reopen(folder / "v.mimir") as mimir:
        assert mimir.get(id_).text == text
        mimir.forget(id_)
        assert mimir.verify().ok
