"""The guard itself: it sees what native code asks for, and lets alone what stays here."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from .session import Session, Watched, newcomer

CONNECT = "import socket; s = socket.socket(); s.settimeout(1); s.connect_ex(('192.0.2.1', 9))"
REACHES = {
    "a name, by the C library": (
        "import ctypes; ctypes.CDLL(None).getaddrinfo(b'mimir.invalid', b'80', None,"
        " ctypes.byref(ctypes.c_void_p()))",
        "a name is looked up",
    ),
    "a local resolver": (
        "import socket; socket.socket(type=socket.SOCK_DGRAM).connect_ex(('127.0.0.53', 53))",
        "connect to 127.0.0.53 port 53: a name is looked up",
    ),
    "connect": (CONNECT, "connect to 192.0.2.1 port 9"),
    "connect, IPv6": (
        "import socket; socket.socket(socket.AF_INET6).connect_ex(('2001:db8::1', 9))",
        "connect to 2001:db8::1 port 9",
    ),
    "connect, a mapped address": (
        "import socket; socket.socket(socket.AF_INET6).connect_ex(('::ffff:192.0.2.1', 9))",
        "connect to 192.0.2.1 port 9",
    ),
    "sendto": (
        "import socket, contextlib\nwith contextlib.suppress(OSError):\n"
        " socket.socket(type=socket.SOCK_DGRAM).sendto(b'', ('192.0.2.1', 9))",
        "sendto to 192.0.2.1 port 9",
    ),
    "sendmsg": (
        "import socket, contextlib\nwith contextlib.suppress(OSError):\n"
        " socket.socket(type=socket.SOCK_DGRAM).sendmsg([b''], [], 0, ('192.0.2.1', 9))",
        "sendmsg to 192.0.2.1 port 9",
    ),
    "serving others": (
        "import socket, contextlib\nwith contextlib.suppress(OSError):\n"
        " socket.socket().bind(('0.0.0.0', 0))",
        "bind to 0.0.0.0 port 0",
    ),
    "a thread": (
        "import threading\ndef reach():\n " + CONNECT + "\nthreading.Thread(target=reach).start()",
        "connect to 192.0.2.1 port 9",
    ),
    "a fork": (
        f"import os\nif os.fork() == 0:\n {CONNECT}\n os._exit(0)\nos.wait()",
        "connect to 192.0.2.1 port 9",
    ),
    "a program without environment": (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {CONNECT!r}], env={{}})",
        "connect to 192.0.2.1 port 9",
    ),
    "a file": ("open('../file', 'w')", "openat {0}/file"),
    "a file, appended to": ("open('../log', 'a')", "openat {0}/log"),
    "a folder": ("import os; os.mkdir('../folder')", "mkdir {0}/folder"),
    "a file moved out": (
        "import os; open('a', 'w'); os.rename('a', '../b')", "rename {0}/b"
    ),
    "a file moved in": (
        "import os; open('../output').close(); os.rename('../output', 'b')", "rename {0}/output"
    ),
    "a link": ("import os; os.symlink('a', '../b')", "symlink {0}/b"),
    "a removal": ("import os; os.unlink('../output')", "unlink {0}/output"),
    "a relative folder": (
        "import os; d = os.open('..', 0); os.open('x', os.O_CREAT, dir_fd=d)", "openat {0}/x"
    ),
}  # fmt: skip
STAYS = {
    "nothing": "pass",
    "reading": "import sys; open(sys.executable, 'rb').close()",
    "a file of its own": "open('a', 'w'); import os; os.rename('a', 'b'); os.unlink('b')",
    "its own machine": (
        "import socket\nwith socket.create_server(('127.0.0.1', 0)) as server:\n"
        " socket.create_connection(server.getsockname()).sendall(b'x')"
    ),
    "a pair": "import socket; a, b = socket.socketpair(); a.sendmsg([b'x']); b.recv(1)",
    "a numeric name": "import socket; socket.getaddrinfo('127.0.0.1', 80)",
    "an event loop": "import asyncio; asyncio.run(asyncio.sleep(0))",
}


@pytest.fixture(scope="module")
def tried(guard: Session, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Watched]:
    """All of the above, each in a process of its own."""
    codes = {name: code for name, (code, _) in REACHES.items()} | STAYS
    return {
        name: Watched.start(guard, tmp_path_factory.mktemp("tried"), "-c", code)
        for name, code in codes.items()
    }


@pytest.mark.parametrize("name", REACHES)
def test_what_reaches_out_is_seen(tried: dict[str, Watched], name: str) -> None:
    """However it is asked for, by whomever, in whichever process below."""
    status, breaches = tried[name].wait(60)
    assert status == 0, (tried[name].folder / "output").read_text()
    expected = REACHES[name][1].format(tried[name].folder)
    assert any(breach.endswith(expected) for breach in breaches), breaches


@pytest.mark.parametrize("name", STAYS)
def test_what_stays_here_goes_on(tried: dict[str, Watched], name: str) -> None:
    """Loopback, sockets of Unix, files of one's own."""
    status, breaches = tried[name].wait(60)
    assert (status, breaches) == (0, []), (tried[name].folder / "output").read_text()


CONFTEST = """
from tests.conftest import (
    _stays_on_this_machine, pytest_report_header, pytest_sessionfinish, pytest_terminal_summary,
)
"""
SUITE = f"""
import os, pytest
def reach():
    {CONNECT}
def test_reaches(): reach()
def test_stays(): pass
@pytest.fixture(scope="session", autouse=True)
def at_the_end():
    yield
    if os.environ["LATE"]: reach()
"""


@pytest.mark.parametrize("late", ["", "late"])
def test_a_run_of_tests_fails(guard: Session, tmp_path: Path, late: str) -> None:
    """Which test reached out is said, what came after any of them too, and the run fails."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    kept = SUITE.replace("def test_reaches", "def reaches_not") if late else SUITE
    (tmp_path / "test_suite.py").write_text(kept)
    env = newcomer(tmp_path / "home", tmp_path) | {"LATE": late}
    command = 'python="$1"; "$python" -m pytest -p no:cacheprovider; echo "status $?"'


    guard.start(["sh", "-c", command, "sh", sys.executable], tmp_path, env, tmp_path / "output")
    shown = _ending(tmp_path / "output", "status ")
    assert "network guard: on" in shown
    *_, closing, status = shown.splitlines()
    assert status == "status 1"
    if late:
        assert "outside of any test: connect to 192.0.2.1 port 9" in shown
        assert "1 passed" in closing
    else:
        assert "ERROR test_suite.py::test_reaches" in shown
        assert "2 passed, 1 error" in closing


def _ending(output: Path, last: str) -> str:
    """What a program has printed when its last line begins so."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        shown = output.read_text() if output.exists() else ""
        if shown and shown.splitlines()[-1].startswith(last) and shown.endswith("\n"):
            return shown
        time.sleep(0.1)
    raise TimeoutError(output.read_text())
