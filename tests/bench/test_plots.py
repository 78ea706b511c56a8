"""Plots are drawn of what a result holds, as SVG and PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

from bench import plots

GROWTH = [
    {"turns": turns, "total_p95_ms": 3.0, "total_p50_ms": 2.0, "rest_p95_ms": 1.0,
     "rest_p50_ms": 0.6, "bytes_per_turn": 900.0, "raw_bytes_per_turn": 1650.0,
     "text_bytes_per_turn": 114.0}
    for turns in (1_000, 10_000)
]  # fmt: skip
CHANNEL = {"recall@1": 0.3, "recall@10": 0.7, "mrr": 0.4}
RESULT: dict[str, Any] = {
    "claims": {"p95_ms": 12.0},
    "growth": GROWTH,
    "recall": {"n": 9} | dict.fromkeys(("dense", "lexical", "hybrid", "spread"), CHANNEL),
    "peers": {
        "mimir": {"bytes_per_turn": 900.0, "total_p95_ms": 3.0, "encrypted": True},
        "chroma": {"bytes_per_turn": 3000.0, "total_p95_ms": 6.0, "encrypted": False},
        "qdrant": {"bytes_per_turn": 3000.0, "total_p95_ms": 6.0, "encrypted": False},
        "lancedb": {"skipped": "not installed"},
    },
}


def test_every_plot_is_drawn_twice(tmp_path: Path) -> None:
    """A full result gives four plots, each as SVG and PNG."""
    paths = plots.draw(RESULT, tmp_path / "out")
    names = {f"{name}{end}" for name in ("latency", "size", "recall", "peers")
             for end in (".svg", ".png")}  # fmt: skip
    assert {path.name for path in paths} == names
    for path in paths:
        start = b"\x89PNG" if path.suffix == ".png" else b"<?xml"
        assert path.read_bytes().startswith(start)


def test_what_was_not_measured_is_not_drawn(tmp_path: Path) -> None:
    """Without recall and peers only latency and size are drawn."""
    result = {key: RESULT[key] for key in ("claims", "growth")}
    assert {path.stem for path in plots.draw(result, tmp_path)} == {"latency", "size"}
