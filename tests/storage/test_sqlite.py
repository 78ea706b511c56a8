"""The SQLite engine against the contract, and against what can happen to a file."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from mimir_core.errors import (
    DiskFull,
    InvalidArgument,
    NotAVault,
    ScrubPending,
    StorageFailed,
    VaultBusy,
    VaultDamaged,
    VaultError,
    VaultExists,
)
from mimir_core.storage import BLOCK_SIZE, SqliteBlockStore

from .blocks import PREAMBLE, block, tag
from .conformance import BlockStoreConformance, Engine
from .worker import numbered, run_worker, start_worker, state_of

PAGE = 16_384
BARE = 32 + 24 + PAGE
"""Bytes of an emptied journal: its header, and one frame that holds SQLite's own page 1."""

unix_only = pytest.mark.skipif(not hasattr(os, "fork"), reason="the worker needs Unix")


class SqliteEngine:
    """Vault files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.handles: list[SqliteBlockStore] = []
        self.made = 0

    @property
    def path(self) -> Path:
        """The file of the vault made last."""
        return self.folder / f"{self.made} vault?#%é.mimir"

    def create(self, preamble: bytes, blocks: list[bytes]) -> SqliteBlockStore:
        """A handle on a new vault, in a file of its own."""
        self.made += 1
        self.handles.append(SqliteBlockStore.create(self.path, preamble, blocks))
        return self.handles[-1]

    def open(self) -> SqliteBlockStore:
        """Another handle on the vault made last."""
        self.handles.append(SqliteBlockStore.open(self.path))
        return self.handles[-1]

    def close(self) -> None:
        """Close every handle given out."""
        for handle in self.handles:
            handle.close()


class TestSqliteBlockStore(BlockStoreConformance):
    """Every behaviour of the contract."""

    @pytest.fixture
    def engine(self, tmp_path: Path) -> Iterator[Engine]:
        """Vault files in a fresh folder."""
        engine = SqliteEngine(tmp_path)
        yield engine
        engine.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A closed vault of four blocks in state 0."""
    path = tmp_path / "v.mimir"
    SqliteBlockStore.create(path, PREAMBLE, list(numbered(0).values())).close()
    return path


@pytest.fixture
def store(path: Path) -> Iterator[SqliteBlockStore]:
    """An open handle on that vault."""
    with closing(SqliteBlockStore.open(path)) as store:
        yield store


def execute(path: Path, *statements: str) -> None:
    """Change the file behind Mimir's back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def fill(filler: Path) -> None:
    """Write zeros until the disk is full."""
    with filler.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4_096))


class TestTheFile:
    """One block a page, private, tidy after a close."""

    def test_a_block_is_a_page(self, store: SqliteBlockStore, path: Path) -> None:
        """A thousand blocks take a thousand pages beside schema, preamble and tree."""
        writes = {0: block(1)} | {n: block(n) for n in range(4, 1_000)}
        store.commit(writes, expected_root_tag=store.root_tag())
        store.scrub(1)
        assert 1_000 <= path.stat().st_size // PAGE - 3 <= 1_002

    def test_an_update_stays_on_its_page(self, store: SqliteBlockStore, path: Path) -> None:
        """Rewriting every block and the preamble neither grows the file nor frees a page."""
        size = path.stat().st_size
        for state in range(1, 30):
            preamble = bytes(random.Random(state).randrange(1, BLOCK_SIZE))
            store.commit(numbered(state), expected_root_tag=store.root_tag(), preamble=preamble)
            store.scrub(1)
        assert path.stat().st_size == size
        store.close()
        SqliteBlockStore.open(path).close()

    def test_the_settings_are_in_force(self, tmp_path: Path) -> None:
        """A created and an opened handle both write durably, erase, and distrust the schema."""
        wanted = {
            "journal_mode": b"wal", "synchronous": 2, "fullfsync": 1, "checkpoint_fullfsync": 1,
            "secure_delete": 1, "trusted_schema": 0, "cell_size_check": 1, "temp_store": 2,
            "mmap_size": 0, "page_size": PAGE, "wal_autocheckpoint": 256,
        }  # fmt: skip
        created = SqliteBlockStore.create(tmp_path / "v", PREAMBLE, [block(0)])
        opened = SqliteBlockStore.open(tmp_path / "v")
        for store in (created, opened):
            found = {name: store._run(f"PRAGMA {name}")[0][0] for name in wanted}
            assert found == wanted
            store.close()

    @unix_only
    def test_only_the_owner_can_read(self, store: SqliteBlockStore, path: Path) -> None:
        """Vault, journal and shared-memory file have mode 0600."""
        for file in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600

    def test_the_last_close_leaves_one_file(self, store: SqliteBlockStore, path: Path) -> None:
        """After the last handle's close the vault's folder holds the vault alone."""
        second = SqliteBlockStore.open(path)
        store.commit(numbered(1), expected_root_tag=store.root_tag())
        store.close()
        assert state_of(second) == 1
        second.close()
        assert os.listdir(path.parent) == [path.name]

    def test_the_journal_stays_small(self, store: SqliteBlockStore, path: Path) -> None:
        """Four hundred commits of 16 KB without a scrub keep the journal under 5 MB."""
        for state in range(1, 400):
            writes = {0: numbered(state)[0]}
            store.commit(writes, expected_root_tag=store.root_tag())
        assert Path(f"{path}-wal").stat().st_size < 5_000_000

    @unix_only
    def test_scrub_leaves_no_old_block(self, store: SqliteBlockStore, path: Path) -> None:
        """A replaced block's bytes are in the files before a scrub, and in none after it."""
        for seed in (50, 51, 52):
            store.commit({2: block(seed)}, expected_root_tag=store.root_tag())
        assert {line.split()[1] for line in run_worker("find", path, 50, 51, 52)} == {
            "50", "51", "52"
        }  # fmt: skip
        store.scrub(1)
        assert run_worker("find", path, 50, 51, 52) == ["vault 52"]

    @pytest.mark.skipif(sys.platform != "linux", reason="macOS syncs by another call")
    def test_scrub_syncs_the_journal(
        self, store: SqliteBlockStore, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A scrub syncs the zeros in the journal before it gives the room behind them back."""
        synced = []
        sync = os.fsync

        def observe(descriptor: int) -> None:
            data = Path(f"{path}-wal").read_bytes()
            synced.append((os.fstat(descriptor).st_ino, len(data), data[BARE:].strip(b"\0")))
            sync(descriptor)

        monkeypatch.setattr(os, "fsync", observe)
        store.commit(numbered(1), expected_root_tag=store.root_tag())
        size = Path(f"{path}-wal").stat().st_size
        store.scrub(1)
        assert synced == [(Path(f"{path}-wal").stat().st_ino, size, b"")]
        assert Path(f"{path}-wal").stat().st_size == BARE
        store.scrub(1)
        assert len(synced) == 1

    def test_a_link_leads_to_the_same_journal(self, store: SqliteBlockStore, path: Path) -> None:
        """A vault opened through a symbolic link shares its state and is scrubbed as well."""
        link = path.parent / "link"
        link.symlink_to(path)
        with closing(SqliteBlockStore.open(link)) as linked:
            linked.commit(numbered(1), expected_root_tag=store.root_tag())
            linked.scrub(1)
        assert state_of(store) == 1
        assert Path(f"{path}-wal").stat().st_size == BARE


class TestCreate:
    """Nothing is overwritten, and a failure leaves nothing."""

    @pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
    def test_nothing_is_overwritten(self, tmp_path: Path, suffix: str) -> None:
        """An existing file, empty or a journal's, raises VaultExists and is left as it was."""
        taken = tmp_path / f"v{suffix}"
        taken.write_bytes(b"mine")
        with pytest.raises(VaultExists):
            SqliteBlockStore.create(tmp_path / "v", PREAMBLE, [block(0)])
        assert taken.read_bytes() == b"mine"
        assert os.listdir(tmp_path) == [taken.name]

    def test_a_dangling_link_is_not_followed(self, tmp_path: Path) -> None:
        """Creating through a link makes the file that the link names, once."""
        (tmp_path / "link").symlink_to(tmp_path / "target")
        SqliteBlockStore.create(tmp_path / "link", PREAMBLE, [block(0)]).close()
        with pytest.raises(VaultExists):
            SqliteBlockStore.create(tmp_path / "target", PREAMBLE, [block(0)])

    @pytest.mark.parametrize("blocks", [[], [b"short"], [block(0), bytes(BLOCK_SIZE + 1)]])
    def test_wrong_blocks_make_no_file(self, tmp_path: Path, blocks: list[bytes]) -> None:
        """No blocks, or blocks of a wrong size, are refused before a file exists."""
        with pytest.raises(InvalidArgument):
            SqliteBlockStore.create(tmp_path / "v", PREAMBLE, blocks)
        assert os.listdir(tmp_path) == []

    def test_a_failure_leaves_no_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A create that fails while filling the file removes everything that it made."""
        monkeypatch.setattr("mimir_core.storage.sqlite_file._TABLES", ("CREATE TABLE t(x)",))
        with pytest.raises(VaultError):
            SqliteBlockStore.create(tmp_path / "v", PREAMBLE, [block(0)])
        assert os.listdir(tmp_path) == []

    def test_a_missing_folder_is_said(self, tmp_path: Path) -> None:
        """A path in a folder that does not exist raises StorageFailed and says what to do."""
        with pytest.raises(StorageFailed, match="create the folder first"):
            SqliteBlockStore.create(tmp_path / "no" / "v", PREAMBLE, [block(0)])

    @unix_only
    def test_a_killed_create_is_no_vault(self, tmp_path: Path) -> None:
        """Killed at any of its statements but the last, create leaves what open refuses."""
        statements = int(run_worker("be_killed_while_creating", tmp_path)[0])
        assert statements > 15
        for step in range(statements - 1):
            with pytest.raises(NotAVault):
                SqliteBlockStore.open(tmp_path / f"{step}.mimir")


class TestOpen:
    """What is not a vault is refused with a reason, and left alone."""

    @pytest.mark.parametrize(
        "content", [b"", b"x", b"SQLite format 3\0", b"not a database " * 9_999, bytes(PAGE)]
    )
    def test_other_files(self, tmp_path: Path, content: bytes) -> None:
        """An empty file, a text and a broken header raise NotAVault, and stay as they are."""
        file = tmp_path / "file"
        file.write_bytes(content)
        with pytest.raises(NotAVault):
            SqliteBlockStore.open(file)
        assert file.read_bytes() == content
        assert os.listdir(tmp_path) == ["file"]

    def test_missing_files_and_folders(self, tmp_path: Path) -> None:
        """A path where nothing lies, or a folder, raises NotAVault and nothing is made there."""
        for wrong in (tmp_path / "no", tmp_path / "no" / "no", tmp_path):
            with pytest.raises(NotAVault):
                SqliteBlockStore.open(wrong)
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("name", ["nul\0byte", "\ud800", "x" * 5_000])
    def test_impossible_names(self, tmp_path: Path, name: str) -> None:
        """A path that can be no file's name raises a typed error from open and create."""
        with pytest.raises((InvalidArgument, NotAVault)):
            SqliteBlockStore.open(tmp_path / name)
        with pytest.raises((InvalidArgument, StorageFailed)):
            SqliteBlockStore.create(tmp_path / name, PREAMBLE, [block(0)])

    @unix_only
    def test_devices_and_pipes(self, tmp_path: Path) -> None:
        """A named pipe raises NotAVault at once, and so does a device."""
        os.mkfifo(tmp_path / "pipe")
        for wrong in (tmp_path / "pipe", Path("/dev/null")):
            with pytest.raises(NotAVault):
                SqliteBlockStore.open(wrong)

    def test_another_programs_database(self, tmp_path: Path) -> None:
        """A database with another application's id raises NotAVault and is not changed."""
        file = tmp_path / "other.db"
        execute(file, "PRAGMA application_id = 7", "CREATE TABLE t(x)", "INSERT INTO t VALUES(1)")
        content = file.read_bytes()
        with pytest.raises(NotAVault):
            SqliteBlockStore.open(file)
        assert file.read_bytes() == content

    @pytest.mark.parametrize(
        "planted",
        [
            "CREATE TRIGGER t AFTER UPDATE ON block BEGIN SELECT 1; END",
            "CREATE VIEW v AS SELECT * FROM block",
            "CREATE INDEX i ON block(data)",
            "CREATE TABLE copies(data)",
            "CREATE VIRTUAL TABLE f USING fts5(x)",
            "DROP TABLE preamble",
            "ALTER TABLE block ADD COLUMN more",
            "ALTER TABLE block RENAME COLUMN data TO Data",
            "PRAGMA application_id = 1",
            "DELETE FROM block WHERE no > 1",
        ],
    )
    def test_a_changed_schema_is_refused(self, path: Path, planted: str) -> None:
        """A trigger, view, index, table or column too many, or a free page, is refused."""
        execute(path, planted)
        with pytest.raises((VaultDamaged, NotAVault)):
            SqliteBlockStore.open(path)

    def test_swapped_tables_are_refused(self, path: Path) -> None:
        """A schema whose tables point at other pages is refused."""
        execute(
            path,
            "PRAGMA writable_schema = ON",
            "UPDATE sqlite_schema SET rootpage = 5 - rootpage",
        )
        with pytest.raises(VaultDamaged):
            SqliteBlockStore.open(path)

    def test_a_trigger_planted_later_never_runs(self, store: SqliteBlockStore, path: Path) -> None:
        """A trigger planted while the vault is open makes commits fail and copies nothing."""
        execute(
            path,
            "CREATE TABLE copies(data)",
            "CREATE TRIGGER t AFTER UPDATE ON block BEGIN INSERT INTO copies VALUES(old.data); END",
        )
        with pytest.raises(VaultDamaged):
            store.commit(numbered(1), expected_root_tag=store.root_tag())
        assert state_of(store) == 0
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT count(*) FROM copies").fetchone() == (0,)

    @pytest.mark.parametrize(
        "damage",
        [
            "DELETE FROM block WHERE no = 2",
            "UPDATE block SET data = x'00' WHERE no = 2",
            "UPDATE block SET data = data || x'00' WHERE no = 2",
            "UPDATE block SET data = NULL WHERE no = 2",
            "UPDATE block SET data = zeroblob(2000000) WHERE no = 2",
            "UPDATE block SET data = 7 WHERE no = 2",
        ],
    )
    def test_a_wrong_row_is_damage(
        self, store: SqliteBlockStore, path: Path, damage: str
    ) -> None:
        """A block that is missing, of another size or no bytes at all raises VaultDamaged."""
        execute(path, damage)
        assert store.read([1, 3]) == [numbered(0)[1], numbered(0)[3]]
        with pytest.raises(VaultDamaged):
            store.read([1, 2])

    def test_a_broken_page_is_damage_every_time(self, path: Path) -> None:
        """A page whose cells SQLite refuses is refused again at the next reading."""
        data = bytearray(path.read_bytes())
        page = data.index(numbered(0)[2]) // PAGE
        data[page * PAGE + 8] ^= 0x80  # where the row begins; SQLite masks that bit once cached
        path.write_bytes(data)
        with closing(SqliteBlockStore.open(path)) as store:
            for _ in range(3):
                with pytest.raises(VaultDamaged):
                    store.read([2])
            assert store.read([3]) == [numbered(0)[3]]

    @pytest.mark.parametrize("damage", ["DELETE FROM {}", "UPDATE {} SET data = NULL"])
    @pytest.mark.parametrize("table", ["block", "preamble"])
    def test_an_empty_table_is_damage(
        self, store: SqliteBlockStore, path: Path, damage: str, table: str
    ) -> None:
        """A vault without a root or a preamble raises VaultDamaged."""
        execute(path, damage.format(table))
        with pytest.raises(VaultDamaged):
            store.root_tag() if table == "block" else store.preamble()

    @unix_only
    def test_read_only_files_and_folders(self) -> None:
        """A vault that cannot be written, or lies where nothing can, raises VaultReadOnly."""
        folder = Path(tempfile.mkdtemp())
        folder.chmod(0o755)
        vault = folder / "v"
        SqliteBlockStore.create(vault, PREAMBLE, [block(0)]).close()
        try:
            for folder_mode, file_mode, name in (
                (0o777, 0o444, "VaultReadOnly"),
                (0o777, 0o000, "VaultReadOnly"),
                (0o555, 0o666, "VaultReadOnly"),
                (0o777, 0o666, "opened"),
            ):
                vault.chmod(file_mode)
                folder.chmod(folder_mode)
                assert run_worker("open_as_nobody", vault) == [name]
            folder.chmod(0o555)
            assert run_worker("open_as_nobody", folder / "new") == ["VaultReadOnly"]
        finally:
            folder.chmod(0o755)
            shutil.rmtree(folder)


@unix_only
class TestDamage:
    """Flipped bits and lost ends: a typed error or unchanged data, never a crash."""

    def test_flipped_bits_and_truncations(self, path: Path) -> None:
        """Damage in the file gives a typed error, or changes at most the block it lies in."""
        assert run_worker("damage_file", path, 120, 1) == ["ok"]

    def test_flipped_bits_in_the_journal(self, path: Path) -> None:
        """Damage in a left journal leads back to one of the states once committed."""
        with start_worker("leave_journal", path, 5) as process:
            process.wait(20)
        assert run_worker("damage_journal", path, 500, 2) == ["undamaged 5", "damaged 0 1 2 3 4"]


@unix_only
class TestProcesses:
    """Several processes on one file, killed ones among them."""

    def test_two_processes_write_in_turn(self, path: Path) -> None:
        """Two processes counting up a hundred times each reach two hundred."""
        workers = [start_worker("count_up", path, 100) for _ in range(2)]
        for worker in workers:
            with worker:
                assert worker.wait(60) == 0
        with closing(SqliteBlockStore.open(path)) as store:
            assert state_of(store) == 200

    def test_kills_lose_nothing_acknowledged(self, path: Path) -> None:
        """After each of 30 kills, amid commits and scrubs, every acknowledged commit is there."""
        assert run_worker("be_killed_while_committing", path, 30, 3) == ["ok"]

    def test_a_writer_in_another_process_is_busy(
        self, store: SqliteBlockStore, path: Path
    ) -> None:
        """While another process holds the right to commit there is reading but no writing."""
        store.commit(numbered(1), expected_root_tag=store.root_tag())
        with start_worker("hold_right_to_commit", path) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "held\n"
                with pytest.raises(VaultBusy), store.writing(0.05):
                    pass
                with pytest.raises(ScrubPending):
                    store.scrub(0)
                with closing(SqliteBlockStore.open(path)) as another:
                    assert state_of(another) == 1
            finally:
                process.kill()
        with store.writing(5):
            pass

    def test_a_forked_child_can_open_anew(self, path: Path) -> None:
        """A commit of a forked child's own handle outlives the close of the parent's handle."""
        run_worker("reopen_in_fork", path)
        with closing(SqliteBlockStore.open(path)) as store:
            assert state_of(store) == 77

    def test_a_child_of_a_busy_fork_cannot(self, path: Path) -> None:
        """A child forked inside a transaction is refused the vault, and the parent goes on."""
        assert run_worker("reopen_in_busy_fork", path) == ["VaultClosed"]
        with closing(SqliteBlockStore.open(path)) as store:
            assert state_of(store) == 78


class TestFullDisk:
    """No room: a typed error, the old state, and work goes on once there is room."""

    def test_a_full_database(self, store: SqliteBlockStore) -> None:
        """A commit that SQLite has no page for raises DiskFull and changes nothing."""
        store._connection.execute("PRAGMA max_page_count = 10")
        root = store.root_tag()
        writes = {0: block(1)} | {n: block(n) for n in range(4, 20)}
        with pytest.raises(DiskFull):
            store.commit(writes, expected_root_tag=root)
        assert (store.root_tag(), store.count()) == (root, 4)
        store.commit({0: block(1)}, expected_root_tag=root)
        assert store.root_tag() == tag(block(1))

    @unix_only
    def test_a_file_size_limit(self, path: Path) -> None:
        """A write that the system refuses half-way raises StorageFailed and changes nothing."""
        assert run_worker("fill_file_limit", path) == ["StorageFailed", "recovered"]

    @unix_only
    def test_a_full_file_system(self, tmp_path: Path) -> None:
        """On a full disk create, open and commit raise DiskFull; with room again all is there."""
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
        if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("mounting a small file system needs root")
        try:
            self._fill_and_recover(tmp_path)
        finally:
            subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)

    def _fill_and_recover(self, disk: Path) -> None:
        path, filler = disk / "v", disk / "filler"
        SqliteBlockStore.create(path, PREAMBLE, list(numbered(0).values())).close()
        fill(filler)
        with pytest.raises(DiskFull):
            SqliteBlockStore.open(path)
        filler.unlink()
        with closing(SqliteBlockStore.open(path)) as store:
            fill(filler)
            with pytest.raises(DiskFull):
                store.commit(numbered(1), expected_root_tag=store.root_tag())
            with pytest.raises(DiskFull):
                SqliteBlockStore.create(disk / "new", PREAMBLE, [block(0)])
            assert sorted(os.listdir(disk)) == ["filler", "v", "v-shm", "v-wal"]
            assert state_of(store) == 0
            filler.unlink()
            store.commit(numbered(2), expected_root_tag=store.root_tag())
            fill(filler)
            with suppress(ScrubPending):
                store.scrub(0)
        with closing(SqliteBlockStore.open(path)) as store:
            assert state_of(store) == 2
            filler.unlink()
            store.scrub(0)
