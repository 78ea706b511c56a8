"""`python -m bench COMMAND`: prints a table, or with `--json` one JSON object and nothing else."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import latency, overhead, storage

Bench = Callable[[argparse.Namespace], dict[str, Any]]
COMMANDS: dict[str, tuple[Bench, str]] = {
    "latency": (latency.run, "a text query to opened hits, split into embedding and the rest"),
    "storage": (storage.run, "bytes a turn, against a naive SQLite table of the same turns"),
    "overhead": (overhead.run, "what sealing costs, against the same code with a null cipher"),
}


def main() -> None:
    arguments = _parser().parse_args()
    result = COMMANDS[arguments.command][0](arguments)
    if arguments.json:
        json.dump(result, sys.stdout)
        print()
    else:
        _print(arguments.command, result)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (_, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--turns", type=Path, required=True, help="JSON lines, gzip or plain")
        command.add_argument("--count", type=int, default=10_000, help="how many turns to import")
        command.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return parser


def _print(name: str, result: dict[str, Any]) -> None:
    table = Table(title=name, show_header=False)
    for key, value in result.items():
        table.add_row(key, f"{value:,.3f}" if isinstance(value, float) else f"{value:,}")
    Console().print(table)


if __name__ == "__main__":
    main()
