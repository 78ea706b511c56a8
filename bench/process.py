"""The process that measures: without network, and how much memory it took."""

from __future__ import annotations

import os
import re
import resource
import sys
from pathlib import Path

_REACHING_OUT = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}


def refuse_network() -> None:
    """Makes each attempt of this process's Python code to name or reach a host fail, for ever."""
    for name in [name for name in os.environ if name.startswith(("LANGSMITH_", "LANGCHAIN_"))]:
        del os.environ[name]  # they switch tracing on

    def refuse(event: str, _: tuple[object, ...]) -> None:
        if event in _REACHING_OUT:
            raise OSError("benchmarks run without network")

    sys.addaudithook(refuse)


def network_refused() -> bool:
    """Whether `refuse_network` is in force: asks what an attempt to connect would ask."""
    try:
        sys.audit("socket.connect", None, None)
    except OSError:
        return True
    return False


def peak_rss_mb() -> float:
    """This process's largest resident memory so far, in MiB.

    Linux hands the peak of the process that started this one down to `ru_maxrss`; VmHWM is our own.
    """
    status = Path("/proc/self/status")
    if status.exists() and (peak := re.search(r"VmHWM:\s+(\d+) kB", status.read_text())):
        return int(peak[1]) / 1024
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
