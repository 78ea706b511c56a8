"""`scrub_last`: work of several calls that is finished before `ScrubPending` is raised."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from mimir_core.errors import ScrubPending

__all__ = ["late", "scrub_last"]

_owed: ContextVar[list[ScrubPending] | None] = ContextVar("mimir_llamaindex_owed", default=None)


@contextmanager
def scrub_last() -> Iterator[None]:
    """Lets the classes of this package raise `ScrubPending` at the end of the block, and not in it.

        with scrub_last():
            pipeline.run(documents=documents)

    LlamaIndex makes one operation out of several calls to its stores, and stops at the first that
    raises. In the block, which may await and use threads of `asyncio.to_thread`, all calls are
    made. An error of another kind leaves the block at once, as ever.

    Raises:
        ScrubPending: all is done and what was erased is invisible, but old pages still stand in
            the journal.
    """
    owed: list[ScrubPending] = []
    token = _owed.set(owed)
    try:
        yield
    finally:
        _owed.reset(token)
        outer = _owed.get()
        if outer is not None:
            outer += owed
    if owed and outer is None:
        raise owed[-1].with_traceback(None)  # whose frames hold what was written


@contextmanager
def late() -> Iterator[None]:
    """Around one write of the core: its `ScrubPending` waits for the end of a `scrub_last`."""
    try:
        yield
    except ScrubPending as error:
        owed = _owed.get()
        if owed is None:
            raise
        owed.append(error)
