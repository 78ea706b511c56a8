"""`import` and `export` at the terminal: files, progress, what went wrong, how it ended."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from mimir_core.cli.console import say, to_json, warn
from mimir_core.cli.importing import STDIN, Importer, Summary, count_lines, open_lines
from mimir_core.cli.lines import export_line
from mimir_core.cli.progress import Bar
from mimir_core.embedding import Embedder
from mimir_core.errors import InvalidArgument
from mimir_core.memory import Mimir
from mimir_core.results import Memory
from mimir_core.types import Namespace


def check_files(files: Sequence[Path]) -> None:
    """Refuses files that cannot be read, before anything is imported. Raises InvalidArgument."""
    if not all(file == STDIN or (file.exists() and os.access(file, os.R_OK)) for file in files):
        raise InvalidArgument("a file to import cannot be read", hint="check its path")


def import_files(
    mimir: Mimir, embedder: Embedder, files: Sequence[Path], namespace: Namespace | None
) -> Summary:
    """Imports files one after the other, then writes the views.

    Raises:
        VaultError, EmbeddingError, InvalidArgument: what was stored before stays.
    """
    summary = Summary()
    try:
        for file in files:
            _import_file(mimir, embedder, file, namespace, summary)
        with Bar("indexing", "memories") as bar:
            mimir.checkpoint(bar)
    except KeyboardInterrupt:
        warn(f"{summary.imported:,} are stored; run it again to go on")
        raise
    return summary


def _import_file(
    mimir: Mimir, embedder: Embedder, file: Path, namespace: Namespace | None, summary: Summary
) -> None:
    with Bar("importing", "turns", count_lines(file)) as bar, open_lines(file) as lines:

        def bad(number: int, reason: str) -> None:
            bar.note(f"{file}:{number}: {reason}")

        Importer(mimir, embedder, namespace, summary, bad, bar.add).run(lines)


def show_summary(summary: Summary) -> None:
    """Says how an import ended."""
    say(
        f"Imported {summary.imported:,}, skipped {summary.skipped:,} already there, "
        f"{summary.bad:,} bad; {summary.seconds:.1f} s, {summary.rate:,.0f} a second."
    )
    if summary.changed:
        warn(f"{summary.changed:,} of the skipped have another text now; the vault keeps its own")
    if summary.times_kept:
        warn(f"{summary.times_kept:,} times could not be read; they are the field time_text")


def export_memories(mimir: Mimir, memories: Iterable[Memory], output: Path | None) -> None:
    """Writes memories as lines to a new file that only its owner can read, or to stdout.

    Raises:
        InvalidArgument: the file exists or cannot be created.
        OSError: writing failed; no file is left behind.
    """
    if output is None:
        for line in _lines(mimir, memories):
            print(line)
        return
    with _new_file(output) as stream:
        try:
            count = sum(1 for line in _lines(mimir, memories) if stream.write(line + "\n"))
            stream.flush()
        except BaseException:
            output.unlink()
            raise
    say(f"Exported {count:,} memories to {output}, in the clear.")


def _lines(mimir: Mimir, memories: Iterable[Memory]) -> Iterator[str]:
    for memory in memories:
        newest = memory.key and mimir.known([memory.key], namespace=memory.namespace)
        yield to_json(export_line(memory, memory.key if newest == [memory.id] else None))


def _new_file(path: Path) -> TextIO:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError:
        raise InvalidArgument(
            "the file to write exists already or cannot be created", hint="choose another path"
        ) from None
    return os.fdopen(handle, "w", encoding="ascii")
