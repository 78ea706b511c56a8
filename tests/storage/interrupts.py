"""An exception at any place where a signal's handler could raise one.

CPython looks for signals where a function begins, a generator goes on or a call of C code returns:
just where a profiler is told.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

PLACES = frozenset(("call", "c_return"))


class Interrupt(BaseException):
    """What the handler raises."""


def interrupted(work: Callable[[], object], place: int) -> bool:
    """Do the work, but raise at the place of that number, 0 the first; whether it came so far."""
    left = place + 1

    def look(frame: FrameType, event: str, argument: object) -> None:
        nonlocal left
        if event in PLACES:
            left -= 1
            if left == 0:
                raise Interrupt

    try:
        sys.setprofile(look)
        work()
    except Interrupt:
        pass
    finally:
        sys.setprofile(None)
    return left <= 0
