"""A thread that erases expired items of a store from time to time."""

from __future__ import annotations

import logging
import threading
import weakref
from concurrent.futures import Future
from typing import Protocol

from mimir_core.errors import MimirError, ScrubPending, VaultClosed

_log = logging.getLogger(__name__)


class Sweepable(Protocol):
    """What can be swept: a store."""

    def sweep_ttl(self) -> int:
        """Erases what has expired and returns how many items that were."""


class Sweeper:
    """Sweeps a store until it is stopped, the store is gone, or its vault is closed."""

    def __init__(self, store: Sweepable) -> None:
        self._store = weakref.ref(store)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        weakref.finalize(store, self._stop.set)

    @property
    def runs(self) -> bool:
        """Whether its thread is alive."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, minutes: float) -> Future[None]:
        """Starts sweeping every so many minutes; cancelling the future stops it."""
        ended: Future[None] = Future()
        ended.add_done_callback(lambda future: self._stop.set() if future.cancelled() else None)
        if not self.runs:
            self._stop.clear()
            self._thread = threading.Thread(
                target=self._run, args=(minutes * 60, ended), daemon=True, name="mimir-ttl-sweeper"
            )
            self._thread.start()
        return ended

    def stop(self, timeout: float | None) -> bool:
        """Stops; False if the thread did not end within `timeout` seconds."""
        if self._thread is None:
            return True
        self._stop.set()
        self._thread.join(timeout)
        return not self.runs

    def _run(self, seconds: float, ended: Future[None]) -> None:
        while not self._stop.wait(seconds) and self._sweep():
            pass
        if not ended.cancelled():
            ended.set_result(None)

    def _sweep(self) -> bool:
        store = self._store()
        if store is None:
            return False
        try:
            store.sweep_ttl()
        except VaultClosed:
            return False
        except ScrubPending:
            _log.warning("expired items are erased, but not yet scrubbed from the journal")
        except MimirError as error:  # it may work next time
            _log.warning("sweeping expired items failed: %s", type(error).__name__)
        return True
