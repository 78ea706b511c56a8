"""Forgotten means gone, even for someone with every key and every byte."""

from __future__ import annotations

import json
import os
import struct
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from mimir_core import Item, Mimir
from mimir_core.crypto.preamble import SLOT_COUNT
from mimir_core.errors import NotFound, ScrubPending
from mimir_core.index.columns import quantize
from mimir_core.vault.edit import Edit
from mimir_core.vault.layout import Stream
from mimir_core.vault.state import State
from mimir_core.vault.vault import Vault
from mimir_core.vault.write import Staged

from .autopsy import autopsy
from .raw import flip, read_blocks, read_preamble
from .scan import scan
from .vaults import BARE, EMBEDDER, FAST, PASSPHRASE, create, reopen, state_of
from .worker import run_worker, start_worker

SECRET = "quetzalcoatlus likes rumpelstiltskin"
FIELDS = {"zirconiumfield": "zanzibarvalue", "n": 987_654_321}
MOMENT = 1_357_924_680.5
NEEDLES = {
    "words": b"quetzalcoatlu",
    "other word": b"rumpelstiltskin",
    "field": b"zirconiumfield",
    "value": b"zanzibarvalue",
    "number": b"\xce" + struct.pack(">I", 987_654_321),
    "key": b"passportkey",
    "thread": b"wednesdaythread",
    "namespace": b"secretnamespace",
    "time": struct.pack("<q", round(MOMENT * 1e6)),
    "codes": quantize(EMBEDDER.embed_documents([SECRET]))[0].tobytes(),
}


@pytest.fixture(autouse=True)
def _small_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build graphs for few vectors already."""
    monkeypatch.setattr("mimir_core.index.vectors.GRAPH_FROM", 50)
    monkeypatch.setattr("mimir_core.index.vectors._TAIL", 50)


def secret(text: str = SECRET) -> Item:
    """The memory to be forgotten."""
    return Item(text, namespace="secretnamespace", thread="wednesdaythread", key="passportkey",
                metadata=FIELDS, time=MOMENT)  # fmt: skip


@pytest.fixture
def filled(mimir: Mimir) -> tuple[Mimir, str]:
    """A vault with segments and a graph over 200 memories, the secret one among them; its id."""
    mimir.remember_many([Item(f"filler {n} {n % 17}", thread="t") for n in range(100)])
    id_ = mimir.remember_many([secret()])[0]
    mimir.remember_many([Item(f"filler {n} {n % 17}", thread="t") for n in range(99)])
    mimir.checkpoint()
    return mimir, id_


def check_gone(path: Path, ordinal: int, passphrase: str = PASSPHRASE) -> None:
    """Checks that no key opens the node, and that nothing of it is left anywhere."""
    found = autopsy(path, passphrase, NEEDLES, [0, ordinal])
    opens, graph = found.pop("opens"), found.pop("graph")
    assert found == {}
    assert set(opens) <= {"0"} - {str(ordinal)}
    assert str(ordinal) not in graph


def test_the_autopsy_finds_what_is_there(filled: tuple[Mimir, str], path: Path) -> None:
    """Before the forget every trace is found: words, names, values, vector, links, keys."""
    found = autopsy(path, PASSPHRASE, NEEDLES, [0, 50, 100, 199])
    assert found.pop("opens") == ["0", "50", "100", "199"]
    assert "100" in found.pop("graph")
    assert set(found) == set(NEEDLES)
    assert found["codes"] == ["stream 256"]
    assert found["words"] == ["segment"]


@pytest.mark.parametrize("how", ["id", "key", "thread", "namespace", "filter"])
def test_nothing_is_left_when_forget_returns(
    filled: tuple[Mimir, str], path: Path, how: str
) -> None:
    """Content, vector, words, names, metadata, time, key and graph links are gone at once."""
    mimir, id_ = filled
    place = {"namespace": "secretnamespace"}
    arguments: dict[str, object] = {
        "id": {"ids": id_},
        "key": {"key": "passportkey", **place},
        "thread": {"thread": "wednesdaythread", **place},
        "namespace": place,
        "filter": {"where": {"n": 987_654_321}, **place},
    }[how]
    assert mimir.forget(**arguments).ids == (id_,)  # type: ignore[arg-type]  # chosen by name
    check_gone(path, 100)
    assert mimir.verify().ok
    mimir.checkpoint()
    check_gone(path, 100)
    assert state_of(mimir).root.spaces[0].graph_size > 0
    mimir.close()
    check_gone(path, 100)
    with reopen(path) as again:
        assert again.verify().ok
        with pytest.raises(NotFound):
            again.get(id_)
        check_gone(path, 100)


def test_nothing_is_left_of_a_memory_in_the_tail(mimir: Mimir, path: Path) -> None:
    """A memory that no segment covers yet leaves nothing either."""
    mimir.remember("a cat")
    id_ = mimir.remember_many([secret()])[0]
    mimir.remember("a dog")
    mimir.forget(id_)
    check_gone(path, 1)
    mimir.close()
    check_gone(path, 1)


def test_a_superseded_value_is_gone_when_remember_returns(
    filled: tuple[Mimir, str], path: Path
) -> None:
    """Writing a new value of a key erases the old as forgetting does."""
    mimir, _ = filled
    mimir.remember("harmless", key="passportkey", namespace="secretnamespace")
    found = autopsy(path, PASSPHRASE, NEEDLES, [100, 200])
    assert set(found) - {"opens", "graph"} <= {"key", "namespace"}
    assert "100" not in found["opens"]
    assert "200" in found["opens"]
    mimir.forget(key="passportkey", namespace="secretnamespace")
    check_gone(path, 100)


def test_names_go_with_the_last_memory_that_has_them(mimir: Mimir, path: Path) -> None:
    """A name shared by memories of several segments goes once the last of them is forgotten."""
    first = mimir.remember_many([secret()])[0]
    mimir.remember_many([Item(f"filler {n}") for n in range(1_100)])
    item = secret()
    second = mimir.remember(item.content, namespace="secretnamespace", thread="wednesdaythread",
                            metadata=FIELDS, time=MOMENT)  # fmt: skip
    mimir.checkpoint()
    mimir.forget(first)
    found = autopsy(path, PASSPHRASE, NEEDLES, [0, 1_101])
    assert {"words", "thread", "namespace", "codes"} <= set(found)
    assert "key" not in found
    assert found["opens"] == ["1101"]
    mimir.forget(second)
    check_gone(path, 1_101)


def test_cascade_erases_what_was_derived(filled: tuple[Mimir, str], path: Path) -> None:
    """A summary that repeats the secret goes with it."""
    mimir, id_ = filled
    mimir.remember(SECRET, derived_from=[id_], metadata=FIELDS)
    mimir.forget(id_, cascade=True)
    check_gone(path, 100)
    check_gone(path, 200)


def test_nothing_is_left_in_another_handles_way(filled: tuple[Mimir, str], path: Path) -> None:
    """A process that reads all the while keeps nothing in the file, and finds nothing more."""
    mimir, id_ = filled
    with start_worker("read_for_ever", path, id_, module="test_erasure") as reader:
        assert reader.stdout is not None
        assert reader.stdin is not None
        reader.stdout.readline()
        mimir.forget(id_)
        check_gone(path, 100)
        reader.stdin.close()
        last = json.loads(reader.stdout.readlines()[-1])
    assert last == {"found": False, "ok": True}
    check_gone(path, 100)


def read_for_ever(path: str, id_: str) -> None:
    """Search and read until standard input ends, and once more; print what the last round saw."""
    import select  # noqa: PLC0415
    import sys  # noqa: PLC0415

    def found() -> bool:
        hits = mimir.recall(SECRET, namespace="secretnamespace", k=100)
        return bool(hits) or any(memory.id == id_ for memory in mimir.memories())

    with reopen(Path(path)) as mimir:
        print(json.dumps({"found": found()}), flush=True)
        while not select.select([sys.stdin], [], [], 0)[0]:
            found()
        print(json.dumps({"found": found(), "ok": mimir.verify().ok}))


def test_a_held_snapshot_leaves_the_scrub_pending(
    filled: tuple[Mimir, str], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another process holds an old snapshot forget says so; the next commit finishes it."""
    monkeypatch.setattr("mimir_core.vault.vault.SCRUB_TIMEOUT", 0.2)
    mimir, id_ = filled
    with start_worker("hold_snapshot", path) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        holder.stdout.readline()
        with pytest.raises(ScrubPending):
            mimir.forget(id_)
        with pytest.raises(NotFound):
            mimir.get(id_)
        assert not mimir.recall(SECRET, namespace="secretnamespace")
        mimir.remember("a dog")  # tries again, and may fail again without a word
        holder.stdin.close()
        holder.wait(30)
    mimir.remember("a bird")
    check_gone(path, 100)


@pytest.mark.parametrize("finish", ["open", "close", "follower"])
def test_a_pending_scrub_is_finished_by_the_next_open_or_close(
    filled: tuple[Mimir, str], path: Path, monkeypatch: pytest.MonkeyPatch, finish: str
) -> None:
    """Whoever comes next scrubs: an open, a close, or another handle that follows and writes."""
    monkeypatch.setattr("mimir_core.vault.vault.SCRUB_TIMEOUT", 0.2)
    mimir, id_ = filled
    other = reopen(path)
    with start_worker("hold_snapshot", path) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(ScrubPending):
            mimir.forget(id_)
        holder.kill()
    if finish == "open":
        with reopen(path):
            check_gone(path, 100)
    elif finish == "close":
        mimir.close()
        check_gone(path, 100)
    else:
        other.remember("a dog")
        check_gone(path, 100)
    other.close()


def test_a_reader_finishes_what_a_dead_process_left(
    filled: tuple[Mimir, str], path: Path
) -> None:
    """A handle that only reads scrubs once it has followed a forget that nobody else can finish."""
    mimir, id_ = filled
    with mimir._vault.view():
        run_worker("forget_and_die", path, id_, module="test_erasure")
    assert "100" in autopsy(path, PASSPHRASE, NEEDLES, [0, 100])["opens"]
    assert not mimir.recall(SECRET, namespace="secretnamespace")
    check_gone(path, 100)


def test_a_reader_tries_until_it_can(
    mimir: Mimir, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another process holds a snapshot a reader goes on unharmed; it scrubs after that."""
    id_ = mimir.remember("a cat")
    monkeypatch.setattr("mimir_core.vault.vault.IDLE_SECONDS", 0.1)
    with reopen(path) as reader, start_worker("hold_snapshot", path) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        run_worker("forget_and_die", path, id_, module="test_erasure")
        for _ in range(3):
            assert not list(reader.memories())
            time.sleep(0.1)
        assert journal_size(path) > BARE
        holder.kill()
        deadline = time.monotonic() + 20
        while journal_size(path) > BARE and time.monotonic() < deadline:
            time.sleep(0.05)
        assert journal_size(path) == BARE


def forget_and_die(path: str, id_: str) -> None:
    """Forget while somebody holds a snapshot, and end without a close."""
    with patch("mimir_core.vault.vault.SCRUB_TIMEOUT", 0.1):
        mimir = reopen(Path(path))
        with pytest.raises(ScrubPending):
            mimir.forget(id_)
        os._exit(0)


def journal_size(path: Path) -> int:
    """Bytes in the journal."""
    return path.with_name(path.name + "-wal").stat().st_size


def test_nothing_is_left_of_a_damaged_vector_block(path: Path) -> None:
    """When `reembed` returns, the block that it replaced is in neither file nor journal."""
    with create(path) as mimir:
        mimir.remember_many([Item(f"turn {n}") for n in range(5)])
        number = state_of(mimir).container._numbers[Stream.VECTORS, 0]
    flip(path, number)
    damaged = {"block": [read_blocks(path)[number][:64]]}
    with reopen(path) as mimir:
        assert set(scan(path.parent, damaged)) == {"block"}
        assert mimir.reembed() == 5
        assert scan(path.parent, damaged) == {}
        assert mimir.recall("turn 3")


def test_no_key_is_in_the_repr_of_a_change(mimir: Mimir, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a commit will change says nothing of keys, contents, names or vectors."""
    seen: list[Any] = []
    commit = Vault.commit

    def watch(self: Vault, state: State, edit: Edit, staged: Staged) -> None:
        seen.extend((edit, staged, *staged.sealed, *staged.nodes, *staged.erased.values()))
        commit(self, state, edit, staged)

    monkeypatch.setattr(Vault, "commit", watch)
    mimir.forget(mimir.remember_many([secret()]))
    keys = [entry for entry in seen if isinstance(entry, bytes)]
    assert [len(key) for key in keys] == [32]
    for one in seen:
        if not isinstance(one, bytes):
            said = repr(one)
            assert not any(repr(key) in said for key in keys)
            assert not any(word in said for word in ("rumpel", "passport", "wednesday", "zanzi"))
            assert "array" not in said


def test_the_journal_is_emptied_when_idle(
    mimir: Mimir, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A while after the last commit the journal is empty."""
    monkeypatch.setattr("mimir_core.vault.vault.IDLE_SECONDS", 0.2)
    mimir.remember("a cat")
    journal = path.with_name(path.name + "-wal")
    deadline = time.monotonic() + 20
    while journal.stat().st_size > BARE and time.monotonic() < deadline:
        mimir.remember("a dog") if time.monotonic() < deadline - 19.5 else time.sleep(0.05)
    assert journal.stat().st_size == BARE


def test_old_key_slots_are_gone(path: Path) -> None:
    """After a change of passphrase no slot of the old preamble is in the file or its journal."""
    create(path).close()
    old = read_preamble(path)
    slots = {f"slot {n}": [old[64 + 1_408 * n : 64 + 1_408 * n + 64]] for n in range(SLOT_COUNT)}
    wrapped = {
        f"key {n}": [old[64 + 1_408 * n + 88 : 64 + 1_408 * n + 136]] for n in range(SLOT_COUNT)
    }
    looked_for = slots | wrapped | {"salt": [old[48:64]], "mac": [old[-32:]]}
    assert set(scan(path.parent, looked_for)) == set(looked_for)
    with reopen(path) as mimir:
        mimir.remember("a cat")
        mimir.change_passphrase("new", profile=FAST)
        assert scan(path.parent, looked_for) == {}
    assert scan(path.parent, looked_for) == {}


if __name__ == "__main__":
    import sys

    globals()[sys.argv[1]](*sys.argv[2:])
