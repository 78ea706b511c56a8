"""The guard over a whole run of the tests, which begins before anything else is imported.

The process that was started becomes the supervisor; the tests run in a child of it. Beside both
stands a starter: it was forked before the filter was in force, and starts the programs that are
to be watched under a filter of their own (the kernel allows one supervisor a process).
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .calls import Judge
from .filters import install, machine
from .supervisor import forward_signals, supervise

VARIABLE: Final = "MIMIR_TESTS_GUARD"
"""Names the guard's folder to all that is started; or `required`, or `off`."""
_PR_SET_PDEATHSIG: Final = 1
_ROOT = Path(__file__).parents[2]


@dataclass
class Session:
    """What is known of the guard over this process.

    Attributes:
        folder: Where its files lie; None if there is no guard.
        why: Why there is none.
    """

    folder: Path | None
    why: str = ""
    _read: int = 0

    def breaches(self) -> list[str]:
        """What was refused since this was asked last."""
        if self.folder is None:
            return []
        log = self.folder / "breaches"
        if log.stat().st_size == self._read:
            return []
        with log.open(encoding="utf-8") as lines:
            lines.seek(self._read)
            found = [json.loads(line) for line in lines]
            self._read = lines.tell()
        return [f"{each['breach']} (by {each['by']})" for each in found]

    def start(self, command: list[str], cwd: Path, env: dict[str, str], output: Path) -> None:
        """Start a program outside of this guard, which nothing waits for."""
        assert self.folder is not None
        order = {"command": command, "cwd": str(cwd), "env": env, "output": str(output)}
        with (self.folder / "starter").open("a", encoding="utf-8") as fifo:
            fifo.write(json.dumps(order) + "\n")


def begin() -> Session:
    """Put this process, and all that it will start, under the guard; not twice."""
    value = os.environ.get(VARIABLE, "")
    if Path(value).is_absolute():  # started by one that is guarded
        return Session(Path(value), _read=(Path(value) / "breaches").stat().st_size)
    why = "switched off" if value == "off" else _obstacle()
    if not why:
        folder = Path(tempfile.mkdtemp(prefix="mimir-guard-"))
        try:
            _divide(folder)
            return Session(folder)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            why = f"the kernel refuses: {error.strerror}"
    if value == "required":
        raise RuntimeError(f"there is no network guard: {why}")
    return Session(None, why)


def _obstacle() -> str:
    if machine() is None or not hasattr(os, "pidfd_open"):
        return "it needs Linux on x86-64 or 64-bit ARM"
    if threading.active_count() > 1:
        return "a plugin has started threads already"
    return ""


def _divide(folder: Path) -> None:
    """Return in the child, under the filter; the parent ends here with the child's status."""
    here = machine()
    assert here is not None
    (folder / "breaches").touch()
    os.mkfifo(folder / "starter", 0o600)
    log = (folder / "breaches").open("a", encoding="utf-8")
    starter = _fork_starter(folder / "starter")
    try:
        listener = install(files=False)
    except OSError:
        os.kill(starter, signal.SIGKILL)
        os.waitpid(starter, 0)
        raise
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _end_with(parent)
        os.close(listener)
        log.close()
        os.environ[VARIABLE] = str(folder)
        return
    status = 1
    try:
        forward_signals(child)
        status = supervise(listener, child, Judge(here), log)
    finally:
        os.kill(starter, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(status)


def _end_with(parent: int) -> None:
    """Without its supervisor, a process would have all that is handed over refused."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _fork_starter(fifo: Path) -> int:
    """Fork a process that runs each command which a line of JSON in `fifo` asks for."""
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    _end_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    started: list[subprocess.Popen[bytes]] = []
    with open(os.open(fifo, os.O_RDWR), encoding="utf-8") as lines:  # it never ends
        for line in lines:
            order = json.loads(line)
            with Path(order["output"]).open("w") as output, suppress(OSError):
                started.append(
                    subprocess.Popen(
                        order["command"], cwd=order["cwd"], env=order["env"],
                        stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                    )
                )  # fmt: skip
            started = [each for each in started if each.poll() is None]
    os._exit(0)


@dataclass(frozen=True)
class Watched:
    """A program under a guard of its own, which may write in its folder `vault` alone."""

    folder: Path

    @classmethod
    def start(cls, session: Session, folder: Path, *command: str) -> Watched:
        """Start `python ARGUMENTS...` with an empty home, in the folder for its vault."""
        for name in ("vault", "home", "temporary"):
            (folder / name).mkdir(parents=True)
        guard = [sys.executable, "-m", "tests.guard", str(folder / "log"), str(folder / "vault")]
        env = newcomer(folder / "home", folder / "temporary")
        session.start(
            [*guard, sys.executable, *command], folder / "vault", env, folder / "output"
        )
        return cls(folder)

    def wait(self, seconds: float) -> tuple[int, list[str]]:
        """Its exit status and its breaches, each named once. Raises TimeoutError."""
        log, end = self.folder / "log", time.monotonic() + seconds
        while time.monotonic() < end:
            lines = log.read_text("utf-8").splitlines() if log.exists() else []
            noted = [json.loads(line) for line in lines if line.endswith("}")]
            if noted and "exit" in noted[-1]:
                return noted[-1]["exit"], list(dict.fromkeys(x["breach"] for x in noted[:-1]))
            time.sleep(0.1)
        raise TimeoutError((self.folder / "output").read_text("utf-8"))


def newcomer(home: Path, temporary: Path) -> dict[str, str]:
    """The environment of a new user, who has switched nothing on or off."""
    return {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "TMPDIR": str(temporary),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(_ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
