"""Vectors lost to damage: what is missing is said until it is there again, whoever repairs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimir_core import Item, Mimir
from mimir_core.embedding import Embedder, HashEmbedder
from mimir_core.errors import SpaceMismatch, VectorsLost
from mimir_core.index.columns import ERASED, quantize
from mimir_core.intake import check_items, space_digest
from mimir_core.vault.edit import Edit
from mimir_core.vault.layout import Stream
from mimir_core.vault.write import NewVectors, Staged, stage_vectors

from .autopsy import autopsy
from .raw import flip, read_blocks, write_blocks
from .scan import scan
from .vaults import EMBEDDER, FAST, MEMORY_FOLDER, PASSPHRASE, create, reopen, state_of

OTHER = HashEmbedder(64)
LONG, LONGER = HashEmbedder(1_000), HashEmbedder(1_100)
"""Of LONG 16 vectors fill a block, of LONGER 14."""


class Interrupted(HashEmbedder):
    """The embedder of these vaults, during whose first work something else happens."""

    def __init__(self, work: Callable[[], object]) -> None:
        super().__init__(EMBEDDER.space.dimension)
        self._work: Callable[[], object] | None = work

    def embed_documents(self, texts: Sequence[str]) -> np.ndarray:
        work, self._work = self._work, None
        if work is not None:
            work()
        return super().embed_documents(texts)


def opened(path: Path, embedder: Embedder) -> Mimir:
    """The vault, with that embedder."""
    return Mimir.open(path, PASSPHRASE, embedder=embedder, profile=FAST)


def block(mimir: Mimir, index: int = 0, space: int = 0) -> int:
    """The number of a vector block."""
    number: int = state_of(mimir).container._numbers[Stream.VECTORS + space, index]
    return number


def turns(path: Path, count: int = 5) -> tuple[list[str], int]:
    """Fills a new vault; gives the ids, and the number of its vector block."""
    with create(path) as mimir:
        return mimir.remember_many([Item(f"turn {n}") for n in range(count)]), block(mimir)


def add_rows(path: Path, embedder: HashEmbedder, owners: Sequence[int], text: str) -> None:
    """Writes rows with a text's vector for these ordinals, whatever they have already."""
    codes, scales = quantize(embedder.embed_documents([text] * len(owners)))
    fresh = NewVectors(space_digest(embedder.space), codes, scales, np.array(owners, np.int64))
    with reopen(path) as mimir:
        with mimir._vault.exclusive() as state:
            edit, staged = Edit(state.container), Staged(state.root)
            stage_vectors(edit, staged, fresh, first=0)
            edit.commit(staged.root)
        mimir._vault._state = None  # which knows nothing of that commit


def found(mimir: Mimir, namespace: str = "default") -> set[str]:
    """The ids that a dense recall finds, each of them once."""
    ids = [hit.id for hit in mimir.recall("turn", mode="dense", namespace=namespace, k=100)]
    assert len(set(ids)) == len(ids)
    return set(ids)


@pytest.mark.parametrize("shared", [True, False])
def test_two_repairs_at_once_store_each_vector_once(path: Path, shared: bool) -> None:
    """A repair that finds another's done, in this process or elsewhere, adds nothing to it."""
    ids, number = turns(path)
    flip(path, number)
    with reopen(path) as mimir, reopen(path) as elsewhere:
        quicker, counts = mimir if shared else elsewhere, []
        slower = mimir.with_embedder(Interrupted(lambda: counts.append(quicker.reembed())))
        assert slower.reembed() == 0
        assert counts == [5]
        assert found(mimir) == found(elsewhere) == set(ids)
        assert mimir.stats().vectors == {EMBEDDER.space.digest[:12]: 10}
        assert mimir.verify().ok
    with reopen(path) as mimir:
        assert mimir.verify().ok
        assert found(mimir) == set(ids)


def test_a_repair_leaves_out_what_was_forgotten_meanwhile(path: Path) -> None:
    """A memory that is forgotten while it is embedded again gets no vector."""
    ids, number = turns(path)
    flip(path, number)
    with reopen(path) as mimir:
        slower = mimir.with_embedder(Interrupted(lambda: mimir.forget(ids[2])))
        assert slower.reembed() == 4
        assert mimir.verify().ok
    with reopen(path) as mimir:
        assert mimir.verify().ok
        assert found(mimir) == {*ids} - {ids[2]}


@pytest.mark.parametrize("owners", [[1, 2], [4_294_967_000], [3], [1, 3, 77]])
def test_rows_that_nobody_may_own_keep_no_vault_closed(path: Path, owners: list[int]) -> None:
    """Second rows of a memory, and rows of none, are reported, and cleared by a repair."""
    ids, _ = turns(path)
    with reopen(path) as mimir:
        mimir.forget(ids[3])
    add_rows(path, EMBEDDER, owners, "something else")
    left = {*ids} - {ids[3]}
    with reopen(path) as mimir:
        assert {memory.id for memory in mimir.memories()} == left
        assert not mimir.verify().ok
        with pytest.raises(VectorsLost):
            found(mimir)
        assert mimir.remember("turn of another kind")
        assert mimir.reembed() == 0
        assert mimir.verify().ok
    with reopen(path) as mimir:
        assert mimir.verify().ok
        assert mimir.stats().vectors_lost == 0
        assert left < found(mimir)


@pytest.mark.parametrize(("count", "lost"), [(64, 0), (65, 1)])
def test_a_memory_of_too_many_vectors_has_none(path: Path, count: int, lost: int) -> None:
    """More rows than a memory may have are nobody's, and cleared by a repair."""
    turns(path)
    with reopen(path) as mimir:
        mimir._vault.append(check_items([Item("turn 5")], EMBEDDER), None)
    add_rows(path, EMBEDDER, [5] * count, "something else")
    with reopen(path) as mimir:
        assert mimir.stats().vectors_lost == lost
        assert mimir.reembed() == lost
        assert mimir.verify().ok


@settings(max_examples=25)
@given(st.lists(st.sampled_from([0, 1, 3, 4, 5, 6, 4_294_967_000]), min_size=1, max_size=9))
def test_any_owners_are_those_of_first_runs_or_nobodys(owners: list[int]) -> None:
    """Whatever rows say, each live memory owns its first run of them, and a repair clears others.

    Of the vault's six memories 0 and 1 have rows, 3 is forgotten, 4 and 5 have none.
    """
    known, kept = {0, 1, 2}, list[int]()
    for owner, run in groupby(owners):
        kept += [owner if owner in {4, 5} - known else ERASED for _ in run]
        known.add(owner)
    with TemporaryDirectory(dir=MEMORY_FOLDER) as folder:
        path = Path(folder) / "v.mimir"
        ids, _ = turns(path, 4)
        with reopen(path) as mimir:
            mimir.forget(ids[3])
            mimir._vault.append(check_items([Item("turn 4"), Item("turn 5")], EMBEDDER), None)
        add_rows(path, EMBEDDER, owners, "something else")
        with reopen(path) as mimir:
            assert state_of(mimir).spaces[0].column.owners.tolist() == [0, 1, 2, ERASED, *kept]
            assert mimir.stats().vectors_lost == (ERASED in kept)
            assert mimir.reembed() == len({4, 5} - set(owners))
            assert mimir.verify().ok
        with reopen(path) as mimir:
            assert mimir.verify().ok
            assert len(found(mimir)) == 5


def test_a_handle_sees_rows_that_nobody_may_own_arrive(path: Path) -> None:
    """A handle that follows to contradicting rows says that vectors are lost, and works on."""
    ids, _ = turns(path)
    with reopen(path) as mimir:
        assert found(mimir) == set(ids)
        add_rows(path, EMBEDDER, [1], "something else")
        with pytest.raises(VectorsLost):
            found(mimir)
        assert mimir.reembed() == 0
        assert found(mimir) == set(ids)


def test_second_rows_of_a_memory_go_when_it_is_forgotten(path: Path) -> None:
    """Forgetting leaves none of a memory's vectors, where it has rows that count as nobody's."""
    ids, _ = turns(path)
    add_rows(path, EMBEDDER, [1], "quetzalcoatlus")
    needle = {"second": quantize(EMBEDDER.embed_documents(["quetzalcoatlus"]))[0].tobytes()}
    assert "second" in autopsy(path, PASSPHRASE, needle, [])
    with reopen(path) as mimir:
        mimir.forget(ids[1])
        assert "second" not in autopsy(path, PASSPHRASE, needle, [])


def test_a_memory_whose_vectors_lose_their_middle_keeps_no_vault_closed(path: Path) -> None:
    """Where a damaged block parts the vectors of one memory, the vault opens and is repaired."""
    parts = LONG.embed_documents([f"part {n}" for n in range(60)])
    with Mimir.create(path, PASSPHRASE, embedder=LONG, profile=FAST) as mimir:
        ids = mimir.remember_many([Item("turn of many parts", vector=parts), Item("turn")])
        number = block(mimir, 1)
    flip(path, number)
    with opened(path, LONG) as mimir:
        with pytest.raises(VectorsLost):
            found(mimir)
        mimir.reembed()
        assert found(mimir) == set(ids)
    with opened(path, LONG) as mimir:
        assert mimir.verify().ok
        assert found(mimir) == set(ids)


def test_a_second_model_keeps_out_of_what_may_be_the_firsts(path: Path) -> None:
    """While vectors are lost no other model writes or searches where they may belong."""
    ids, number = turns(path)
    flip(path, number)
    with reopen(path) as mimir:
        other, commits = mimir.with_embedder(OTHER), mimir.stats().commits
        with pytest.raises(VectorsLost, match="embedder that made them"):
            other.remember("turn of another model")
        with pytest.raises(VectorsLost, match="embedder that made them"):
            found(other)
        assert len(other.recall("turn", mode="lexical", k=9)) == 5
        assert other.reembed() == 0
        assert mimir.stats().commits == commits
        free = other.remember("turn elsewhere", namespace="theirs")
        assert found(other, "theirs") == {free}
        assert mimir.reembed() == 5
        assert found(mimir) == set(ids)
        with pytest.raises(SpaceMismatch):
            other.remember("turn of another model")
    with reopen(path) as mimir:
        assert mimir.verify().ok


def test_a_repair_that_cannot_be_whole_leaves_the_damage(path: Path) -> None:
    """Where two models share a namespace, the damage stays until every text has a vector again."""
    ids, _ = turns(path)
    with reopen(path) as mimir:
        aside = mimir.remember("turn aside", namespace="aside")
        number = block(mimir)
    add_rows(path, OTHER, [0], "turn 0")
    flip(path, number)
    with reopen(path) as mimir:
        other = mimir.with_embedder(OTHER)
        with pytest.raises(VectorsLost, match="that model's embedder first"):
            mimir.reembed()
        with pytest.raises(VectorsLost):
            found(other)
        assert len(mimir.verify().problems) == 2
        assert other.reembed() == 4
        assert found(other) == set(ids)
        assert not mimir.verify().ok
        assert mimir.reembed() == 1
        assert found(mimir, "aside") == {aside}
        assert mimir.verify().ok
    with reopen(path) as mimir:
        assert mimir.verify().ok


def test_two_models_repair_one_after_the_other(path: Path) -> None:
    """Each model's repair restores its own; what still waits for the other is still said."""
    with Mimir.create(path, PASSPHRASE, embedder=LONG, profile=FAST) as mimir:
        other = mimir.with_embedder(LONGER)
        for handle, namespace in ((mimir, "mine"), (other, "theirs")):
            handle.remember_many([Item(f"turn {n}", namespace=namespace) for n in range(20)])
        handle.remember_many([Item(b"bytes", namespace="mine"), Item(b"", namespace="theirs")])
        numbers = block(mimir, 1), block(mimir, 1, space=1)
    for number in numbers:
        flip(path, number)
    with opened(path, LONG) as mimir:
        other = mimir.with_embedder(LONGER)
        assert mimir.reembed() == 4
        assert mimir.stats().vectors_lost == 1
        with pytest.raises(VectorsLost):
            found(other, "theirs")
        assert other.reembed() == 6
        assert mimir.verify().ok
        assert len(found(mimir, "mine")) == len(found(other, "theirs")) == 20


def test_a_block_that_reads_badly_once_is_read_again(path: Path) -> None:
    """A handle that could not read a block has its vectors once another process has written it."""
    ids, number = turns(path)
    flip(path, number)
    with reopen(path) as mimir:
        with pytest.raises(VectorsLost):
            found(mimir)
        flip(path, number)
        with reopen(path) as other:
            ids.append(other.remember("turn 9"))
        assert found(mimir) == set(ids)
        assert mimir.verify().ok


def test_a_repair_reads_again_before_it_embeds(path: Path) -> None:
    """Vectors that can be read by now are kept, those that callers gave above all."""
    given = EMBEDDER.embed_documents(["penguin", "tractor"])
    with create(path) as mimir:
        id_ = mimir.remember("two things", vector=given)
        number = block(mimir)
    flip(path, number)
    with reopen(path) as mimir:
        flip(path, number)
        commits = mimir.stats().commits
        assert mimir.reembed() == 0
        (hit,) = mimir.recall("tractor", mode="dense")
        assert (hit.id, round(hit.score, 2)) == (id_, 1)
        assert mimir.verify().ok
        assert mimir.stats().commits == commits


def test_forgetting_reaches_what_could_not_be_read_before(path: Path) -> None:
    """A vector that a handle failed to read is gone when it forgets, if it can be read by then."""
    ids, number = turns(path)
    needle = {"codes": quantize(EMBEDDER.embed_documents(["turn 0"]))[0].tobytes()}
    flip(path, number)
    with reopen(path) as mimir:
        flip(path, number)
        assert "codes" in autopsy(path, PASSPHRASE, needle, [])
        mimir.forget(ids[0])
        assert "codes" not in autopsy(path, PASSPHRASE, needle, [])
    with reopen(path) as mimir:
        assert mimir.verify().ok
        assert found(mimir) == set(ids[1:])


def test_forgetting_overwrites_what_cannot_be_read(path: Path) -> None:
    """A damaged block may hold a forgotten vector, so that it goes; that it is lost is still said.

    Putting the old block back brings nothing back: it is not the one that the map pins.
    """
    ids, number = turns(path)
    whole = read_blocks(path)[number]
    flip(path, number)
    needle = {"codes": quantize(EMBEDDER.embed_documents(["turn 0"]))[0].tobytes()}
    sealed = {"damaged": [read_blocks(path)[number][:64]]}
    with reopen(path) as mimir:
        assert set(scan(path.parent, sealed)) == {"damaged"}
        mimir.forget(ids[0])
        assert scan(path.parent, sealed) == {}
        assert mimir.stats().vectors_lost == 1
    for _ in range(2):
        with reopen(path) as mimir:
            assert mimir.stats().vectors_lost == 1
            assert not mimir.verify().ok
            with pytest.raises(VectorsLost):
                found(mimir)
            ids.append(mimir.remember("turn 9"))
            mimir.forget(ids.pop(1))
    write_blocks(path, {number: whole})
    with reopen(path) as mimir:
        assert mimir.reembed() == 4
        assert "codes" not in autopsy(path, PASSPHRASE, needle, [])
        assert mimir.verify().ok
        assert found(mimir) == set(ids[1:])


def test_a_handle_follows_another_processs_repair(path: Path) -> None:
    """A handle that read the vectors before the damage searches on, and forgets what is there."""
    ids, number = turns(path)
    needle = {"codes": quantize(EMBEDDER.embed_documents(["turn 0"]))[0].tobytes()}
    with reopen(path) as mimir:
        assert found(mimir) == set(ids)
        flip(path, number)
        with reopen(path) as other:
            assert other.reembed() == 5
        assert found(mimir) == set(ids)
        mimir.forget(ids[0])
        assert "codes" not in autopsy(path, PASSPHRASE, needle, [])
        assert mimir.verify().ok
    with reopen(path) as mimir:
        assert mimir.verify().ok
        assert found(mimir) == set(ids[1:])


def test_a_repair_scrubs_what_it_replaces(path: Path) -> None:
    """The damaged block is in no file once the repair has returned."""
    ids, number = turns(path)
    flip(path, number)
    sealed = {"damaged": [read_blocks(path)[number][:64]]}
    with reopen(path) as mimir:
        assert scan(path.parent, sealed)
        assert mimir.reembed() == 5
        assert scan(path.parent, sealed) == {}
        assert found(mimir) == set(ids)


def test_a_damaged_last_block_takes_no_new_vectors(path: Path) -> None:
    """Remembering where the new vector's block is damaged says that vectors are lost."""
    _, number = turns(path)
    flip(path, number)
    with reopen(path) as mimir:
        with pytest.raises(VectorsLost):
            mimir.remember("turn 9")
        assert mimir.reembed() == 5
        assert mimir.remember("turn 9") in found(mimir)


def test_damage_behind_an_open_handle_is_repaired_from_memory(path: Path) -> None:
    """A handle that still has the vectors of a damaged block writes them back, embedding none."""
    ids, number = turns(path)
    with reopen(path) as mimir:
        flip(path, number)
        with pytest.raises(VectorsLost):
            mimir.remember("turn 9")
        assert found(mimir) == set(ids)
        assert mimir.reembed() == 0
        assert mimir.verify().ok
        flip(path, number)
        mimir.forget(ids[0])
        assert mimir.verify().ok
        assert found(mimir) == set(ids[1:])
    with reopen(path) as mimir:
        assert mimir.verify().ok
        assert found(mimir) == set(ids[1:])
