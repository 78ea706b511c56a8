"""The commands that change a vault: create, remember, import, forget, passwd."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from mimir_core.cli import options, render
from mimir_core.cli.console import print_json, say, warn
from mimir_core.cli.decoding import decoded
from mimir_core.cli.exits import BAD_LINES
from mimir_core.cli.opening import open_vault
from mimir_core.cli.passphrase import read_new_passphrase, read_passphrase
from mimir_core.cli.progress import Bar
from mimir_core.cli.times import read_time
from mimir_core.cli.transfer import check_files, import_files, show_summary
from mimir_core.embedding import MiniLM
from mimir_core.errors import InvalidArgument, InvalidText, VaultExists
from mimir_core.intake import DEFAULT_NAMESPACE, MAX_CONTENT_BYTES
from mimir_core.memory import Mimir
from mimir_core.results import Forgotten


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
    with open_vault(vault, passphrase_file) as mimir:
        say(mimir.remember(content, **fields))


def _standard_input() -> str:
    data = sys.stdin.buffer.read(MAX_CONTENT_BYTES + 1)
    if len(data) > MAX_CONTENT_BYTES:
        raise InvalidText(f"standard input has more than {MAX_CONTENT_BYTES} bytes")
    try:
        return decoded(data).rstrip("\r\n")
    except ValueError:
        raise InvalidText("standard input is not UTF-8") from None


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
    with open_vault(vault, passphrase_file, embedder) as mimir:
        summary = import_files(mimir, embedder, files, place)
    if as_json:
        print_json({**asdict(summary), "rate": summary.rate})
    else:
        show_summary(summary)
    if summary.bad:
        raise typer.Exit(BAD_LINES)


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
    mentions: options.Mentions = None,
    cascade: options.Cascade = False,
    dry_run: options.DryRun = False,
    yes: options.Yes = False,
    as_json: options.AsJson = False,
) -> None:
    """Erase memories for good.

    By id, by key, or everything that fits namespace, thread, filters and time, together. Asks
    before more than one memory goes.

    With --mentions everything that contains a phrase, in all namespaces unless one is given, copies
    in caches, checkpoints and stores of agents too; what would go is shown first.
    """
    selection: dict[str, Any] = {
        "key": key,
        "namespace": options.labels(namespace),
        "descendants": descendants,
        **options.selection(thread, where, since, until),
    }
    with open_vault(vault, passphrase_file) as mimir:
        if mentions is None:
            found = mimir.forget(ids or None, **selection, cascade=cascade, dry_run=True)
        else:
            found = _mentioning(mimir, ids, mentions, cascade=cascade, **selection)
        if mentions is not None and not as_json:
            render.print_excerpts(found)
        if found.count and not dry_run:
            _confirm(found.count, yes or (found.count == 1 and mentions is None))
            if found.unnamed:  # by ids they would stay
                found = mimir.forget(ids or None, mentions=mentions, **selection, cascade=cascade)
            else:
                found = mimir.forget(found.ids)
    _show_forgotten(found, dry_run, as_json, listed=mentions is None)


def _mentioning(
    mimir: Mimir, ids: list[str] | None, mentions: str, **selection: Any
) -> Forgotten:
    with Bar("looking", "memories") as bar:
        found = mimir.forget(
            ids or None, mentions=mentions, dry_run=True, progress=bar, **selection
        )
    if found.unread:
        damaged = _memories(found.unread)
        warn(f"could not look through {damaged}, being damaged: `mimir verify` names them")
    return found


def _confirm(count: int, yes: bool) -> None:
    """Asks before memories go; what was counted is what goes."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise InvalidArgument(
            f"this would forget {_memories(count)}, and there is no terminal to ask at",
            hint="--yes forgets without asking, --dry-run lists them",
        )
    typer.confirm(f"Forget {_memories(count)} for good?", abort=True, err=True)


def _show_forgotten(found: Forgotten, dry_run: bool, as_json: bool, *, listed: bool) -> None:
    if as_json:
        print_json(render.forgotten_json(found, dry_run))
        return
    if dry_run and listed:
        for id_ in found.ids:
            say(id_)
    memories = _memories(found.count)
    say(f"Would forget {memories}." if dry_run else f"Forgot {memories}.")


def _memories(count: int) -> str:
    return "1 memory" if count == 1 else f"{count:,} memories"


def passwd(
    vault: options.Vault,
    passphrase_file: options.PassphraseFile = None,
    new_passphrase_file: Annotated[
        Path | None, typer.Option(help="File with the new one. Or set MIMIR_NEW_PASSPHRASE.")
    ] = None,
) -> None:
    """Change the passphrase.

    The key behind it stays: with a copy of the file made before, the old passphrase still opens
    the copy, and what is written to the vault later.
    """
    with open_vault(vault, passphrase_file) as mimir:
        mimir.change_passphrase(read_new_passphrase(new_passphrase_file))
    say("The passphrase is changed.")
    say("With an older copy of the file the old one still opens it, and what is written later.")
