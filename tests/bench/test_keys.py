"""The other benchmarks run on a few turns and report the figures that they promise."""

from __future__ import annotations

import json
import math
import threading
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from bench import langchain, latency, llamaindex, nearest, overhead, profile, sides, storage
from mimir_core import Mimir
from mimir_core.errors import VaultDamaged
from mimir_core.vault import checkpoint

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
    monkeypatch.setattr(sides, "BATCH", 8)
    monkeypatch.setattr(overhead, "ROUNDS", 1)
    result = overhead.run(arguments)
    assert result.pop("count") == len(TURNS)
    assert set(result) == {"query_percent", "import_percent"}
    assert all(math.isfinite(value) for value in result.values())


def test_a_side_ends_its_background_work_in_its_turn(
    mimir: Mimir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a batch that starts a checkpoint, the checkpoint is written and no thread at work."""
    monkeypatch.setattr(checkpoint, "_LEAST_TAIL", 0)
    started: list[str] = []
    start = threading.Thread.start

    def noted(thread: threading.Thread) -> None:
        started.append(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", noted)
    for at in range(0, 40, 8):
        overhead.store(mimir, TURNS[at : at + 8])
        assert "mimir-checkpoint" not in {thread.name for thread in threading.enumerate()}
    assert started.count("mimir-checkpoint") == 5
    overhead.check(mimir)


def test_the_null_cipher_in_the_sealed_vault_is_an_error(mimir: Mimir) -> None:
    """A vault whose checkpoint was written without its cipher does not pass for a sealed one."""
    overhead.store(mimir, TURNS)
    overhead.check(mimir)
    with overhead.null_cipher():
        mimir.checkpoint()
    with pytest.raises(VaultDamaged, match="does not verify"):
        overhead.check(mimir)


@pytest.mark.parametrize("bench", [latency, nearest, profile])
def test_count_is_what_was_imported(turns_file: Path, bench: Any) -> None:
    """Where the file holds fewer turns than asked for, the count is that of the file."""
    assert bench.run(Namespace(turns=turns_file, count=10_000))["count"] == len(TURNS)


def test_profile_has_every_stage(arguments: Namespace) -> None:
    """The profile gives microseconds of each stage, none above those of the whole query."""
    result = profile.run(arguments)
    whole = result.pop("whole query, us")
    assert result.pop("count") == len(TURNS)
    assert set(result) == {f"{stage}, us" for stage in profile.STAGES}
    assert all(0 <= value <= whole for value in result.values())


def test_turns_without_speaker_are_measured(turns_file: Path) -> None:
    """A file of turns that name no speaker is as good as one that does."""
    lines = [{name: turn[name] for name in ("conversation", "id", "text")} for turn in TURNS]
    turns_file.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    assert storage.run(Namespace(turns=turns_file, count=len(TURNS)))["count"] == len(TURNS)
    assert llamaindex.as_node(0, lines[0]).metadata == {"id": "0"}
    assert langchain.as_document(0, lines[0]).metadata == {"conversation": "talk-0", "id": "0"}
