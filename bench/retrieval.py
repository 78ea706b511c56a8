"""Where the evidence for questions stands in what recall returns, channel by channel."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from tqdm.auto import tqdm

from bench.latency import PROFILE, reporter
from bench.turns import PASSPHRASE, read_lines
from mimir_core import Item, Mimir
from mimir_core.cli.times import read_time
from mimir_core.errors import InvalidArgument

CUTS = (1, 5, 10, 20)
MODES: dict[str, dict[str, Any]] = {
    "dense": {"mode": "dense"},
    "lexical": {"mode": "lexical"},
    "hybrid": {"spread": 0.0},
    "spread": {},
}
OPTIONS = {"--queries": {"type": Path, "required": True, "help": "questions with evidence"}}


@dataclass(frozen=True)
class Question:
    """A question, the namespace it is asked in, and the ids of the turns that answer it."""

    conversation: str
    text: str
    gold: frozenset[str]


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Imports the turns, a namespace a conversation, and asks every question in every mode."""
    turns = [turn for turn in read_lines(arguments.turns) if turn["text"].strip()]
    questions = read_questions(arguments.queries, turns)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.mimir"
        with Mimir.create(path, PASSPHRASE, profile=PROFILE) as mimir:
            with tqdm(total=len(turns), desc="import", disable=None) as bar:
                mimir.remember_many(map(as_item, turns), progress=reporter(bar))
            return {"n": len(questions), **measure(mimir, questions)}


def as_item(turn: Mapping[str, Any]) -> Item:
    """A turn as `mimir import` stores it, in a namespace of its conversation."""
    conversation, session = str(turn["conversation"]), turn.get("session")
    fields = {name: turn[name] for name in ("speaker", "session") if turn.get(name) is not None}
    when = turn.get("time")
    try:
        time = read_time(when) if when else None
    except InvalidArgument:
        time, fields = None, {**fields, "time_text": when}
    return Item(
        turn["text"],
        namespace=(conversation,),
        thread=conversation if session is None else f"{conversation}/{session}",
        key=str(turn["id"]),
        time=time,
        metadata=fields,
    )


def read_questions(path: Path, turns: Sequence[Mapping[str, Any]]) -> list[Question]:
    """The questions of a file of JSON lines.

    Raises:
        InvalidArgument: there is none, one has no evidence, or names a turn that is not there.
    """
    known = {(str(turn["conversation"]), str(turn["id"])) for turn in turns}
    questions = []
    for number, line in enumerate(read_lines(path), 1):
        conversation = str(line["conversation"])
        gold = frozenset(map(str, line["gold"]))
        if not gold or any((conversation, id_) not in known for id_ in gold):
            raise InvalidArgument(f"question {number} names no turn, or one that is not there")
        questions.append(Question(conversation, line["question"], gold))
    if not questions:
        raise InvalidArgument("there are no questions")
    return questions


def measure(mimir: Mimir, questions: Sequence[Question]) -> dict[str, dict[str, float]]:
    """The mean over questions of the share of evidence among the first k, and of 1 / rank."""
    found: dict[str, list[list[str]]] = {name: [] for name in MODES}
    for question in tqdm(questions, desc="questions", disable=None):
        for name, arguments in MODES.items():
            hits = mimir.recall(
                question.text, k=max(CUTS), namespace=(question.conversation,), **arguments
            )
            found[name].append([str(hit.memory.key) for hit in hits])
    return {name: dict(_scores(keys, questions)) for name, keys in found.items()}


def _scores(
    found: Sequence[Sequence[str]], questions: Sequence[Question]
) -> Iterator[tuple[str, float]]:
    pairs = [(keys, question.gold) for keys, question in zip(found, questions, strict=True)]
    for cut in CUTS:
        shares = [len(gold.intersection(keys[:cut])) / len(gold) for keys, gold in pairs]
        yield f"recall@{cut}", sum(shares) / len(shares)
    ranks = [next((1 / at for at, key in enumerate(keys, 1) if key in gold), 0.0)
             for keys, gold in pairs]  # fmt: skip
    yield "mrr", sum(ranks) / len(ranks)


def table(result: dict[str, Any]) -> Table:
    """One row a mode."""
    columns = list(result["dense"])
    shown = Table(f"{result['n']} questions", *columns)
    for name in MODES:
        shown.add_row(name, *(f"{result[name][column]:.3f}" for column in columns))
    return shown
