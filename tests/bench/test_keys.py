"""The other benchmarks run on a few turns and report the figures that they promise."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from bench import latency, overhead, storage

from .conftest import TURNS


@pytest.fixture
def arguments(turns_file: Path) -> Namespace:
    return Namespace(turns=turns_file, count=len(TURNS))


def test_latency_splits_a_query(arguments: Namespace) -> None:
    """Latency reports whole, embedding and rest, and what opening and importing took."""
    result = latency.run(arguments)
    assert result.pop("count") == len(TURNS)
    splits = {
        f"{part}_{point}_ms" for part in (
            "total", "embed", "rest", "bare_embed", "embed_22_tokens", "hnswlib"
        )
        for point in ("p50", "p95")
    }
    others = {"open_s", "peak_rss_mb", "import_per_s", "import_share", "aes_gcm_mib_us"}
    assert set(result) >= splits | others
    assert all(value > 0 for value in result.values())


def test_storage_compares_with_a_naive_table(arguments: Namespace) -> None:
    """Storage reports both sizes a turn and their ratio."""
    result = storage.run(arguments)
    assert set(result) == {"count", "bytes_per_turn", "naive_sqlite_bytes_per_turn", "ratio"}
    ratio = result["bytes_per_turn"] / result["naive_sqlite_bytes_per_turn"]
    assert result["ratio"] == pytest.approx(ratio)


def test_overhead_compares_with_a_null_cipher(
    arguments: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Overhead imports several batches into both vaults, queries both, and reports percentages."""
    monkeypatch.setattr(overhead, "BATCH", 8)
    monkeypatch.setattr(overhead, "ROUNDS", 1)
    result = overhead.run(arguments)
    assert result.pop("count") == len(TURNS)
    assert set(result) == {"query_percent", "import_percent"}
    assert all(value > -100 for value in result.values())
