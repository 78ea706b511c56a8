"""What the saver's tests run in processes of their own: putting on old checkpoints, and pruning.

    python -m tests.langchain.saver_worker forks PATH SEED
    python -m tests.langchain.saver_worker prunes PATH
"""

from __future__ import annotations

import random
import sys
from contextlib import suppress
from pathlib import Path

from langchain_core.runnables import RunnableConfig

from mimir_core.errors import ScrubPending
from mimir_langchain import MimirSaver

from ..vault.vaults import reopen
from ..vault.worker import ready
from .graphs import checkpoint, config

FORKS = 25
CHANNELS = ("one", "two", "three")


def fork(saver: MimirSaver, where: RunnableConfig, word: str) -> RunnableConfig:
    """Puts a checkpoint of which one channel changed, and two are as in the one it is put on."""
    base = saver.get_tuple(where)
    values = {} if base is None else base.checkpoint["channel_values"]
    changed = random.choice(CHANNELS)
    made = checkpoint(**{name: values.get(name, "none") for name in CHANNELS} | {changed: word})
    versions = {changed: "1.0"} if base is not None else made["channel_versions"]
    on = where if base is None else base.config
    return saver.put(on, made, {"step": 1}, versions)


def everything_opens(saver: MimirSaver, thread: str) -> int:
    """How many checkpoints a thread has, all of which open; VaultDamaged if one does not."""
    return sum(len(found.checkpoint["channel_values"]) > 0 for found in saver.list(config(thread)))


def forks(path: str, seed: str) -> None:
    """Puts checkpoints on any that there are, and opens all that there are after each."""
    random.seed(int(seed))
    with reopen(Path(path)) as mimir:
        saver = MimirSaver(mimir)
        ready()
        for number in range(FORKS):
            known = [found.config for found in saver.list(config())]
            # All those listed may have been pruned before they were opened: then on the newest.
            fork(saver, random.choice(known or [config()]), f"{seed} {number}")
            everything_opens(saver, "t")
        print(FORKS)


def prunes(path: str) -> None:
    """Prunes as long as the others may be at work."""
    with reopen(Path(path)) as mimir:
        saver = MimirSaver(mimir)
        ready()
        for _ in range(2 * FORKS):
            with suppress(ScrubPending):
                saver.prune(["t"])
            everything_opens(saver, "t")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
