"""A list of words in a vault to which several add, and what its tests run in other processes.

`python -m tests.memory.unchanged_worker append PATH NUMBER COUNT` adds so many words to the list,
beginning when it is told to on standard input.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mimir_core import Item, Mimir, retry_conflicts

from ..vault.vaults import reopen
from ..vault.worker import ready


def add(mimir: Mimir, key: str, word: str) -> None:
    """Adds a word to the list of a key: reads, changes, writes back, once."""
    was = mimir.seen([key])
    (found,) = mimir.get_many(keys=[key])
    text = word if found is None else f"{found.text} {word}"
    mimir.replace([Item(text, key=key)], ids=[], unchanged=was)


def words(mimir: Mimir, key: str) -> list[str]:
    """The words of a list."""
    (found,) = mimir.get_many(keys=[key])
    return [] if found is None else found.text.split()


def append(path: str, number: str, count: str) -> None:
    """Adds words to the list until all are in it."""
    with reopen(Path(path)) as mimir:
        ready()
        for turn in range(int(count)):
            word = f"{number}-{turn}"
            retry_conflicts(lambda word=word: add(mimir, "list", word))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
