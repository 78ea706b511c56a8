"""The process in which one peer is filled, or opened and queried; it has no network.

`python -m bench.peers.worker fill|search NAME WORK`, where WORK holds what `compare` put there.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TextIO

import numpy as np

from bench.latency import K, TimedEmbedder
from bench.peers.protocol import PEERS, Peer
from bench.process import peak_rss_mb, refuse_network


def main() -> None:
    action, name, work = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    refuse_network()
    answers = _claim_stdout()
    peer = PEERS[name].load()
    if action == "fill":
        fill(peer, work, work / name, answers)
    else:
        search(peer, work, work / name, answers)


def fill(peer: type[Peer], work: Path, folder: Path, answers: TextIO) -> None:
    """Answers with the seconds that storing took, from an empty folder to closed files."""
    turns = json.loads((work / "turns.json").read_text("utf-8"))
    vectors = np.load(work / "vectors.npy")
    folder.mkdir()
    start = time.perf_counter()
    peer.fill(folder, turns, vectors)
    _tell(answers, time.perf_counter() - start)


def search(peer: type[Peer], work: Path, folder: Path, answers: TextIO) -> None:
    """Answers with the seconds to the first answer, then with a round a line, then peak memory.

    A round is the time and the embedding time of each query, in ms.
    """
    texts = json.loads((work / "queries.json").read_text("utf-8"))
    embedder = TimedEmbedder()
    embedder.embed_query("warm up")
    start = time.perf_counter()
    opened = peer(folder, embedder)
    _check(opened, texts[0])
    _tell(answers, time.perf_counter() - start - embedder.last)
    for _ in sys.stdin:
        _tell(answers, [_timed(opened, embedder, text) for text in texts])
    opened.close()
    _tell(answers, peak_rss_mb())


def _check(opened: Peer, text: str) -> None:
    found = opened.search(text, K)
    if len(found) != K or not all(each.text for each in found):
        raise RuntimeError(f"{K} texts were wanted")


def _timed(opened: Peer, embedder: TimedEmbedder, text: str) -> tuple[float, float]:
    start = time.perf_counter()
    opened.search(text, K)
    return 1e3 * (time.perf_counter() - start), 1e3 * embedder.last


def _claim_stdout() -> TextIO:
    """Keeps stdout for answers; whatever a peer prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _tell(answers: TextIO, value: object) -> None:
    json.dump(value, answers)
    answers.write("\n")
    answers.flush()


if __name__ == "__main__":
    main()
