"""Where passphrases come from: a file, the environment, or a hidden prompt. Never the arguments."""

from __future__ import annotations

import getpass
import os
import stat
import sys
from pathlib import Path

from mimir_core.cli.console import warn
from mimir_core.cli.decoding import decoded
from mimir_core.errors import InvalidArgument

VARIABLE = "MIMIR_PASSPHRASE"
NEW_VARIABLE = "MIMIR_NEW_PASSPHRASE"
_MAX_FILE_BYTES = 1 << 16


def read_passphrase(file: Path | None, *, new: bool = False) -> str:
    """The passphrase of the vault from `--passphrase-file`, MIMIR_PASSPHRASE or a prompt.

    Args:
        file: Its first line is the passphrase.
        new: It is being chosen: a prompt asks for it twice.

    Raises:
        InvalidArgument: the file cannot be used, or there is no terminal to ask at.
    """
    return _from(file, VARIABLE, "Passphrase", "--passphrase-file", twice=new)


def read_new_passphrase(file: Path | None) -> str:
    """What `passwd` sets, from `--new-passphrase-file`, MIMIR_NEW_PASSPHRASE or a prompt.

    Raises:
        InvalidArgument: as `read_passphrase`.
    """
    return _from(file, NEW_VARIABLE, "New passphrase", "--new-passphrase-file", twice=True)


def _from(file: Path | None, variable: str, label: str, option: str, *, twice: bool) -> str:
    value = os.environ.pop(variable, None)  # read or not, no child inherits it
    if file is not None:
        return _first_line(file)
    if value is not None:
        return value
    if not _has_terminal():
        raise InvalidArgument(
            f"there is no {label.lower()}, and no terminal to ask at",
            hint=f"set {variable} or give {option}",
        )
    return _prompt(label, twice=twice)


def _prompt(label: str, *, twice: bool) -> str:
    passphrase = getpass.getpass(f"{label}: ")
    if twice and getpass.getpass(f"{label} again: ") != passphrase:
        raise InvalidArgument("the two passphrases differ", hint="try again")
    return passphrase


def _has_terminal() -> bool:
    """Whether getpass can ask without echo and without reading the command's own input."""
    try:
        with open("/dev/tty", "rb"):
            return True
    except OSError:
        return sys.stdin.isatty()


def _first_line(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            line = stream.readline(_MAX_FILE_BYTES).rstrip(b"\r\n")
        passphrase = decoded(line)
    except (OSError, ValueError):
        raise InvalidArgument(
            "the passphrase file cannot be read", hint="its first line is the passphrase, in UTF-8"
        ) from None
    if os.name == "posix" and stat.S_ISREG(mode) and mode & (stat.S_IRGRP | stat.S_IROTH):
        warn("others can read the passphrase file; chmod 600 closes it")
    return passphrase
