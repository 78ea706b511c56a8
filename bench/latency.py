"""A text query to opened hits, each query embedding and then searching, as in use."""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from bench.turns import PASSPHRASE, as_item, queries, read_turns
from mimir_core import KdfProfile, Mimir, MiniLM
from mimir_core.embedding import Vectors, VectorSpace

ROUNDS = 5
K = 5
PROFILE = KdfProfile.INSECURE_FOR_TESTS  # opening is timed beyond Argon2id


class TimedEmbedder:
    """The built-in embedder, which notes how long each query's embedding took, in seconds."""

    def __init__(self) -> None:
        self._inner = MiniLM()
        self.last = 0.0

    @property
    def space(self) -> VectorSpace:
        return self._inner.space

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        return self._inner.embed_documents(texts)

    def embed_query(self, text: str) -> Vectors:
        start = time.perf_counter()
        vector = self._inner.embed_query(text)
        self.last = time.perf_counter() - start
        return vector


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Imports in this process, opens and queries in a fresh one, whose memory is reported."""
    with tempfile.TemporaryDirectory() as folder:
        vault = Path(folder) / "bench.mimir"
        rate = import_turns(vault, read_turns(arguments.turns, arguments.count))
        texts = queries(arguments.turns, arguments.count)
        command = [sys.executable, "-m", "bench.latency", str(vault)]
        child = subprocess.run(command, input=json.dumps(texts), stdout=subprocess.PIPE, text=True,
                               check=True)
        return {"count": arguments.count, **json.loads(child.stdout), "import_per_s": rate}


def import_turns(vault: Path, turns: list[dict[str, Any]]) -> float:
    """Imports turns into a new vault, views written; returns turns a second."""
    with Mimir.create(vault, PASSPHRASE, profile=PROFILE) as mimir:
        mimir.remember_many([as_item(turns[0])])
        start = time.perf_counter()
        with tqdm(total=len(turns), desc="import", disable=None) as bar:
            mimir.remember_many(map(as_item, turns[1:]), progress=reporter(bar))
        with tqdm(desc="graph", disable=None) as bar:
            mimir.checkpoint(reporter(bar))
        return len(turns) / (time.perf_counter() - start)


def reporter(bar: Any) -> Callable[[int, int], None]:
    """A progress callback that moves a bar."""

    def report(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return report


def measure(vault: Path, texts: list[str]) -> dict[str, float]:
    """Opens a vault and queries it, best of five rounds by each figure."""
    embedder = TimedEmbedder()
    embedder.embed_query("warm up")
    start = time.perf_counter()
    with Mimir.open(vault, PASSPHRASE, embedder=embedder, profile=PROFILE) as mimir:
        opened = time.perf_counter() - start
        mimir.checkpoint()  # waits for the graph, which attaches in the background
        rounds = [_round(mimir, embedder, texts) for _ in range(ROUNDS)]
    result = {key: min(each[key] for each in rounds) for key in rounds[0]}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return result | {"open_s": opened, "peak_rss_mb": peak}


def _round(mimir: Mimir, embedder: TimedEmbedder, texts: list[str]) -> dict[str, float]:
    totals, embeds = [], []
    for text in texts:
        start = time.perf_counter()
        mimir.recall(text, k=K)
        totals.append(1e3 * (time.perf_counter() - start))
        embeds.append(1e3 * embedder.last)
    rests = np.subtract(totals, embeds)
    return {
        f"{name}_{point}_ms": float(np.percentile(values, int(point[1:])))
        for name, values in (("total", totals), ("embed", embeds), ("rest", rests))
        for point in ("p50", "p95")
    }


if __name__ == "__main__":
    json.dump(measure(Path(sys.argv[1]), json.load(sys.stdin)), sys.stdout)
