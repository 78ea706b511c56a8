"""The founding article's table with Mimir's figures beside its claims, and how both grow."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from bench import overhead
from bench.peers.compare import ROOT, Figures, Task, compare, embed
from bench.peers.protocol import Turn, metadata
from bench.turns import queries, read_turns

SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)
OUT = ROOT / "bench" / "out"
CLAIMS = {"p95_ms": 12.0, "storage_x_raw": 1.2, "encryption_percent": 8.0, "offline": True}
AT = 10_000
"""Turns in the vault for which the article makes its claims."""

LABELS = {
    "p95_ms": "query p95 with embedding, ms",
    "storage_x_raw": "file / raw (text, metadata, float32 vector)",
    "storage_x_text": "file / text and metadata alone",
    "encryption_percent": "encryption overhead of a query, %",
    "import_encryption_percent": "encryption overhead of an import, %",
    "offline": "offline",
}


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measures growth up to `largest` turns, and the article's figures at 10,000 or at the most."""
    turns = read_turns(arguments.turns, arguments.largest)
    growth = measure_growth(turns, queries(arguments.turns, len(turns)))
    at = max((row for row in growth if row["turns"] <= AT), key=lambda row: row["turns"])
    cost = overhead.run(argparse.Namespace(turns=arguments.turns, count=at["turns"]))
    result = {"count": at["turns"], "claims": CLAIMS, "mimir": _founding(at, cost),
              "growth": growth}  # fmt: skip
    if arguments.queries is not None:
        result["recall"] = _recall(arguments.queries_turns or arguments.turns, arguments.queries)
    if arguments.peers is not None:
        result["peers"] = json.loads(arguments.peers.read_text("utf-8"))
    return result | {"plots": _draw(result)}


def measure_growth(turns: Sequence[Turn], texts: list[str]) -> list[Figures]:
    """Mimir's figures at each size, every vault fresh, with the same queries."""
    vectors, embed_s = embed(turns)
    sizes = sorted({size for size in SIZES if size < len(turns)} | {len(turns)})
    return [
        {"turns": size}
        | compare(
            ["mimir"],
            Task(turns[:size], vectors[:size], embed_s * size / len(turns), texts),
        )["mimir"]
        | raw_bytes(turns[:size], vectors[:size].nbytes)
        for size in sizes
    ]


def raw_bytes(turns: Sequence[Turn], vector_bytes: int) -> Figures:
    """Bytes a turn of UTF-8 text and JSON metadata, without and with its float32 vector."""
    text = sum(len((turn["text"] + json.dumps(metadata(turn))).encode()) for turn in turns)
    return {
        "text_bytes_per_turn": text / len(turns),
        "raw_bytes_per_turn": (text + vector_bytes) / len(turns),
    }


def _founding(at: Figures, cost: Figures) -> Figures:
    return {
        "p95_ms": at["total_p95_ms"],
        "storage_x_raw": at["bytes_per_turn"] / at["raw_bytes_per_turn"],
        "storage_x_text": at["bytes_per_turn"] / at["text_bytes_per_turn"],
        "encryption_percent": cost["query_percent"],
        "import_encryption_percent": cost["import_percent"],
        "offline": True,  # the workers that took these figures refuse the network
    }


def _recall(turns: Path, queries_: Path) -> Figures:
    """What `python -m bench retrieval` reports."""
    command = [sys.executable, "-m", "bench", "retrieval", "--json"]
    files = ["--turns", str(turns.resolve()), "--queries", str(queries_.resolve())]
    done = subprocess.run([*command, *files], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found: Figures = json.loads(done.stdout)
    return found


def _draw(result: dict[str, Any]) -> list[str]:
    """Draws what the result holds, if matplotlib is installed; returns the files' names."""
    if importlib.util.find_spec("matplotlib") is None:
        print("no plots: matplotlib is not installed", file=sys.stderr)
        return []
    plots = importlib.import_module("bench.plots")
    return [os.path.relpath(path, ROOT) for path in plots.draw(result, OUT)]


def show(result: dict[str, Any]) -> RenderableType:
    """The article's table, growth below it."""
    founding = Table("", "article", "Mimir", title=f"at {result['count']:,} turns")
    for key, label in LABELS.items():
        founding.add_row(label, _cell(result["claims"].get(key)), _cell(result["mimir"][key]))
    sizes = [f"{row['turns']:,}" for row in result["growth"]]
    growth = Table("turns", *sizes, title="growth")
    for key in [key for key in result["growth"][0] if key not in {"turns", "encrypted"}]:
        growth.add_row(key.replace("_", " "), *(_cell(row[key]) for row in result["growth"]))
    return Group(founding, growth, *result["plots"])


def _cell(value: float | bool | None) -> str:
    if value is None or isinstance(value, bool):
        return {None: "", True: "yes", False: "no"}[value]
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
