"""Checkpoints: segments and graphs written so that the next open is fast.

Graphs are built and attached in a background thread; searches are exact until then. What is built
outside the vault's lock is thrown away if something was erased meanwhile.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from mimir_core.errors import LimitExceeded, MimirError, VaultBusy, VaultClosed
from mimir_core.storage.handle import owns
from mimir_core.vault.edit import Edit
from mimir_core.vault.layout import Root, Stream
from mimir_core.vault.segment import SEGMENT_NODES
from mimir_core.vault.state import State
from mimir_core.vault.write import Staged, stage_segment, without_graph

if TYPE_CHECKING:
    from mimir_core.vault.vault import Vault

Progress = Callable[[int, int], None]
Graph = tuple[bytes, bytes, int]
_LOG = logging.getLogger(__name__)
_LEAST_TAIL = 5_000


class _ClosingError(Exception):
    """Ends work in the background."""


class Checkpointer:
    """Decides when the views are written, and writes them."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._running = threading.RLock()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._attaching = threading.Lock()

    def attach_graphs(self) -> None:
        """Attaches stored graphs in the background; builds those that are missing."""
        with self._vault.view() as state:
            container, spaces = state.container, list(
                zip(state.spaces, state.root.spaces, strict=True)
            )
            graphs = [space.stored_graph(container, stored) for space, stored in spaces]
        work = [(space, graph) for (space, _), graph in zip(spaces, graphs, strict=True)]
        if any(graph is not None or space.view.wants_graph for space, graph in work):

            def attach() -> None:
                with self._running:
                    try:
                        for space, graph in work:
                            if graph is not None:
                                space.attach(graph)
                    finally:
                        self._attaching.release()
                    for space, _ in work:
                        if space.view.wants_graph:
                            space.view.extend(self._unless_closing)

            self._attaching.acquire()
            if not self._start(attach):
                self._attaching.release()

    def settle(self) -> None:
        """Waits until stored graphs are attached: one that an erasure overtakes does not fit."""
        with self._attaching:  # an event that is interrupted as it waits may never wait again
            pass

    def consider(self, state: State) -> None:
        """Starts a checkpoint in the background if the log's tail has grown long."""
        tail = state.root.nodes - state.root.covered
        if tail > max(_LEAST_TAIL, state.root.nodes // 10):
            self._start(lambda: self.run(self._unless_closing))

    def run(self, progress: Progress | None = None) -> None:
        """Builds what graphs lack, then writes segments and graphs."""
        with self._running:
            with self._vault.view() as state:
                spaces = list(state.spaces)
            for space in spaces:
                space.view.extend(progress)
            self._write()

    def close(self) -> None:
        """Stops what is being built in the background, then writes what is ready.

        In a signal's handler it does neither: the call that it interrupts may hold what the
        background waits for, and be in the middle of the same work.
        """
        self._closing.set()
        if self._vault.entered or owns(self._running):
            return
        if self._thread is not None and self._thread.is_alive():
            self._thread.join()
        with self._running, suppress(VaultBusy, VaultClosed):  # whoever came first writes the views
            self._write()

    def _start(self, work: Callable[[], None]) -> bool:
        """Works in the background, unless it is at work already; False if no thread is to be had.

        The views are then as they were: searches are exact, and the next checkpoint writes them.
        """
        if self._thread is not None and self._thread.is_alive():
            return True

        def quietly() -> None:
            try:
                work()
            except _ClosingError:
                pass  # a graph that is not done is built by another open, or by `checkpoint`
            except MimirError as error:  # the views stay as they are; the next checkpoint tries
                _LOG.warning("background checkpoint failed: %s", type(error).__name__)

        self._thread = threading.Thread(target=quietly, name="mimir-checkpoint", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            return False
        return True

    def _unless_closing(self, done: int, total: int) -> None:
        if self._closing.is_set():
            raise _ClosingError

    def _write(self) -> None:
        with self._vault.view() as state:
            erased = state.root.erased
            graphs = {
                space.number: space.sealed_graph()
                for space, stored in zip(state.spaces, state.root.spaces, strict=True)
                if space.graph_lost or space.view.graph_rows > stored.graph_rows
            }
            idle = not graphs and state.valid_segments == state.root.nodes
        if idle:
            return
        with self._vault.exclusive() as state:
            fresh = graphs if state.root.erased == erased else {}
            edit = Edit(state.container)
            root = _stage_segments(state, edit)
            for number, graph in fresh.items():
                root = _stage_graph(edit, root, number, graph)
            self._vault.commit(state, edit, Staged(root))
            for number in fresh:
                state.spaces[number].graph_lost = False
            state.valid_segments = root.covered


def _stage_segments(state: State, edit: Edit) -> Root:
    """Stages every segment that is missing or has grown; all of them where one is damaged.

    What is too large for a segment stays in the log's tail, with all that comes after it.
    """
    nodes, valid = state.root.nodes, state.valid_segments
    if valid < state.root.covered:
        edit.drop_all(Stream.SEGMENTS)  # nobody knows which blocks the damaged one had
        valid = 0
    for number in range(valid // SEGMENT_NODES, -(-nodes // SEGMENT_NODES)):
        try:
            stage_segment(state, edit, number, min(nodes, (number + 1) * SEGMENT_NODES), set())
        except LimitExceeded:
            return replace(state.root, covered=number * SEGMENT_NODES)
    return replace(state.root, covered=nodes)


def _stage_graph(edit: Edit, root: Root, number: int, graph: Graph | None) -> Root:
    spaces = list(root.spaces)
    if graph is None:
        edit.drop(Stream.GRAPH + number, 0, 1 << 32)
        spaces[number] = without_graph(spaces[number])
        return replace(root, spaces=tuple(spaces))
    key, sealed, rows = graph
    edit.put_blob(Stream.GRAPH + number, 0, 1 << 32, sealed)
    spaces[number] = replace(
        spaces[number], graph_rows=rows, graph_size=len(sealed), graph_key=key
    )
    return replace(root, spaces=tuple(spaces))
