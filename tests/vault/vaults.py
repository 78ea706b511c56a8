"""Vaults that open fast, and everything a caller can see of one, for comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mimir_core import KdfProfile, Mimir
from mimir_core.embedding import HashEmbedder
from mimir_core.vault.state import State

PASSPHRASE = "a passphrase for tests"
EMBEDDER = HashEmbedder(32)
FAST = KdfProfile.INSECURE_FOR_TESTS
BARE = 32 + 24 + 16_384
"""Bytes of an emptied journal: its header, and one frame that holds SQLite's own page 1."""

MEMORY_FOLDER = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""SIGKILL leaves what the kernel holds, so that these tests need no disk."""


def create(path: Path, passphrase: str = PASSPHRASE) -> Mimir:
    """A new vault, open."""
    return Mimir.create(path, passphrase, embedder=EMBEDDER, profile=FAST)


def reopen(path: Path, passphrase: str = PASSPHRASE) -> Mimir:
    """An existing vault, open."""
    return Mimir.open(path, passphrase, embedder=EMBEDDER, profile=FAST)


def contents(mimir: Mimir) -> dict[str, Any]:
    """Every live memory by id, as plain values."""
    return {
        memory.id: (
            memory.content,
            memory.time,
            memory.namespace,
            memory.thread,
            memory.key,
            dict(memory.metadata),
            memory.attachment,
        )
        for memory in mimir.memories()
    }


def everything(mimir: Mimir) -> dict[str, Any]:
    """What a caller can see: memories, edges of up to 40, names, and what a search finds."""
    live = contents(mimir)
    some = list(live)[:: len(live) // 40 + 1]
    places = {(value[2], value[3]) for value in live.values() if value[3]}
    queries = sorted({str(value[0]).split()[0] for value in live.values()})[:5]
    return {
        "memories": live,
        "lineage": {id_: mimir.lineage(id_) for id_ in some},
        "namespaces": mimir.namespaces(),
        "threads": {
            (namespace, name): [memory.id for memory in mimir.thread(name, namespace=namespace)]
            for namespace, name in places
        },
        "lexical": {
            (query, namespace): [
                (hit.id, round(hit.score, 4))
                for hit in mimir.recall(query, mode="lexical", namespace=namespace, k=10)
            ]
            for query in queries
            for namespace in mimir.namespaces()
        },
    }


def state_of(mimir: Mimir) -> State:
    """The state of an open vault as of now."""
    with mimir._vault.view() as state:
        return state


def columns_of(mimir: Mimir) -> tuple[Any, Any]:
    """The catalog's and the lexical index's columns of all memories."""
    state = state_of(mimir)
    count = len(state.catalog)
    return state.catalog.columns(0, count), state.lexical.columns(0, count)
