"""The commands of `mimir`: each opens the vault, asks the facade, and prints."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mimir_core.cli import options, render
from mimir_core.cli.console import print_json, say, show_error, warn
from mimir_core.cli.demo import run_demo
from mimir_core.cli.exits import BAD_LINES, DAMAGED, INTERRUPTED, MEANINGS, exit_code
from mimir_core.cli.passphrase import read_new_passphrase, read_passphrase
from mimir_core.cli.progress import Bar
from mimir_core.cli.times import read_time
from mimir_core.cli.transfer import check_files, export_memories, import_files, show_summary
from mimir_core.embedding import MiniLM
from mimir_core.errors import (
    InvalidArgument,
    InvalidText,
    MimirError,
    NotAVault,
    NotFound,
    VaultExists,
)
from mimir_core.intake import DEFAULT_NAMESPACE, MAX_CONTENT_BYTES
from mimir_core.memory import Mimir

_EXAMPLES = """
\b
Examples:
  mimir demo                                     see it work, in ten seconds
  mimir create agent.mimir                       make a vault; asks for a passphrase
  export MIMIR_VAULT=agent.mimir
  mimir remember "Ana's cat is called Pixel" --meta speaker=Ana --thread monday
  mimir import chat.jsonl.gz
  mimir recall "what is the cat's name?" -k 3 --where speaker=Ana --since 2024-05-01
  mimir forget --where "speaker=Ana" --dry-run
  mimir verify

\b
The passphrase is asked for, or comes from MIMIR_PASSPHRASE or --passphrase-file.
A namespace is written with dots: --namespace alice.chat
"""


def _epilog() -> str:
    rows = [f"  {code:>3}  {meaning}" for code, meaning in MEANINGS.items()]
    return "\n".join([_EXAMPLES, "\b", "Exit codes:", *rows])


class _Group(TyperGroup):
    """Turns errors into a message, a hint and an exit code."""

    def invoke(self, ctx: Any) -> Any:  # typer brings its own copy of click, and its Context
        try:
            return super().invoke(ctx)
        except MimirError as error:
            show_error(error)
            raise typer.Exit(exit_code(error)) from None
        except (KeyboardInterrupt, typer.Abort):
            warn("interrupted")
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    name="mimir",
    cls=_Group,
    epilog=_epilog(),
    invoke_without_command=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # they would show local variables, passphrases among them
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """The entry point of `mimir`."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal may know fewer characters
    app(prog_name="mimir")


def _open(vault: Path, passphrase_file: Path | None, embedder: MiniLM | None = None) -> Mimir:
    if not vault.exists():  # known before anyone types a passphrase
        raise NotAVault("there is no vault at this path")
    return Mimir.open(vault, read_passphrase(passphrase_file), embedder=embedder)


@app.callback()
def overview(context: typer.Context) -> None:
    """Mimir: a private, encrypted, local memory for AI agents."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def create(
    vault: Annotated[Path, typer.Argument(help="The file to create.")],
    passphrase_file: options.PassphraseFile = None,
) -> None:
    """Create a vault.

    Nobody can recover a lost passphrase."""
    if vault.exists():
        raise VaultExists("something already exists at this path")
    with Mimir.create(vault, read_passphrase(passphrase_file, new=True)):
        say(f"Created {vault}")


@app.command()
def remember(
    text: Annotated[str, typer.Argument(help="What to remember; - reads standard input.")],
    vault: options.Vault,
    passphrase_file: options.PassphraseFile = None,
    namespace: options.InNamespace = None,
    thread: options.Thread = None,
    key: Annotated[
        str | None, typer.Option(help="Unique name; a later memory of it supersedes this one.")
    ] = None,
    meta: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Field, repeatable; a name twice makes a list."),
    ] = None,
    time: Annotated[str | None, typer.Option(help="When it happened; now if not given.")] = None,
    derived_from: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="What it was made from, repeatable.")
    ] = None,
) -> None:
    """Store one memory and print its id."""
    fields = {
        "namespace": options.labels(namespace) or DEFAULT_NAMESPACE,
        "thread": thread,
        "key": key,
        "metadata": options.metadata(meta or ()),
        "time": None if time is None else read_time(time),
        "derived_from": derived_from or (),
    }
    content = _standard_input() if text == "-" else text
    with _open(vault, passphrase_file) as mimir:
        say(mimir.remember(content, **fields))


def _standard_input() -> str:
    data = sys.stdin.buffer.read(MAX_CONTENT_BYTES + 1)
    if len(data) > MAX_CONTENT_BYTES:
        raise InvalidText(f"standard input has more than {MAX_CONTENT_BYTES} bytes")
    try:
        return data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise InvalidText("standard input is not UTF-8") from None


class Mode(StrEnum):
    """How recall searches."""

    DENSE = "dense"
    LEXICAL = "lexical"
    HYBRID = "hybrid"


@app.command()
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
    with _open(vault, passphrase_file) as mimir:
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


@app.command()
def forget(
    vault: options.Vault,
    ids: Annotated[list[str] | None, typer.Argument(help="Ids, as recall shows them.")] = None,
    passphrase_file: options.PassphraseFile = None,
    key: Annotated[str | None, typer.Option(help="The memory of this key.")] = None,
    namespace: options.InNamespace = None,
    descendants: options.Descendants = False,
    thread: options.Thread = None,
    where: options.Where = None,
    since: options.Since = None,
    until: options.Until = None,
    cascade: options.Cascade = False,
    dry_run: options.DryRun = False,
    yes: options.Yes = False,
    as_json: options.AsJson = False,
) -> None:
    """Erase memories for good.

    By id, by key, or everything that fits namespace, thread, filters and time, together. Asks
    before more than one memory goes.
    """
    selection: dict[str, Any] = {
        "key": key,
        "namespace": options.labels(namespace),
        "descendants": descendants,
        **options.selection(thread, where, since, until),
    }
    with _open(vault, passphrase_file) as mimir:
        found = mimir.forget(ids or None, **selection, cascade=cascade, dry_run=True)
        if found.count and not dry_run:
            _confirm(found.count, yes)
            found = mimir.forget(found.ids)
    _show_forgotten(found.ids, dry_run, as_json)


def _confirm(count: int, yes: bool) -> None:
    """Asks before more than one memory goes; what was counted is what goes."""
    if yes or count == 1:
        return
    if not sys.stdin.isatty():
        raise InvalidArgument(
            f"this would forget {count:,} memories, and there is no terminal to ask at",
            hint="--yes forgets without asking, --dry-run lists them",
        )
    typer.confirm(f"Forget {count:,} memories for good?", abort=True, err=True)


def _show_forgotten(ids: Sequence[str], dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json({"ids": list(ids), "count": len(ids), "dry_run": dry_run})
        return
    if dry_run:
        for id_ in ids:
            say(id_)
    memories = "1 memory" if len(ids) == 1 else f"{len(ids):,} memories"
    say(f"Would forget {memories}." if dry_run else f"Forgot {memories}.")


@app.command("import")
def import_(
    files: Annotated[
        list[Path],
        typer.Argument(help="JSON lines, gzip too; - is standard input."),
    ],
    vault: options.Vault,
    passphrase_file: options.PassphraseFile = None,
    namespace: options.InNamespace = None,
    as_json: options.AsJson = False,
) -> None:
    """Import conversations from JSON lines.

    Run it again after an interruption: nothing comes twice.

    A line is a JSON object with text, and optionally time, speaker, conversation, session and id;
    anything else becomes metadata. A line whose id the vault holds already is skipped, even if its
    text is another now. Bad lines are reported by number, all others are stored.
    """
    place = options.labels(namespace)
    check_files(files)
    embedder = MiniLM()
    with _open(vault, passphrase_file, embedder) as mimir:
        summary = import_files(mimir, embedder, files, place)
    if as_json:
        print_json({**asdict(summary), "rate": summary.rate})
    else:
        show_summary(summary)
    if summary.bad:
        raise typer.Exit(BAD_LINES)


@app.command()
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
    with _open(vault, passphrase_file) as mimir:
        memories = mimir.memories(namespace=place, descendants=descendants, **selection)
        export_memories(memories, output)


@app.command()
def thread(
    vault: options.Vault,
    name: Annotated[str | None, typer.Argument(help="Its name; lists all if not given.")] = None,
    passphrase_file: options.PassphraseFile = None,
    namespace: options.InNamespace = None,
    as_json: options.AsJson = False,
) -> None:
    """Show a thread, or list the threads."""
    place = options.labels(namespace) or DEFAULT_NAMESPACE
    with _open(vault, passphrase_file) as mimir:
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


@app.command()
def stats(
    vault: options.Vault,
    passphrase_file: options.PassphraseFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Show the vault in numbers."""
    with _open(vault, passphrase_file) as mimir:
        numbers, namespaces = mimir.stats(), mimir.namespaces()
    if as_json:
        dotted = {".".join(labels): count for labels, count in namespaces.items()}
        print_json({**asdict(numbers), "by_namespace": dotted})
    else:
        render.print_stats(numbers, namespaces)


@app.command()
def verify(
    vault: options.Vault,
    passphrase_file: options.PassphraseFile = None,
    as_json: options.AsJson = False,
) -> None:
    """Check every block and every memory.

    Exits with 6 if something is wrong.
    """
    with _open(vault, passphrase_file) as mimir, Bar("verifying", "checks") as bar:
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


@app.command()
def passwd(
    vault: options.Vault,
    passphrase_file: options.PassphraseFile = None,
    new_passphrase_file: Annotated[
        Path | None, typer.Option(help="File with the new one. Or set MIMIR_NEW_PASSPHRASE.")
    ] = None,
) -> None:
    """Change the passphrase.

    Copies of the file made before still open with the old one.
    """
    with _open(vault, passphrase_file) as mimir:
        mimir.change_passphrase(read_new_passphrase(new_passphrase_file))
    say("The passphrase is changed.")


@app.command()
def demo(
    vault: Annotated[
        Path | None, typer.Option(help="Keep the vault here; a temporary folder if not given.")
    ] = None,
) -> None:
    """Show all of it on a small conversation.

    A conversation goes in, answers questions, is forgotten in part; and what a thief would see.
    """
    run_demo(vault)
