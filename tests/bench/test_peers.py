"""Each peer keeps and finds the same turns, and `compare` reports what it promises."""

from __future__ import annotations

import io
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from bench.peers import compare
from bench.peers.protocol import PEERS, Found, Source
from mimir_core import MiniLM
from mimir_core.embedding import Vectors

from .conftest import TURNS

EXACT = ("naive_sqlite", "lancedb", "qdrant", "faiss_flat", "langchain", "llamaindex")
KEYS = {
    "total_p95_ms", "total_p50_ms", "rest_p95_ms", "rest_p50_ms", "import_per_s",
    "bytes_per_turn", "peak_rss_mb", "open_s", "encrypted",
}  # fmt: skip


@pytest.fixture(scope="module")
def embedder() -> MiniLM:
    return MiniLM()


@pytest.fixture(scope="module")
def vectors(embedder: MiniLM) -> Vectors:
    return embedder.embed_documents([turn["text"] for turn in TURNS])


def found_by(name: str, folder: Path, vectors: Vectors, embedder: MiniLM, text: str) -> list[Found]:
    """What a peer finds after it was filled, closed and opened; skips if it is not installed."""
    if not PEERS[name].installed():
        pytest.skip(f"{name} is not installed")
    peer = PEERS[name].load()
    peer.fill(folder, TURNS, vectors)
    opened = peer(folder, embedder)
    try:
        return opened.search(text, 5)
    finally:
        opened.close()


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_returns_texts_with_metadata(
    name: str, tmp_path: Path, vectors: Vectors, embedder: MiniLM
) -> None:
    """A search for a stored text returns five turns, that one first, with its metadata."""
    found = found_by(name, tmp_path, vectors, embedder, TURNS[7]["text"])
    assert len({each.text for each in found}) == 5
    assert found[0].text == TURNS[7]["text"]
    assert found[0].metadata["id"] == "7"
    assert found[0].metadata["speaker"] == "Ana"


@pytest.mark.parametrize("name", EXACT)
def test_exact_peers_find_the_nearest(
    name: str, tmp_path: Path, vectors: Vectors, embedder: MiniLM
) -> None:
    """A peer that scans returns the five turns of the largest cosines in their order."""
    query = "who sings near the harbour?"
    scores = vectors @ embedder.embed_query(query)
    nearest = [TURNS[row]["text"] for row in np.argsort(-scores)[:5]]
    assert [each.text for each in found_by(name, tmp_path, vectors, embedder, query)] == nearest


def test_compare_reports_each_figure(turns_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every figure is a positive number, only Mimir is encrypted, and a missing peer is named."""
    registry = {name: PEERS[name] for name in ("mimir", "naive_sqlite")}
    registry["absent"] = Source("bench.peers.absent", "Absent", "no_such_module.at_all")
    monkeypatch.setattr(compare, "PEERS", registry)
    monkeypatch.setattr(compare, "OPENINGS", 2)
    monkeypatch.setattr(compare, "ROUNDS", 2)
    result = compare.run(Namespace(turns=turns_file, count=len(TURNS)))
    assert result.pop("absent") == {"skipped": "not installed"}
    assert {name: figures.pop("encrypted") for name, figures in result.items()} == {
        "mimir": True,
        "naive_sqlite": False,
    }
    for figures in result.values():
        assert set(figures) | {"encrypted"} == KEYS
        assert all(value > 0 for value in figures.values())
        assert figures["rest_p50_ms"] < figures["total_p50_ms"]


def test_the_table_is_whole_at_80_columns() -> None:
    """Every peer's name and every figure stands in the table as it is, if only 80 columns wide."""
    result: dict[str, compare.Figures] = {
        name: {key: 10_001.0 + 97 * at + row for row, key in enumerate(sorted(KEYS))}
        | {"encrypted": False}
        for at, name in enumerate(PEERS)
    }
    result["qdrant"] = {"skipped": "not installed"}
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(compare.table(result))
    shown = console.export_text()
    assert "qdrant: not installed" in shown
    assert "…" not in shown
    rows = [line.split() for line in shown.splitlines() if line.strip()]
    for name, figures in result.items():
        if name != "qdrant":
            cells = {cell for row in rows if row[0] == name for cell in row[1:]}
            wanted = {f"{value:,.0f}" for key, value in figures.items() if key != "encrypted"}
            assert cells == wanted | {"no"}


def test_a_peer_that_fails_is_an_error(tmp_path: Path) -> None:
    """A worker that stops without an answer raises instead of reporting nothing."""
    (tmp_path / "queries.json").write_text('["anything"]', "utf-8")
    with (
        pytest.raises(RuntimeError, match="naive_sqlite stopped"),
        compare.Session("naive_sqlite", tmp_path),
    ):
        pass
