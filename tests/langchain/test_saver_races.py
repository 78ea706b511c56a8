"""MimirSaver beside another process: whatever falls between two of its looks, nothing is torn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig

from mimir_core import Mimir
from mimir_langchain import MimirByteStore, MimirSaver, blobs

from ..vault.between import Work, places
from ..vault.vaults import create, reopen
from ..vault.worker import finish, start_worker
from .graphs import checkpoint, config, put
from .saver_worker import FORKS, everything_opens, fork

ROOT = ("langgraph", "checkpoints")


class Races:
    """A thread of three checkpoints, the work on it, and what has to hold afterwards."""

    def __init__(self) -> None:
        first = checkpoint(shared="s", alone="old")
        second = checkpoint(shared="s", alone="newer")
        third = checkpoint(shared="t", alone="newest")
        self.made = [first, second, third]
        self.child = checkpoint(alone="child")
        self.versions = {"alone": "1.0"}

    def prepare(self, mimir: Mimir) -> None:
        """Stores the three; the first two share a value."""
        where, saver = config(), MimirSaver(mimir)
        for number, each in enumerate(self.made):
            run = {"step": number, "run_id": f"r{number}"}
            changed = {"shared": "1.0", "alone": "1.0"} if number != 1 else self.versions
            where = saver.put(where, each, run, changed)  # type: ignore[arg-type]

    def put(self, parent: int, changed: dict[str, str] | None = None) -> Work:
        """Stores a child of one of the three, which inherits what did not change."""
        where = config(checkpoint=self.made[parent]["id"])
        for part, what in (("channel_values", "shared"), ("channel_versions", "shared")):
            self.child[part][what] = self.made[parent][part][what]  # type: ignore[literal-required]
        versions: Any = self.versions if changed is None else changed
        return lambda mimir: MimirSaver(mimir).put(where, self.child, {"step": 9}, versions)

    def found(self, mimir: Mimir) -> set[str]:
        """Which checkpoints there are, all of which open and hold what was put."""
        known = {each["id"]: each["channel_values"] for each in (*self.made, self.child)}
        tuples = list(MimirSaver(mimir).list(config()))
        for each in tuples:
            assert each.checkpoint["channel_values"] == known[each.checkpoint["id"]]
        return {each.checkpoint["id"] for each in tuples}


def stored(mimir: Mimir) -> int:
    """How many records threads hold, without the traces of deleted threads."""
    keys = mimir.keys(namespace=ROOT, descendants=True)
    return sum(not key.startswith("deleted ") for key in keys)


def prune(mimir: Mimir) -> None:
    """Keeps the newest checkpoint."""
    MimirSaver(mimir).prune(["t"])


def delete_runs(mimir: Mimir) -> None:
    """Deletes the first two checkpoints."""
    MimirSaver(mimir).delete_for_runs(["r0", "r1"])


ERASERS = {"prune": prune, "delete_for_runs": delete_runs}
ALL_NEW = {"shared": "1.0", "alone": "1.0"}


@pytest.mark.parametrize("changed", [None, ALL_NEW], ids=["inherits", "equals"])
@pytest.mark.parametrize("parent", [0, 1, 2])
@pytest.mark.parametrize("eraser", ERASERS.values(), ids=ERASERS)
@pytest.mark.parametrize("erasing_first", [True, False])
def test_a_put_on_what_is_being_erased(
    eraser: Work, parent: int, changed: dict[str, str] | None, erasing_first: bool
) -> None:
    """A checkpoint put on one that another process erases opens whole, as in one of the orders."""
    races = Races()
    put_child = races.put(parent, changed)
    one, other = (eraser, put_child) if erasing_first else (put_child, eraser)
    newest, child = races.made[2]["id"], races.child["id"]
    for mimir in places(races.prepare, one, other):
        assert races.found(mimir) in ({newest, child}, {child})
        eraser(mimir)
        values = {key for key in mimir.keys(namespace=ROOT, descendants=True) if "value " in key}
        assert len(values) == len({v for each in MimirSaver(mimir).list(config())
                                   for v in each.checkpoint["channel_values"].values()})


@pytest.mark.parametrize("late_first", [True, False])
def test_a_put_on_a_thread_that_is_being_deleted(late_first: bool) -> None:
    """A thread deleted during a put is gone: neither the checkpoint nor its child comes back."""
    races = Races()

    def late(mimir: Mimir) -> None:
        where = races.put(2)(mimir)
        assert isinstance(where, dict)
        put(MimirSaver(mimir), where, a=1)  # type: ignore[arg-type]

    def delete(mimir: Mimir) -> None:
        MimirSaver(mimir).delete_thread("t")

    for mimir in places(races.prepare, *((late, delete) if late_first else (delete, late))):
        late(mimir)
        assert stored(mimir) == 0


def test_writes_to_a_thread_that_is_being_deleted() -> None:
    """Writes that come while their thread is deleted are not stored, or erased with it."""
    races = Races()
    where = config(checkpoint=races.made[2]["id"])

    def write(mimir: Mimir) -> None:
        MimirSaver(mimir).put_writes(where, [("w", 1), ("v", 2)], "task")

    def delete(mimir: Mimir) -> None:
        MimirSaver(mimir).delete_thread("t")

    for one, other in ((write, delete), (delete, write)):
        for mimir in places(races.prepare, one, other):
            assert stored(mimir) == 0


def test_two_late_runs_of_a_deleted_thread() -> None:
    """Each of two runs that go on after the deletion is refused for good, at the same time too."""
    races = Races()
    lates = [checkpoint(a=n) for n in range(2)]
    where = config(checkpoint=races.made[2]["id"])

    def prepare(mimir: Mimir) -> None:
        races.prepare(mimir)
        MimirSaver(mimir).delete_thread("t")

    def late(number: int) -> Work:
        versions: Any = {"a": "1.0"}
        return lambda mimir: MimirSaver(mimir).put(where, lates[number], {}, versions)

    for mimir in places(prepare, late(0), late(1)):
        for each in lates:
            put(MimirSaver(mimir), config(checkpoint=each["id"]), a="child of a late one")
        assert stored(mimir) == 0


def test_a_deletion_during_a_late_run() -> None:
    """A second deletion loses no trace of a checkpoint that came late."""
    races = Races()
    late = checkpoint(a=1)
    late["id"] = "f" + late["id"][1:]  # a clock that is ahead: later than any deletion

    def prepare(mimir: Mimir) -> None:
        races.prepare(mimir)
        MimirSaver(mimir).delete_thread("t")
        put(MimirSaver(mimir), config(), a="begins anew")

    def put_late(mimir: Mimir) -> None:
        versions: Any = {"a": "1.0"}
        where = config(checkpoint=races.made[2]["id"])
        MimirSaver(mimir).put(where, late, {}, versions)

    def delete(mimir: Mimir) -> None:
        MimirSaver(mimir).delete_thread("t")

    for one, other in ((delete, put_late), (put_late, delete)):
        for mimir in places(prepare, one, other):
            put(MimirSaver(mimir), config(checkpoint=late["id"]), a="child of a late one")
            assert stored(mimir) == 0


def test_writes_of_one_task_by_two() -> None:
    """Of two that write for one task at once, the first counts, as it does one after the other."""
    races = Races()
    where = config(checkpoint=races.made[2]["id"])

    def write(value: str) -> Work:
        return lambda mimir: MimirSaver(mimir).put_writes(where, [("w", value)], "task")

    found = []
    for mimir in places(races.prepare, write("mine"), write("theirs")):
        tuple_ = MimirSaver(mimir).get_tuple(where)
        assert tuple_ is not None
        assert tuple_.pending_writes is not None
        found += [value for *_, value in tuple_.pending_writes]
    assert found == ["theirs"] * (len(found) - 1) + ["mine"]


def test_a_copy_of_what_is_being_pruned() -> None:
    """A copied thread opens whole although its source or its target is pruned meanwhile."""
    races = Races()

    def copy(mimir: Mimir) -> None:
        MimirSaver(mimir).copy_thread("t", "copy")

    def prune_both(mimir: Mimir) -> None:
        MimirSaver(mimir).prune(["t", "copy"])

    def prepare(mimir: Mimir) -> None:
        races.prepare(mimir)
        copy(mimir)

    for one, other in ((copy, prune_both), (prune_both, copy)):
        for mimir in places(prepare, one, other):
            for thread in ("t", "copy"):
                assert everything_opens(MimirSaver(mimir), thread) in (1, 2, 3)


def test_parts_of_a_value_that_is_being_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large value that others replace or erase at once, no part is left behind."""
    monkeypatch.setattr(blobs, "PART_BYTES", 100)
    def set_to(size: int) -> Work:
        return lambda mimir: MimirByteStore(mimir).mset([("k", b"x" * size)])

    def delete(mimir: Mimir) -> None:
        MimirByteStore(mimir).mdelete(["k"])

    parts = {0: 0, 50: 1, 250: 3, 450: 5}
    works = {50: set_to(50), 250: set_to(250), 450: set_to(450), 0: delete}
    for begin in (50, 450):
        for one in works.values():
            for other in works.values():
                for mimir in places(works[begin], one, other):
                    (value,) = MimirByteStore(mimir).mget(["k"])
                    assert mimir.stats().memories == parts[len(value or b"")]


def test_processes_that_fork_and_prune(path: Path) -> None:
    """While one process prunes, checkpoints that others put on older ones all open whole."""
    with create(path) as mimir:
        where: RunnableConfig = config()
        for number in range(4):
            where = fork(MimirSaver(mimir), where, f"begin {number}")
    roles: list[Callable[[], Any]] = [
        lambda: start_worker("forks", path, 0, package="langchain", module="saver_worker"),
        lambda: start_worker("forks", path, 1, package="langchain", module="saver_worker"),
        lambda: start_worker("prunes", path, package="langchain", module="saver_worker"),
    ]
    outputs = finish([start() for start in roles])
    assert [output.split()[0] for output in outputs[:2]] == [str(FORKS)] * 2
    with reopen(path) as mimir:
        assert everything_opens(MimirSaver(mimir), "t") > 0
        MimirSaver(mimir).prune(["t"])
        assert everything_opens(MimirSaver(mimir), "t") == 1
        assert mimir.verify().ok
