"""Progress bars on standard error; silent where that is no terminal."""

from __future__ import annotations

import sys
import threading
from types import TracebackType

from tqdm import tqdm  # type: ignore[import-untyped]  # tqdm ships no types

from mimir_core.cli.console import safe


class _Tqdm(tqdm):  # type: ignore[misc]  # as above
    """Bars of this process alone: tqdm's own lock is a semaphore in /dev/shm, for several."""


_Tqdm.set_lock(threading.RLock())


class Bar:
    """A progress bar that fits the facade's `progress(done, all)` and counts as well.

    Args:
        label: What is being done.
        unit: What is counted.
        total: How many there will be, if known.
    """

    def __init__(self, label: str, unit: str, total: int | None = None) -> None:
        self._bar = _Tqdm(
            desc=label, unit=f" {unit}", total=total, disable=None, leave=False, file=sys.stderr
        )

    def add(self, count: int) -> None:
        """Counts on."""
        self._bar.update(count)

    def __call__(self, done: int, total: int) -> None:
        """Shows how far it is."""
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def note(self, message: str) -> None:
        """Prints a line on standard error, above the bar."""
        self._bar.write(safe(message), file=sys.stderr)

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()
