"""How near to exact the vector indexes are, and how quick, right after an embedding as in use.

`view` is what a vault uses at this size; `erased` is the same after a fifth of the memories went.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from tqdm.auto import tqdm

from bench.latency import PROFILE, import_turns
from bench.turns import PASSPHRASE, queries, read_turns
from mimir_core import Mimir
from mimir_core.index.columns import VectorColumn
from mimir_core.index.flat import FlatIndex
from mimir_core.index.hnsw import HnswIndex
from mimir_core.index.protocol import VectorIndex
from mimir_core.index.sketch import SketchIndex

K = 30  # candidates of a recall
ERASED = 5  # every fifth


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Imports the turns, then asks each index for the neighbours of the same queries."""
    turns = read_turns(arguments.turns, arguments.count, K)
    texts = queries(arguments.turns, arguments.count)
    with tempfile.TemporaryDirectory() as folder:
        vault = Path(folder) / "bench.mimir"
        import_turns(vault, turns)
        with Mimir.open(vault, PASSPHRASE, profile=PROFILE) as mimir:
            mimir.checkpoint()
            return {"count": len(turns), **measure(mimir, texts)}


def measure(mimir: Mimir, texts: list[str]) -> dict[str, dict[str, float]]:
    """Each index by name: recall@10 and @30 against the exact one, microseconds at p50 and p95."""
    with mimir._vault.view() as state:
        held = state.spaces[0]
        hnsw = HnswIndex(held.column)
        with tqdm(desc="graph", disable=None) as bar:
            hnsw.extend(lambda done, total: bar.update(done - bar.n))
        indexes: dict[str, VectorIndex] = {
            "view": held.view, "flat": FlatIndex(held.column), "sketch": SketchIndex(held.column),
            "hnsw": hnsw,
        }  # fmt: skip
        found = compare(mimir, held.column, indexes, texts)
    mimir.forget([memory.id for memory in mimir.memories()][::ERASED])
    with mimir._vault.view() as state:
        held = state.spaces[0]
        return found | compare(mimir, held.column, {"erased": held.view}, texts)


def compare(
    mimir: Mimir, column: VectorColumn, indexes: Mapping[str, VectorIndex], texts: list[str]
) -> dict[str, dict[str, float]]:
    """Every index answers every query, each right after its embedding."""
    exact = FlatIndex(column)
    hits: dict[str, list[tuple[float, float]]] = {name: [] for name in indexes}
    spent: dict[str, list[float]] = {name: [] for name in indexes}
    for text in tqdm(texts, desc="queries", disable=None):
        wanted, _ = exact.search(mimir.embedder.embed_query(text), K)
        for name, index in indexes.items():
            vector = mimir.embedder.embed_query(text)
            start = time.perf_counter()
            rows, _ = index.search(vector, K)
            spent[name].append(1e6 * (time.perf_counter() - start))
            ten = np.isin(wanted[:10], rows[:10]).mean()
            hits[name].append((float(ten), float(np.isin(wanted, rows).mean())))
    return {
        name: {
            "recall@10": float(np.mean([ten for ten, _ in hits[name]])),
            "recall@30": float(np.mean([thirty for _, thirty in hits[name]])),
            "p50_us": float(np.percentile(spent[name], 50)),
            "p95_us": float(np.percentile(spent[name], 95)),
        }
        for name in indexes
    }


def table(result: dict[str, Any]) -> Table:
    """One row an index."""
    shown = Table("index", "recall@10", "recall@30", "p50, us", "p95, us")
    for name, row in result.items():
        if isinstance(row, dict):
            shares = [f"{row[key]:.3f}" for key in ("recall@10", "recall@30")]
            shown.add_row(name, *shares, *(f"{row[key]:,.0f}" for key in ("p50_us", "p95_us")))
    return shown
