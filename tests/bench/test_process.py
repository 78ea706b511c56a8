"""A measuring process reaches no host and reports its own memory."""

from __future__ import annotations

import subprocess
import sys

from bench.peers.compare import ROOT


def run(code: str) -> str:
    """What a Python process prints that runs this code beside the benchmarks."""
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_network_is_refused() -> None:
    """After `refuse_network` neither a name is looked up nor a connection made."""
    code = """
import socket
from bench.process import refuse_network
refuse_network()
for attempt in (socket.getaddrinfo, lambda *host: socket.socket().connect(host)):
    try:
        attempt("127.0.0.1", 9)
    except OSError as error:
        print(error)
"""
    assert run(code).splitlines() == ["benchmarks run without network"] * 2


def test_whether_the_network_is_refused_can_be_asked() -> None:
    """A process says that the network is refused once it is, and not before."""
    code = """
from bench.process import network_refused, refuse_network
print(network_refused())
refuse_network()
print(network_refused())
"""
    assert run(code).split() == ["False", "True"]


def test_every_command_refuses_the_network() -> None:
    """A benchmark runs in a process that reaches no host, its event loops working all the same."""
    code = """
import asyncio, sys
from bench import __main__ as bench
from bench.process import network_refused
async def asked():
    return network_refused()
run = lambda _: {"offline": asyncio.run(asked())}
bench.COMMANDS["storage"] = bench.Command(run, "")
sys.argv[1:] = ["storage", "--turns", "-", "--json"]
bench.main()
"""
    assert run(code) == '{"offline": true}'


def test_peak_memory_is_the_process_s_own() -> None:
    """The peak counts what this process touched, and nothing that its parent did."""
    code = """
import subprocess, sys
from bench.process import peak_rss_mb
before = peak_rss_mb()
held = b"x" * (200 << 20)
after = peak_rss_mb()
child = "from bench.process import peak_rss_mb; print(peak_rss_mb())"
print(before, after, subprocess.check_output([sys.executable, "-c", child], text=True))
"""
    before, after, child = map(float, run(code).split())
    assert after - before > 190
    assert child < 100
