"""What the tests run in a process of its own: raw file access, other users, holding locks.

`run_worker("name", ...)` calls the function `name` below with its arguments as text and gives
back the lines it printed. A process that has a vault open must not open the vault's file itself.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

from mimir_core.errors import MimirError

from .vaults import reopen

ROOT = Path(__file__).parents[2]


def start_worker(
    name: str, *arguments: object, module: str = "worker", package: str = "vault"
) -> subprocess.Popen[str]:
    """Start the function in a process; its standard input and output are pipes."""
    command = [sys.executable, "-m", f"tests.{package}.{module}", name, *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def run_worker(name: str, *arguments: object, module: str = "worker") -> list[str]:
    """Run the function in a process and give the lines it printed; fails if it failed."""
    with start_worker(name, *arguments, module=module) as process:
        output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    return output.splitlines()


def finish(workers: list[subprocess.Popen[str]]) -> list[str]:
    """Let workers that wait as `ready` does begin all at once; what they printed at the end.

    Fails if one of them failed.
    """
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        outputs = [worker.communicate(timeout=240)[0] for worker in workers]
        assert [worker.returncode for worker in workers] == [0] * len(workers), outputs
        return outputs
    finally:
        for worker in workers:
            worker.kill()


def ready() -> None:
    """In a worker: wait until all others are ready, too."""
    print("ready", flush=True)
    sys.stdin.readline()


def digests(path: str) -> None:
    """Print the hash of the vault's file and of its journal."""
    for suffix in ("", "-wal"):
        file = Path(path + suffix)
        print(suffix, hashlib.sha256(file.read_bytes() if file.exists() else b"").hexdigest())


def other_database(path: str) -> None:
    """Make a SQLite database that is no vault."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t(x)")


def patch_preamble(path: str, offset: str, data: str) -> None:
    """Overwrite bytes of the preamble of a closed vault."""
    connection = sqlite3.connect(path, isolation_level=None)
    ((raw,),) = connection.execute("SELECT data FROM preamble")
    at, piece = int(offset), bytes.fromhex(data)
    changed = raw[:at] + piece + raw[at + len(piece) :]
    connection.execute("UPDATE preamble SET data = ?", (changed,))
    connection.close()


def open_as_nobody(path: str) -> None:
    """Open without root's rights; prints the error's name."""
    if os.geteuid() == 0:
        os.setuid(65_534)
    try:
        reopen(Path(path)).close()
        print("opened")
    except MimirError as error:
        print(type(error).__name__)


def hold_write_lock(path: str) -> None:
    """Take the writer's lock, say so, and keep it until standard input ends."""
    with reopen(Path(path)) as mimir, mimir._vault.exclusive():
        print("held", flush=True)
        sys.stdin.read()


def try_write_lock(path: str) -> None:
    """Ask SQLite for the writer's lock, without waiting; prints `busy` or `free`."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=0)
    try:
        connection.execute("BEGIN IMMEDIATE")
        print("free")
    except sqlite3.OperationalError:
        print("busy")


def hold_snapshot(path: str) -> None:
    """Hold a read snapshot, say so, and keep it until standard input ends."""
    with reopen(Path(path)) as mimir, mimir._vault.view():
        print("held", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
