"""`mimir demo`: a conversation goes in, comes back, is forgotten in part, and is stolen."""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from mimir_core.cli import thief
from mimir_core.cli.console import console, safe, say
from mimir_core.cli.render import cell, print_thread, table
from mimir_core.cli.transfer import import_files, show_summary
from mimir_core.embedding import MiniLM
from mimir_core.errors import NotFound, VaultDamaged
from mimir_core.memory import Mimir
from mimir_core.results import Hit

QUESTIONS = (
    "What is the new name of the boat?",
    "What is Tobias allergic to?",
    "Who is afraid of swans?",
    "Who could repair my clock?",
    "Where is the spare key?",
)
WORD = "Pumpernickel"
_THREAD = "boat/4"
_TURNS_SHOWN = 8
_BARS = "▁▂▃▄▅▆▇█"
_BINS = 64
_PAGE_BYTES = 16_384


def demo(
    vault: Annotated[
        Path | None, typer.Option(help="Keep the vault here; a temporary folder if not given.")
    ] = None,
) -> None:
    """Show all of it on a small conversation.

    A conversation goes in, answers questions, is forgotten in part; and what a thief would see.
    """
    with tempfile.TemporaryDirectory(prefix="mimir-demo-") as folder:
        path = Path(folder, "demo.mimir") if vault is None else vault
        passphrase = secrets.token_urlsafe(12)
        conversation = files("mimir_core.cli").joinpath("demo.jsonl")
        with as_file(conversation) as source:
            _use(path, passphrase, source)
            _steal(path, _plain_copy(source, Path(folder, "plain.sqlite")))
    if vault is not None:
        say(f"\nThe vault stays at {vault}; its passphrase is {passphrase}")


def _use(path: Path, passphrase: str, source: Path) -> None:
    embedder = MiniLM()
    _title(1, "A vault, and a conversation of two friends and their assistant")
    with Mimir.create(path, passphrase, embedder=embedder) as mimir:
        say(f"Created {path.name} under a passphrase nobody else knows: {passphrase}")
        show_summary(import_files(mimir, embedder, [source], None))
        _title(2, "Questions")
        answers = _ask(mimir)
        _title(3, f"A thread: the first {_TURNS_SHOWN} turns of {_THREAD}")
        print_thread(mimir.thread(_THREAD)[:_TURNS_SHOWN])
        _title(4, "Forgetting")
        _forget(mimir, answers[-1])
        _title(5, "Verifying")
        _verify(mimir)


def _title(number: int, text: str) -> None:
    console().print(Text(f"\n{number}. {text}", style="bold magenta"))


def _ask(mimir: Mimir) -> list[Hit]:
    """Asks the questions; returns the best hit of each."""
    answers = []
    made = table("question and answer", "score", "found by")
    for question in QUESTIONS:
        began = time.perf_counter()
        best = mimir.recall(question, k=1)[0]
        took = (time.perf_counter() - began) * 1e3
        answer = Text.assemble(
            (question, "cyan"), (f"  {took:.0f} ms\n", "dim"), (_quote(best), "bold")
        )
        found_by = cell("\n".join(best.found_by))
        made.add_row(answer, cell(f"{best.score:.2f}"), found_by, end_section=True)
        answers.append(best)
    console().print(made)
    return answers


def _quote(hit: Hit) -> str:
    return safe(f"{hit.memory.metadata['speaker']}: {hit.text}")


def _forget(mimir: Mimir, hit: Hit) -> None:
    say(f"Maren regrets having said where the key is. Forgetting {hit.id[:12]}…")
    forgotten = mimir.forget(hit.id)
    again = mimir.recall(QUESTIONS[-1], k=10)
    try:
        mimir.get(hit.id)
    except NotFound:
        found = "still there" if hit.id in {other.id for other in again} else "not in the top ten"
        say(f"Forgot {forgotten.count}. Opened by its id: not found. Asked again: {found}.")
        return
    raise VaultDamaged("a forgotten memory could be opened")


def _verify(mimir: Mimir) -> None:
    report = mimir.verify()
    if not report.ok:
        raise VaultDamaged("the demonstration's vault does not verify")
    say(f"{report.blocks} blocks and {report.nodes} memories, one of them erased: no problems.")


def _plain_copy(source: Path, path: Path) -> Path:
    """The same conversation in an ordinary SQLite table."""
    turns = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE turn (time TEXT, speaker TEXT, text TEXT)")
        database.executemany("INSERT INTO turn VALUES (:time, :speaker, :text)", turns)
    return path


def _steal(sealed: Path, plain: Path) -> None:
    _title(6, "What a thief of the file sees, beside the same turns in a plain SQLite table")
    for name, path in (("plain SQLite", plain), ("Mimir vault", sealed)):
        _show_sight(name, _look(path))


def _look(path: Path) -> thief.Sight:
    script = Path(thief.__file__)
    command = [sys.executable, "-I", str(script), str(path), WORD]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    sight: thief.Sight = json.loads(done.stdout)
    return sight


def _show_sight(name: str, sight: thief.Sight) -> None:
    size, rest = divmod(sight["size"], _PAGE_BYTES)
    whole = f" = {size} whole pages, which hold a block each" if not rest else ""
    rows = {
        "size": f"{sight['size']:,} bytes{whole}",
        "entropy": f"{sight['entropy']:.3f} bits a byte; random bytes have 8",
        "bytes 1-255": _sparkline(sight["histogram"]),
        WORD: f"found {sight['found']} times" if sight["found"] else "not found",
    }
    console().print(Text(f"\n{name}", style="bold"))
    for label, value in rows.items():
        console().print(Text.assemble((f"  {label:<13}", "cyan"), value))
    console().print(Text(_hexdump(sight), style="dim"))


def _sparkline(histogram: list[int]) -> str:
    """How often bytes occur, in 64 bars; zeros are left out, for unused space is made of them."""
    step = 256 // _BINS
    counts = [sum(histogram[max(at, 1) : at + step]) for at in range(0, 256, step)]
    top = max(counts)
    return "".join(_BARS[count * (len(_BARS) - 1) // top] for count in counts)


def _hexdump(sight: thief.Sight) -> str:
    data = bytes.fromhex(sight["excerpt"])
    lines = []
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        shown = re.sub(r"[^ -~]", ".", row.decode("latin-1"))
        lines.append(f"  {sight['offset'] + at:08x}  {row.hex(' ')}  {shown}")
    return "\n".join(lines)
