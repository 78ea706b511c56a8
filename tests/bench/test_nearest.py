"""The benchmark of the vector indexes."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from bench import nearest

from .conftest import TURNS


def test_every_index_is_compared_with_the_exact_one(turns_file: Path) -> None:
    """On a few turns every index is exact, before and after erasing; the exact one always is."""
    result = nearest.run(Namespace(turns=turns_file, count=len(TURNS)))
    assert result.pop("count") == len(TURNS)
    assert set(result) == {"view", "flat", "sketch", "hnsw", "erased"}
    for row in result.values():
        assert set(row) == {"recall@10", "recall@30", "p50_us", "p95_us"}
        assert row["recall@10"] == row["recall@30"] == 1
        assert 0 < row["p50_us"] <= row["p95_us"]
