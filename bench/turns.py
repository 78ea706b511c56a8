"""Turns of real conversations as memories, and queries over them."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mimir_core import Item

PASSPHRASE = "a passphrase for benchmarks"
QUERIES = 200


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines, gzip or plain."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rt") if packed else path.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def read_turns(path: Path, count: int) -> list[dict[str, Any]]:
    """The first `count` turns that have text."""
    turns = (turn for turn in read_lines(path) if turn["text"].strip())
    return list(itertools.islice(turns, count))


def queries(path: Path, count: int) -> list[str]:
    """Texts to search for: turns that follow the imported ones, or else some of those.

    Spread evenly, of 3 words at least, so that most ask for something.
    """
    turns = read_turns(path, 2 * count)
    later = [turn["text"] for turn in turns[count:]] or [turn["text"] for turn in turns]
    texts = [text for text in later if len(text.split()) >= 3]
    return texts[:: max(1, len(texts) // QUERIES)][:QUERIES]


def as_item(turn: dict[str, Any]) -> Item:
    """A turn as a memory: conversations become threads, everything else metadata."""
    time = turn.get("time")
    return Item(
        turn["text"],
        thread=turn["conversation"],
        time=time if time and "T" in time else None,
        metadata={"speaker": turn["speaker"], "id": turn["id"]},
    )
