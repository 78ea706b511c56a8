"""Memories of several devices in one vault: order, values of a key, clocks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mimir_core import EdgeKind, Mimir
from mimir_core.dag import Parent
from mimir_core.dag.limits import MAX_CLOCK
from mimir_core.errors import LimitExceeded, NotFound, VaultDamaged
from mimir_core.vault.edit import Edit
from mimir_core.vault.write import Staged

from .autopsy import autopsy
from .foreign import merge
from .vaults import PASSPHRASE, contents, create, everything, reopen


def same_clock(mimir: Mimir, count: int) -> list[str]:
    """Values of one key that as many devices wrote at once, and a turn of each in one thread."""
    found = []
    for number in range(count):
        place = bytes([number + 1]) * 16, "t"
        found.append(merge(mimir, f"value {number}", 5, key="k", thread=place))
    return found


def test_equal_clocks_are_ordered_by_id(mimir: Mimir, path: Path) -> None:
    """Of values with one clock the last by id counts, and turns stand in the order of their ids."""
    ids = same_clock(mimir, 12)
    for _ in range(2):
        assert mimir.get(key="k").id == max(ids)
        assert [turn.id for turn in mimir.thread("t")] == sorted(ids)
        mimir.close()
        mimir = reopen(path)
    mimir.close()


@pytest.mark.parametrize("how", ["forget", "supersede", "keep", "many"])
def test_no_concurrent_value_comes_back(mimir: Mimir, path: Path, how: str) -> None:
    """Forgetting or superseding a key takes every value that devices wrote apart."""
    ids = same_clock(mimir, 3)
    other = merge(mimir, "elsewhere", 5, namespace=("else",), key="k")
    needles = {id_: mimir.get(id_).text.encode() for id_ in ids}
    left = {other}
    if how == "forget":
        assert set(mimir.forget(key="k").ids) == set(ids)
    elif how == "many":
        assert set(mimir.forget(keys=["k", "k", "none"]).ids) == set(ids)
    else:
        fresh = mimir.remember("new", key="k", keep_history=how == "keep")
        left |= {fresh, *ids} if how == "keep" else {fresh}
        assert mimir.get(key="k").id == fresh
        assert {one.id for one in mimir.lineage(fresh).ancestors} == set(ids)
    assert set(contents(mimir)) == left
    if how == "keep":
        assert set(mimir.forget(key="k").ids) == left - {other}
        assert set(contents(mimir)) == {other}
    with pytest.raises(NotFound):
        mimir.get(key="k") if how != "supersede" else mimir.get(ids[0])
    assert mimir.verify().ok
    assert autopsy(path, PASSPHRASE, needles, [0, 1, 2])["opens"] == []


def test_history_stays_where_only_its_heirs_are_concurrent(mimir: Mimir) -> None:
    """A value kept as history stays when what superseded it on two devices is superseded."""
    first = mimir.remember("first", key="k")
    edge = (Parent(EdgeKind.SUPERSEDES, bytes.fromhex(first)),)
    heirs = [merge(mimir, f"heir {n}", 2, key="k", parents=edge) for n in range(2)]
    last = mimir.remember("last", key="k")
    assert set(contents(mimir)) == {first, last}
    assert {one.id for one in mimir.lineage(last).ancestors if one.distance == 1} == set(heirs)
    mimir.forget(last)
    assert mimir.get(key="k").id == first
    again = mimir.remember("again", key="k")
    assert set(contents(mimir)) == {again}


def test_a_key_reaches_no_other_namespace(mimir: Mimir) -> None:
    """A record that claims to supersede a memory of another namespace does not erase it."""
    mine = mimir.remember("mine", namespace="mine", key="k")
    edge = (Parent(EdgeKind.SUPERSEDES, bytes.fromhex(mine)),)
    merge(mimir, "theirs", 9, namespace=("theirs",), key="k", parents=edge)
    mimir.forget(key="k", namespace="theirs")
    assert set(contents(mimir)) == {mine}


FAR = {"the last": MAX_CLOCK, "far ahead": (1 << 32) + 2}


@pytest.mark.parametrize("views", [True, False])
@pytest.mark.parametrize("name", [*FAR, "a parent's", "past the root's"])
def test_clocks_that_no_writer_has_are_damage(path: Path, name: str, views: bool) -> None:
    """A record with such a clock is refused when the vault is opened, views or not."""
    with create(path) as mimir:
        first = mimir.remember("a cat", key="k")
        if views:
            mimir.checkpoint()
        parents: tuple[Parent, ...] = ()
        root, lamport = None, FAR.get(name, 1)
        if name == "a parent's":
            parents = (Parent(EdgeKind.SUPERSEDES, bytes.fromhex(first)),)
        if name == "past the root's":
            root, lamport = 1, 2
        merge(mimir, "far", lamport, key="k", parents=parents, root_lamport=root, adopt=False)
        with pytest.raises(VaultDamaged):
            mimir.get(first)
        mimir._vault._checkpointer._write = lambda: None  # type: ignore[method-assign]
    with pytest.raises(VaultDamaged):
        reopen(path)


def test_a_clock_within_bounds_is_followed(mimir: Mimir, path: Path) -> None:
    """A device that is ahead by less is believed; whoever writes after it is ahead of it."""
    ahead = merge(mimir, "ahead", 1 << 32, key="k")
    assert mimir.get(key="k").id == ahead
    mine = mimir.remember("mine", key="k")
    assert mimir.get(key="k").id == mine
    with reopen(path) as other:
        assert everything(other) == everything(mimir)
        assert other.verify().ok


def test_a_vault_whose_clock_has_run_out_is_read(path: Path) -> None:
    """At the end of the clock writing raises, nothing is written, and all is there to be read."""
    with create(path) as mimir:
        id_ = mimir.remember("a cat", key="k")
        with mimir._vault.exclusive() as state:
            root = replace(state.root, lamport=MAX_CLOCK)
            mimir._vault.commit(state, Edit(state.container), Staged(root))
    with reopen(path) as mimir:
        commits = mimir.stats().commits
        for write in (
            lambda: mimir.remember("a dog"),
            lambda: mimir.remember("a dog", key="k"),
            lambda: mimir.forget(id_),
        ):
            with pytest.raises(LimitExceeded, match="clock"):
                write()
        assert mimir.stats().commits == commits
        assert mimir.get(key="k").id == id_
        assert mimir.verify().ok
