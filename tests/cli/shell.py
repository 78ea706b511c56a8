"""Running `mimir` in the tests: in this process, or truly from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from mimir_core.cli.app import app

PASSPHRASE = "correct horse battery"
ROOT = Path(__file__).parents[2]


@dataclass
class Shell:
    """A vault, and how to call `mimir` on it."""

    vault: Path
    env: dict[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.env = {
            "MIMIR_VAULT": str(self.vault),
            "MIMIR_PASSPHRASE": PASSPHRASE,
            "MIMIR_NEW_PASSPHRASE": None,
            **self.env,
        }

    def run(self, *args: object, stdin: str | bytes = "", **env: str | None) -> Result:
        """Runs a command in this process."""
        words = [str(arg) for arg in args]
        return CliRunner().invoke(app, words, input=stdin, env={**self.env, **env})

    def ok(self, *args: object, stdin: str | bytes = "") -> str:
        """Runs a command that must succeed; returns its standard output."""
        result = self.run(*args, stdin=stdin)
        assert result.exit_code == 0, result.output
        return result.stdout

    def json(self, *args: object) -> Any:
        """Runs a command with --json; standard output must be one JSON value."""
        return json.loads(self.ok(*args, "--json"))

    def start(self, *args: object, **env: str | None) -> subprocess.Popen[bytes]:
        """Starts a command in a process of its own, which Ctrl-C reaches.

        A shell's background jobs ignore it, and so would all that they start.
        """
        return subprocess.Popen(
            [sys.executable, "-m", "mimir_core.cli", *map(str, args)],
            env=environment({**self.env, **env}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # no terminal to ask at
            preexec_fn=_default_interrupt,  # noqa: PLW1509  # it takes no lock
        )

    def outside(self, *args: object, **env: str | None) -> tuple[int, str, str]:
        """Runs a command in a process of its own: exit code, standard output and error."""
        with self.start(*args, **env) as process:
            out, err = process.communicate(timeout=60)
            return process.returncode, out.decode(), err.decode()


def _default_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def environment(changes: Mapping[str, str | None]) -> dict[str, str]:
    """This process's environment with changes; None removes a variable."""
    merged = {**os.environ, "PYTHONPATH": str(ROOT), **changes}
    return {name: value for name, value in merged.items() if value is not None}


def turns(path: Path, *lines: object) -> Path:
    """Writes a file of JSON lines; a str or bytes goes in as it is."""
    path.write_bytes(b"".join(_encoded(line) + b"\n" for line in lines))
    return path


def _encoded(line: object) -> bytes:
    if isinstance(line, bytes):
        return line
    return (line if isinstance(line, str) else json.dumps(line)).encode()
