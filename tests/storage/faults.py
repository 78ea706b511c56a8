"""Faults at every step of a block store, for the tests of whatever stands on one.

`FaultyStore` wraps a store and calls a hook before and after each step; a hook that raises or
kills the process is the fault. `steps_of` counts the steps of an operation, so that a test can
run it once for each of them.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

from mimir_core.storage import BlockStore
from mimir_core.storage.handle import BlockStoreHandle

Hook = Callable[[str], None]
"""Called with "before STEP" or "after STEP".

Steps: begin (the right to commit is taken), write (one block), seal (the transaction becomes
durable), commit (the whole of it), scrub.
"""


class FaultError(Exception):
    """What a raising hook raises."""


class Countdown:
    """A hook that lets `harmless` calls pass and then acts, once; `seen` lists every call."""

    def __init__(self, harmless: int, act: Callable[[], None]) -> None:
        self.seen: list[str] = []
        self._harmless = harmless
        self._act = act

    def __call__(self, step: str) -> None:
        self.seen.append(step)
        if len(self.seen) == self._harmless + 1:
            self._act()


def fail() -> None:
    """Raise FaultError."""
    raise FaultError


def die() -> None:
    """Kill the process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


class FaultyStore:
    """A BlockStore that calls `hook` around each step of the store it wraps."""

    def __init__(self, store: BlockStore, hook: Hook) -> None:
        self.inner = store
        self._hook = hook
        if isinstance(store, BlockStoreHandle):
            _hook_steps_of_a_commit(store, hook)

    def reading(self) -> AbstractContextManager[None]:
        """As the wrapped store."""
        return self.inner.reading()

    @contextmanager
    def writing(self, timeout: float) -> Iterator[None]:
        """As the wrapped store, with the step `begin`."""
        self._hook("before begin")
        with self.inner.writing(timeout):
            self._hook("after begin")
            yield

    def root_tag(self) -> bytes:
        """As the wrapped store."""
        return self.inner.root_tag()

    def count(self) -> int:
        """As the wrapped store."""
        return self.inner.count()

    def preamble(self) -> bytes:
        """As the wrapped store."""
        return self.inner.preamble()

    def read(self, numbers: Sequence[int]) -> list[bytes]:
        """As the wrapped store."""
        return self.inner.read(numbers)

    def commit(
        self,
        writes: Mapping[int, bytes],
        *,
        expected_root_tag: bytes,
        preamble: bytes | None = None,
    ) -> None:
        """As the wrapped store, with the steps `commit`, `write` and `seal`."""
        self._hook("before commit")
        self.inner.commit(writes, expected_root_tag=expected_root_tag, preamble=preamble)
        self._hook("after commit")

    def scrub(self, timeout: float) -> None:
        """As the wrapped store, with the step `scrub`."""
        self._hook("before scrub")
        self.inner.scrub(timeout)
        self._hook("after scrub")

    def unpinned(self) -> list[str]:
        """As the wrapped store."""
        return self.inner.unpinned()

    def close(self) -> None:
        """As the wrapped store."""
        self.inner.close()


def steps_of(operation: Callable[[Hook], None]) -> list[str]:
    """The hook calls that `operation` makes, given a hook that does nothing."""
    hook = Countdown(-1, fail)
    operation(hook)
    return hook.seen


def _hook_steps_of_a_commit(store: BlockStoreHandle, hook: Hook) -> None:
    for name, step in (("_put", "write"), ("_append", "write"), ("_commit", "seal")):
        setattr(store, name, _hooked(getattr(store, name), step, hook))


def _hooked(primitive: Callable[..., None], step: str, hook: Hook) -> Callable[..., None]:
    def call(*arguments: object) -> None:
        hook(f"before {step}")
        primitive(*arguments)
        hook(f"after {step}")

    return call
