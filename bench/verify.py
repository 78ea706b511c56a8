"""How long a recall waits while another thread verifies the vault, and what memory that takes.

Vectors are those of the hashing embedder: a wait for the vault is what is measured.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.latency import PROFILE, K
from bench.process import peak_rss_mb, refuse_network
from bench.turns import PASSPHRASE, as_item, queries, read_turns
from mimir_core import Mimir
from mimir_core.embedding import HashEmbedder

EMBEDDER = HashEmbedder(384)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Imports in this process, verifies in a fresh one, whose memory is reported."""
    turns = read_turns(arguments.turns, arguments.count, K)
    texts = queries(arguments.turns, arguments.count)
    with tempfile.TemporaryDirectory() as folder:
        vault = Path(folder) / "bench.mimir"
        with Mimir.create(vault, PASSPHRASE, embedder=EMBEDDER, profile=PROFILE) as mimir:
            mimir.remember_many(map(as_item, turns))
        command = [sys.executable, "-m", "bench.verify", str(vault)]
        child = subprocess.run(command, input=json.dumps(texts), stdout=subprocess.PIPE, text=True,
                               check=True)
    return {"count": len(turns), **json.loads(child.stdout)}


def measure(vault: Path, texts: list[str]) -> dict[str, float]:
    """Recalls without end in one thread, alone and then beside a verification."""
    with Mimir.open(vault, PASSPHRASE, embedder=EMBEDDER, profile=PROFILE) as mimir:
        alone = _while(mimir, texts, lambda: time.sleep(2))
        before, start = peak_rss_mb(), time.perf_counter()
        beside = _while(mimir, texts, mimir.verify)
        took, grown = time.perf_counter() - start, peak_rss_mb() - before
    return {
        "recall_alone_p50_ms": float(np.median(alone)), "recall_alone_longest_ms": max(alone),
        "recall_beside_p50_ms": float(np.median(beside)), "recall_beside_longest_ms": max(beside),
        "recalls_beside": len(beside), "verify_s": took, "peak_rss_grew_mb": grown,
    }  # fmt: skip


def _while(mimir: Mimir, texts: list[str], work: Any) -> list[float]:
    """Milliseconds of each recall that another thread makes while this one works."""
    spent: list[float] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set() or not spent:
            start = time.perf_counter()
            mimir.recall(texts[len(spent) % len(texts)], k=K)
            spent.append(1e3 * (time.perf_counter() - start))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        work()
    finally:
        done.set()
        thread.join()
    return spent


if __name__ == "__main__":
    refuse_network()
    json.dump(measure(Path(sys.argv[1]), json.load(sys.stdin)), sys.stdout)
