"""What a change costs in a small vault and in one ten times as large, in one run.

Each round opens the vault anew and stores one memory of a known thread, and another handle follows
that commit. Vectors are those of the hashing embedder: embedding would hide what storing costs.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from bench.latency import PROFILE, K
from bench.turns import PASSPHRASE, as_item, read_turns
from mimir_core import Mimir
from mimir_core.embedding import HashEmbedder

ROUNDS = 9
EMBEDDER = HashEmbedder(384)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds of the first remember after an open, and of following it, by vault size."""
    small, large = arguments.count, 10 * arguments.count
    turns = read_turns(arguments.turns, large, K)
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        vaults = {count: Path(folder) / f"{count}.mimir" for count in (small, large)}
        for count, path in vaults.items():
            with Mimir.create(path, PASSPHRASE, embedder=EMBEDDER, profile=PROFILE) as mimir:
                mimir.remember_many(map(as_item, islice(cycle(turns), count)))
        rounds = [{n: _round(path, turns[0]) for n, path in vaults.items()} for _ in range(ROUNDS)]
    for at, name in enumerate(("remember_after_open_ms", "next_remember_ms", "follow_ms")):
        medians = {n: float(np.median([each[n][at] for each in rounds])) for n in vaults}
        result |= {f"{name}_{n}": medians[n] for n in vaults}
        result[f"{name}_ratio"] = medians[large] / medians[small]
    return result


def _round(path: Path, turn: dict[str, Any]) -> tuple[float, float, float]:
    with _opened(path) as reader, _opened(path) as writer:
        first = _milliseconds(lambda: writer.remember_many([as_item(turn)]))
        second = _milliseconds(lambda: writer.remember_many([as_item(turn)]))
        follow = _milliseconds(reader.namespaces)
        return first, second, follow


def _opened(path: Path) -> Mimir:
    return Mimir.open(path, PASSPHRASE, embedder=EMBEDDER, profile=PROFILE)


def _milliseconds(work: Any) -> float:
    start = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - start)
