"""The commands that read a vault: recall, thread, export, stats, verify."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mimir_core.cli import options, render
from mimir_core.cli.console import print_json, say
from mimir_core.cli.exits import DAMAGED
from mimir_core.cli.opening import open_vault
from mimir_core.cli.progress import Bar
from mimir_core.cli.transfer import export_memories
from mimir_core.errors import NotFound
from mimir_core.intake import DEFAULT_NAMESPACE


class Mode(StrEnum):
    """How recall searches."""

    DENSE = "dense"
    LEXICAL = "lexical"
    HYBRID = "hybrid"


def recall(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    vault: options.Vault,
    passphrase_file: options.PassphraseFile = None,
    k: Annotated[int, typer.Option("-k", help="How many memories at most.")] = 5,
    mode: Annotated[Mode, typer.Option(help="By meaning, by words, or both.")] = Mode.HYBRID,
    namespace: options.InNamespace = None,
    descendants: options.Descendants = False,
    thread: options.Thread = None,
    where: options.Where = None,
    since: options.Since = None,
    until: options.Until = None,
    context: Annotated[int, typer.Option(help="Turns to show around each memory.")] = 0,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what each channel gave, and whence it spread.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Find the memories that answer a query."""
    selection = options.selection(thread, where, since, until)
    place = options.labels(namespace) or DEFAULT_NAMESPACE
    with open_vault(vault, passphrase_file) as mimir:
        hits = mimir.recall(
            query,
            k=k,
            mode=mode.value,
            namespace=place,
            descendants=descendants,
            neighbours=context,
            **selection,
        )
    if as_json:
        print_json([render.hit_json(hit) for hit in hits])
    else:
        render.print_hits(hits, explain=explain)


def thread(
    vault: options.Vault,
    name: Annotated[str | None, typer.Argument(help="Its name; lists all if not given.")] = None,
    passphrase_file: options.PassphraseFile = None,
    namespace: options.InNamespace = None,
    as_json: options.AsJson = False,
) -> None:
    """Show a thread, or list the threads."""
    place = options.labels(namespace) or DEFAULT_NAMESPACE
    with open_vault(vault, passphrase_file) as mimir:
        if name is None:
            _show_threads(mimir.threads(namespace=place), as_json)
            return
        memories = mimir.thread(name, namespace=place)
    if not memories:
        raise NotFound("there is no such thread", hint="`mimir thread` lists them")
    if as_json:
        print_json([render.memory_json(memory) for memory in memories])
    else:
        render.print_thread(memories)


def _show_threads(threads: dict[str, int], as_json: bool) -> None:
    if as_json:
        print_json(threads)
    else:
        render.print_counts(threads, "thread")


def export(
    vault: options.Vault,
    passphrase_file: options.PassphraseFile = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A new file, not standard output.")
    ] = None,
    namespace: options.InNamespace = None,
    descendants: options.Descendants = False,
    thread: options.Thread = None,
    where: options.Where = None,
    since: options.Since = None,
    until: options.Until = None,
) -> None:
    """Write memories as JSON lines, in the clear.

    `mimir import` reads them: texts, names, times and fields, but no edges except the threads.
    """
    selection = options.selection(thread, where, since, until)
    place = options.labels(namespace)
    with open_vault(vault, passphrase_file) as mimir:
        memories = mimir.memories(namespace=place, descendants=descendants, **selection)
        export_memories(mimir, memories, output)


def stats(
    vault: options.Vault,
    passphrase_file: options.PassphraseFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Show the vault in numbers."""
    with open_vault(vault, passphrase_file) as mimir:
        numbers, namespaces = mimir.stats(), mimir.namespaces()
    if as_json:
        dotted = {".".join(labels): count for labels, count in namespaces.items()}
        print_json({**asdict(numbers), "by_namespace": dotted})
    else:
        render.print_stats(numbers, namespaces)


def verify(
    vault: options.Vault,
    passphrase_file: options.PassphraseFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Check every block and every memory.

    Exits with 6 if something is wrong.
    """
    with open_vault(vault, passphrase_file) as mimir, Bar("verifying", "checks") as bar:
        report = mimir.verify(bar)
    if as_json:
        print_json({**asdict(report), "ok": report.ok})
    else:
        for problem in report.problems:
            say(problem, "red")
        verdict = "no problems" if report.ok else f"{len(report.problems):,} problems"
        say(f"{report.blocks:,} blocks, {report.nodes:,} memories: {verdict}.")
    if not report.ok:
        raise typer.Exit(DAMAGED)
