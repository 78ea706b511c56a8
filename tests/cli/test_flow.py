"""The commands, one after the other, on one vault."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from mimir_core import Item, Mimir
from mimir_core.cli.exits import MEANINGS, exit_code
from mimir_core.errors import MimirError
from mimir_core.vault.layout import Stream

from ..vault.raw import flip
from ..vault.vaults import state_of
from .shell import PASSPHRASE, Shell


def test_a_memory_goes_in_comes_back_and_is_forgotten(shell: Shell) -> None:
    """remember prints an id, recall finds the memory with its fields, forget erases it."""
    id_ = shell.ok(
        "remember", "Ana's cat is called Pixel", "--meta", "speaker=Ana", "--meta", "stars=4",
        "--meta", "tag=pet", "--meta", "tag=home", "--thread", "monday", "--key", "cat",
        "--namespace", "alice.chat", "--time", "1 May 2024 18:30",
    ).strip()  # fmt: skip
    (hit,) = shell.json("recall", "name of the cat", "--namespace", "alice.chat")
    assert hit["id"] == id_
    assert hit["text"] == "Ana's cat is called Pixel"
    assert hit["time"] == "2024-05-01T18:30:00+00:00"
    assert hit["namespace"] == ["alice", "chat"]
    assert (hit["thread"], hit["key"]) == ("monday", "cat")
    assert hit["metadata"] == {"speaker": "Ana", "stars": 4, "tag": ["pet", "home"]}
    assert set(hit["found_by"]) <= {"dense", "lexical", "spread"}
    assert shell.json("recall", "name of the cat") == []
    assert shell.json("forget", id_)["ids"] == [id_]
    assert shell.json("recall", "name of the cat", "--namespace", "alice.chat") == []
    assert shell.run("forget", id_).exit_code == 4


def test_recall_narrows_by_everything_it_offers(shell: Shell) -> None:
    """Mode, k, thread, filters, times, context and namespaces below each narrow the hits."""
    for day, (speaker, text) in enumerate(
        [("Ana", "the tea is green"), ("Bob", "the tea is black"), ("Ana", "the tea is cold")], 1
    ):
        shell.ok(
            "remember", text, "--meta", f"speaker={speaker}", "--time", f"2024-05-0{day}T12:00",
            "--thread", "tea", "--namespace", "a.b",
        )  # fmt: skip

    def found(*args: str) -> set[str]:
        hits = shell.json("recall", "tea", "--namespace", "a.b", *args)
        return {hit["text"].split()[-1] for hit in hits}

    assert found() == {"green", "black", "cold"}
    assert len(found("-k", "1")) == 1
    assert found("--where", "speaker=Ana", "--since", "2024-05-02") == {"cold"}
    assert found("--until", "2024-05-02") == {"green", "black"}
    assert found("--thread", "coffee") == set()
    below = ("recall", "tea", "--namespace", "a")
    assert shell.json(*below) == []
    assert len(shell.json(*below, "--descendants", "--mode", "dense")) == 3
    (hit,) = shell.json(
        "recall", "black", "--namespace", "a.b", "--mode", "lexical", "--context", "1"
    )
    assert hit["found_by"] == ["lexical"]
    assert [turn["text"] for turn in hit["before"] + hit["after"]] == [
        "the tea is green",
        "the tea is cold",
    ]


def test_forget_asks_before_more_than_one(shell: Shell) -> None:
    """Without a terminal and without --yes nothing is erased; a dry run only lists."""
    ids = {shell.ok("remember", f"note {n}", "--meta", f"n={n}").strip() for n in range(3)}
    refused = shell.run("forget", "--where", "n>=1")
    assert refused.exit_code == 2
    assert "--yes" in refused.stderr
    dry = shell.json("forget", "--where", "n>=1", "--dry-run")
    assert dry["count"] == 2
    assert set(dry["ids"]) < ids
    assert shell.json("stats")["memories"] == 3
    assert "Forgot 2 memories." in shell.ok("forget", "--where", "n>=1", "--yes")
    assert "Forgot 1 memory." in shell.ok("forget", "--where", "n=0")
    assert "Forgot 0 memories." in shell.ok("forget", "--where", "n=0", "--yes")
    assert shell.json("stats")["memories"] == 0


def test_forget_cascades_when_told_to(shell: Shell) -> None:
    """With --cascade what was derived from a memory goes with it."""
    source = shell.ok("remember", "a long story").strip()
    made = shell.ok("remember", "its summary", "--derived-from", source).strip()
    assert set(shell.json("forget", source, "--cascade", "--yes")["ids"]) == {source, made}


def test_a_key_holds_its_newest_value(shell: Shell) -> None:
    """A second memory of a key supersedes the first; forget --key erases it."""
    shell.ok("remember", "blue", "--key", "colour")
    shell.ok("remember", "-", "--key", "colour", stdin="green\n")
    assert [hit["text"] for hit in shell.json("recall", "colour green blue")] == ["green"]
    assert shell.json("forget", "--key", "colour")["count"] == 1


def test_threads_and_stats_and_verify_report(shell: Shell) -> None:
    """thread shows turns in order or lists threads; stats counts; verify finds no problem."""
    for text in ("one", "two", "three"):
        shell.ok("remember", text, "--thread", "count")
    assert [turn["text"] for turn in shell.json("thread", "count")] == ["one", "two", "three"]
    assert shell.json("thread") == {"count": 3}
    assert "three" in shell.ok("thread", "count")
    assert "count" in shell.ok("thread")
    assert shell.run("thread", "nothing").exit_code == 4
    stats = shell.json("stats")
    assert stats["memories"] == 3
    assert stats["by_namespace"] == {"default": 3}
    assert "memories" in shell.ok("stats")
    assert shell.json("verify")["ok"] is True
    assert "no problems" in shell.ok("verify")


def test_every_error_class_has_a_documented_exit_code() -> None:
    """Each class of the error tree maps to a code that the help explains."""

    def tree(kind: type[MimirError]) -> list[type[MimirError]]:
        return [kind, *(deeper for child in kind.__subclasses__() for deeper in tree(child))]

    codes = {kind.__name__: exit_code(kind("message")) for kind in tree(MimirError)}
    assert set(codes.values()) <= MEANINGS.keys()
    assert codes["InvalidFilter"] == codes["VaultExists"] == 2
    assert codes["CannotUnlock"] == codes["NotAVault"] == codes["UnsupportedFormat"] == 3
    assert (codes["NotFound"], codes["VaultBusy"]) == (4, 5)
    assert codes["VaultDamaged"] == codes["VectorsLost"] == 6
    assert codes["DiskFull"] == codes["VaultReadOnly"] == 8
    assert (codes["ScrubPending"], codes["ModelMissing"]) == (9, 1)


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["recall", ""], 2),
        (["recall", "x", "-k", "0"], 2),
        (["recall", "x", "-k", "many"], 2),
        (["recall", "x", "--mode", "psychic"], 2),
        (["recall", "x", "--where", "((("], 2),
        (["recall", "x", "--since", "yesterday-ish"], 2),
        (["recall", "x", "--namespace", "a..b"], 2),
        (["recall"], 2),
        (["remember", " "], 2),
        (["remember", "x", "--meta", "stars>=4"], 2),
        (["remember", "x", "--time", "soon"], 2),
        (["remember", "x", "--derived-from", "00"], 2),
        (["forget"], 2),
        (["forget", "00"], 2),
        (["forget", "0" * 64], 4),
        (["import", "/no/such/file"], 2),
        (["dance"], 2),
    ],
)
def test_bad_input_is_refused(bystander: Shell, args: list[str], code: int) -> None:
    """Bad arguments end with their exit code, a message on stderr and nothing on stdout."""
    result = bystander.run(*args)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    assert "rror" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.fixture(scope="module")
def bystander(cheap_kdf: None, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A vault for calls that must not change it."""
    made = Shell(tmp_path_factory.mktemp("vault") / "agent.mimir")
    made.ok("create", made.vault)
    return made


def test_refused_calls_left_the_vault_as_it_was(bystander: Shell) -> None:
    """After all the refused calls the vault still holds nothing."""
    assert bystander.json("stats")["memories"] == 0


def test_stored_text_cannot_drive_the_terminal(shell: Shell) -> None:
    """Escape sequences, controls and bidirectional overrides in stored text are shown, not sent."""
    evil = "cat \x1b]0;owned\x07 \x1b[31mred \x9b2J \u202egnp [bold]x[/bold]"
    shell.ok("remember", evil, "--meta", "speaker=\x1b[5mAna", "--thread", "t\x1b[0m")
    for args in (["recall", "cat"], ["thread", "t\x1b[0m"], ["thread"]):
        shown = shell.ok(*args)
        assert not set(shown) & set("\x1b\x07\x9b\u202e")
    assert "[bold]x[/bold]" in " ".join(shell.ok("recall", "cat").split())
    raw = shell.run("recall", "cat", "--json").stdout
    assert raw.isascii()
    assert not set(raw) & set("\x1b\x07")
    assert json.loads(raw)[0]["text"] == evil
    assert shell.ok("export").isascii()


def test_a_busy_vault_has_its_own_exit_code(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another connection holds the writer's lock, writing ends with 5, reading works."""
    monkeypatch.setattr("mimir_core.vault.vault.WRITER_TIMEOUT", 0.2)
    with closing(sqlite3.connect(shell.vault, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        refused = shell.run("remember", "x")
        assert (refused.exit_code, refused.stdout) == (5, "")
        assert "hint" in refused.stderr
        assert shell.run("recall", "x").exit_code == 0


def test_a_damaged_vault_has_its_own_exit_code(shell: Shell) -> None:
    """A flipped bit in a block ends with 6 and without a traceback or any data."""
    shell.ok("remember", "the tea is green " * 60_000)
    _flip_a_bit_near_the_end(shell.vault)
    result = shell.run("verify", "--json")
    assert result.exit_code == 6
    assert "tea" not in result.output


def _flip_a_bit_near_the_end(file: Path) -> None:
    """Changes one bit of the last block, in another process: this one may hold SQLite's locks."""
    program = (
        "import sys; f = open(sys.argv[1], 'r+b'); f.seek(-9000, 2); byte = f.read(1)[0]; "
        "f.seek(-9000, 2); f.write(bytes([byte ^ 1]))"
    )
    subprocess.run([sys.executable, "-c", program, str(file)], check=True)


def test_recall_explains_itself(shell: Shell) -> None:
    """--explain shows what each channel gave to a hit, and from which turn score spread."""
    for text in ("Where did you put the ladder?", "Behind the shed.", "Thanks!"):
        shell.ok("remember", text, "--thread", "garden")
    shown = shell.ok("recall", "where is the ladder", "--explain")
    assert "dense +" in shown
    assert "lexical +" in shown
    assert "spread from" in shown
    (first, *_) = shell.json("recall", "where is the ladder")
    assert set(first["channels"]) == {"dense", "lexical", "spread"}


def test_forget_reaches_what_is_damaged(shell: Shell) -> None:
    """A thread goes although a part of it cannot be read; a phrase says what it passed over."""
    with Mimir.open(shell.vault, PASSPHRASE) as mimir:
        mimir.remember_many([Item(f"tea number {n}", thread="t") for n in range(200)])
        mimir.checkpoint()
        number = state_of(mimir).container._numbers[Stream.LOG, 0]
    flip(shell.vault, number)
    told = shell.run("forget", "--mentions", "tea number 0", "--dry-run")
    assert (told.exit_code, "could not look through" in told.stderr) == (0, True)
    assert shell.ok("forget", "--thread", "t", "--yes") == "Forgot 200 memories.\n"


def test_forget_by_a_phrase_shows_what_would_go(shell: Shell) -> None:
    """A preview by namespace with excerpts, a question even for one, and every copy gone."""
    shell.ok("remember", "Ana's cat is called Pixel", "--namespace", "alice.chat")
    shell.ok("remember", "feed pixel at nine", "--namespace", "tasks")
    shell.ok("remember", "the tea is green")
    shown = shell.ok("forget", "--mentions", "Pixel", "--dry-run")
    assert "alice.chat" in shown
    assert "Ana's cat is called Pixel" in shown
    assert "Would forget 2 memories." in shown
    refused = shell.run("forget", "--mentions", "Ana")
    assert refused.exit_code == 2
    assert "this would forget 1 memory" in refused.stderr
    told = shell.json("forget", "--mentions", "Pixel", "--dry-run", "--namespace", "tasks")
    assert (told["count"], told["namespaces"]) == (1, {"tasks": 1})
    assert [each["text"] for each in told["excerpts"]] == ["feed pixel at nine"]
    assert shell.run("forget", "--mentions", "Pixel", "some-id").exit_code == 2
    assert "Forgot 2 memories." in shell.ok("forget", "--mentions", "Pixel", "--yes")
    assert shell.json("stats")["memories"] == 1
    assert "Would forget 0 memories." in shell.ok("forget", "--mentions", "Pixel", "--dry-run")
