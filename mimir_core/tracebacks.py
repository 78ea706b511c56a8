"""Tracebacks without values: where an error came from stays, what the frames held does not.

Whoever shows or reports a traceback with local variables (rich, pytest, Sentry, IPython's verbose
mode) would show keys and opened content with it. The frames of a caller are the caller's own.
"""

from __future__ import annotations

import sys
import traceback
from types import TracebackType


def clear_locals(error: BaseException, handled: BaseException | None = None) -> None:
    """Clears the local variables of every finished frame of an error and of those behind it.

    Frames that still run, such as the one that calls this, keep theirs.

    Args:
        handled: Where to stop: what the caller was handling already, which is none of ours.
    """
    seen = {id(None), id(handled)}
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
        self._handled = sys.exception()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            clear_locals(error, self._handled)
        self._handled = None
