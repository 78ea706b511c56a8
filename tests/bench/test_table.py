"""The founding table holds the article's claims, our figures and growth."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from pathlib import Path

import pytest
from rich.console import Console

from bench import overhead, table
from bench.peers import compare

from .conftest import TURNS


def test_table_measures_claims_and_growth(
    turns_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every claim has a figure of ours, growth ends at the largest size, and all of it prints."""
    monkeypatch.setattr(table, "SIZES", (20, 1_000))
    monkeypatch.setattr(table, "OUT", tmp_path / "out")
    monkeypatch.setattr(compare, "OPENINGS", 1)
    monkeypatch.setattr(compare, "ROUNDS", 2)
    monkeypatch.setattr(overhead, "ROUNDS", 1)
    arguments = Namespace(
        turns=turns_file, largest=len(TURNS), queries=None, queries_turns=None, peers=None
    )
    result = json.loads(json.dumps(table.run(arguments)))
    assert set(result["claims"]) < set(result["mimir"]) == set(table.LABELS)
    assert result["count"] == len(TURNS)
    assert [row["turns"] for row in result["growth"]] == [20, len(TURNS)]
    assert all((table.ROOT / plot).stat().st_size for plot in result["plots"])
    with open(os.devnull, "w") as sink:
        Console(file=sink).print(table.show(result))


def test_raw_is_text_metadata_and_vector() -> None:
    """Raw size counts UTF-8 text and JSON metadata, and apart from them four bytes a component."""
    turn = {"text": "naïve", "id": "1", "time": None}
    assert table.raw_bytes([turn, turn], 2 * 384 * 4) == {
        "text_bytes_per_turn": 6 + len('{"id": "1"}'),
        "raw_bytes_per_turn": 6 + len('{"id": "1"}') + 1536,
    }
