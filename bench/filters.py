"""What a filter of `MimirStore` costs by where its field lies: in the value, or in a dict within.

Each turn is an item that holds its number at the top, in a dict, and in a dict of that. Every
search finds one item; a deep one and one at the top take turns. Nothing is embedded.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from langgraph.store.base import PutOp

from bench.latency import PROFILE
from bench.sides import batches, in_turn, timed
from bench.turns import PASSPHRASE, read_turns
from mimir_core import Mimir
from mimir_langchain import MimirStore

PLACE = ("turns",)
SEARCHES = 200

WAYS: dict[str, Callable[[int], dict[str, Any]]] = {
    "dotted": lambda number: {"about.number": number},
    "nested": lambda number: {"about": {"number": number}},
    "deeper": lambda number: {"about.place.number": number},
    "ordered": lambda number: {"about": {"number": {"$gte": number, "$lt": number + 1}}},
}


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fills a store, then searches it by filters.

    Returns for each way to name a deep field its median in milliseconds, `_ms`, and how many times
    that of the same search at the top it is, `_times`; a way that is `ordered` is measured by one
    that is, too.
    """
    turns = read_turns(arguments.turns, arguments.count, 2)
    numbers = [len(turns) * at // SEARCHES for at in range(SEARCHES)]
    with (
        tempfile.TemporaryDirectory() as folder,
        Mimir.create(Path(folder) / "bench.mimir", PASSPHRASE, profile=PROFILE) as mimir,
    ):
        store = MimirStore(mimir, index=None)
        ops = [PutOp(PLACE, str(n), value(n, turn)) for n, turn in enumerate(turns)]
        for batch in batches(ops):
            store.batch(batch)
        found: dict[str, Any] = {"count": len(turns)}
        for name, way in WAYS.items():
            found |= measured(store, name, way, numbers)
        return found


def value(number: int, turn: dict[str, Any]) -> dict[str, Any]:
    """A turn as an item's value."""
    about = {"number": number, "place": {"number": number, "id": turn["id"]}}
    return {"number": number, "text": turn["text"], "about": about}


def measured(
    store: MimirStore, name: str, way: Callable[[int], dict[str, Any]], numbers: list[int]
) -> dict[str, float]:
    """Searches for each of these numbers, deep and at the top."""

    def at_top(number: int) -> dict[str, Any]:
        ordered = {"$gte": number, "$lt": number + 1}
        return {"number": ordered if name == "ordered" else number}

    def search(filter: Callable[[int], dict[str, Any]]) -> Callable[[int], float]:
        return timed(lambda number: store.search(PLACE, filter=filter(number)))

    for filter in (way, at_top):  # makes the columns that are asked for
        assert [item.key for item in store.search(PLACE, filter=filter(1))] == ["1"]
    took = in_turn(name, numbers, search(way), search(at_top))
    return {f"{name}_ms": took.ours_ms, f"{name}_times": took.ours_ms / took.theirs_ms}
