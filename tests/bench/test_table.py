"""The founding table holds the article's claims, our figures and growth."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench import overhead, table
from bench.peers import compare
from mimir_core.errors import InvalidArgument

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


def test_other_files_are_read_before_anything_is_measured(
    turns_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad file of peers, a bad question and too few turns end the table before its growth."""
    monkeypatch.setattr(table, "measure_growth", lambda *_: pytest.fail("it measures"))
    bad = tmp_path / "bad.json"
    bad.write_text('{"conversation": "talk-0", "question": "", "gold": ["0"]}\n', "utf-8")
    asked: dict[str, Any] = {
        "turns": turns_file, "largest": 40, "queries": None, "queries_turns": None, "peers": None,
    }  # fmt: skip
    for change, reason in (
        ({"peers": bad}, "bad.json is not what"),
        ({"peers": tmp_path / "absent.json"}, "absent.json cannot be read"),
        ({"queries": bad}, "bad.json line 1: the question is blank"),
        ({"largest": 4}, "at least 5"),
    ):
        with pytest.raises(InvalidArgument, match=reason):
            table.run(Namespace(**asked | change))


def test_peers_are_read_as_they_were_printed(tmp_path: Path) -> None:
    """What `peers --json` prints is read back; what no plot could show is refused."""
    file = tmp_path / "peers.json"
    figures = {"bytes_per_turn": 900.0, "total_p95_ms": 3.0, "encrypted": True}
    good = {"mimir": figures, "chroma": {"skipped": "not installed"}}
    file.write_text(json.dumps(good), "utf-8")
    assert table.read_peers(file) == good
    for bad in ({}, {"mimir": 3}, {"other": figures}, {"chroma": good["chroma"]},
                {"mimir": figures | {"bytes_per_turn": "900"}}, [good]):  # fmt: skip
        file.write_text(json.dumps(bad), "utf-8")
        with pytest.raises(InvalidArgument, match=r"^peers\.json "):
            table.read_peers(file)


def test_raw_is_text_metadata_and_vector() -> None:
    """Raw size counts UTF-8 text and JSON metadata, and apart from them four bytes a component."""
    turn = {"text": "naïve", "id": "1", "time": None}
    assert table.raw_bytes([turn, turn], 2 * 384 * 4) == {
        "text_bytes_per_turn": 6 + len('{"id": "1"}'),
        "raw_bytes_per_turn": 6 + len('{"id": "1"}') + 1536,
    }
