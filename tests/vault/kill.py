"""Kills at each step of each operation, and at random moments; what was acknowledged must be there.

    python -m tests.vault.kill steps FOLDER       every step of every operation
    python -m tests.vault.kill moments FOLDER N   N kills at random moments

Runs in a process of its own, which never opens a vault: each operation and each check is a fork of
it, so that a kill costs no start of Python.
"""

from __future__ import annotations

import os
import pickle
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from unittest.mock import patch

import mimir_core.vault.vault as vault_module
from mimir_core import Item, Mimir
from mimir_core.crypto.blocks import BlockCipher
from mimir_core.crypto.preamble import unlock
from mimir_core.crypto.slots import PassphraseCredential
from mimir_core.errors import CannotUnlock, NotFound, VectorsLost
from mimir_core.storage import SqliteBlockStore
from mimir_core.vault.layout import Stream

from ..storage.faults import Countdown, FaultyStore, Hook, die
from .autopsy import opened, pages, preambles, readable
from .raw import flip
from .vaults import FAST, PASSPHRASE, contents, create, reopen, state_of

Acknowledge = Callable[[str], None]
SMALL = {"mimir_core.index.vectors.GRAPH_FROM": 20, "mimir_core.index.vectors._TAIL": 20}
COUNT = 60


@dataclass(frozen=True)
class Operation:
    """What a child does until it is killed, and what must hold then.

    Attributes:
        run: Does it, and acknowledges each of its parts.
        check: Given the vault's path, the contents before, the ids stored before and the
            acknowledged parts, raises unless all is well.
        prepare: What is done to the template first.
    """

    run: Callable[[Mimir, list[str], Acknowledge], None]
    check: Callable[[Path, dict[str, Any], list[str], list[str]], None]
    prepare: Callable[[Path], None] = lambda path: None


def fill(path: Path) -> tuple[list[str], dict[str, Any]]:
    """Makes the template: memories in a thread, a keyed and a derived one; ids and contents."""
    with create(path) as mimir:
        ids = mimir.remember_many(
            [Item(f"turn {n} w{n % 7}", thread="t", metadata={"n": n}) for n in range(COUNT)]
        )
        ids.append(mimir.remember("blue", key="k"))
        ids.append(mimir.remember("summary", derived_from=ids[:3]))
        mimir.checkpoint()
        for n in range(5):
            ids.append(mimir.remember(f"tail {n}", thread="t"))
        mimir._vault._checkpointer._write = lambda: None  # type: ignore[method-assign]  # a tail
        return ids, contents(mimir)


def check_added(path: Path, before: dict[str, Any], acknowledged: list[str], most: int) -> None:
    """All that was there, all that was acknowledged, and at most one part more."""
    with reopen(path) as mimir:
        after = contents(mimir)
        assert before.items() <= after.items()
        assert set(acknowledged) <= set(after) - set(before)
        assert len(after) - len(before) <= most
        assert mimir.verify().ok, mimir.verify().problems


def remember(mimir: Mimir, ids: list[str], acknowledge: Acknowledge) -> None:
    """Two memories, one by one."""
    acknowledge(mimir.remember("new one", thread="t", metadata={"n": 1}))
    acknowledge(mimir.remember("new two", derived_from=[ids[4]]))


def check_remember(
    path: Path, before: dict[str, Any], ids: list[str], acknowledged: list[str]
) -> None:
    """Neither lost nor half done."""
    check_added(path, before, acknowledged, 2)


def remember_many(mimir: Mimir, ids: list[str], acknowledge: Acknowledge) -> None:
    """A batch, which is there as a whole or not at all."""
    stored = mimir.remember_many([Item("x" * 9_000, thread="t") for _ in range(150)])
    for id_ in stored:
        acknowledge(id_)


def check_remember_many(
    path: Path, before: dict[str, Any], ids: list[str], acknowledged: list[str]
) -> None:
    """All or nothing."""
    check_added(path, before, acknowledged, 150)
    with reopen(path) as mimir:
        assert len(mimir.thread("t")) in (COUNT + 5, COUNT + 155)


def forget(mimir: Mimir, ids: list[str], acknowledge: Acknowledge) -> None:
    """One memory of a segment, then one of the tail."""
    for id_ in (ids[10], ids[-2]):
        mimir.forget(id_)
        acknowledge(id_)


def check_forget(
    path: Path, before: dict[str, Any], ids: list[str], acknowledged: list[str]
) -> None:
    """What was forgotten stays forgotten, and once the vault was opened no key opens it."""
    with reopen(path) as mimir:
        after = contents(mimir)
        gone = [id_ for id_ in (ids[10], ids[-2]) if id_ not in after]
        assert {k: v for k, v in before.items() if k not in gone} == after
        assert acknowledged == gone[: len(acknowledged)]
        assert mimir.verify().ok
        for id_ in gone:
            assert not [hit for hit in mimir.recall("turn tail", k=200) if hit.id == id_]
        # a fork may read the file: its closing drops no lock of this process
        assert in_child(lambda: _check_unreadable(path, [ids.index(id_) for id_ in gone])) == 0


def _check_unreadable(path: Path, ordinals: list[int]) -> None:
    raw = pages(str(path))
    keys = unlock(preambles(raw)[0], PassphraseCredential(PASSPHRASE), allow_insecure=True)
    assert readable(opened(raw, BlockCipher(keys)), ordinals) == []


def upsert(mimir: Mimir, ids: list[str], acknowledge: Acknowledge) -> None:
    """Two new values of a key."""
    for value in ("green", "red"):
        mimir.remember(value, key="k")
        acknowledge(value)


def check_upsert(
    path: Path, before: dict[str, Any], ids: list[str], acknowledged: list[str]
) -> None:
    """One value at any time, not older than what was acknowledged; the others are erased."""
    values = ["blue", "green", "red"]
    with reopen(path) as mimir:
        found = mimir.get(key="k").text
        assert values.index(found) >= len(acknowledged)
        assert mimir.stats().memories == len(before)
        assert mimir.stats().erased == values.index(found)
        assert mimir.verify().ok
        if found != "blue":
            try:
                mimir.get(ids[COUNT])
            except NotFound:
                pass
            else:
                raise AssertionError("the old value is still there")


def checkpoint(mimir: Mimir, ids: list[str], acknowledge: Acknowledge) -> None:
    """Segments and a graph over a forgotten memory, then close."""
    mimir.checkpoint()
    mimir.close()


def check_same(path: Path, before: dict[str, Any], ids: list[str], acknowledged: list[str]) -> None:
    """Nothing changed for a caller."""
    with reopen(path) as mimir:
        assert contents(mimir) == before
        assert mimir.verify().ok, mimir.verify().problems
        assert len(mimir.recall("turn", k=200, mode="dense")) >= COUNT
        assert len(mimir.recall("turn", k=200, mode="lexical")) == COUNT


def passwd(mimir: Mimir, ids: list[str], acknowledge: Acknowledge) -> None:
    """A change of passphrase."""
    mimir.change_passphrase("new", profile=FAST)
    acknowledge("changed")


def check_passwd(
    path: Path, before: dict[str, Any], ids: list[str], acknowledged: list[str]
) -> None:
    """Exactly one passphrase opens: the new one, if the change was acknowledged."""
    opens = []
    for passphrase in (PASSPHRASE, "new"):
        try:
            with reopen(path, passphrase) as mimir:
                assert contents(mimir) == before
                assert mimir.verify().ok
        except CannotUnlock:
            continue
        opens.append(passphrase)
    assert len(opens) == 1
    assert opens == ["new"] or not acknowledged


def damage(path: Path) -> None:
    """Flips a bit of the vectors."""
    number = in_child_value(lambda: _vector_block(path))
    flip(path, number)


def _vector_block(path: Path) -> int:
    with reopen(path) as mimir:
        number: int = state_of(mimir).container._numbers[Stream.VECTORS, 0]
        return number


def reembed(mimir: Mimir, ids: list[str], acknowledge: Acknowledge) -> None:
    """A repair."""
    mimir.reembed()
    acknowledge("repaired")


def check_reembed(
    path: Path, before: dict[str, Any], ids: list[str], acknowledged: list[str]
) -> None:
    """Vectors are lost, and it is said, or they are all there."""
    with reopen(path) as mimir:
        assert contents(mimir) == before
        try:
            assert len(mimir.recall("turn", k=200, mode="dense")) == len(before)
            assert mimir.verify().ok
        except VectorsLost:
            assert not acknowledged
            mimir.reembed()
            assert len(mimir.recall("turn", k=200, mode="dense")) == len(before)
        assert mimir.verify().ok


def replace(mimir: Mimir, ids: list[str], acknowledge: Acknowledge) -> None:
    """Two replacements of a memory by two others."""
    for number in range(2):
        new = [Item(f"new {number} {n}", thread="t", attachment=b"x") for n in range(2)]
        mimir.replace(new, ids=[ids[number]])
        acknowledge(str(number))


def check_replace(
    path: Path, before: dict[str, Any], ids: list[str], acknowledged: list[str]
) -> None:
    """Each replacement happened whole or not at all."""
    with reopen(path) as mimir:
        after = contents(mimir)
        new = [str(after[id_][0]) for id_ in after if id_ not in before]
        done = len(new) // 2
        assert done >= len(acknowledged)
        assert new == [f"new {number} {n}" for number in range(done) for n in range(2)]
        assert set(before) - set(after) == set(ids[:done])
        assert mimir.verify().ok


OPERATIONS = {
    "remember": Operation(remember, check_remember),
    "remember_many": Operation(remember_many, check_remember_many),
    "forget": Operation(forget, check_forget),
    "upsert": Operation(upsert, check_upsert),
    "replace": Operation(replace, check_replace),
    "checkpoint": Operation(checkpoint, check_same),
    "passwd": Operation(passwd, check_passwd),
    "reembed": Operation(reembed, check_reembed, damage),
}


def in_child(work: Callable[[], object]) -> int:
    """Runs in a fork; its wait status, and its traceback on standard error if it failed."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
    return os.waitpid(child, 0)[1]


def in_child_value(work: Callable[[], Any]) -> Any:
    """What a function gives in a fork."""
    with TemporaryFile() as carrier:
        status = in_child(lambda: (pickle.dump(work(), carrier), carrier.flush()))
        assert status == 0
        carrier.seek(0)
        return pickle.load(carrier)


def steps_of(path: Path, operation: Operation, ids: list[str]) -> list[str]:
    """The steps that the operation takes when nothing stops it."""

    def work() -> list[str]:
        hook = Countdown(-1, die)
        _operate(path, operation, ids, hook, lambda part: None)
        return hook.seen

    found: list[str] = in_child_value(work)
    return found


def _operate(
    path: Path, operation: Operation, ids: list[str], hook: Hook, acknowledge: Acknowledge
) -> None:
    real = SqliteBlockStore.open

    class Hooked:
        """Stands in for the store's class."""

        look = SqliteBlockStore.look

        @staticmethod
        def open(where: Path) -> FaultyStore:
            return FaultyStore(real(where), hook)

    with patch.object(vault_module, "SqliteBlockStore", Hooked):
        mimir = reopen(path)
    operation.run(mimir, ids, acknowledge)


def killed_at(path: Path, operation: Operation, ids: list[str], step: int) -> list[str]:
    """Runs the operation, kills it at a step; what it had acknowledged."""
    reader, writer = os.pipe()

    def acknowledge(part: str) -> None:
        os.write(writer, part.encode() + b"\n")

    status = in_child(lambda: _operate(path, operation, ids, Countdown(step, die), acknowledge))
    os.close(writer)
    # where blocks are drawn at random, the last steps are sometimes one or two fewer
    assert os.WIFSIGNALED(status) or status == 0
    with os.fdopen(reader) as stream:
        return stream.read().splitlines()


def steps(folder: str, most: str = "60") -> None:
    """Kill each operation at each of its steps, or at `most` of them; prints how many kills."""
    where, kills = Path(folder), 0
    for target, value in SMALL.items():
        patch(target, value).start()
    template = where / "template.mimir"
    ids, before = in_child_value(lambda: fill(template))
    for name, operation in OPERATIONS.items():
        prepared, path = where / f"{name}.mimir", where / "copy.mimir"
        shutil.copy(template, prepared)
        operation.prepare(prepared)
        shutil.copy(prepared, path)
        count = len(steps_of(path, operation, ids))
        for step in sorted({count * n // int(most) for n in range(int(most))}):
            for left in where.glob("copy.mimir*"):
                left.unlink()
            shutil.copy(prepared, path)
            acknowledged = killed_at(path, operation, ids, step)
            check = partial(operation.check, path, before, ids, acknowledged)
            assert in_child(check) == 0, f"{name} killed at step {step} of {count}"
            kills += 1
        print(name, count, flush=True)
    print("kills", kills)


def moments(folder: str, kills: str, seed: str = "1") -> None:
    """Work without pause in a child, kill it at a random moment, and check; prints `ok`."""
    randomness = random.Random(int(seed))
    path = Path(folder, "moments.mimir")
    in_child(lambda: create(path).close())
    expected: dict[str, str] = {}
    for kill in range(int(kills)):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            try:
                _work(path, writer, kill)
            finally:
                os._exit(3)
        os.close(writer)
        os.read(reader, 6)
        time.sleep(randomness.uniform(0, 0.06))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(reader) as stream:
            lines = stream.read().splitlines()
        pending = _replay(lines, expected)
        expected = in_child_value(partial(_check_moment, path, expected, pending))
    print("ok", len(expected))


def _work(path: Path, writer: int, kill: int) -> None:
    def say(*words: str) -> None:
        os.write(writer, (" ".join(words) + "\n").encode())

    mimir = reopen(path)
    say("ready")
    for turn in range(10_000):
        text = f"text-{kill}-{turn}"
        say("remembering", text)
        id_ = mimir.remember(text, thread="t", key=f"k{turn % 5}" if turn % 3 == 0 else None)
        say("remembered", text, id_, f"k{turn % 5}" if turn % 3 == 0 else "-")
        if turn % 4 == 1:
            say("forgetting", id_)
            mimir.forget(id_)
            say("forgot", id_)
        if turn % 7 == 6:
            mimir.checkpoint()


def _replay(lines: list[str], expected: dict[str, str]) -> list[str] | None:
    """Applies what was acknowledged to id -> "key text"; gives what was begun and not finished."""
    pending = None
    for line in lines:
        verb, *words = line.split()
        if verb in ("remembering", "forgetting"):
            pending = [verb, *words]
        elif verb == "remembered":
            text, id_, key = words
            _put(expected, id_, key, text)
            pending = None
        elif verb == "forgot":
            expected.pop(words[0], None)
            pending = None
    return pending


def _put(expected: dict[str, str], id_: str, key: str, text: str) -> None:
    for other in [o for o, value in expected.items() if key != "-" and value.split()[0] == key]:
        del expected[other]
    expected[id_] = f"{key} {text}"


def _check_moment(
    path: Path, expected: dict[str, str], pending: list[str] | None
) -> dict[str, str]:
    with reopen(path) as mimir:
        found = {m.id: f"{m.key or '-'} {m.text}" for m in mimir.memories()}
        assert mimir.verify().ok, mimir.verify().problems
    if found != expected and pending:
        verb, word = pending
        if verb == "forgetting":
            expected.pop(word, None)
        else:
            (new,) = set(found) - set(expected)
            key, text = found[new].split()
            assert text == word
            _put(expected, new, key, text)
    assert found == expected
    return found


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
