"""Tracebacks without values: where an error came from stays, what the frames held does not.

Whoever shows or reports a traceback with local variables (rich, pytest, Sentry, IPython's verbose
mode) would show keys and opened content with it. The frames of a caller are the caller's own.
"""

from __future__ import annotations

import traceback
from types import TracebackType


def clear_locals(error: BaseException) -> None:
    """Clears the local variables of every finished frame of an error and of those behind it.

    Frames that still run, such as the one that calls this, keep theirs.
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            traceback.clear_frames(one.__traceback__)
            waiting += one.__cause__, one.__context__


class LocalsCleared:
    """A context that clears the frames of an error that leaves it; see `clear_locals`."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            clear_locals(error)
