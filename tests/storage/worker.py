"""What the tests run in a process of its own: being killed, writing in turn, raw file access.

`run_worker("name", ...)` calls the function `name` below with its arguments as text and gives
back what it printed. A process that has a vault open must not open the vault's file itself.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from mimir_core.errors import MimirError
from mimir_core.storage import BLOCK_SIZE, BlockStore, SqliteBlockStore, sqlite_file

from .blocks import block, tag
from .faults import Countdown, FaultyStore, Hook, die

ROOT = Path(__file__).parents[2]
OLD = [block(0), block(1)]
NEW = [block(10), block(1), block(12)]


def start_worker(name: str, *arguments: object) -> subprocess.Popen[str]:
    """Start the function in a process; its standard output can be read."""
    command = [sys.executable, "-m", "tests.storage.worker", name, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def run_worker(name: str, *arguments: object) -> list[str]:
    """Run the function in a process and give the lines it printed; fails if it failed."""
    with start_worker(name, *arguments) as process:
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return output.splitlines()


def operate(store: BlockStore, hook: Hook) -> None:
    """One commit that leads from OLD to NEW, and a scrub."""
    faulty = FaultyStore(store, hook)
    with faulty.writing(1):
        writes = {0: NEW[0], 2: NEW[2]}
        faulty.commit(writes, expected_root_tag=tag(OLD[0]), preamble=b"new")
    faulty.scrub(1)


def be_killed_at_each_step(folder: str, steps: str) -> None:
    """Run `operate` on the vault N.mimir and be killed at the N-th hook call, for each N."""
    for step in range(int(steps)):
        child = os.fork()
        if child == 0:
            operate(SqliteBlockStore.open(Path(folder, f"{step}.mimir")), Countdown(step, die))
            os._exit(1)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])


def be_killed_while_creating(folder: str) -> None:
    """Create N.mimir and be killed at the N-th statement, for each N; prints how many there are."""
    steps: list[str] = []

    def create(name: str, hook: Hook) -> None:
        run = sqlite_file.run

        def hooked(*arguments: Any) -> list[Any]:
            hook("before run")
            return run(*arguments)

        with patch.object(sqlite_file, "run", hooked):
            SqliteBlockStore.create(Path(folder, name), b"p", NEW)

    create("whole.mimir", steps.append)
    for step in range(len(steps)):
        child = os.fork()
        if child == 0:
            create(f"{step}.mimir", Countdown(step, die))
            os._exit(1)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    print(len(steps))


def numbered(state: int) -> dict[int, bytes]:
    """The writes that make every block of a vault of four name `state`."""
    return {n: state.to_bytes(8, "big") + block(n)[8:-16] + state.to_bytes(16, "big")
            for n in range(4)}  # fmt: skip


def state_of(store: BlockStore) -> int:
    """The state that every block names, checked to be one and the same."""
    blocks = store.read(range(4))
    state = int.from_bytes(blocks[0][:8], "big")
    assert blocks == list(numbered(state).values())
    return state


def be_killed_while_committing(path: str, kills: str, seed: str) -> None:
    """Commit without pause in a child, kill it, and check; prints the last state of each round."""
    randomness = random.Random(int(seed))
    for _ in range(int(kills)):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            _commit_for_ever(path, writer)
        os.close(writer)
        acknowledged = int.from_bytes(os.read(reader, 8), "big")
        time.sleep(randomness.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while report := os.read(reader, 8):
            acknowledged = int.from_bytes(report, "big")
        os.close(reader)
        _check_in_a_child(path, acknowledged)
    print("ok")


def _commit_for_ever(path: str, acknowledgements: int) -> None:
    store = SqliteBlockStore.open(path)
    while True:
        state = state_of(store) + 1
        store.commit(numbered(state), expected_root_tag=store.root_tag())
        os.write(acknowledgements, state.to_bytes(8, "big"))
        if state % 7 == 0:
            store.scrub(1)


def _check_in_a_child(path: str, acknowledged: int) -> None:
    child = os.fork()
    if child == 0:
        state = state_of(SqliteBlockStore.open(path))
        os._exit(0 if state in (acknowledged, acknowledged + 1) else 1)
    assert os.waitpid(child, 0)[1] == 0, "an acknowledged commit was lost"


def count_up(path: str, times: str) -> None:
    """Add one to the state, `times` times, each under the right to commit."""
    store = SqliteBlockStore.open(path)
    for _ in range(int(times)):
        with store.writing(30):
            state = state_of(store) + 1
            store.commit(numbered(state), expected_root_tag=store.root_tag())
    store.close()


def find(path: str, *seeds: str) -> None:
    """Print file name and seed wherever a piece of that block lies in the vault's files."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        file = Path(path + suffix)
        content = file.read_bytes() if file.exists() else b""
        for seed in map(int, seeds):
            if any(block(seed)[at : at + 16] in content for at in range(0, BLOCK_SIZE - 15, 1_000)):
                print(f"vault{suffix}", seed)


def hold_right_to_commit(path: str) -> None:
    """Take the right to commit, say so, and keep it until standard input ends."""
    with SqliteBlockStore.open(path).writing(1):
        print("held", flush=True)
        signal.pause()


def fill_file_limit(path: str) -> None:
    """Commit more than the process may write to a file; prints the error and the state after it."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    store = SqliteBlockStore.open(path)
    soft = os.path.getsize(path + "-wal") + 40 * BLOCK_SIZE
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))
    before = store.root_tag()
    writes = {0: block(70)} | {n: block(n) for n in range(4, 104)}
    try:
        store.commit(writes, expected_root_tag=before)
    except MimirError as error:
        print(type(error).__name__)
    assert (store.root_tag(), store.count()) == (before, 4)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    store.commit(writes, expected_root_tag=before)
    store.close()
    print("recovered")


def open_as_nobody(path: str) -> None:
    """Open, or create if there is nothing, without root's rights; prints the error's name."""
    if os.geteuid() == 0:
        os.setuid(65_534)
    try:
        if os.path.exists(path):
            SqliteBlockStore.open(path).close()
        else:
            SqliteBlockStore.create(path, b"p", [block(0)]).close()
        print("opened")
    except MimirError as error:
        print(type(error).__name__)


def leave_journal(path: str, commits: str) -> None:
    """Commit some states and die, so that they lie in the journal."""
    store = SqliteBlockStore.open(path)
    for _ in range(int(commits)):
        store.commit(numbered(state_of(store) + 1), expected_root_tag=store.root_tag())
    die()


def damage_file(path: str, trials: str, seed: str) -> None:
    """Open copies of the vault with one bit flipped or the end cut off; fails on a wrong answer.

    Right answers are a typed error, or the old content in every block but the damaged one.
    """
    whole = Path(path).read_bytes()
    with contextlib.closing(SqliteBlockStore.open(path)) as store:
        old = store.read(range(store.count()))
    for content in _damaged(whole, int(trials), random.Random(int(seed))):
        with contextlib.suppress(MimirError), _opened_copy(content, b"") as store:
            _use_damaged(store, old)
    print("ok")


@contextlib.contextmanager
def _opened_copy(main: bytes, journal: bytes) -> Iterator[SqliteBlockStore]:
    """A store on a copy, in memory where the system has such a folder."""
    fast = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=fast) as folder:
        Path(folder, "v").write_bytes(main)
        if journal:
            Path(folder, "v-wal").write_bytes(journal)
        with contextlib.closing(SqliteBlockStore.open(Path(folder, "v"))) as store:
            yield store


def _damaged(whole: bytes, trials: int, randomness: random.Random) -> Iterator[bytes]:
    """Every bit of the header; bits near the page ends and starts, and anywhere; lengths."""
    page = 16_384
    pages = len(whole) // page
    bits = list(range(800))
    for _ in range(trials):
        start = 8 * page * randomness.randrange(pages)
        bits += [start + randomness.randrange(8 * 64), start + randomness.randrange(8 * page)]
    bits += [8 * (page - 200) + randomness.randrange(8 * 200) for _ in range(trials)]  # the schema
    for bit in bits:
        yield _flipped(whole, bit)
    for length in (1, 15, 16, 99, 100, 512, page - 1, *range(0, len(whole), page // 2)):
        yield whole[:length]


def _use_damaged(store: SqliteBlockStore, old: list[bytes]) -> None:
    store.preamble()
    new = store.read(range(store.count()))
    changed = [n for n, (a, b) in enumerate(zip(old, new, strict=True)) if a != b]
    assert len(changed) <= 1, changed
    store.commit({0: block(900), 2: block(902)}, expected_root_tag=store.root_tag())
    store.scrub(1)
    after = store.read(range(store.count()))
    assert after[0] == block(900)
    assert after[2] == block(902)
    assert [n for n in (1, 3) if after[n] != new[n]] == []


def damage_journal(path: str, trials: str, seed: str) -> None:
    """Open the vault with one journal bit flipped; fails unless it is at a state once committed."""
    randomness = random.Random(int(seed))
    main, journal = Path(path).read_bytes(), Path(f"{path}-wal").read_bytes()
    with _opened_copy(main, journal) as store:
        print("undamaged", state_of(store))
    bits = [*range(8 * 56), *(randomness.randrange(8 * len(journal)) for _ in range(int(trials)))]
    states = set()
    for bit in bits:
        with contextlib.suppress(MimirError), _opened_copy(main, _flipped(journal, bit)) as store:
            states.add(state_of(store))
    print("damaged", *sorted(states))


def _flipped(content: bytes, bit: int) -> bytes:
    copy = bytearray(content)
    copy[bit // 8] ^= 1 << bit % 8
    return bytes(copy)


def reopen_in_fork(path: str) -> None:
    """Open, fork, open anew in the child, close in the parent, commit in the child."""
    store = SqliteBlockStore.open(path)
    root = store.root_tag()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        again = SqliteBlockStore.open(path)
        os.read(reader, 1)
        again.commit(numbered(77), expected_root_tag=root)
        os._exit(0)
    time.sleep(0.2)
    store.close()
    os.write(writer, b"x")
    assert os.waitpid(child, 0)[1] == 0


def reopen_in_busy_fork(path: str) -> None:
    """Fork inside reading() and open the same vault in the child; prints the error's name."""
    store = SqliteBlockStore.open(path)
    with store.reading():
        store.root_tag()
        child = os.fork()
        if child == 0:
            try:
                SqliteBlockStore.open(path)
            except MimirError as error:
                print(type(error).__name__, flush=True)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    store.commit(numbered(78), expected_root_tag=store.root_tag())
    store.close()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
