"""Where the evidence for questions stands in what recall returns, channel by channel."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.table import Table
from tqdm.auto import tqdm

from bench.latency import PROFILE, reporter
from bench.lines import Line, label, of_type, read_objects, text
from bench.turns import PASSPHRASE, read_turns
from bench.turns import as_item as plain_item
from mimir_core import Item, Mimir
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
    turns = read_turns(arguments.turns)
    questions = read_questions(arguments.queries, turns)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.mimir"
        with Mimir.create(path, PASSPHRASE, profile=PROFILE) as mimir:
            with tqdm(total=len(turns), desc="import", disable=None) as bar:
                mimir.remember_many(map(as_item, turns), progress=reporter(bar))
            return {"n": len(questions), **measure(mimir, questions)}


def as_item(turn: Mapping[str, Any]) -> Item:
    """A turn as `bench.turns.as_item` makes it, in the namespace of its conversation, by its id."""
    namespace = (str(turn["conversation"]),)
    return replace(plain_item(turn), namespace=namespace, key=str(turn["id"]))


def read_questions(path: Path, turns: Sequence[Mapping[str, Any]]) -> list[Question]:
    """The questions of a file of JSON lines.

    Raises:
        InvalidArgument: as `read_objects`; a question is blank, has no evidence, or names a turn
            that is not there.
    """
    known = {(str(turn["conversation"]), str(turn["id"])) for turn in turns}

    def check(line: Line) -> Question:
        question = _question(line)
        if any((question.conversation, id_) not in known for id_ in question.gold):
            raise InvalidArgument("gold names a turn that is not there")
        return question

    return list(read_objects(path, check))


def _question(line: Line) -> Question:
    asked = text(line.get("question"), "question")
    gold = of_type(line.get("gold"), "gold", list)
    if not asked.strip():
        raise InvalidArgument("the question is blank")
    if not gold:
        raise InvalidArgument("gold names no turn")
    ids = frozenset(label(id_, "an id in gold") for id_ in gold)
    return Question(label(line.get("conversation"), "conversation"), asked, ids)


def measure(mimir: Mimir, questions: Sequence[Question]) -> dict[str, dict[str, float]]:
    """The mean over questions of the share of evidence among the first k, and of 1 / rank."""
    found: dict[str, list[list[str]]] = {name: [] for name in MODES}
    for question in tqdm(questions, desc="questions", disable=None):
        for name, arguments in MODES.items():
            hits = mimir.recall(
                question.text, k=max(CUTS), namespace=(question.conversation,), **arguments
            )
            found[name].append([str(hit.memory.key) for hit in hits])
    golds = [question.gold for question in questions]
    return {name: scores(keys, golds) for name, keys in found.items()}


def scores(
    found: Sequence[Sequence[str]], golds: Sequence[frozenset[str]]
) -> dict[str, float]:
    """Recall at each cut and the mean reciprocal rank.

    Args:
        found: The keys found for each question, best first.
        golds: The keys of its evidence.
    """
    pairs = list(zip(found, golds, strict=True))
    result = {}
    for cut in CUTS:
        shares = [len(gold.intersection(keys[:cut])) / len(gold) for keys, gold in pairs]
        result[f"recall@{cut}"] = sum(shares) / len(shares)
    ranks = [next((1 / at for at, key in enumerate(keys, 1) if key in gold), 0.0)
             for keys, gold in pairs]  # fmt: skip
    return result | {"mrr": sum(ranks) / len(ranks)}


def table(result: dict[str, Any]) -> Table:
    """One row a mode."""
    columns = list(result["dense"])
    shown = Table(f"{result['n']} questions", *columns)
    for name in MODES:
        shown.add_row(name, *(f"{result[name][column]:.3f}" for column in columns))
    return shown
