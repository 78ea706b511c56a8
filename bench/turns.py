"""Turns of real conversations as memories, and queries over them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.lines import Line, label, of_type, read_objects, text
from mimir_core import Item
from mimir_core.cli.times import read_time
from mimir_core.errors import InvalidArgument
from mimir_core.types import check_metadata

PASSPHRASE = "a passphrase for benchmarks"
QUERIES = 200
_OPTIONAL = {"session": (str, int), "speaker": (str, int), "time": (str, int, float)}
_ELSEWHERE = {"text", "conversation", "time"}  # in a memory, these are no metadata


def read_lines(path: Path) -> Iterator[Line]:
    """The turns of a file of JSON lines, gzip or plain; conversation and id are text.

    Raises:
        InvalidArgument: as `read_objects`; conversation, id or text is missing, or a field is of a
            type that it cannot have.
    """
    return read_objects(path, _turn)


def _turn(line: Line) -> Line:
    text(line.get("text"), "text")
    for name, kinds in _OPTIONAL.items():
        if line.get(name) is not None:
            of_type(line[name], name, *kinds)
    check_metadata({name: value for name, value in line.items() if name != "text"})
    return line | {name: label(line.get(name), name) for name in ("conversation", "id")}


def read_turns(path: Path, count: int | None = None, least: int = 1) -> list[Line]:
    """The first `count` turns whose text is not blank; all of them if it is None.

    Raises:
        InvalidArgument: as `read_lines`, or there are, or would be, fewer than `least`.
    """
    if count is not None and count < least:
        raise InvalidArgument(f"the number of turns must be at least {least}")
    found = list(itertools.islice((t for t in read_lines(path) if t["text"].strip()), count))
    if len(found) < least:
        raise InvalidArgument(f"{path.name} has {len(found)} turns with text, {least} are needed")
    return found


def queries(path: Path, count: int) -> list[str]:
    """Texts to search for: turns that follow the imported ones, or else some of those.

    Spread evenly, of 3 words at least, so that most ask for something.

    Raises:
        InvalidArgument: as `read_turns`, or no text has 3 words.
    """
    turns = read_turns(path, 2 * count)
    later = [turn["text"] for turn in turns[count:]] or [turn["text"] for turn in turns]
    texts = [text for text in later if len(text.split()) >= 3]
    if not texts:
        raise InvalidArgument(f"{path.name} has no turn of 3 words, which could be searched for")
    return texts[:: max(1, len(texts) // QUERIES)][:QUERIES]


def as_item(turn: Mapping[str, Any]) -> Item:
    """A turn as a memory in the default namespace, with everything that its line says.

    The thread is "conversation" or "conversation/session", the time what `read_time` reads; one
    that it cannot read is the field `time_text`. Every other field but a null one is metadata, id,
    session and speaker among them.
    """
    fields = {name: value for name, value in turn.items()
              if name not in _ELSEWHERE and value is not None}  # fmt: skip
    names = [turn["conversation"], turn.get("session")]
    thread = "/".join(str(name) for name in names if name not in (None, ""))
    when = turn.get("time")
    try:
        time = None if when in (None, "") else read_time(when)
    except InvalidArgument:
        time, fields["time_text"] = None, when
    return Item(turn["text"], thread=thread, time=time, metadata=fields)
