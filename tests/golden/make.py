"""Writes the golden vault of the present format version.

    python -m tests.golden.make

A vault that is committed here is never written again: later versions of Mimir must open it as it
is. Run this only before a format version is released, or for a new one.
"""

from __future__ import annotations

import datetime as dt
import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

from mimir_core import Item, KdfProfile, Mimir
from mimir_core.crypto.preamble import FORMAT_VERSION
from mimir_core.embedding import HashEmbedder
from mimir_core.encoding import pack

FOLDER = Path(__file__).parent
PASSPHRASE = "gołden pässphrase 🗝"
DIMENSION = 32
WORDS = ("tomatoes", "Fahrrad", "猫", "dentist", "tail", "nowhere")
QUERIES = ("pixel cat", "garden tomatoes", "Fahrrad repariert", "nothing of the kind")
START = dt.datetime(2023, 3, 1, 9, 30, tzinfo=dt.UTC)
TURNS = (
    "Pixel the cat slept on the warm router again",
    "I repaired the bicycle with a spoon and two rubber bands",
    "Das Fahrrad ist repariert, endlich!",
    "The tomatoes in the garden are ripe, and the cat eats them",
    "猫はルーターの上で寝ています",
    "Remind me to call the dentist before the storm",
)


def fill(mimir: Mimir) -> None:
    """Memories of every kind that format version 1 knows, in two segments and a tail."""
    turns = [
        Item(
            f"{TURNS[n % len(TURNS)]}, turn {n}",
            namespace=("home", "chat") if n % 3 else ("home",),
            thread=f"session {n // 30}" if n % 7 else None,
            time=START + dt.timedelta(minutes=n, microseconds=n),
            metadata={
                "n": n,
                "speaker": "Ana" if n % 2 else "Ben",
                "mood": {"calm": n % 4 == 0, "words": ["ja", n / 8]},
                "day": dt.date(2023, 3, 1 + n % 28),
                "seen": START - dt.timedelta(days=n),
                "none": None,
                "big": -(1 << 62) + n,
            }
            if n % 5
            else {},
        )
        for n in range(1_100)
    ]
    ids = mimir.remember_many(turns)
    mimir.remember("blue", key="colour")
    mimir.remember("green", key="colour", keep_history=True)
    mimir.remember("Lisbon", key="city")
    mimir.remember("Porto", key="city")
    summary = mimir.remember("The cat and the tomatoes", derived_from=[ids[3], ids[0], ids[9]])
    mimir.remember("Cats like tomatoes", derived_from=[summary, ids[15]], namespace="facts")
    mimir.remember(bytes(range(256)), thread="files")
    mimir.remember("a long one " * 4_000, thread="files")
    mimir.forget([ids[15], ids[16], ids[1_050]])
    mimir.forget(namespace=("home", "chat"), thread="session 9")
    mimir.checkpoint()
    mimir.remember_many([Item(f"tail {n}", thread="tail") for n in range(5)])
    mimir.forget(thread="tail", where={"none": {"$exists": False}}, dry_run=True)
    mimir.forget([mimir.thread("tail")[2].id])


def observe(mimir: Mimir) -> dict[str, Any]:
    """All that a reader must get out of the vault, as JSON; contents as hex of their encoding."""
    memories = {
        memory.id: pack(
            [
                memory.content,
                memory.time,
                list(memory.namespace),
                memory.thread,
                memory.key,
                dict(memory.metadata),
            ]
        ).hex()
        for memory in mimir.memories()
    }
    some = [*list(memories)[::97], *list(memories)[-12:]]
    stats = mimir.stats()
    return {
        "memories": memories,
        "counts": [stats.memories, stats.erased, stats.namespaces],
        "namespaces": [[list(namespace), count] for namespace, count in mimir.namespaces().items()],
        "threads": {
            "/".join(namespace): {
                name: [memory.id for memory in mimir.thread(name, namespace=namespace)]
                for name in mimir.threads(namespace=namespace)
            }
            for namespace in mimir.namespaces()
        },
        "lineage": {
            id_: [
                [[r.id, r.distance, list(map(int, r.edges)), r.erased] for r in relatives[:40]]
                for relatives in (mimir.lineage(id_).ancestors, mimir.lineage(id_).descendants)
            ]
            for id_ in some
        },
        "keys": {key: mimir.get(key=key).id for key in ("colour", "city")},
        "verify": mimir.verify().ok,
    }


def searches(mimir: Mimir) -> dict[str, list[str]]:
    """The nearest vectors in order, and all memories that hold a word: ranking may get better."""

    def found(query: str, mode: str, k: int) -> list[str]:
        hits = mimir.recall(query, mode=mode, namespace="home", descendants=True, k=k)
        return [hit.id for hit in hits]

    dense = {f"nearest: {query}": found(query, "dense", 5) for query in QUERIES}
    return dense | {f"holds: {word}": sorted(found(word, "lexical", 10_000)) for word in WORDS}


def open_golden(path: Path) -> Mimir:
    """Opens an unpacked golden vault."""
    profile = KdfProfile.INSECURE_FOR_TESTS
    return Mimir.open(path, PASSPHRASE, embedder=HashEmbedder(DIMENSION), profile=profile)


def main() -> None:
    """Writes vault and expectations."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "golden.mimir")
        profile = KdfProfile.INSECURE_FOR_TESTS
        with Mimir.create(
            path, PASSPHRASE, embedder=HashEmbedder(DIMENSION), profile=profile
        ) as mimir:
            fill(mimir)
            mimir._vault._checkpointer._write = lambda: None  # type: ignore[method-assign]  # a tail
        with open_golden(path) as mimir:
            mimir._vault._checkpointer._write = lambda: None  # type: ignore[method-assign]
            expected = observe(mimir) | {"searches": searches(mimir)}
        name = FOLDER / f"version{FORMAT_VERSION}"
        name.with_suffix(".mimir.gz").write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))
    text = json.dumps(expected, indent=0, sort_keys=True).encode()
    name.with_suffix(".json.gz").write_bytes(gzip.compress(text, 9, mtime=0))


if __name__ == "__main__":
    main()
