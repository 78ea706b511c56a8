"""Mimir: hybrid recall with spread, from a sealed vault. The only one that also reads words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.latency import PROFILE
from bench.peers.precomputed import Precomputed
from bench.peers.protocol import Found, Turn
from bench.turns import PASSPHRASE, as_item
from mimir_core import Mimir
from mimir_core.embedding import Embedder, Vectors


class SealedMimir:
    @classmethod
    def fill(cls, folder: Path, turns: Sequence[Turn], vectors: Vectors) -> None:
        items = [as_item(turn) for turn in turns]
        embedder = Precomputed([item.indexed_text for item in items], vectors)
        with Mimir.create(_vault(folder), PASSPHRASE, embedder=embedder, profile=PROFILE) as mimir:
            mimir.remember_many(items)

    def __init__(self, folder: Path, embedder: Embedder) -> None:
        self._mimir = Mimir.open(_vault(folder), PASSPHRASE, embedder=embedder, profile=PROFILE)

    def search(self, text: str, k: int) -> list[Found]:
        hits = self._mimir.recall(text, k=k)
        return [Found(hit.text, dict(hit.memory.metadata)) for hit in hits]

    def close(self) -> None:
        self._mimir.close()


def _vault(folder: Path) -> Path:
    return folder / "turns.mimir"
