"""Views are derived: deleted or damaged, they come back equal; what is primary is missed."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mimir_core import Item, Mimir
from mimir_core.errors import MimirError, VaultDamaged, VectorsLost
from mimir_core.vault.edit import Edit
from mimir_core.vault.layout import Stream
from mimir_core.vault.segment import SEGMENT_PARTS
from mimir_core.vault.space import SpaceState
from mimir_core.vault.write import Staged, without_graph

from .raw import flip, flip_preamble, read_blocks, write_blocks
from .vaults import columns_of, create, everything, reopen, state_of

WORDS = ("cat", "dog", "bird", "fish", "horse", "mouse", "snake")
COUNT = 1_500


def small_graphs(patch: pytest.MonkeyPatch) -> None:
    """Lowers the number of vectors from which there is a graph."""
    patch.setattr("mimir_core.index.vectors.GRAPH_FROM", 50)
    patch.setattr("mimir_core.index.vectors._TAIL", 50)


@pytest.fixture(autouse=True)
def _small_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build graphs for few vectors already."""
    small_graphs(monkeypatch)


def fill(mimir: Mimir) -> list[str]:
    """Two segments of memories with every kind of column, edge and erasure."""
    ids: list[str] = []
    for first in range(0, COUNT, 500):
        numbers = range(first, min(first + 500, COUNT))
        ids += mimir.remember_many([item(number, ids) for number in numbers])
        mimir.forget([ids[first + 7], ids[first + 8], ids[first // 2]])
    mimir.forget(thread="t3", namespace=("ana", "n1"))
    mimir.remember("a keyed value", key="k0", keep_history=True)
    return ids


def item(number: int, ids: list[str]) -> Item:
    """Memory of that number."""
    word = WORDS[number % len(WORDS)]
    return Item(
        f"{word} number {number} w{number % 501}",
        namespace=("ana", f"n{number % 3}"),
        thread=f"t{number % 11}" if number % 4 else None,
        key=f"k{number % 50}" if number % 9 == 0 and number % 500 < 440 else None,
        time=number * 3_600,
        metadata={
            "n": number % 13,
            "word": word,
            "list": [number % 3, word],
            "day": dt.date(2024, 1, 1 + number % 28),
            "nested": {"a": {"b": number % 2 == 0}},
        } if number % 5 else {},
        derived_from=(ids[-3], ids[-1], ids[-2]) if number % 97 == 96 and ids else (),
        keep_history=number % 18 == 0,
    )  # fmt: skip


def answers(mimir: Mimir) -> dict[str, Any]:
    """What searches find, in every mode."""
    return {
        f"{mode} {word} {namespace}": [
            (hit.id, round(hit.score, 4), hit.found_by)
            for hit in mimir.recall(f"{word} w17", mode=mode, namespace=namespace, k=20)
        ]
        for mode in ("dense", "lexical", "hybrid")
        for word in WORDS
        for namespace in (("ana", "n0"), ("ana", "n2"))
    }


def address(mimir: Mimir, stream: int, index: int = 0) -> int:
    """The block at an address."""
    number: int = state_of(mimir).container._numbers[stream, index]
    return number


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, dict[str, Any]]:
    """The bytes of a filled, closed vault, and what it answers."""
    path = tmp_path_factory.mktemp("template") / "v.mimir"
    with pytest.MonkeyPatch.context() as patch:
        small_graphs(patch)
        with create(path) as mimir:
            fill(mimir)
            mimir.checkpoint()
            expected = {"columns": columns_of(mimir), "seen": everything(mimir),
                        "answers": answers(mimir)}  # fmt: skip
            space = state_of(mimir).root.spaces[0]
            assert space.graph_size > 0
    return path.read_bytes(), expected


@pytest.fixture
def filled(path: Path, template: tuple[bytes, dict[str, Any]]) -> dict[str, Any]:
    """Puts the filled vault at `path`; gives what it answers."""
    path.write_bytes(template[0])
    return template[1]


def check_equal(mimir: Mimir, expected: dict[str, Any]) -> None:
    """Checks that catalog, words and answers are those expected."""
    catalog, terms = columns_of(mimir)
    assert catalog == expected["columns"][0]
    assert terms == expected["columns"][1]
    assert everything(mimir) == expected["seen"]
    assert answers(mimir) == expected["answers"]


def test_segments_are_read_back_equal(path: Path, filled: dict[str, Any]) -> None:
    """An undamaged vault opens from its segments, with nothing left to replay."""
    with reopen(path) as mimir:
        assert state_of(mimir).valid_segments == len(state_of(mimir).catalog)
        assert mimir.stats().tail == 0
        check_equal(mimir, filled)
        commits = mimir.stats().commits
    with reopen(path) as mimir:
        assert mimir.stats().commits == commits


def drop_views(mimir: Mimir) -> None:
    """Deletes all segments and graphs, as if no checkpoint had ever been."""
    with mimir._vault.exclusive() as state:
        edit = Edit(state.container)
        for stream in (Stream.SEGMENTS, Stream.GRAPH):
            for index in state.container.indexes(stream):
                edit.drop(stream, index, index + 1)
        root = state.root
        spaces = tuple(map(without_graph, root.spaces))
        staged = Staged(type(root)(**{**fields(root), "covered": 0, "spaces": spaces}))
        mimir._vault.commit(state, edit, staged)
    mimir._vault._checkpointer._write = lambda: None  # type: ignore[method-assign]


def fields(root: Any) -> dict[str, Any]:
    """A root's fields."""
    return {name: getattr(root, name) for name in root.__dataclass_fields__}


def test_views_rebuild_equal_from_the_log(path: Path, filled: dict[str, Any]) -> None:
    """Without segments and graphs the vault comes back equal, and writes them anew."""
    with reopen(path) as mimir:
        drop_views(mimir)
    with reopen(path) as mimir:
        assert state_of(mimir).root.covered == 0
        assert mimir.stats().tail == len(state_of(mimir).catalog)
        check_equal(mimir, filled)
        assert mimir.verify().ok
        mimir.checkpoint()
    with reopen(path) as mimir:
        assert mimir.stats().tail == 0
        assert state_of(mimir).root.spaces[0].graph_size > 0
        check_equal(mimir, filled)


@pytest.mark.parametrize("index", [0, SEGMENT_PARTS, SEGMENT_PARTS + 1])
def test_a_damaged_segment_is_rebuilt(path: Path, filled: dict[str, Any], index: int) -> None:
    """A flipped bit in a segment is named by verify, changes no answer, and heals on close."""
    with reopen(path) as mimir:
        if (Stream.SEGMENTS, index) not in state_of(mimir).container._numbers:
            pytest.skip("the segment is shorter")
        number = address(mimir, Stream.SEGMENTS, index)
    flip(path, number)
    with reopen(path) as mimir:
        check_equal(mimir, filled)
        assert mimir.verify().problems == (f"block {number} is not authentic",)
    with reopen(path) as mimir:
        assert mimir.verify().ok
        check_equal(mimir, filled)


def test_forgetting_in_a_damaged_segment(path: Path, filled: dict[str, Any]) -> None:
    """Forgetting works on top of damage, and the damaged segment is rebuilt without the memory."""
    with reopen(path) as mimir:
        number = address(mimir, Stream.SEGMENTS, SEGMENT_PARTS)
    flip(path, number)
    with reopen(path) as mimir:
        gone = list(filled["seen"]["memories"])[700:1_200:7]
        mimir.forget(gone)
        expected = everything(mimir)
        columns = columns_of(mimir)
    with reopen(path) as mimir:
        assert everything(mimir) == expected
        assert columns_of(mimir) == columns
        assert mimir.verify().ok


def test_a_damaged_graph_is_rebuilt(path: Path, filled: dict[str, Any]) -> None:
    """A flipped bit in the graph is named by verify, changes no answer, and heals on close."""
    with reopen(path) as mimir:
        number = address(mimir, Stream.GRAPH)
    flip(path, number)
    with reopen(path) as mimir:
        check_equal(mimir, filled)
        assert mimir.verify().problems == (f"block {number} is not authentic",)
        mimir.checkpoint()
        assert mimir.verify().ok
    with reopen(path) as mimir:
        assert mimir.verify().ok
        check_equal(mimir, filled)


@pytest.mark.parametrize("index", [0, 3, -1])
def test_lost_vectors_are_embedded_again(path: Path, filled: dict[str, Any], index: int) -> None:
    """With a damaged vector block dense recall raises, lexical works, and reembedding repairs."""
    with reopen(path) as mimir:
        last = max(state_of(mimir).container.indexes(Stream.VECTORS))
        number = address(mimir, Stream.VECTORS, last if index < 0 else index)
    flip(path, number)
    with reopen(path) as mimir, reopen(path) as other:
        for mode in ("dense", "hybrid"):
            with pytest.raises(VectorsLost):
                mimir.recall("cat", mode=mode)
        assert everything(mimir) == filled["seen"]
        assert mimir.stats().vectors_lost == 1
        assert not mimir.verify().ok
        some = mimir.recall("cat w17", mode="lexical", namespace=("ana", "n0"))[0].id
        progress: list[tuple[int, int]] = []
        assert mimir.reembed(lambda done, total: progress.append((done, total))) > 0
        assert progress[-1][0] == progress[-1][1] > 0
        assert mimir.verify().ok
        assert mimir.reembed() == 0
        assert mimir.stats().vectors_lost == 0
        for question, found in answers(mimir).items():
            if question.startswith("dense"):  # hybrid scores depend on a sample of the rows
                assert sorted(found) == sorted(filled["answers"][question])
        assert other.recall("cat", mode="dense", namespace=("ana", "n0"))
        mimir.forget(some)
    with reopen(path) as mimir:
        assert mimir.verify().ok
        found = {hit.id for hit in mimir.recall("cat w17", namespace=("ana", "n0"), k=500)}
        assert some not in found


def test_vectors_that_could_not_be_read_are_reported(path: Path, filled: dict[str, Any]) -> None:
    """While a handle lacks vectors its verify says so, even if the file has become whole again."""
    with reopen(path) as mimir:
        number = address(mimir, Stream.VECTORS, 0)
    whole = read_blocks(path)
    flip(path, number)
    with reopen(path) as mimir:
        assert mimir.stats().vectors_lost == 1
        write_blocks(path, {number: whole[number]})
        (problem,) = mimir.verify().problems
        assert problem.startswith("vectors could not be read")
        assert mimir.reembed() == 0
        assert mimir.verify().ok
        check_equal(mimir, filled)


def test_forgetting_while_vectors_are_lost(path: Path, filled: dict[str, Any]) -> None:
    """A memory whose vector is lost can be forgotten, and stays forgotten after the repair."""
    with reopen(path) as mimir:
        number = address(mimir, Stream.VECTORS, 0)
    flip(path, number)
    ids = list(filled["seen"]["memories"])[:5]
    with reopen(path) as mimir:
        mimir.forget(ids)
        with pytest.raises(VectorsLost):
            mimir.recall("cat", mode="dense", namespace=("ana", "n0"))
        mimir.reembed()
        assert mimir.verify().ok
        hits = mimir.recall("cat", mode="dense", namespace=("ana",), descendants=True, k=10_000)
        assert not set(ids) & {hit.id for hit in hits}
        assert len(hits) == len(filled["seen"]["memories"]) - 5 - 1


def test_an_intact_vault_is_not_reembedded(mimir: Mimir) -> None:
    """Reembedding where nothing is lost writes nothing."""
    mimir.remember("a cat")
    mimir.remember(b"bytes have no vector")
    commits = mimir.stats().commits
    assert mimir.reembed() == 0
    assert mimir.stats().commits == commits


PRIMARY: dict[str, Callable[[Mimir], int]] = {
    "root": lambda _: 0,
    "map": lambda mimir: address(mimir, Stream.MAP),
    "keybook": lambda mimir: address(mimir, Stream.KEYBOOK, 1),
}


@pytest.mark.parametrize("name", PRIMARY)
def test_damage_to_what_opens_the_vault_is_refused(
    path: Path, filled: dict[str, Any], name: str
) -> None:
    """A flipped bit in root, map or keybook refuses to open."""
    with reopen(path) as mimir:
        number = PRIMARY[name](mimir)
    flip(path, number)
    with pytest.raises(VaultDamaged) as caught:
        reopen(path)
    assert not isinstance(caught.value, VectorsLost)


def test_damage_to_the_log_is_refused_where_it_is_read(
    path: Path, filled: dict[str, Any]
) -> None:
    """Memories in a damaged log block raise, verify names the block, all others are there."""
    with reopen(path) as mimir:
        number = address(mimir, Stream.LOG, 5)
    flip(path, number)
    with reopen(path) as mimir:
        report = mimir.verify()
        assert f"block {number} is not authentic" in report.problems
        refused = 0
        for id_, memory in filled["seen"]["memories"].items():
            try:
                assert mimir.get(id_).content == memory[0]
            except VaultDamaged:
                refused += 1
        assert 0 < refused < len(filled["seen"]["memories"]) / 2


@pytest.mark.parametrize("byte", [0, 8, 12, 20, 33, 50, 64, 1_500, 9_000, 11_340])
def test_damage_to_the_preamble_is_refused(
    path: Path, filled: dict[str, Any], byte: int
) -> None:
    """A flipped bit anywhere in the preamble refuses to open."""
    flip_preamble(path, byte)
    with pytest.raises(MimirError):
        reopen(path)


def test_verify_looks_at_the_disk(path: Path, filled: dict[str, Any]) -> None:
    """Verify finds damage that came after opening, whatever is in memory."""
    with reopen(path) as mimir:
        numbers = {
            name: address(mimir, stream, 0)
            for name, stream in (("map", Stream.MAP), ("log", Stream.LOG),
                                 ("keybook", Stream.KEYBOOK), ("segments", Stream.SEGMENTS),
                                 ("graph", Stream.GRAPH), ("vectors", Stream.VECTORS))
        }  # fmt: skip
        assert mimir.verify().ok
        for number in numbers.values():
            flip(path, number)
            assert not mimir.verify().ok
            flip(path, number)
            assert mimir.verify().ok
        flip_preamble(path, 5_000)
        assert not mimir.verify().ok
        flip_preamble(path, 5_000)
        assert mimir.verify().ok


def test_an_erasure_right_after_opening_keeps_the_graph(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is forgotten while the stored graph is being attached does not cost the graph."""
    with create(path) as mimir:
        ids = mimir.remember_many([Item(f"w{n} x{n % 7}") for n in range(200)])
        mimir.checkpoint()
    attach = SpaceState.attach

    def slowly(space: SpaceState, graph: bytes) -> None:
        time.sleep(0.3)
        attach(space, graph)

    monkeypatch.setattr(SpaceState, "attach", slowly)
    with reopen(path) as mimir:
        mimir.forget(ids[3])
    with reopen(path) as mimir, mimir._vault.view() as state:
        (space,) = state.root.spaces
        assert (space.graph_rows, state.root.erased) == (200, 1)
