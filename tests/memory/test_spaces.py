"""Vectors of several models in one vault: shared handles, apart by namespace, never mixed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mimir_core import FunctionEmbedder, Item, Mimir
from mimir_core.embedding import HashEmbedder
from mimir_core.errors import LimitExceeded, NotFound, SpaceMismatch, VaultClosed, VectorsLost
from mimir_core.vault.layout import Stream

from ..vault.raw import flip
from ..vault.vaults import EMBEDDER, create, everything, reopen, state_of

SMALL = FunctionEmbedder("six", lambda texts: [_six(text) for text in texts], dimension=6)


def _six(text: str) -> list[float]:
    vector: list[float] = (HashEmbedder(6).embed_query(text) * 3).tolist()
    return vector


def test_two_models_share_a_vault_apart_by_namespace(mimir: Mimir, path: Path) -> None:
    """Each handle finds its own namespace by its own vectors, after reopening too."""
    other = mimir.with_embedder(SMALL)
    mine = mimir.remember("a cat on the router", namespace="mine")
    theirs = other.remember("a cat on the router", namespace="theirs")
    for handle in (mimir, other):
        assert set(handle.stats().vectors.values()) == {1}
        assert [memory.id for memory in handle.memories()] == [mine, theirs]
    assert other.embedder is SMALL
    seen = everything(mimir)
    mimir.close()
    with reopen(path) as again:
        assert everything(again) == seen
        assert again.recall("cat", mode="dense", namespace="mine")[0].id == mine
        found = again.with_embedder(SMALL).recall("cat", mode="dense", namespace="theirs")
        assert found[0].id == theirs
        assert again.verify().ok


def test_a_namespace_holds_vectors_of_one_model(mimir: Mimir) -> None:
    """Writing or searching another model's namespace is refused; its words can be searched."""
    other = mimir.with_embedder(SMALL)
    mimir.remember("a cat", namespace="mine")
    other.remember("a dog", namespace="theirs")
    commits = mimir.stats().commits
    for handle, namespace in ((other, "mine"), (mimir, "theirs")):
        with pytest.raises(SpaceMismatch):
            handle.remember("a bird", namespace=namespace)
        for mode in ("dense", "hybrid"):
            with pytest.raises(SpaceMismatch):
                handle.recall("cat dog", namespace=namespace, mode=mode)
        assert handle.recall("cat dog", namespace=namespace, mode="lexical")
    assert mimir.stats().commits == commits


def test_a_search_across_models_is_refused(mimir: Mimir) -> None:
    """A scope with vectors of two models has no common score; filters narrow it to one."""
    mimir.remember("a cat", namespace=("home", "a"), metadata={"n": 1})
    mimir.with_embedder(SMALL).remember("a cat", namespace=("home", "b"), metadata={"n": 2})
    with pytest.raises(SpaceMismatch):
        mimir.recall("cat", namespace="home", descendants=True)
    (hit,) = mimir.recall("cat", namespace="home", descendants=True, where={"n": 1})
    assert hit.memory.namespace == ("home", "a")


def test_a_namespace_changes_its_model_when_all_of_it_is_replaced(mimir: Mimir) -> None:
    """Replacing every memory of a namespace by another model's is one transaction."""
    mimir.remember_many([Item(f"cat {n}", namespace="n") for n in range(3)])
    items = [Item(memory.content, namespace="n") for memory in mimir.memories(namespace="n")]
    other = mimir.with_embedder(SMALL)
    ids = other.replace(items, namespace="n")
    assert {hit.id for hit in other.recall("cat", namespace="n")} == set(ids)
    with pytest.raises(SpaceMismatch):
        mimir.recall("cat", namespace="n")


def test_handles_close_together(mimir: Mimir) -> None:
    """Closing one handle closes the vault for all of them."""
    other = mimir.with_embedder(SMALL)
    other.close()
    with pytest.raises(VaultClosed):
        mimir.stats()


def test_a_vault_has_room_for_sixteen_models(mimir: Mimir) -> None:
    """The seventeenth model is refused and nothing of it is written."""
    for n in range(16):
        mimir.with_embedder(HashEmbedder(n + 1)).remember("a cat", namespace=f"n{n}")
    with pytest.raises(LimitExceeded):
        mimir.with_embedder(HashEmbedder(99)).remember("a cat", namespace="one more")
    assert mimir.stats().memories == 16


def test_bytes_need_no_model(mimir: Mimir) -> None:
    """Storing and reading bytes and words never asks the embedder for anything."""

    def fail(texts: list[str]) -> list[list[float]]:
        raise AssertionError("asked to embed")

    handle = mimir.with_embedder(FunctionEmbedder("never", fail))
    handle.remember(b"", key="k")
    assert handle.get(key="k").content == b""
    mimir.remember("a cat")
    assert handle.recall("cat", mode="lexical")


def test_each_model_repairs_its_own_vectors(path: Path) -> None:
    """Re-embedding mends the handle's own model and leaves the texts of others to theirs."""
    with create(path) as mimir:
        mimir.remember_many([Item(f"cat {n}", namespace="mine") for n in range(5)])
        other = mimir.with_embedder(SMALL)
        other.remember_many([Item(f"dog {n}", namespace="theirs") for n in range(7)])
        numbers = state_of(mimir).container._numbers
        blocks = numbers[Stream.VECTORS, 0], numbers[Stream.VECTORS + 1, 0]
    for block in blocks:
        flip(path, block)
    with reopen(path) as mimir:
        other = mimir.with_embedder(SMALL)
        with pytest.raises(VectorsLost):
            mimir.recall("cat", namespace="mine")
        assert other.reembed() == 12  # nothing says any more which model a text had
        with pytest.raises(SpaceMismatch):
            mimir.recall("cat", namespace="mine")
    with create(path.with_name("second.mimir")) as mimir:
        mimir.remember_many([Item(f"cat {n}", namespace="mine") for n in range(5)])
        mimir.with_embedder(SMALL).remember("dog", namespace="theirs")
        block = state_of(mimir).container._numbers[Stream.VECTORS, 0]
    flip(path.with_name("second.mimir"), block)
    with reopen(path.with_name("second.mimir")) as mimir:
        other = mimir.with_embedder(SMALL)
        assert other.reembed() == 0
        assert mimir.reembed() == 5
        assert len(mimir.recall("cat", namespace="mine", k=9)) == 5
        assert len(other.recall("dog", namespace="theirs", k=9)) == 1
        assert mimir.verify().ok


def test_the_nearest_of_several_vectors_counts(mimir: Mimir) -> None:
    """A memory with many vectors is as near as its nearest, and found once."""
    parts = EMBEDDER.embed_documents(["penguin", "tractor", "violin"])
    several = mimir.remember("three things", vector=parts)
    others = mimir.remember_many([Item(f"cat {n}") for n in range(40)])
    for word in ("penguin", "tractor", "violin"):
        hits = mimir.recall(word, mode="dense", k=41)
        assert hits[0].id == several
        assert hits[0].score == pytest.approx(1, abs=0.02)
        assert sorted(hit.id for hit in hits) == sorted([several, *others])
    np.testing.assert_allclose(mimir.vectors([several])[0], parts[0], atol=0.02)
    mimir.forget(several)
    assert several not in {hit.id for hit in mimir.recall("penguin", mode="dense", k=41)}


def test_many_vectors_a_memory_leave_no_memory_out(mimir: Mimir) -> None:
    """However many rows the best memories fill, k memories are found."""
    near = EMBEDDER.embed_documents([f"penguin {n}" for n in range(60)])
    mimir.remember_many([Item(f"m{n}", vector=near) for n in range(20)])
    mimir.remember_many([Item(f"tractor {n}") for n in range(40)])
    assert len(mimir.recall("penguin", mode="dense", k=50)) == 50


def test_vectors_come_back_as_stored(mimir: Mimir) -> None:
    """Stored vectors are the embedder's up to their rounding; what has none is said to."""
    ids = mimir.remember_many([Item("a cat"), Item("two dogs")])
    found = mimir.vectors([ids[1], ids[0]])
    wanted = EMBEDDER.embed_documents(["two dogs", "a cat"])
    np.testing.assert_allclose(found, wanted, atol=0.01)
    assert mimir.vectors([]).shape[0] == 0
    plain = mimir.remember(b"bytes")
    for bad in (plain, "0" * 64):
        with pytest.raises(NotFound):
            mimir.vectors([ids[0], bad])
    with pytest.raises(NotFound):
        mimir.with_embedder(SMALL).vectors(ids)
