"""A process that reads a vault's file, so that its journal cannot be emptied.

    python -m tests.llamaindex.reader PATH
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


def read(path: str) -> None:
    """Stays in a read transaction until the standard input ends."""
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        print("reading", flush=True)
        sys.stdin.read()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Another process reads the file meanwhile."""
    command = [sys.executable, "-m", "tests.llamaindex.reader", str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "reading\n"
        try:
            yield
        finally:
            assert process.stdin is not None
            process.stdin.close()


if __name__ == "__main__":
    read(sys.argv[1])
