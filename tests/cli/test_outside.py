"""`mimir` as a program of its own: streams, signals, a busy and a damaged vault, the demo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mimir_core.cli.thief import look

from .shell import Shell, environment, turns


def test_the_whole_flow_works_from_outside(tmp_path: Path) -> None:
    """Every step is a process of its own; a closed pipe ends one without a traceback."""
    shell = Shell(tmp_path / "agent.mimir")
    assert shell.outside("create", shell.vault)[0] == 0
    code, id_, err = shell.outside("remember", "Ana's cat is called Pixel")
    assert (code, err) == (0, "")
    code, shown, err = shell.outside("recall", "what is the cat called?")
    assert (code, err) == (0, "")
    assert "Ana's cat is called Pixel" in shown
    assert id_.strip() in shown
    assert all(len(line) <= 80 for line in shown.splitlines())
    with shell.start("export") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
    assert shell.outside("forget", id_.strip())[0] == 0
    assert shell.outside("passwd", MIMIR_NEW_PASSPHRASE="another")[0] == 0
    code, out, err = shell.outside("stats", "--json")
    assert (code, out) == (3, "")
    assert "Traceback" not in err
    assert sorted(os.listdir(tmp_path)) == ["agent.mimir"]


def test_an_interrupted_import_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Killed, run again, stopped with Ctrl-C, run again: every line is stored exactly once."""
    count = 9_000
    shell = Shell(tmp_path / "agent.mimir")
    shell.ok("create", shell.vault)
    lines = ({"conversation": "c", "id": n, "text": f"turn {n}"} for n in range(count))
    file = turns(tmp_path / "long.jsonl", *lines)
    assert _stopped(shell, file, signal.SIGKILL)[0] == -signal.SIGKILL
    code, err = _stopped(shell, file, signal.SIGINT)
    assert (code, "Traceback" in err, "run it again" in err) == (130, False, True), err
    summary = shell.json("import", file)
    assert (summary["imported"] + summary["skipped"], summary["bad"]) == (count, 0)
    assert min(summary["imported"], summary["skipped"]) > 0
    exported = [json.loads(line) for line in shell.ok("export", "--thread", "c").splitlines()]
    assert [memory["text"] for memory in exported] == [f"turn {n}" for n in range(count)]
    assert shell.json("verify")["ok"]


def _stopped(shell: Shell, file: Path, by: signal.Signals) -> tuple[int, str]:
    """Starts an import, stops it once a batch is in the journal: exit code and standard error."""
    with shell.start("import", file) as process:
        for grown in (False, True):  # an open vault's journal is first emptied, then filled
            while _journal_has_a_batch(shell.vault) != grown:
                assert process.poll() is None
                time.sleep(0.005)
        process.send_signal(by)
        _, err = process.communicate(timeout=60)
    return process.returncode, err.decode()


def _journal_has_a_batch(vault: Path) -> bool:
    journal = vault.with_name(vault.name + "-wal")
    return journal.exists() and journal.stat().st_size > 1 << 20


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_output_that_cannot_be_written_has_its_exit_code(tmp_path: Path) -> None:
    """What is printed onto a full disk ends with 8 and a message, without a traceback."""
    shell = Shell(tmp_path / "agent.mimir")
    assert shell.outside("create", shell.vault)[0] == 0
    assert shell.outside("remember", "the cat")[0] == 0
    for command in (["export"], ["recall", "cat"], ["stats", "--json"]):
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                [sys.executable, "-m", "mimir_core.cli", *command], env=environment(shell.env),
                stdout=full, stderr=subprocess.PIPE, check=False,
            )  # fmt: skip
        assert (done.returncode, b"Traceback" in done.stderr) == (8, False), done.stderr


def test_the_demo_finds_its_answers_and_ends_well(tmp_path: Path) -> None:
    """The demo answers its questions, forgets, verifies, and a thief finds nothing in the vault."""
    vault = tmp_path / "demo.mimir"
    shell = Shell(vault)
    code, out, err = shell.outside("demo", "--vault", vault)
    assert code == 0, err
    told = " ".join(out.split())
    for answer in ("Pumpernickel", "hazelnuts", "swans", "clockmaker", "under the third plank"):
        assert answer in told
    assert "Opened by its id: not found" in told
    assert "no problems" in told
    plain, sealed = told[told.index("plain SQLite size") :].split("Mimir vault")
    assert "Pumpernickel found" in plain
    assert "Pumpernickel not found" in sealed
    assert "\x1b" not in out
    assert all(len(line) <= 80 for line in out.splitlines() if str(vault) not in line)
    passphrase = told.split("its passphrase is ")[1].split()[0]
    assert shell.run("stats", MIMIR_PASSPHRASE=passphrase).exit_code == 0
    assert shell.outside("demo", "--vault", vault)[0] == 2


def test_a_thief_finds_words_in_any_case_and_encoding() -> None:
    """The scanner behind the demo sees what is there, so that finding nothing means something."""
    hidden = b"\x00\x01" * 50
    assert look(hidden, "Tea")["found"] == 0
    for needle in (b"tea", b"TEA", "Tea".encode("utf-16-le"), "tea".encode("utf-16-be")):
        assert look(hidden + needle + hidden, "Tea")["found"] == 1
    assert look(bytes(range(256)), "Tea")["entropy"] == pytest.approx(8)
