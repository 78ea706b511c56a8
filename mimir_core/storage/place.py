"""Where a vault's file lies: that it can be reached, under one name, and is still the same file.

SQLite finds a journal by the file's name. So two names of one file, or two files that follow each
other under one name, have journals that know nothing of each other, and commits are lost
(https://www.sqlite.org/howtocorrupt.html, sections 2.4 and 2.5). Nothing here opens the file.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import Final

from mimir_core.errors import (
    DiskFull,
    JournalRefused,
    NotAVault,
    SeveralNames,
    StorageFailed,
    VaultError,
    VaultExists,
    VaultReadOnly,
    VaultReplaced,
)

_MOUNTS: Final = "/proc/self/mountinfo"

Identity = tuple[int, int]
"""Device and number of a file."""


def check(path: str) -> Identity:
    """The file at a real path; raises what speaks against opening it as a vault.

    NotAVault, VaultReadOnly: what SQLite would report as one and the same failure to open.
    SeveralNames: another process could have the file open under another name.
    JournalRefused: SQLite would roll the file back by a journal that a vault never has.
    """
    if not os.path.lexists(path):
        raise NotAVault("there is no file at this path")
    if not os.path.isfile(path):
        raise NotAVault("the path is not a regular file")
    if not (os.access(path, os.R_OK | os.W_OK) and os.access(os.path.dirname(path), os.W_OK)):
        raise VaultReadOnly("the file or its folder cannot be written")
    if os.stat(path).st_nlink > 1:
        raise SeveralNames("the file has a second name (a hard link)")
    if _is_mounted(path):
        raise SeveralNames("the file is mounted alone, without its folder")
    if os.path.lexists(path + "-journal"):
        name = os.path.basename(path) + "-journal"
        raise JournalRefused(f"a rollback journal lies beside the vault: {name}")
    return identity(path)


def identity(path: str) -> Identity:
    """What tells the file at this path from any other. Raises VaultReplaced if there is none."""
    try:
        found = os.stat(path)
    except FileNotFoundError as error:
        raise VaultReplaced("the vault's file is not at its path any more") from error
    except OSError as error:
        raise system_error(error) from error
    return found.st_dev, found.st_ino


def check_same(path: str, known: Identity) -> None:
    """Raise VaultReplaced unless the file at this path is the known one."""
    if identity(path) != known:
        raise VaultReplaced("another file lies at the vault's path")


@contextlib.contextmanager
def typed() -> Iterator[None]:
    """Raise what the operating system refuses as a VaultError."""
    try:
        yield
    except OSError as error:
        raise system_error(error) from error


def system_error(error: OSError) -> VaultError:
    """What the operating system refused, in our terms."""
    if error.errno == errno.EEXIST:
        return VaultExists("there is a file at this path")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull("the disk is full")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return VaultReadOnly("the file or its folder cannot be written")
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return StorageFailed("the folder does not exist", hint="create the folder first")
    return StorageFailed(f"the operating system refused ({errno.errorcode.get(error.errno or 0)})")


def _is_mounted(path: str) -> bool:
    """Whether the file itself is a mount point, as containers make of a file given to them."""
    try:
        with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as mounts:
            points = {line.split(" ", 5)[4] for line in mounts}
    except OSError:  # not Linux: a file mounted alone lies on another device than its folder
        return os.stat(path).st_dev != os.stat(os.path.dirname(path)).st_dev
    return _escaped(path) in points


def _escaped(path: str) -> str:
    """A path as the kernel writes it in its table of mounts."""
    for character in "\\ \t\n":
        path = path.replace(character, f"\\{ord(character):03o}")
    return path
