"""`mimir doctor` finds what is wrong, says what to mend, and leaves nothing behind."""

from __future__ import annotations

import json
import os
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from mimir_core import Mimir
from mimir_core.cli import checkup
from mimir_core.cli.checkup import Check, State, dependencies, file_system
from mimir_core.embedding import minilm

from ..vault.kill import in_child
from .shell import Shell

USAGE = namedtuple("USAGE", ["total", "used", "free"])


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A shell in an empty folder, without a vault."""
    monkeypatch.chdir(folder)
    return Shell(folder / "none", {"MIMIR_VAULT": None})


def checks(shell: Shell, *args: object, code: int = 0) -> dict[str, dict[str, Any]]:
    """What the doctor says as JSON, by name of the check."""
    result = shell.run("doctor", *args, "--json")
    assert result.exit_code == code, result.output
    said = json.loads(result.stdout)
    assert said["ok"] == (code == 0)
    return {check["name"]: check for check in said["checks"]}


def test_all_is_well_here(here: Shell, folder: Path) -> None:
    """On a sound installation it exits with 0, shows a table, and leaves the folder empty."""
    found = checks(here)
    assert {"python", "packages", "model", "sqlite", "disk", "space", "writing"} <= found.keys()
    assert "all-MiniLM-L6-v2" in found["model"]["found"]
    assert not [check for check in found.values() if check["state"] == "fault"]
    shown = here.ok("doctor")
    assert "All is well." in shown
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert list(folder.iterdir()) == []


def test_a_vault_is_looked_at_from_outside(tmp_path: Path) -> None:
    """Without a passphrase it tells format, cost and mode of a vault, and changes nothing in it."""
    shell = Shell(tmp_path / "agent.mimir")
    assert shell.outside("create", shell.vault)[0] == 0
    shell.env["MIMIR_PASSPHRASE"] = None
    before = shell.vault.read_bytes()
    found = checks(shell)
    assert "Argon2id 256 MiB x 3" in found["vault"]["found"]
    assert found["mode"]["state"] == "ok"
    shell.vault.chmod(0o644)
    assert "chmod 600" in checks(shell)["mode"]["mend"]
    assert shell.vault.read_bytes() == before
    assert os.listdir(tmp_path) == ["agent.mimir"]


def test_a_journal_is_left_alone(here: Shell, folder: Path) -> None:
    """Beside a journal the doctor recovers, moves and makes nothing; a rollback one is a fault."""
    vault = folder / "v.mimir"

    def leave() -> None:
        Mimir.create(vault, "a passphrase").remember("one")
        os._exit(0)

    assert in_child(leave) == 0
    vault.with_name("v.mimir-shm").unlink()

    def files() -> dict[str, tuple[bytes, int]]:
        return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.iterdir()}

    before = files()
    assert checks(here, vault)["vault"]["state"] == "ok"
    assert files() == before
    vault.with_name("v.mimir-journal").write_bytes(b"x" * 600)
    before = files()
    assert "v.mimir-journal" in checks(here, vault, code=1)["vault"]["found"]
    assert files() == before


def test_what_is_no_vault_is_a_fault(here: Shell, folder: Path) -> None:
    """A missing file, a file of something else and a missing folder are faults, exit code 1."""
    other = folder / "notes.txt"
    other.write_text("not a vault, though as long as you like " * 1_000)
    for path in (folder / "missing.mimir", other):
        assert checks(here, path, code=1)["vault"]["state"] == "fault"
    found = checks(here, folder / "nowhere" / "agent.mimir", code=1)
    assert found["disk"]["mend"] == "create the folder first"
    assert "1 thing needs mending." in here.run("doctor", other).stdout


def test_a_missing_model_is_a_fault(here: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the model's files it says to install again."""
    monkeypatch.setattr(minilm.MiniLM.__init__, "__kwdefaults__", {"threads": None, "folder": None})
    folder = Path.cwd()
    (folder / "model.sha256").write_text(f"{'0' * 64}  a.onnx\n{'0' * 64}  b.json\n")
    monkeypatch.setitem(minilm.MiniLM.__init__.__kwdefaults__, "folder", folder)
    found = checks(here, code=1)["model"]
    assert found["state"] == "fault"
    assert "pip" in found["mend"]


def test_a_full_disk_is_a_fault(here: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Little space is noted, hardly any is a fault."""
    for free, state in ((10_000_000, "fault"), (100_000_000, "note"), (10**12, "ok")):
        monkeypatch.setattr(checkup.shutil, "disk_usage", lambda _, free=free: USAGE(0, 0, free))
        assert checks(here, code=int(state == "fault"))["space"]["state"] == state


def test_an_old_sqlite_is_a_fault(here: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SQLite older than the defences needs another Python."""
    monkeypatch.setattr(checkup.sqlite3, "sqlite_version_info", (3, 30, 1))
    assert "SQLite 3.31.0 or newer" in checks(here, code=1)["sqlite"]["mend"]


MOUNTS = """\
22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
31 22 0:30 / /home rw - btrfs /dev/sdb1 rw
40 22 0:40 / /mnt/my\\040share rw - nfs4 server:/export rw
41 40 0:41 / /mnt/my\\040share/local rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/", "ext4"), ("/home/ana", "btrfs"), ("/homely", "ext4"), ("/mnt/my share/x", "nfs4"),
        ("/mnt/my share/local", "tmpfs"),
    ],
)  # fmt: skip
def test_the_file_system_is_that_of_the_nearest_mount(folder: str, kind: str) -> None:
    """Of the mounts above a folder the deepest counts, blanks in its name included."""
    assert file_system(Path(folder), MOUNTS) == kind
    assert file_system(Path(folder), "") is None


@pytest.mark.parametrize(("kind", "state"), [("nfs4", "fault"), ("9p", "note"), ("xfs", "ok")])
def test_a_network_disk_is_a_fault(
    here: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, state: str
) -> None:
    """SQLite's journal is not safe on a network file system."""
    mounts = folder / "mountinfo"
    mounts.write_text(f"22 1 0:20 / / rw - {kind} /dev/sda1 rw\n")
    monkeypatch.setattr(checkup, "_MOUNTS", mounts)
    assert checks(here, code=int(state == "fault"))["disk"]["state"] == state


def install(site: Path, name: str, version: str, *requires: str) -> None:
    """Puts a package's metadata where Python finds them, as pip does."""
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    lines = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    lines += [f"Requires-Dist: {each}" for each in requires]
    (folder / "METADATA").write_text("\n".join(lines) + "\n")


def test_versions_are_compared_with_what_is_required(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package out of its range or missing is a fault, an extra that is not there a note."""
    monkeypatch.syspath_prepend(str(folder))
    install(folder, "zebra", "2.0")
    install(folder, "yak", "1.5")
    install(
        folder, "mimir-trial", "1.0", "zebra>=1,<2", "yak>=1", "xerus>=3",
        'quagga>=4; python_version < "3"', 'yak>=1.2; extra == "notebook"',
        'yak>=9; extra == "langchain"', 'wombat; extra == "langgraph"',
    )  # fmt: skip
    found = list(dependencies("mimir-trial"))
    assert Check(
        "packages", State.FAULT, "zebra is 2.0, needed <2,>=1", "pip install 'zebra<2,>=1'"
    ) in found
    assert Check("packages", State.FAULT, "xerus is missing", "pip install 'xerus>=3'") in found
    states = {check.name: check.state for check in found}
    assert states["extra notebook"] is State.OK
    assert states["extra langchain"] is State.FAULT
    assert states["extra langgraph"] is State.NOTE
    assert len([check for check in found if check.name == "packages"]) == 2


def test_a_source_tree_has_no_versions_to_compare() -> None:
    """Without metadata nothing can be compared, and it says so."""
    (found,) = dependencies("mimir-of-which-nobody-heard")
    assert (found.state, found.mend) == (State.NOTE, "install it: pip install .")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder nobody can write to")
def test_a_folder_that_cannot_be_written_is_a_fault(here: Shell) -> None:
    """It says so, and where else to go."""
    found = checks(here, "/proc/agent.mimir", code=1)["writing"]
    assert found["state"] == "fault"
    assert "elsewhere" in found["mend"]
