"""What `mimir doctor` looks at: installation, model, SQLite, disk, and a vault from outside."""

from __future__ import annotations

import os
import platform
import shutil
import sqlite3
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path

import numpy as np
from packaging.requirements import InvalidRequirement, Requirement

from mimir_core.crypto.kdf import KdfProfile
from mimir_core.crypto.preamble import FORMAT_VERSION, Preamble
from mimir_core.embedding import HashEmbedder, MiniLM
from mimir_core.errors import MimirError
from mimir_core.memory import Mimir
from mimir_core.quiet import VARIABLE, loaded_too_early, telemetry_wanted
from mimir_core.storage import SqliteBlockStore
from mimir_core.vault.admission import preamble_of

DISTRIBUTION = "mimir-sealed"
EXTRAS = ("langchain", "langgraph", "llamaindex", "notebook")
LEAST_SQLITE = (3, 31, 0)  # the first that knows trusted_schema
LEAST_FREE = 50_000_000
ENOUGH_FREE = 500_000_000
_MOUNTS = Path("/proc/self/mountinfo")
_REMOTE = frozenset(
    {"afs", "beegfs", "ceph", "cifs", "davfs", "fuse.davfs", "fuse.glusterfs", "fuse.rclone",
     "fuse.s3fs", "fuse.sshfs", "gfs2", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "smb3", "smbfs"}
)  # fmt: skip
_SHARED = frozenset({"9p", "fuse.vmhgfs-fuse", "prl_fs", "vboxsf", "virtiofs"})  # a host's folder


class State(StrEnum):
    """How a check ended; only a fault keeps Mimir from working."""

    OK = "ok"
    NOTE = "note"
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Check:
    """What was looked at, what was found, and what to do about it."""

    name: str
    state: State
    found: str
    mend: str = ""


def examine(vault: Path | None) -> list[Check]:
    """Looks at everything; `vault` also says which disk is meant, else it is the current one."""
    folder = (Path.cwd() if vault is None else vault.absolute()).resolve()
    folder = folder if vault is None else folder.parent
    checks = [_python(), *dependencies(), _model(), telemetry(), _sqlite(), *_disk(folder)]
    return checks if vault is None else [*checks, *_vault(vault)]


def _python() -> Check:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Check("python", State.OK, found)


# Dependencies


def dependencies(distribution: str = DISTRIBUTION) -> Iterator[Check]:
    """What is required against what is installed, and which extras are there."""
    try:
        declared = [Requirement(text) for text in metadata.requires(distribution) or ()]
    except (metadata.PackageNotFoundError, InvalidRequirement):
        mend = "install it: pip install ."
        yield Check("packages", State.NOTE, "run from its source: versions are not known", mend)
        return
    needed = [each for each in declared if _applies(each, "")]
    wrong = [_wrong(each) for each in needed if not _fits(each)]
    yield from (Check("packages", State.FAULT, *each) for each in wrong)
    if not wrong:
        yield Check("packages", State.OK, f"all {len(needed)} in the versions that are needed")
    for extra in EXTRAS:
        own = [each for each in declared if _applies(each, extra) and not _applies(each, "")]
        yield _extra(extra, own)


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _installed(requirement: Requirement) -> str | None:
    try:
        return metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return None


def _fits(requirement: Requirement) -> bool:
    version = _installed(requirement)
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def _wrong(requirement: Requirement) -> tuple[str, str]:
    """What is found in place of a requirement, and how to mend it."""
    version = _installed(requirement)
    found = "is missing" if version is None else f"is {version}, needed {requirement.specifier}"
    mend = f"pip install '{requirement.name}{requirement.specifier}'"
    return f"{requirement.name} {found}", mend


def _extra(name: str, own: list[Requirement]) -> Check:
    absent = [each.name for each in own if _installed(each) is None]
    wrong = [_wrong(each) for each in own if each.name not in absent and not _fits(each)]
    if wrong:
        return Check(f"extra {name}", State.FAULT, *wrong[0])
    if absent:
        mend = f"if you want it: pip install '{DISTRIBUTION}[{name}]'"
        return Check(f"extra {name}", State.NOTE, f"without {', '.join(absent)}", mend)
    return Check(f"extra {name}", State.OK, "there")


# The model


def _model() -> Check:
    """Loads the model, whose digest is checked as it loads, and embeds three texts."""
    try:
        embedder = MiniLM()
        text, alike, other = embedder.embed_documents(
            ["the cat sleeps", "a kitten is napping", "interest rates rose"]
        )
    except MimirError as error:
        return _fault("model", error)
    sane = abs(float(np.linalg.norm(text)) - 1) < 1e-3 and text @ alike > text @ other
    found = f"all-MiniLM-L6-v2 in int8, digest {embedder.space.digest[:12]}"
    if sane:
        return Check("model", State.OK, f"{found}, embeds")
    mend = "upgrade onnxruntime, then reinstall Mimir"
    return Check("model", State.FAULT, f"{found}, but its vectors are wrong", mend)


def _fault(name: str, error: MimirError) -> Check:
    return Check(name, State.FAULT, str(error.args[0]), error.hint)


# What onnxruntime reports of its own accord


def telemetry(late: bool = loaded_too_early) -> Check:
    """Whether onnxruntime's telemetry is off, and whether it has left something here before."""
    if telemetry_wanted():
        return Check("telemetry", State.NOTE, f"on by your {VARIABLE}", f"unset {VARIABLE}")
    if late:
        mend = f"import mimir_core first, or export {VARIABLE}=1"
        return Check("telemetry", State.NOTE, "onnxruntime was loaded before Mimir", mend)
    if (left := _left_by_telemetry()).exists():
        found = "off; other programs, or an older Mimir, left onnxruntime's device id and events"
        return Check("telemetry", State.NOTE, found, f"rm -r {left}")
    return Check("telemetry", State.OK, "onnxruntime's is off")


def _left_by_telemetry() -> Path:
    """Where onnxruntime keeps its device id and events on Linux."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache, "Microsoft", "DeveloperTools", ".onnxruntime")


# SQLite and the disk


def _sqlite() -> Check:
    version = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < LEAST_SQLITE:
        least = ".".join(map(str, LEAST_SQLITE))
        mend = f"use a Python built with SQLite {least} or newer"
        return Check("sqlite", State.FAULT, f"{version}, older than {least}", mend)
    if missing := sorted(name for name, value in _DEFENCES.items() if _pragma(name) != value):
        mend = "use a Python whose SQLite has them, as those of python.org do"
        return Check("sqlite", State.FAULT, f"{version} without {', '.join(missing)}", mend)
    return Check("sqlite", State.OK, f"{version}, with {', '.join(_DEFENCES)}")


_DEFENCES = {"secure_delete": 1, "trusted_schema": 0, "cell_size_check": 1}


def _pragma(name: str) -> int | None:
    """The value that a setting has after it was set; None if this SQLite does not know it."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"PRAGMA {name} = {_DEFENCES[name]}")
        row = connection.execute(f"PRAGMA {name}").fetchone()
    return None if row is None else int(row[0])


def _disk(folder: Path) -> Iterator[Check]:
    if not folder.is_dir():
        mend = "create the folder first"
        yield Check("disk", State.FAULT, f"there is no folder {folder}", mend)
        return
    yield _file_system(folder)
    yield _free(shutil.disk_usage(folder).free)
    yield _trial(folder)


def _file_system(folder: Path) -> Check:
    kind = file_system(folder, _MOUNTS.read_text(encoding="utf-8") if _MOUNTS.exists() else "")
    if kind is None:
        mend = "make sure that the vault is on a local disk"
        return Check("disk", State.NOTE, "its kind is not known on this system", mend)
    if kind in _REMOTE:
        mend = "move the vault to a local disk: SQLite's journal is not safe on a network's"
        return Check("disk", State.FAULT, f"{kind}, a network file system", mend)
    if kind in _SHARED:
        mend = "use the vault on one side only: locks may not reach across"
        return Check("disk", State.NOTE, f"{kind}, shared with another machine", mend)
    return Check("disk", State.OK, f"{kind}, a local file system")


def file_system(folder: Path, mounts: str) -> str | None:
    """The kind of file system that a folder lies on, by the lines of Linux's mountinfo."""
    best: tuple[int, str] | None = None
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        point = Path(before.split()[4].replace("\\040", " "))
        depth = len(point.parts)
        if folder.is_relative_to(point) and (best is None or depth >= best[0]):
            best = depth, after.split()[0]
    return None if best is None else best[1]


def _free(free: int) -> Check:
    shown = f"{free / 1e9:,.1f} GB free"
    if free < LEAST_FREE:
        return Check("space", State.FAULT, shown, "free some disk space")
    if free < ENOUGH_FREE:
        return Check("space", State.NOTE, shown, "free some disk space before a long import")
    return Check("space", State.OK, shown)


def _trial(folder: Path) -> Check:
    """Makes a vault beside the real one, uses it, and removes it."""
    try:
        with tempfile.TemporaryDirectory(prefix=".mimir-doctor-", dir=folder) as inside:
            problems = _use(Path(inside, "trial.mimir"))
    except MimirError as error:
        return _fault("writing", error)
    except OSError:
        mend = "make the folder writable, or keep the vault elsewhere"
        return Check("writing", State.FAULT, f"{folder} cannot be written", mend)
    if problems:
        mend = "check the disk and its cables, then the file system"
        return Check("writing", State.FAULT, "a trial vault did not verify", mend)
    return Check("writing", State.OK, "a trial vault was made, used, verified, removed")


def _use(path: Path) -> Iterable[str]:
    embedder = HashEmbedder(16)
    cheap = KdfProfile.INSECURE_FOR_TESTS
    with Mimir.create(path, "trial", embedder=embedder, profile=cheap) as mimir:
        mimir.remember("stays")
        mimir.forget(mimir.remember("goes"))
    with Mimir.open(path, "trial", embedder=embedder, profile=cheap) as mimir:
        return mimir.verify().problems


# A vault, without its passphrase: neither file nor journal is touched


def _vault(path: Path) -> Iterator[Check]:
    try:
        preamble = Preamble.parse(preamble_of(SqliteBlockStore.look(path)))
        settings = preamble.settings.checked()
    except MimirError as error:
        yield _fault("vault", error)
        return
    cost = f"Argon2id {settings.memory_kib // 1024} MiB x {settings.passes}"
    size = f"{path.stat().st_size / 1e6:,.1f} MB"
    found = f"format {FORMAT_VERSION}, {cost}, {size}; `mimir verify` reads all of it"
    yield Check("vault", State.OK, found)
    if sys.platform != "win32":
        yield _private(path)


def _private(path: Path) -> Check:
    mode = path.stat().st_mode
    shown = stat.filemode(mode)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        found = f"others can reach the file ({shown})"
        return Check("mode", State.NOTE, found, f"chmod 600 {path}")
    return Check("mode", State.OK, f"the file is yours alone ({shown})")
