"""The same turns, vectors and queries for each peer; rounds take turns, so noise hits all alike."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from tqdm.auto import tqdm

from bench.figures import cell, percentiles
from bench.latency import ROUNDS, K
from bench.peers.protocol import PEERS, Turn
from bench.turns import queries, read_turns
from mimir_core import MiniLM
from mimir_core.embedding import Vectors

ROOT = Path(__file__).parents[2]
OPENINGS = 3
PATIENCE = 30.0
"""Seconds: a peer whose round takes longer is not asked for another."""

Figures = dict[str, Any]


def run(arguments: argparse.Namespace) -> dict[str, Figures]:
    """Figures of each peer that is installed, by name; the others are named as skipped."""
    turns = read_turns(arguments.turns, arguments.count, K)
    task = Task(turns, *embed(turns), queries(arguments.turns, arguments.count))
    found = compare([name for name, source in PEERS.items() if source.installed()], task)
    return {name: found.get(name, {"skipped": "not installed"}) for name in PEERS}


@dataclass(frozen=True)
class Task:
    """What each peer is given: turns with their vectors, and texts to search for.

    Attributes:
        embed_s: Seconds that embedding the turns took; counted once, for every peer.
    """

    turns: Sequence[Turn]
    vectors: Vectors
    embed_s: float
    queries: list[str]

    def write(self, work: Path) -> None:
        """Puts all of it where the workers look."""
        np.save(work / "vectors.npy", self.vectors)
        (work / "turns.json").write_text(json.dumps(self.turns), "utf-8")
        (work / "queries.json").write_text(json.dumps(self.queries), "utf-8")


def embed(turns: Sequence[Turn]) -> tuple[Vectors, float]:
    """The turns' vectors, and the seconds that embedding them took, the model being loaded."""
    embedder = MiniLM()
    embedder.embed_query("warm up")
    start = time.perf_counter()
    with tqdm(total=len(turns), desc="embed", disable=None) as bar:
        vectors = embedder.embed([turn["text"] for turn in turns], progress=bar.update).vectors
    return vectors, time.perf_counter() - start


def compare(names: Sequence[str], task: Task) -> dict[str, Figures]:
    """Fills, opens and queries peers; the best of all rounds by each figure."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        task.write(work)
        rates = {name: _import_rate(name, task, work) for name in _progress("import", names)}
        sizes = {name: _size(work / name) / len(task.turns) for name in names}
        openings = [_openings(names, work) for _ in _progress("open", range(OPENINGS - 1))]
        with ExitStack() as stack:
            open_ = {name: stack.enter_context(Session(name, work)) for name in names}
            for _ in _progress("query", range(ROUNDS)):
                for session in open_.values():
                    if session.slowest < PATIENCE:
                        session.round()
        openings.append({name: session.open_s for name, session in open_.items()})
        return {
            name: session.figures()
            | {
                "import_per_s": rates[name],
                "bytes_per_turn": sizes[name],
                "peak_rss_mb": session.peak_rss_mb,
                "open_s": min(each[name] for each in openings),
                "encrypted": PEERS[name].encrypted,
            }
            for name, session in open_.items()
        }


@dataclass
class Session:
    """A peer in a process of its own, opened, which answers rounds of queries one by one."""

    name: str
    work: Path
    open_s: float = 0.0
    peak_rss_mb: float = 0.0
    slowest: float = 0.0
    _rounds: list[Figures] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            _worker("search", self.name, self.work),
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.open_s = self._answer()
        return self

    def round(self) -> None:
        """Asks every query once."""
        assert self._process.stdin
        start = time.perf_counter()
        self._process.stdin.write("round\n")
        self._process.stdin.flush()
        totals, embeds = np.array(self._answer()).T
        self._rounds.append(percentiles(total=totals, rest=totals - embeds))
        self.slowest = max(self.slowest, time.perf_counter() - start)

    def figures(self) -> Figures:
        """The best of the rounds, by each figure."""
        return {key: min(each[key] for each in self._rounds) for key in self._rounds[0]}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        if error is None:
            self.peak_rss_mb = self._answer()
        self._process.wait()

    def _answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the benchmark of {self.name} stopped; see above")
        return json.loads(line)


def _import_rate(name: str, task: Task, work: Path) -> float:
    """Turns a second, embedding included at its bare rate."""
    worker = subprocess.run(
        _worker("fill", name, work), cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    store_s: float = json.loads(worker.stdout)
    return len(task.turns) / (task.embed_s + store_s)


def _openings(names: Sequence[str], work: Path) -> dict[str, float]:
    """Seconds that each peer takes to open and answer once, in a fresh process."""
    seconds = {}
    for name in names:
        with Session(name, work) as session:
            seconds[name] = session.open_s
    return seconds


def _worker(action: str, name: str, work: Path) -> list[str]:
    return [sys.executable, "-m", "bench.peers.worker", action, name, str(work)]


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _progress(what: str, work: Any) -> Any:
    return tqdm(work, desc=what, disable=None)


def table(result: dict[str, Figures]) -> RenderableType:
    """Peers by the p95 of a whole query, those not installed below; no wider than 80 columns."""
    measured = {name: each for name, each in result.items() if "skipped" not in each}
    columns = list(next(iter(measured.values())))
    queries_ = [column for column in columns if column.endswith("_ms")]
    rest = [column for column in columns if column not in queries_]
    skipped = [f"{name}: {result[name]['skipped']}" for name in result if name not in measured]
    return Group(_part("queries", queries_, measured), _part("files", rest, measured), *skipped)


def _part(title: str, columns: Sequence[str], measured: dict[str, Figures]) -> Table:
    shown = Table(title=title, box=box.SIMPLE, pad_edge=False)
    shown.add_column(no_wrap=True)  # heads wrap instead of names
    for column in columns:
        shown.add_column(column.replace("_", " "), justify="right")
    for name, each in sorted(measured.items(), key=lambda pair: pair[1]["total_p95_ms"]):
        shown.add_row(name, *(cell(each[column]) for column in columns))
    return shown
