"""`python -m bench COMMAND`: prints a table, or with `--json` one JSON object and nothing else."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table

from bench import growth, latency, nearest, overhead, profile, retrieval, storage, table, verify
from bench.peers import compare
from bench.process import refuse_network
from mimir_core.errors import MimirError

COUNT = {"--count": {"type": int, "default": 10_000, "help": "how many turns to import"}}
THREAD = {"--count": {"type": int, "default": 1_000, "help": "how many turns the long thread has"}}
TABLE = {
    "--largest": {"type": int, "default": 100_000, "help": "how many turns to grow to"},
    "--queries": {"type": Path, "help": "questions with evidence, to plot recall by channel"},
    "--queries-turns": {"type": Path, "help": "their turns, if not those of --turns"},
    "--peers": {"type": Path, "help": "what `peers --json` printed, to plot the peers"},
}


def rows(result: dict[str, Any]) -> RenderableType:
    """One row a figure."""
    shown = Table(show_header=False)
    for key, value in result.items():
        shown.add_row(key, f"{value:,.3f}" if isinstance(value, float) else f"{value:,}")
    return shown


def of_extra(name: str) -> Callable[[argparse.Namespace], dict[str, Any]]:
    """A benchmark whose imports come with an extra, and which is imported when it runs."""

    def run(arguments: argparse.Namespace) -> dict[str, Any]:
        found: dict[str, Any] = import_module(f"bench.{name}").run(arguments)
        return found

    return run


@dataclass(frozen=True)
class Command:
    """A benchmark: what it runs, how its result is shown, its options beside the common ones."""

    run: Callable[[argparse.Namespace], dict[str, Any]]
    text: str
    show: Callable[[dict[str, Any]], RenderableType] = rows
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: COUNT)


COMMANDS = {
    "latency": Command(
        latency.run, "a text query to opened hits, split into embedding and the rest"
    ),
    "profile": Command(profile.run, "where a recall spends its time, by stage"),
    "retrieval": Command(
        retrieval.run,
        "where the evidence for questions stands, by channel",
        retrieval.table,
        retrieval.OPTIONS,
    ),
    "storage": Command(storage.run, "bytes a turn, against a naive SQLite table of the same turns"),
    "overhead": Command(
        overhead.run, "what sealing costs, against the same code with a null cipher"
    ),
    "growth": Command(
        growth.run, "what a change costs in a vault, and in one ten times as large"
    ),
    "verify": Command(
        verify.run, "how long a recall waits beside a verification, and what memory that takes"
    ),
    "nearest": Command(
        nearest.run, "how near to exact the vector indexes are, and how quick", nearest.table
    ),
    "saver": Command(
        of_extra("saver"), "a turn of a graph in a long thread and in short ones", options=THREAD
    ),
    "filters": Command(
        of_extra("filters"), "a filter of the LangGraph store by how deep its field lies"
    ),
    "langchain": Command(of_extra("langchain"), "what the LangChain adapter adds to the core"),
    "llamaindex": Command(of_extra("llamaindex"), "what the LlamaIndex adapter adds to the core"),
    "peers": Command(
        compare.run, "other local memories, with the same turns and queries", compare.table
    ),
    "table": Command(
        table.run, "the founding article's claims beside our figures, and plots", table.show, TABLE
    ),
}


def main() -> None:
    """Runs one benchmark without network; exits with 2, saying why, if its input is at fault."""
    arguments = _parser().parse_args()
    refuse_network()
    command = COMMANDS[arguments.command]
    try:
        result = command.run(arguments)
    except MimirError as error:
        sys.exit(_failed(error))
    if arguments.json:
        print(json.dumps(result, allow_nan=False))
    else:
        Console().print(command.show(result))


def _failed(error: MimirError) -> int:
    print(f"python -m bench: {error}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, each in COMMANDS.items():
        command = commands.add_parser(name, help=each.text, description=each.text)
        command.add_argument("--turns", type=Path, required=True, help="JSON lines, gzip or plain")
        for flag, settings in each.options.items():
            command.add_argument(flag, **settings)
        command.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return parser


if __name__ == "__main__":
    main()
