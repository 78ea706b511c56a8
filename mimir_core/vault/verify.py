"""Verification: every block, every node, and the views against what the log says.

It goes on in short slices, between which others read and write: the vault's lock is held, and a
snapshot of the file with it, for some milliseconds at a time, and a bounded window of the log is
in memory.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from mimir_core.crypto.blocks import CONTENT_SIZE
from mimir_core.dag import Link, Metadata, NodeRecord, open_metadata, read_record, verify_node
from mimir_core.errors import VaultDamaged
from mimir_core.vault.checkpoint import Progress
from mimir_core.vault.edit import ERASED_OWNER
from mimir_core.vault.new_nodes import id_prefix
from mimir_core.vault.space import without_vectors
from mimir_core.vault.state import State
from mimir_core.vault.vault import Vault

SLICE_SECONDS = 0.005
"""How long a slice goes on taking up pieces of work; one piece is done in any case."""

BREATH_SECONDS = 0.0005
"""Between slices, as a lock that is taken again at once goes to nobody who waits for it."""

WINDOW_BLOCKS = 4
"""Of the log, 65 kB, read at a time; a longer record is put together from several."""

_LENGTH = struct.Struct("<I")
Piece = TypeVar("Piece")


@dataclass(slots=True)
class Findings:
    """How many blocks and nodes there were in the end, and what is wrong."""

    blocks: int = 0
    nodes: int = 0
    problems: list[str] = field(default_factory=list)


def verify(vault: Vault, progress: Progress | None = None) -> Findings:
    """Checks every block under its pinned tag, and every node against its key, id and parents.

    Each piece is checked against the newest state at the moment of its turn, so that commits in
    between, of any process, are no false alarms. What was there from beginning to end has been
    checked; of what came or went meanwhile, and of blocks written anew, one state has.

    A node's parents come before it, unless they are not in this vault; erased parents are legal,
    and so is an erased node whose link nothing opens any more.
    """
    findings = Findings()
    _verify_blocks(vault, findings, progress)
    with vault.view() as state:
        container = state.container
    findings.problems += container.unpinned()
    _verify_log(vault, findings, progress)
    _verify_vectors(vault, findings)
    return findings


def _verify_blocks(vault: Vault, findings: Findings, progress: Progress | None) -> None:
    done = 0
    while done == 0 or done < findings.blocks:
        with _turn(vault) as (state, until):
            findings.blocks = state.container.root.blocks
            for number in range(done, findings.blocks):
                try:
                    state.container.check_block(number)
                except VaultDamaged as error:
                    findings.problems.append(error.args[0])
                done = number + 1
                if time.monotonic() >= until:
                    break
        if progress is not None:
            progress(min(done, findings.blocks), findings.blocks)


@contextmanager
def _turn(vault: Vault) -> Iterator[tuple[State, float]]:
    """The newest state, and the moment at which to let go of it; leaves others time for theirs."""
    with vault.view() as state:
        yield state, time.monotonic() + SLICE_SECONDS
    time.sleep(BREATH_SECONDS)


def _taken(work: list[Piece], until: float) -> Iterator[Piece]:
    """Pieces off the end of the work: one, and more until that moment."""
    while work:
        yield work.pop()
        if time.monotonic() >= until:
            return


def _verify_log(vault: Vault, findings: Findings, progress: Progress | None) -> None:
    known = len(findings.problems)
    while True:
        try:
            _verify_nodes(vault, findings, progress)
            return
        except _ReplacedError:  # an older vault was put back: begin with that one
            del findings.problems[known:]
        except ValueError:
            findings.problems.append("the log cannot be read from end to end")
            return


def _verify_nodes(vault: Vault, findings: Findings, progress: Progress | None) -> None:
    """Reads a piece of the log, opens what is in it without the lock, and compares the views.

    Raises:
        ValueError: if the log cannot be read.
    """
    reader, more = LogReader(), True
    while more:
        with _turn(vault) as (state, _):
            more, findings.nodes = reader.read_on(state), state.root.nodes
            found = [Found.of(state, *node) for node in reader.records()]
        waiting = [node for node in found if node.opens(findings)][::-1]
        while waiting:
            with _turn(vault) as (state, until):
                reader.check(state)
                for node in _taken(waiting, until):
                    node.compare(state, findings)
        if found and progress is not None:
            progress(reader.ordinal, max(findings.nodes, reader.ordinal))
    if not reader.ended:
        raise ValueError("the log ends within a record")
    if reader.ordinal != findings.nodes:
        findings.problems.append("the catalog does not hold as many memories as the log")


class _ReplacedError(Exception):
    """The vault is no longer the one that the log was read from."""


class LogReader:
    """Reads a log record by record, some blocks at a time. The log only grows at its end."""

    def __init__(self) -> None:
        self.ordinal = 0
        """Of the next node."""
        self._offset = 0
        self._data = b""  # from that offset on
        self._history: object = None

    def check(self, state: State) -> None:
        """Raises _ReplacedError if the state is not one of the vault that was read."""
        if self._history not in (None, state.history):
            raise _ReplacedError
        self._history = state.history

    def read_on(self, state: State) -> bool:
        """Takes in the next piece of the log; returns whether there was one.

        Raises:
            ValueError: if it cannot be read.
        """
        self.check(state)
        start = self._offset + len(self._data)
        stop = min(state.root.log_size, (start // CONTENT_SIZE + WINDOW_BLOCKS) * CONTENT_SIZE)
        if stop <= start:
            return False
        try:
            self._data += state.read_log(start, stop - start)
        except VaultDamaged as error:
            raise ValueError("a block of the log cannot be read") from error
        return True

    def records(self) -> Iterator[tuple[int, int, int, NodeRecord]]:
        """The nodes whose records are all there: ordinal, offset, size, record.

        Raises:
            ValueError: if something else than a record is there.
        """
        done = 0
        while len(self._data) - done >= _LENGTH.size:
            size = _LENGTH.size + _LENGTH.unpack_from(self._data, done)[0]
            if len(self._data) - done < size:
                break
            record = read_record(self._data[done : done + size])
            if isinstance(record, NodeRecord):
                yield self.ordinal, self._offset + done, size, record
                self.ordinal += 1
            done += size
        self._data, self._offset = self._data[done:], self._offset + done

    @property
    def ended(self) -> bool:
        """Whether it ended at the end of a record."""
        return not self._data


@dataclass(slots=True, repr=False)
class Found:
    """A node as the log has it, with its keybook entry of the same moment."""

    ordinal: int
    place: tuple[int, int]
    record: NodeRecord
    entry: bytes
    erased: bool
    id: bytes = b""
    link: Link | None = None
    metadata: Metadata | None = None

    @classmethod
    def of(cls, state: State, ordinal: int, offset: int, size: int, record: NodeRecord) -> Found:
        """The node in this state. Raises ValueError if the log has more nodes than the state."""
        if ordinal >= state.root.nodes:
            raise ValueError("the log holds more than the root says")
        erased = state.is_erased(ordinal)
        return cls(ordinal, (offset, size), record, state.entry(ordinal), erased)

    def opens(self, findings: Findings) -> bool:
        """Opens all that its entry must open; what does not is a problem, and False."""
        try:
            self.id = self.record.id
            self.link = verify_node(self.record, self.entry, erased=self.erased)
            self.metadata = None if self.erased else open_metadata(self.record, self.entry)
        except VaultDamaged as error:
            self._report(findings, error)
            return False
        return True

    def compare(self, state: State, findings: Findings) -> None:
        """Compares it with the views, which may know by now that it was erased."""
        try:
            _check_views(state, self)
        except VaultDamaged as error:
            self._report(findings, error)

    def _report(self, findings: Findings, error: VaultDamaged) -> None:
        findings.problems.append(f"memory {self.record.id.hex()[:12]}: {error.args[0]}")


def _check_views(state: State, found: Found) -> None:
    ordinal = found.ordinal
    if state.catalog.span(ordinal) != found.place or ordinal not in state.catalog.find(
        id_prefix(found.id)
    ):
        raise VaultDamaged("the catalog points at another record")
    state.note_id(ordinal, found.id)
    described = found.metadata is not None and not state.is_erased(ordinal)
    if described and Metadata(*state.described(ordinal, found.record)) != found.metadata:
        raise VaultDamaged("the catalog holds other metadata than the log")
    if found.link is None:  # erased when its record could not be read: the edges are not known
        return
    parents = [(parent.kind, state.find(parent.id)) for parent in found.link.parents]
    if any(parent is not None and parent >= ordinal for _, parent in parents):
        raise VaultDamaged("a parent comes after its child")
    if sorted(parents, key=str) != sorted(state.catalog.parents(ordinal), key=str):
        raise VaultDamaged("the catalog holds other parents than the log")


def _verify_vectors(vault: Vault, findings: Findings) -> None:
    """Checks who owns the vectors in memory, and that all of them are there."""
    with _turn(vault) as (state, _):
        for space in state.spaces:
            if space.lost_blocks:  # said even if the blocks read well now: recall lacks them
                findings.problems.append("vectors could not be read, or contradict each other")
            owners = space.column.owners
            live = owners[owners != np.uint32(ERASED_OWNER)]
            if len(live) and (live.max() >= state.root.nodes or not state.catalog.live[live].all()):
                findings.problems.append("a vector belongs to a memory that does not exist")
        lost = any(space.lost_blocks for space in state.spaces)
        bare = np.flatnonzero(without_vectors(state.spaces, state.catalog.live)).tolist()
    if not lost:
        _verify_texts(vault, findings, bare)


def _verify_texts(vault: Vault, findings: Findings, bare: list[int]) -> None:
    """Counts those of the nodes without a vector that are texts, and are without one still."""
    lacking: list[int] = []
    while bare:
        with _turn(vault) as (state, until):
            for ordinal in _taken(bare, until):
                with suppress(VaultDamaged):  # a record that does not open is reported for itself
                    if not state.is_erased(ordinal) and state.is_text(ordinal):
                        lacking.append(ordinal)
    with _turn(vault) as (state, _):
        still = without_vectors(state.spaces, state.catalog.live)
        count = int(np.count_nonzero(still[[o for o in lacking if o < len(still)]]))
    if count:
        findings.problems.append(f"texts without a vector: {count}")
