"""A text query to opened hits, each query embedding and then searching, as in use.

Beside it, in the same run, what nothing can go below: embedding alone, and hnswlib alone; and how
fast the machine is, by AES-256-GCM over a mebibyte, which depends on nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hnswlib
import numpy as np
from tqdm.auto import tqdm

from bench.figures import percentiles
from bench.process import peak_rss_mb, refuse_network
from bench.turns import PASSPHRASE, as_item, queries, read_turns
from mimir_core import KdfProfile, Mimir, MiniLM
from mimir_core.crypto.aead import KEY_SIZE, aes_gcm_seal
from mimir_core.embedding import Vectors, VectorSpace
from mimir_core.index.hnsw import EF, EF_CONSTRUCTION, M

ROUNDS = 5
K = 5
TOKENS_22 = (
    "what did Ana say about the cat that slept on the warm router when it rained all last week"
)
"""A question of 22 tokens, markers included."""

_MEBIBYTE = bytes(1 << 20)

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
        turns = read_turns(arguments.turns, arguments.count, K)
        texts = queries(arguments.turns, arguments.count)
        bare, rate = embedding_rate(turns), import_turns(vault, turns)
        command = [sys.executable, "-m", "bench.latency", str(vault)]
        child = subprocess.run(command, input=json.dumps(texts), stdout=subprocess.PIPE, text=True,
                               check=True)
        rates = {"import_per_s": rate, "bare_embed_per_s": bare, "import_share": rate / bare}
        return {"count": len(turns), **json.loads(child.stdout), **rates}


def embedding_rate(turns: list[dict[str, Any]]) -> float:
    """Turns a second that are embedded in batches, with nothing around it."""
    embedder = MiniLM()
    embedder.embed_query("warm up")
    texts = [as_item(turn).indexed_text for turn in turns]
    start = time.perf_counter()
    with tqdm(total=len(turns), desc="embed", disable=None) as bar:
        embedder.embed(texts, progress=bar.update)
    return len(turns) / (time.perf_counter() - start)


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
        mimir.checkpoint()  # waits for the graph that a vault of over 150,000 has
        ours = _best(lambda: _round(mimir, embedder, texts))
        peak = peak_rss_mb()
        index = _hnswlib(mimir)
    alone = _best(lambda: _bare_round(index, embedder, texts))
    return ours | alone | {"open_s": opened, "peak_rss_mb": peak, "aes_gcm_mib_us": _cipher_us()}


def _cipher_us() -> float:
    """Microseconds to seal a mebibyte, the median of a hundred."""
    spent = []
    for _ in range(100):
        start = time.perf_counter()
        aes_gcm_seal(os.urandom(KEY_SIZE), _MEBIBYTE, b"")
        spent.append(1e6 * (time.perf_counter() - start))
    return float(np.median(spent))


def _best(measured: Callable[[], dict[str, float]]) -> dict[str, float]:
    rounds = [measured() for _ in range(ROUNDS)]
    return {key: min(each[key] for each in rounds) for key in rounds[0]}


def _round(mimir: Mimir, embedder: TimedEmbedder, texts: list[str]) -> dict[str, float]:
    totals, embeds = [], []
    for text in texts:
        start = time.perf_counter()
        mimir.recall(text, k=K)
        totals.append(1e3 * (time.perf_counter() - start))
        embeds.append(1e3 * embedder.last)
    return percentiles(total=totals, embed=embeds, rest=list(np.subtract(totals, embeds)))


def _hnswlib(mimir: Mimir) -> Any:
    """A bare hnswlib index of the same vectors, built as `HnswIndex` builds its own."""
    with mimir._vault.view() as state:
        column = state.spaces[0].column
        vectors = column.vectors(np.arange(len(column)))
    index = hnswlib.Index("cosine", vectors.shape[1])
    index.init_index(len(vectors), M=M, ef_construction=EF_CONSTRUCTION)
    index.set_ef(EF)
    index.add_items(vectors, num_threads=2)
    return index


def _bare_round(index: Any, embedder: TimedEmbedder, texts: list[str]) -> dict[str, float]:
    """Embedding and hnswlib in turn, with nothing around them."""
    embeds, searches, fixed = [], [], []
    for text in texts:
        embedder.embed_query(TOKENS_22)
        fixed.append(1e3 * embedder.last)
        vector = embedder.embed_query(text)
        start = time.perf_counter()
        index.knn_query(vector, k=min(K, index.get_current_count()), num_threads=1)
        searches.append(1e3 * (time.perf_counter() - start))
        embeds.append(1e3 * embedder.last)
    return percentiles(bare_embed=embeds, embed_22_tokens=fixed, hnswlib=searches)


if __name__ == "__main__":
    refuse_network()
    json.dump(measure(Path(sys.argv[1]), json.load(sys.stdin)), sys.stdout)
