"""Two processes write in turn and four read, with forgets between.

    python -m tests.vault.processes run FOLDER SECONDS

Every writer notes in a shared file what it is about to do and what it has done; every reader knows
from it what a call that begins now must find, and must not.
"""

from __future__ import annotations

import os
import random
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mimir_core import Mimir
from mimir_core.errors import NotFound, ScrubPending

from .kill import in_child, in_child_value
from .vaults import create, reopen

WRITERS, READERS = 2, 4


class Notes:
    """A file that all processes append lines to and read on from."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_RDWR)
        self._read = 0
        self._rest = b""
        self.added: dict[str, str] = {}
        self.fading: set[str] = set()
        self.gone: set[str] = set()
        self.pending = 0

    def write(self, verb: str, *words: str) -> None:
        """Appends a line, at once."""
        os.write(self._file, " ".join((verb, *words)).encode() + b"\n")

    def update(self) -> None:
        """Reads on: what was added, what is being forgotten, what was forgotten."""
        data = self._rest + os.pread(self._file, 1 << 24, self._read)
        self._read += len(data) - len(self._rest)
        lines = data.split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            verb, id_, *text = line.decode().split()
            if verb == "pending":
                self.pending += 1
            elif verb == "added":
                self.added[id_] = text[0]
            elif verb == "forgetting":
                self.fading.add(id_)
            elif verb == "forgot":
                self.gone.add(id_)


def write(path: Path, notes: Notes, until: float, seed: int) -> None:
    """Remembers and forgets, now and then with a key, a checkpoint or a handle opened anew."""
    randomness, turn, mine = random.Random(seed), 0, list[str]()
    mimir = reopen(path)
    while time.monotonic() < until:
        turn += 1
        text = f"writer-{seed}-turn-{turn}"
        id_ = mimir.remember(text, thread=f"t{turn % 3}", metadata={"turn": turn})
        notes.write("added", id_, text)
        mine.append(id_)
        if turn % 3 == 0:
            _forget(mimir, notes, mine.pop(randomness.randrange(len(mine))))
        if turn % 40 == 0:
            mimir.checkpoint()
        if turn % 90 == 0:
            _close(mimir)
            mimir = reopen(path)
    _close(mimir)


def _close(mimir: Mimir) -> None:
    with suppress(ScrubPending):  # owed by a forget that said so
        mimir.close()


def _forget(mimir: Mimir, notes: Notes, id_: str) -> None:
    notes.write("forgetting", id_)
    try:
        mimir.forget(id_)
    except ScrubPending:
        notes.write("pending", id_)  # forgotten and invisible all the same
    notes.write("forgot", id_)


def read(path: Path, notes: Notes, until: float, seed: int) -> None:
    """Reads in every way, and compares with what the notes say."""
    randomness, rounds = random.Random(seed), 0
    mimir = reopen(path)
    while time.monotonic() < until:
        rounds += 1
        check_round(mimir, notes, randomness)
        if rounds % 20 == 0:
            report = mimir.verify()
            assert report.ok, report.problems
        if rounds % 50 == 0:
            mimir.close()
            mimir = reopen(path)
    assert rounds > 10
    mimir.close()


def check_round(mimir: Mimir, notes: Notes, randomness: random.Random) -> None:
    """One call of each kind; each begins after the notes were read."""
    notes.update()
    gone, known = set(notes.gone), dict(notes.added)
    found = {memory.id: memory.text for memory in mimir.memories()}
    assert not gone & set(found), "a forgotten memory came back"
    notes.update()
    lost = set(known) - set(found) - notes.fading
    assert not lost, "an acknowledged memory is missing"
    assert all(found[id_] == text for id_, text in known.items() if id_ in found)
    for mode in ("dense", "lexical", "hybrid"):
        gone = set(notes.gone)
        query = f"writer {randomness.randrange(WRITERS)} turn {randomness.randrange(300)}"
        hits = mimir.recall(query, k=20, mode=mode, neighbours=1)
        seen = {m.id for hit in hits for m in (hit.memory, *hit.before, *hit.after)}
        assert not gone & seen, "recall returned what was forgotten"
        notes.update()
    if notes.gone:
        id_ = randomness.choice(sorted(notes.gone))
        try:
            mimir.get(id_)
        except NotFound:
            assert all(relative.id for relative in mimir.lineage(id_).ancestors)
        else:
            raise AssertionError("get returned what was forgotten")


def run(folder: str, seconds: str) -> None:
    """Let all processes work for that long, then compare; prints what was done."""
    path, notes_path = Path(folder, "v.mimir"), Path(folder, "notes")
    assert in_child(lambda: create(path).close()) == 0
    until = time.monotonic() + float(seconds)
    children = [_start(write, path, notes_path, until, seed) for seed in range(WRITERS)]
    children += [_start(read, path, notes_path, until, seed) for seed in range(READERS)]
    codes = [os.waitpid(child, 0)[1] for child in children]
    assert codes == [0] * len(children), codes
    notes = Notes(notes_path)
    notes.update()
    expected = {id_: text for id_, text in notes.added.items() if id_ not in notes.gone}

    def final() -> bool:
        with reopen(path) as mimir:
            assert {memory.id: memory.text for memory in mimir.memories()} == expected
            return mimir.verify().ok

    assert in_child_value(final)
    assert sorted(os.listdir(folder)) == ["notes", "v.mimir"]
    print(len(notes.added), len(notes.gone), notes.pending)


def _start(
    work: Callable[[Path, Notes, float, int], None],
    path: Path,
    notes: Path,
    until: float,
    seed: int,
) -> int:
    child = os.fork()
    if child == 0:
        try:
            work(path, Notes(notes), until, seed)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
    return child


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
