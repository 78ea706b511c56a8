"""One file under one name, still the same file; bytes wiped before they are given back."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from mimir_core.errors import (
    DiskFull,
    OutcomeUnknown,
    SeveralNames,
    StorageFailed,
    VaultReplaced,
)
from mimir_core.storage import SqliteBlockStore, log, sqlite_file

from .blocks import PREAMBLE, block
from .worker import numbered, state_of

pytestmark = pytest.mark.skipif(os.name != "posix", reason="names and mounts as Unix has them")
PAGE = 16_384


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed vault of four blocks in state 0."""
    path = tmp_path / "v.mimir"
    SqliteBlockStore.create(path, PREAMBLE, list(numbered(0).values())).close()
    return path


def test_a_hard_link_is_refused(path: Path) -> None:
    """A file with two names opens by neither, and by its own once the other is gone."""
    second = path.with_name("second")
    second.hardlink_to(path)
    for name in (path, second):
        with pytest.raises(SeveralNames, match="mount its folder"):
            SqliteBlockStore.open(name)
    assert sorted(os.listdir(path.parent)) == ["second", "v.mimir"]
    second.unlink()
    SqliteBlockStore.open(path).close()


def test_a_file_mounted_alone_is_refused(path: Path) -> None:
    """A file that is itself a mount point, as in a container, does not open; its own name does."""
    point = path.with_name("a point")
    point.touch()
    mount = ["mount", "--bind", str(path), str(point)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a file needs root")
    try:
        with pytest.raises(SeveralNames, match="mounted alone"):
            SqliteBlockStore.open(point)
        SqliteBlockStore.open(path).close()
    finally:
        subprocess.run(["umount", str(point)], check=True)


@pytest.mark.parametrize("moved", [os.unlink, lambda p: os.rename(p, f"{p}.old")])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_replaced_file_is_noticed(
    path: Path, moved: Callable[[Path], None], replaced: bool
) -> None:
    """Once file is moved, deleted or replaced, reads, writes, scrubs and the close all say so."""
    other = path.with_name("other")
    SqliteBlockStore.create(other, PREAMBLE, list(numbered(9).values())).close()
    store = SqliteBlockStore.open(path)
    root = store.root_tag()
    moved(path)
    if replaced:
        os.rename(other, path)
    with pytest.raises(VaultReplaced):
        store.read([0])
    with pytest.raises(VaultReplaced):
        store.commit(numbered(1), expected_root_tag=root)
    with pytest.raises(VaultReplaced):
        store.scrub(0)
    if replaced:  # whoever opens the new file keeps its journal when the old handle closes
        for left in ("-wal", "-shm"):
            Path(f"{path}{left}").unlink()
        with closing(SqliteBlockStore.open(path)) as fresh:
            fresh.commit(numbered(10), expected_root_tag=fresh.root_tag())
            with pytest.raises(VaultReplaced):
                store.close()
            assert Path(f"{path}-wal").stat().st_size > PAGE
            assert state_of(fresh) == 10
    else:
        with pytest.raises(VaultReplaced):
            store.close()
    store.close()


def test_a_removed_journal_was_wiped(path: Path) -> None:
    """The journal that the last close removes holds zeros when its blocks are freed."""
    store = SqliteBlockStore.open(path)
    store.commit(numbered(1), expected_root_tag=store.root_tag())
    kept = os.open(f"{path}-wal", os.O_RDONLY)
    try:
        store.close()
        assert os.fstat(kept).st_nlink == 0
        assert os.fstat(kept).st_size > 4 * PAGE
        assert not os.pread(kept, 1 << 20, 0).strip(b"\0")
    finally:
        os.close(kept)


def test_a_commit_during_the_scrub_stays(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another handle commits between the steps of a scrub is neither wiped nor lost."""
    wipe = log.wipe_dead
    with closing(SqliteBlockStore.open(path)) as store, closing(
        SqliteBlockStore.open(path)
    ) as other:
        step = SqliteBlockStore._write_header

        def commit_in_between(self: SqliteBlockStore, deadline: float) -> None:
            for moment in ("before", "after"):
                if moment == "after":
                    step(self, deadline)
                other.commit(numbered(state_of(other) + 1), expected_root_tag=other.root_tag())

        monkeypatch.setattr(SqliteBlockStore, "_write_header", commit_in_between)
        store.commit(numbered(1), expected_root_tag=store.root_tag())
        store.scrub(1)
        assert state_of(store) == 3
        with log.opened(f"{path}-wal") as journal:
            assert journal is not None
            assert log.committed(journal).pages
            assert os.fstat(journal).st_size == 32 + len(log_frames(path)) * (PAGE + 24)
        assert wipe is log.wipe_dead


def fill(filler: Path) -> None:
    """Write zeros until the disk is full."""
    with filler.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4_096))


def log_frames(path: Path) -> list[bytes]:
    """Every frame of the journal."""
    data = Path(f"{path}-wal").read_bytes()
    return [data[at : at + PAGE + 24] for at in range(32, len(data), PAGE + 24)]


def test_a_large_journal_is_not_cut_by_sqlite(path: Path) -> None:
    """A journal over its usual size keeps its bytes until a scrub has wiped them."""
    with closing(SqliteBlockStore.open(path)) as store:
        writes = {0: block(1)} | {n: block(n) for n in range(4, 600)}
        store.commit(writes, expected_root_tag=store.root_tag())
        size = Path(f"{path}-wal").stat().st_size
        for seed in range(3):
            store.commit({0: block(seed)}, expected_root_tag=store.root_tag())
        assert Path(f"{path}-wal").stat().st_size >= size
        store.scrub(1)
        assert Path(f"{path}-wal").stat().st_size == 32 + 24 + PAGE


CODES = {
    sqlite3.SQLITE_IOERR_FSYNC: OutcomeUnknown,
    sqlite3.SQLITE_IOERR_SHMMAP: OutcomeUnknown,
    sqlite3.SQLITE_IOERR_SHMSIZE: OutcomeUnknown,
    sqlite3.SQLITE_IOERR_WRITE: StorageFailed,
    sqlite3.SQLITE_FULL: DiskFull,
}


@pytest.mark.parametrize("code", CODES)
def test_an_error_at_commit_says_what_is_known(
    path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """A failed sync may have committed; a failed write, or a full disk, has not."""
    run = sqlite_file.run

    def fail(cursor: sqlite3.Cursor, sql: str, *rest: object) -> list[object]:
        if sql != "COMMIT":
            return run(cursor, sql, *rest)  # type: ignore[arg-type]  # passed on as given
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = code  # type: ignore[misc]  # as SQLite would set it
        raise sqlite_file._typed(error) from error

    with closing(SqliteBlockStore.open(path)) as store:
        monkeypatch.setattr(sqlite_file, "run", fail)
        with pytest.raises(StorageFailed) as caught:
            store.commit(numbered(1), expected_root_tag=store.root_tag())
        monkeypatch.undo()
        assert type(caught.value) is CODES[code]
        assert ("nothing was changed" in str(caught.value)) == (CODES[code] is StorageFailed)
        assert state_of(store) == 0


def test_a_full_disk_with_a_full_journal(tmp_path: Path) -> None:
    """Where the journal alone can make room, a commit empties it first and succeeds."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        path, filler = tmp_path / "v", tmp_path / "filler"
        with closing(SqliteBlockStore.create(path, PREAMBLE, list(numbered(0).values()))) as store:
            store.scrub(1)
            for state in range(1, 6):
                store.commit(numbered(state), expected_root_tag=store.root_tag())
            fill(filler)
            for state in range(6, 30):
                store.commit(numbered(state), expected_root_tag=store.root_tag())
            store.scrub(1)
            assert state_of(store) == 29
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)
