"""Forgetting in a damaged file: what can be named goes, and what cannot be read is overwritten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mimir_core import Item, Mimir
from mimir_core.errors import NotFound, VaultDamaged, VectorsLost
from mimir_core.vault.layout import Stream

from .autopsy import autopsy
from .raw import flip, read_blocks
from .test_erasure import FIELDS, MOMENT, SECRET, check_gone
from .vaults import PASSPHRASE, contents, create, reopen, state_of

PLACE = "secretnamespace"
ORDINAL = 100
HOW: dict[str, dict[str, Any]] = {
    "ids": {},
    "key": {"key": "passportkey", "namespace": PLACE},
    "thread": {"thread": "wednesdaythread", "namespace": PLACE},
    "namespace": {"namespace": PLACE},
    "filter": {"where": {"n": 987_654_321}, "namespace": PLACE},
}
KINDS = ("log", "end of the log", "keybook", "segment", "vectors", "graph", "map")


@pytest.fixture(autouse=True)
def _small_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build graphs for few vectors already."""
    monkeypatch.setattr("mimir_core.index.vectors.GRAPH_FROM", 50)
    monkeypatch.setattr("mimir_core.index.vectors._TAIL", 50)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, str]:
    """The bytes of a closed vault with a secret among 200 memories, and the secret's id."""
    path = tmp_path_factory.mktemp("template") / "v.mimir"
    with pytest.MonkeyPatch.context() as patch:
        _small_graphs.__wrapped__(patch)  # type: ignore[attr-defined]  # pytest keeps it there
        with create(path) as mimir:
            mimir.remember_many([Item(f"filler {n} {n % 17}", thread="t") for n in range(100)])
            id_ = mimir.remember(SECRET, namespace=PLACE, thread="wednesdaythread",
                                 key="passportkey", metadata=FIELDS, time=MOMENT)  # fmt: skip
            mimir.remember_many([Item(f"filler {n} {n % 17}", thread="t") for n in range(99)])
            mimir.checkpoint()
    return path.read_bytes(), id_


@pytest.fixture
def filled(path: Path, template: tuple[bytes, str]) -> str:
    """Puts the filled vault at `path`; gives the secret's id."""
    path.write_bytes(template[0])
    return template[1]


def block(mimir: Mimir, kind: str) -> int:
    """The number of the block of that kind that the secret lies in."""
    state = state_of(mimir)
    offset, _ = state.catalog.span(ORDINAL)
    addresses = {
        "log": (Stream.LOG, offset // 16_256),
        "end of the log": (Stream.LOG, state.root.log_size // 16_256),
        "keybook": (Stream.KEYBOOK, 0),
        "segment": (Stream.SEGMENTS, 0),
        "vectors": (Stream.VECTORS, 0),
        "graph": (Stream.GRAPH, 0),
        "map": (Stream.MAP, 0),
    }
    assert addresses["log"] != addresses["end of the log"]
    return state.container._numbers[addresses[kind]]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("kind", ["log", "segment", "vectors", "graph"])
def test_one_flipped_bit_keeps_nothing(path: Path, filled: str, kind: str, how: str) -> None:
    """A vault opened with a damaged block forgets all the same, and keeps nothing, even mended."""
    with reopen(path) as mimir:
        number = block(mimir, kind)
    flip(path, number)
    damaged = read_blocks(path)[number]
    with reopen(path) as mimir:
        gone = mimir.forget(**(HOW[how] or {"ids": filled}))
        assert (gone.count, gone.unnamed) == (1, int(kind == "log"))
        assert gone.ids == (() if kind == "log" else (filled,))
        with pytest.raises(NotFound):
            mimir.get(filled)
        assert not list(mimir.memories(namespace=PLACE))
    if read_blocks(path)[number] == damaged:  # nobody wrote it: the flip can be undone
        assert kind in ("log", "graph")
        flip(path, number)
    check_gone(path, ORDINAL)
    with reopen(path) as mimir:
        if kind == "vectors":
            with pytest.raises(VectorsLost):
                mimir.recall("filler", mode="dense")
            assert mimir.reembed() > 0
        assert mimir.verify().ok
        assert len(contents(mimir)) == 199
        assert mimir.recall("filler", mode="dense")
    check_gone(path, ORDINAL)


@pytest.mark.parametrize("kind", KINDS)
def test_damage_behind_an_open_handle_keeps_nothing(path: Path, filled: str, kind: str) -> None:
    """What memory holds of a damaged block is written anew by a forget, and the vault is whole."""
    with reopen(path) as mimir:
        number = block(mimir, kind)
        flip(path, number)
        assert mimir.forget(namespace=PLACE).count == 1
        if kind == "log":  # the only one of these that a forget need not write
            flip(path, number)
        check_gone(path, ORDINAL)
        mimir.checkpoint()
        assert mimir.verify().ok
    with reopen(path) as mimir:
        assert mimir.verify().ok
        assert len(contents(mimir)) == 199
    check_gone(path, ORDINAL)


@pytest.mark.parametrize("how", HOW)
def test_a_damaged_end_of_the_log_keeps_nothing(path: Path, filled: str, how: str) -> None:
    """What segments cover opens, is read and can be forgotten; the end is overwritten by then.

    Until then nothing can be added, and the memories in that block stay what they were: damaged.
    """
    with reopen(path) as mimir:
        number = block(mimir, "end of the log")
    flip(path, number)
    with reopen(path) as mimir:
        assert mimir.get(filled).content == SECRET
        with pytest.raises(VaultDamaged, match="end of the log"):
            mimir.remember("more")
        with pytest.raises(VaultDamaged, match="end of the log"):
            mimir.remember("more", key="passportkey", namespace=PLACE)
        assert mimir.forget(**(HOW[how] or {"ids": filled})).ids == (filled,)
        check_gone(path, ORDINAL)
        added = mimir.remember("more")
    with reopen(path) as mimir:
        assert mimir.get(added).content == "more"
        assert mimir.stats().memories == 200
        with pytest.raises(VaultDamaged):
            contents(mimir)
        assert mimir.verify().problems == ("the log cannot be read from end to end",)
        gone = mimir.forget(namespace="default")
        assert gone.unnamed > 0
        assert mimir.stats().memories == 0
    check_gone(path, ORDINAL)


def test_everything_can_be_forgotten(path: Path, filled: str) -> None:
    """A whole namespace goes, those of its memories that cannot be read included."""
    with reopen(path) as mimir:
        number = block(mimir, "log")
    flip(path, number)
    with reopen(path) as mimir:
        gone = mimir.forget(namespace="default")
        assert gone.count == 199
        assert 0 < gone.unnamed < 100
        assert mimir.namespaces() == {(PLACE,): 1}
    flip(path, number)
    assert autopsy(path, PASSPHRASE, {}, list(range(200)))["opens"] == [str(ORDINAL)]
    with reopen(path) as mimir:
        assert mimir.verify().ok
        assert mimir.get(filled).content == SECRET


def test_a_vault_opens_from_its_log_after_such_a_forget(path: Path, filled: str) -> None:
    """Views are rebuilt from a log in which the link of an erased memory no longer opens."""
    with reopen(path) as mimir:
        number = block(mimir, "log")
    flip(path, number)
    with reopen(path) as mimir:
        mimir.forget(filled)
        segment = block(mimir, "segment")
    flip(path, number)
    with reopen(path) as mimir:
        expected = contents(mimir)
    flip(path, segment)
    with reopen(path) as mimir:
        assert contents(mimir) == expected
        assert state_of(mimir).catalog.parents(ORDINAL) == []
    with reopen(path) as mimir:
        assert mimir.verify().ok
        assert contents(mimir) == expected
        assert mimir.remember("more", thread="t", key="k")
        assert mimir.verify().ok


def test_a_memory_across_two_blocks_keeps_its_edges(path: Path) -> None:
    """Where only the end of a record is damaged, its link key is kept as in a whole vault."""
    with create(path) as mimir:
        first = mimir.remember("x" * 10_000, thread="t")
        id_ = mimir.remember("y" * 20_000, thread="t")
        mimir.remember("z" * 20_000)
        number = state_of(mimir).container._numbers[Stream.LOG, 1]
    flip(path, number)
    with reopen(path) as mimir:
        assert mimir.forget(id_).unnamed == 1
    flip(path, number)
    assert autopsy(path, PASSPHRASE, {}, [0, 1])["opens"] == ["0"]
    with reopen(path) as mimir:
        assert mimir.verify().ok
        assert [one.id for one in mimir.lineage(id_).ancestors] == [first]


def test_segments_of_another_layout_go_with_a_forget(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words in a segment that the reader does not find where it looks are gone at once."""
    with monkeypatch.context() as patch:
        for module in ("write", "state"):
            patch.setattr(f"mimir_core.vault.{module}.SEGMENT_PARTS", 256)
        with create(path) as mimir:
            mimir.remember_many([Item(f"cat {n}") for n in range(1_030)])
            id_ = mimir.remember("quetzalcoatlus")
    with reopen(path) as mimir:
        assert 256 in state_of(mimir).container.indexes(Stream.SEGMENTS)
        mimir.forget(id_)
        assert 256 not in state_of(mimir).container.indexes(Stream.SEGMENTS)
        assert state_of(mimir).valid_segments == state_of(mimir).root.covered
        assert mimir.verify().ok
    with reopen(path) as mimir:
        assert mimir.verify().ok


def test_a_phrase_is_forgotten_beside_what_is_damaged(path: Path, filled: str) -> None:
    """What can be read and mentions it goes; what cannot be looked through is counted."""
    with reopen(path) as mimir:
        number = block(mimir, "log")
    flip(path, number)
    with reopen(path) as mimir:
        gone = mimir.forget(mentions="filler")
        assert gone.unread > 0
        assert gone.count + gone.unread == 200
        assert mimir.forget(namespace=PLACE).unnamed == 1
        assert mimir.forget(thread="t").count == gone.unread - 1
    flip(path, number)  # undone, so that all can be looked through
    check_gone(path, ORDINAL)
