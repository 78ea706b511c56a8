"""The founding article's table with Mimir's figures beside its claims, and how both grow."""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from bench import overhead, retrieval
from bench.figures import cell
from bench.latency import K
from bench.lines import parse
from bench.peers.compare import ROOT, Figures, Task, compare, embed
from bench.peers.protocol import PEERS, Turn, metadata
from bench.process import network_refused
from bench.turns import queries, read_turns
from mimir_core.errors import InvalidArgument

SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)
OUT = ROOT / "bench" / "out"
CLAIMS = {"p95_ms": 12.0, "storage_x_raw": 1.2, "encryption_percent": 8.0, "offline": True}
PLOTTED = ("bytes_per_turn", "total_p95_ms", "encrypted")
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
    """Measures growth up to `largest` turns, and the article's figures at 10,000 or at the most.

    Raises:
        InvalidArgument: something is wrong with a file; that shows before any long measurement.
    """
    turns = read_turns(arguments.turns, arguments.largest, K)
    texts = queries(arguments.turns, len(turns))
    given = _given(arguments)
    growth = measure_growth(turns, texts)
    at = max((row for row in growth if row["turns"] <= AT), key=lambda row: row["turns"])
    cost = overhead.run(argparse.Namespace(turns=arguments.turns, count=at["turns"]))
    result = {"count": at["turns"], "claims": CLAIMS, "mimir": _founding(at, cost),
              "growth": growth, **given}  # fmt: skip
    return result | {"plots": _draw(result)}


def _given(arguments: argparse.Namespace) -> dict[str, Figures]:
    """What comes of the other files, where they are given: peers as measured, and recall."""
    given = {}
    if arguments.peers is not None:
        given["peers"] = read_peers(arguments.peers)
    if arguments.queries is not None:
        turns = arguments.queries_turns or arguments.turns
        given["recall"] = retrieval.run(
            argparse.Namespace(turns=turns, queries=arguments.queries)
        )
    return given


def read_peers(path: Path) -> Figures:
    """What `python -m bench peers --json` printed.

    Raises:
        InvalidArgument: the file cannot be read, or holds something else.
    """
    try:
        found = parse(path.read_bytes())
    except (OSError, InvalidArgument):
        raise InvalidArgument(f"{path.name} cannot be read, or is no JSON object") from None
    if not (all(map(_is_peer, found, found.values())) and any(map(_is_measured, found.values()))):
        raise InvalidArgument(f"{path.name} is not what `python -m bench peers --json` prints")
    return found


def _is_peer(name: str, figures: Any) -> bool:
    known = name in PEERS and isinstance(figures, dict)
    return known and ("skipped" in figures or _is_measured(figures))


def _is_measured(figures: Figures) -> bool:
    found = [figures.get(key) for key in PLOTTED]
    return all(isinstance(value, (int, float)) and math.isfinite(value) for value in found)


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
        "offline": network_refused(),  # here; the workers always refuse it
    }


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
        founding.add_row(label, cell(result["claims"].get(key)), cell(result["mimir"][key]))
    sizes = [f"{row['turns']:,}" for row in result["growth"]]
    growth = Table("turns", *sizes, title="growth")
    for key in [key for key in result["growth"][0] if key not in {"turns", "encrypted"}]:
        growth.add_row(key.replace("_", " "), *(cell(row[key]) for row in result["growth"]))
    return Group(founding, growth, *result["plots"])
