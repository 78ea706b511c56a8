"""What `mimir` does to its own process, so that the passphrase and content stay in its memory.

Only the command line does this: a library leaves its host's process as it is.
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from typing import Final

_PR_SET_DUMPABLE: Final = 4  # prctl(2)


def forbid_dumps() -> None:
    """No core dump is written, and on Linux no other process of the same user reads our memory.

    A handler of dumps may pay no heed to the limit, but nothing is dumped of what is not dumpable.
    """
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415  # not on Windows

    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
