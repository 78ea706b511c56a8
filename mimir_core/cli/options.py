"""The options that commands share, and what their values stand for."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from mimir_core.cli.times import read_end, read_time
from mimir_core.errors import InvalidFilter, InvalidMetadata, InvalidNamespace
from mimir_core.index.filter_text import parse_expressions
from mimir_core.types import Namespace, check_namespace

Vault = Annotated[Path, typer.Option(envvar="MIMIR_VAULT", help="The vault file.")]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(help="File whose first line is the passphrase. Or set MIMIR_PASSPHRASE."),
]
InNamespace = Annotated[
    str | None, typer.Option(metavar="A.B", help="Namespace, its labels joined by dots.")
]
Descendants = Annotated[bool, typer.Option("--descendants", help="Also the namespaces below it.")]
Thread = Annotated[str | None, typer.Option(help="Name of a thread.")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILTER", help='Filter on metadata, repeatable: "speaker=Ana", "stars>=4", "place?"'
    ),
]
Since = Annotated[str | None, typer.Option(metavar="TIME", help="From this time on.")]
Until = Annotated[
    str | None, typer.Option(metavar="TIME", help="Up to this time; a day is meant whole.")
]
Mentions = Annotated[
    str | None, typer.Option(metavar="PHRASE", help="Whatever contains it, in any namespace.")
]
Cascade = Annotated[bool, typer.Option("--cascade", help="Also what was derived from them.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be forgotten.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value and nothing else.")]


def labels(namespace: str | None) -> Namespace | None:
    """The namespace that "alice.chat" names; labels hold no dots themselves.

    Raises:
        InvalidNamespace: for a label that is none.
    """
    try:
        return None if namespace is None else check_namespace(tuple(namespace.split(".")))
    except InvalidNamespace as error:
        raise InvalidNamespace(str(error.args[0]), hint="write it as alice.chat") from None


def selection(
    thread: str | None, where: list[str] | None, since: str | None, until: str | None
) -> dict[str, Any]:
    """The facade's arguments for a selection.

    Raises:
        InvalidFilter, InvalidArgument: for what cannot be read.
    """
    return {
        "thread": thread,
        "where": parse_expressions(where) if where else None,
        "since": None if since is None else read_time(since),
        "until": None if until is None else read_end(until),
    }


def metadata(pairs: Iterable[str]) -> dict[str, Any]:
    """Fields from "name=value"; typed as in filters, and a name given again makes a list.

    Raises:
        InvalidMetadata: for a pair that cannot be read.
    """
    fields: dict[str, list[object]] = {}
    for place, pair in enumerate(pairs, 1):
        name, value = _pair(pair, place)
        fields.setdefault(name, []).append(value)
    return {name: values if len(values) > 1 else values[0] for name, values in fields.items()}


def _pair(pair: str, place: int) -> tuple[str, object]:
    try:
        ((name, condition),) = parse_expressions([pair]).items()
        if isinstance(condition, dict) and condition.keys() == {"$eq"}:
            return name, condition["$eq"]
    except InvalidFilter:
        pass
    raise InvalidMetadata(
        f"--meta number {place} cannot be read",
        hint="write stars=4, and long text in quotes: title='What and why?'",
    )
