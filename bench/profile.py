"""Where a recall spends its time: microseconds a query by stage, each embedding and then searching.

Stages nest: `fusion` holds the scores of both channels, `opening` reads and authenticates the hits.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from bench.latency import PROFILE, K, import_turns
from bench.turns import PASSPHRASE, queries, read_turns
from mimir_core import Mimir, MiniLM, recall, searched
from mimir_core.index import fusion
from mimir_core.index.columns import VectorColumn
from mimir_core.index.lexical import LexicalIndex
from mimir_core.index.moments import Population
from mimir_core.index.vectors import VectorView
from mimir_core.vault.vault import Vault

ROUNDS = 5
STAGES: dict[str, tuple[object, str]] = {
    "embedding": (MiniLM, "embed_query"),
    "following": (Vault, "_followed"),
    "scope": (searched.ScopeCache, "get"),
    "vector search": (VectorView, "search"),
    "moments": (Population, "moments"),
    "analysis": (recall, "analyze"),
    "lexical search": (LexicalIndex, "search"),
    "fusion": (recall, "fuse"),
    "fusion: cosines": (VectorColumn, "cosines"),
    "fusion: BM25": (LexicalIndex, "scores"),
    "fusion: neighbours": (fusion.Threads, "pool"),
    "fusion: spread": (fusion.Threads, "spread"),
    "opening": (recall, "_open"),
}


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Imports the turns, then times each stage of the same queries; medians over all of them."""
    turns = read_turns(arguments.turns, arguments.count, K)
    texts = queries(arguments.turns, arguments.count)
    with tempfile.TemporaryDirectory() as folder:
        vault = Path(folder) / "bench.mimir"
        import_turns(vault, turns)
        return {"count": len(turns), **profile(vault, texts)}


def profile(vault: Path, texts: list[str]) -> dict[str, float]:
    """The median microseconds a query of each stage, and of whole queries."""
    with Mimir.open(vault, PASSPHRASE, profile=PROFILE) as mimir:
        mimir.checkpoint()  # waits for the graph that a vault of over 150,000 has
        mimir.recall(texts[0], k=K)
        stages = ["whole query", *STAGES]
        spent: dict[str, list[float]] = {stage: [] for stage in stages}
        for text in texts * ROUNDS:
            with clocks() as clock:
                start = time.perf_counter()
                mimir.recall(text, k=K)
                clock["whole query"] = time.perf_counter() - start
            for stage in stages:
                spent[stage].append(1e6 * clock.get(stage, 0.0))
    return {f"{stage}, us": float(np.median(spent[stage])) for stage in stages}


@contextmanager
def clocks() -> Iterator[dict[str, float]]:
    """Adds up the seconds spent in each stage; some 0.3 us a call are the clock's own."""
    clock: dict[str, float] = defaultdict(float)
    with ExitStack() as stack:
        for stage, (owner, name) in STAGES.items():
            timed = _timed(getattr(owner, name), stage, clock)
            stack.enter_context(patch.object(owner, name, timed))
        yield clock


def _timed(
    function: Callable[..., Any], stage: str, clock: dict[str, float]
) -> Callable[..., Any]:
    def timed(*arguments: Any, **named: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*arguments, **named)
        finally:
            clock[stage] += time.perf_counter() - start

    return timed
