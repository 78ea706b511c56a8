"""A journal beside the vault: merged only if it is the vault's own and newest; else untouched."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from mimir_core import Mimir
from mimir_core.errors import CannotUnlock, JournalRefused, MimirError
from mimir_core.vault.vault import Vault

from .kill import in_child, in_child_value
from .vaults import FAST, contents, create, reopen
from .worker import run_worker, start_worker

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the tests fork")

Files = dict[str, tuple[bytes, int]]


def files(path: Path) -> Files:
    """Every file of the folder: its bytes and when it was changed."""
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in path.parent.iterdir()}


def journal(path: Path) -> Path:
    """The write-ahead log's path."""
    return path.with_name(path.name + "-wal")


def crash(path: Path, *texts: str) -> None:
    """Remember texts in a process that dies with them in the journal."""

    def work() -> None:
        mimir = reopen(path)
        for text in texts:
            mimir.remember(text)
        os._exit(0)

    assert in_child(work) == 0
    assert journal(path).stat().st_size > 20_000


def filled(path: Path, *texts: str) -> None:
    """A closed vault."""
    with create(path) as mimir:
        for text in texts:
            mimir.remember(text)


def texts(path: Path) -> set[str]:
    """What the vault holds, read in a process of its own."""

    def work() -> set[str]:
        with reopen(path) as mimir:
            assert mimir.verify().ok
            return {str(memory.text) for memory in mimir.memories()}

    found: set[str] = in_child_value(work)
    return found


def refused(path: Path, kind: type[MimirError] = JournalRefused, passphrase: str = "") -> None:
    """Opening raises that error, and no file changes, appears or goes."""
    before = files(path)

    def work() -> str:
        try:
            reopen(path, passphrase) if passphrase else reopen(path)
        except MimirError as error:
            return type(error).__name__
        return "opened"

    assert in_child_value(work) == kind.__name__
    assert files(path) == before


def stale(path: Path) -> Path:
    """Puts the vault's own older journal beside the newer file."""
    filled(path, "one")
    crash(path, "two", "three")
    kept = shutil.copy(journal(path), path.parent / "kept")
    with reopen(path) as mimir:
        for n in range(30):
            mimir.remember(f"later {n}" + " x" * 3_000)
    os.rename(kept, journal(path))
    return journal(path)


def test_an_older_journal_does_not_take_the_vault_back(path: Path) -> None:
    """The vault's own older log beside a newer file is refused; without it all is there."""
    log = stale(path)
    refused(path)
    log.unlink()
    assert len(texts(path)) == 33


def test_an_older_journal_of_the_same_size_does_neither(path: Path) -> None:
    """Also where the file has not grown since, so that only the roots tell."""
    filled(path, "one")
    crash(path, "two")
    kept = shutil.copy(journal(path), path.parent / "kept")
    with reopen(path) as mimir:
        mimir.remember("three")
    os.rename(kept, journal(path))
    refused(path)
    journal(path).unlink()
    assert texts(path) == {"one", "two", "three"}


def test_a_wrong_passphrase_merges_nothing(path: Path) -> None:
    """With a wrong passphrase an honest journal stays as it is, and recovers afterwards."""
    filled(path, "one")
    crash(path, "two")
    journal(path).with_name(path.name + "-shm").unlink()
    refused(path, CannotUnlock, "another passphrase")
    assert texts(path) == {"one", "two"}


def test_another_vaults_journal_is_refused(path: Path) -> None:
    """A log of another vault, and one of another database, change nothing."""
    filled(path, "one")
    other = path.with_name("other")
    filled(other, "foreign")
    crash(other, "more")
    shutil.copy(journal(other), journal(path))
    refused(path)
    journal(path).unlink()
    assert in_child(lambda: _plain_database(path.parent / "plain")) == 0
    shutil.copy(path.parent / "plain-wal", journal(path))
    refused(path)
    journal(path).unlink()
    assert texts(path) == {"one"}


def _plain_database(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA page_size = 16384")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE block(no INTEGER PRIMARY KEY, data BLOB)")
    os._exit(0)


def test_a_rollback_journal_is_refused_by_name(path: Path) -> None:
    """Beside a rollback journal nothing opens, and the error names it."""
    filled(path, "one")
    planted = path.with_name(path.name + "-journal")
    planted.write_bytes(bytes.fromhex("d9d505f920a163d7") + bytes(1_000))
    refused(path)
    with pytest.raises(JournalRefused, match=f"{path.name}-journal"):
        reopen(path)
    planted.unlink()
    assert texts(path) == {"one"}


@pytest.mark.parametrize("make", [lambda p: p.mkdir(), os.mkfifo, lambda p: p.symlink_to("kept")])
def test_a_journal_that_is_no_file_is_refused(path: Path, make: Callable[[Path], None]) -> None:
    """A folder, a pipe and a link at the journal's place are refused without waiting."""
    filled(path, "one")
    path.with_name("kept").write_bytes(b"")
    make(journal(path))
    with pytest.raises(JournalRefused):
        reopen(path)


@pytest.mark.parametrize("cut", [0, 10, 32, 56, 20_000, -1, -16_408, -40_000])
def test_a_torn_journal_recovers_to_a_commit(path: Path, cut: int) -> None:
    """A log that ends anywhere, as after a power loss, opens at one of its commits."""
    filled(path, "one")
    crash(path, "two", "three")
    os.truncate(journal(path), cut if cut >= 0 else journal(path).stat().st_size + cut)
    journal(path).with_name(path.name + "-shm").unlink()
    assert texts(path) in ({"one"}, {"one", "two"}, {"one", "two", "three"})


@pytest.mark.parametrize("part", [0, 1, 2, 3, "header"])
def test_a_half_moved_journal_recovers(path: Path, part: int | str) -> None:
    """A file with any part of its log's pages, as a kill amid a checkpoint leaves it, recovers."""
    filled(path, "one")
    before = path.read_bytes()
    crash(path, *(f"turn {n}" + " y" * 40_000 for n in range(14)))
    path.with_name(path.name + "-shm").unlink()
    log = journal(path).read_bytes()
    assert in_child(lambda: sqlite3.connect(path).execute("PRAGMA wal_checkpoint")) == 0
    after = path.read_bytes()
    assert len(after) > len(before)
    pages = [after[at : at + 16_384] for at in range(0, len(after), 16_384)]
    if part == "header":  # page 1 tells the new length, and nothing more has moved
        pages = [pages[0], before[16_384:]]
    for number in () if part == "header" else range(len(pages)):
        old = before[number * 16_384 : (number + 1) * 16_384]
        torn = pages[number][:4_096] + old[4_096:] if old and number == len(pages) // 8 else b""
        pages[number] = pages[number] if number % 4 >= int(part) else torn or old or bytes(16_384)
    path.with_name(path.name + "-shm").unlink()
    path.write_bytes(b"".join(pages))
    journal(path).write_bytes(log)
    assert len(texts(path)) == 15


def test_a_vault_whose_creation_is_all_in_the_journal_opens(path: Path) -> None:
    """Killed before its first checkpoint, a vault opens from its log."""

    def work() -> None:
        Vault._try_scrub = lambda self: None  # type: ignore[method-assign]
        create(path).remember("one")
        os._exit(0)

    assert in_child(work) == 0
    assert path.stat().st_size <= 16_384
    refused(path, CannotUnlock, "another passphrase")
    assert texts(path) == {"one"}


def test_a_changed_passphrase_in_the_journal_counts(path: Path) -> None:
    """After a crash right behind a change of passphrase the new one opens, the old one not."""
    filled(path, "one")

    def work() -> None:
        Vault._scrub = lambda self, timeout: None  # type: ignore[method-assign]
        reopen(path).change_passphrase("new", profile=FAST)
        os._exit(0)

    assert in_child(work) == 0
    refused(path, CannotUnlock)
    with reopen(path, "new") as mimir:
        assert len(contents(mimir)) == 1


def test_looking_drops_no_lock_of_this_process(mimir: Mimir, path: Path) -> None:
    """Opening with a wrong passphrase beside an open handle leaves its locks: others see them."""
    with mimir._vault.exclusive():
        for _ in range(3):
            with pytest.raises(CannotUnlock):
                reopen(path, "another passphrase")
        assert run_worker("try_write_lock", path) == ["busy"]
    mimir.remember("a cat")
    with start_worker("hold_snapshot", path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(CannotUnlock):
            reopen(path, "another passphrase")
        process.communicate("")
    with closing(reopen(path)) as other:
        assert len(contents(other)) == 1
