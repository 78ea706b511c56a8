"""What one handle knows of the vault: keybook, catalog, lexical index and vectors in memory.

`State.load` builds it from segments, log tail and vector columns; `State.follow` brings it up to
the state another process committed. It opens records and never writes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress

import numpy as np
import numpy.typing as npt

from mimir_core.crypto.blocks import CONTENT_SIZE
from mimir_core.dag import (
    ErasureRecord,
    NodeRecord,
    open_erased_link,
    open_link,
    open_metadata,
    open_payload,
    read_records,
)
from mimir_core.dag.record import HEAD_SIZE, read_uid
from mimir_core.errors import InvalidArgument, VaultDamaged
from mimir_core.index.catalog import Catalog, Described
from mimir_core.index.catalog_columns import CatalogColumns
from mimir_core.index.lexical import LexicalIndex
from mimir_core.index.speech import spoken_terms
from mimir_core.index.terms import TermColumns
from mimir_core.vault.container import Address, Container
from mimir_core.vault.edit import read_blob
from mimir_core.vault.keybook import Keybook
from mimir_core.vault.layout import KEY_ENTRIES, Root, Stream
from mimir_core.vault.new_nodes import NewNode, columns_of, id_prefix
from mimir_core.vault.segment import SEGMENT_NODES, SEGMENT_PARTS, decode_segment
from mimir_core.vault.space import SpaceState, VectorRows

_MANY_FIELDS = 16
_KEPT_IDS = 4_096


def _blocks_of(offset: int, size: int) -> tuple[range, int]:
    """Which blocks of the log hold a piece of it, and where in the first it begins."""
    first, start = divmod(offset, CONTENT_SIZE)
    return range(first, -(-(offset + size) // CONTENT_SIZE)), start


class State:
    """The views of one committed state. Not thread-safe: the vault's lock guards it."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self._clear()

    def _clear(self) -> None:
        self.keybook = Keybook()
        self.catalog = Catalog(self.node_id)
        self.lexical = LexicalIndex()
        self.spaces: list[SpaceState] = []
        self._ids: dict[int, bytes] = {}
        self.root = self.container.root
        self.log_end: bytes | None = b""
        """What the log's last block holds; None if it is damaged."""
        self.history = object()
        """Another one whenever everything is loaded anew, which an older vault put back causes."""
        self.valid_segments = 0
        """Nodes whose segments are intact; fewer than the root says after damage."""

    # Loading and following

    def load(self) -> None:
        """Builds everything from the store's current state.

        Raises:
            VaultDamaged: if root, map, keybook or log are damaged. Damaged segments are rebuilt
                from the log; damaged vectors and graphs are noted in their `SpaceState`.
        """
        self.container.refresh()
        self.root = self.container.root
        self._load_keybook(range(-(-self.root.nodes // KEY_ENTRIES)))
        self._load_segments()
        if not self._all_in_segments():  # else the log's end need not even be readable
            self._replay(self._end_of_catalog())
        self._read_log_end()
        self._follow_spaces()
        self._check_clock()
        self.catalog.sort()

    def follow(self) -> bool:
        """Applies what other processes committed; returns whether old pages may need scrubbing.

        Where the store does not continue the known state, but holds an older one or one that grew
        out of it, everything is loaded anew.
        """
        old = self.root
        changed = self.container.refresh()
        self.root = self.container.root
        if self.root is old:
            return False
        if not self._continues(old, changed):
            self.wipe()
            self._clear()
            self.load()
            return True
        self._follow_keybook(changed)
        self._replay(old.log_size)
        self._read_log_end()
        self._follow_spaces(changed)
        self._check_clock()
        if self.root.covered != old.covered:
            self.valid_segments = self.root.covered
        return (old.erased, old.preamble_digest) != (self.root.erased, self.root.preamble_digest)

    def adopt(
        self,
        nodes: list[NewNode],
        keys: bytes,
        erased: Mapping[int, bytes],
        rows: Mapping[int, VectorRows],
        log_end: bytes | None,
    ) -> None:
        """Takes what this handle has just committed into the views.

        Reads nothing: the store may already hold the next commit, of another process.

        Args:
            keys: The new nodes' keybook entries, 32 bytes each.
            erased: The new keybook entry of each erased node.
            rows: The new vector rows of each space, by its number.
            log_end: What the log's last block holds, if it grew.
        """
        self.root = self.container.root
        self.log_end = self.log_end if log_end is None else log_end
        self.keybook.append(keys)
        for ordinal, entry in erased.items():
            self.keybook.set(ordinal, entry)
        self._apply(nodes, erased)
        self._add_spaces()
        for number, (codes, scales, owners) in rows.items():
            self.spaces[number].column.append(codes, scales, owners)

    def reread_vectors(self) -> None:
        """Looks at every vector block again: some may be damaged since, or readable by now."""
        found, live = zip(self.spaces, self.root.spaces, strict=True), self.catalog.live
        self.spaces = [held.reread(self.container, space, live) for held, space in found]

    # Reading nodes

    def entry(self, ordinal: int) -> bytes:
        """A node's keybook entry."""
        return self.keybook.entry(ordinal)

    def uid(self, ordinal: int) -> bytes:
        """The uid in a node's record, 16 bytes, whether the rest of it can be read or not.

        Raises:
            VaultDamaged: if its head cannot be read.
        """
        offset, size = self.catalog.span(ordinal)
        try:
            return read_uid(self._across_blocks(offset, HEAD_SIZE), size)
        except ValueError as error:
            raise VaultDamaged("the log does not hold the record it should") from error

    def record(self, ordinal: int) -> NodeRecord:
        """A node's record from the log. Raises VaultDamaged."""
        offset, size = self.catalog.span(ordinal)
        index, start = divmod(offset, CONTENT_SIZE)
        data = self.container.read_cached(Stream.LOG, index)[start : start + size]
        if len(data) < size:
            data = self._across_blocks(offset, size)
        try:
            return NodeRecord.decode(data)
        except ValueError as error:
            raise VaultDamaged("the log does not hold the record it should") from error

    def described(self, ordinal: int, record: NodeRecord) -> Described:
        """A live node's metadata, as the fields of `Metadata`. Raises VaultDamaged.

        The catalog holds it, opened and authenticated when it was loaded; only among very many
        fields is opening the record's own the quicker way.
        """
        known = self.catalog.described(ordinal, _MANY_FIELDS)
        if known is None:
            opened = open_metadata(record, self.entry(ordinal))
            fields = dict(opened.fields)
            known = opened.time, opened.namespace, opened.thread_name, opened.key, fields
        return known

    def node_id(self, ordinal: int, record: NodeRecord | None = None) -> bytes:
        """A node's id, 32 bytes, from its record; the last few thousand are remembered."""
        found = self._ids.get(ordinal)
        if found is None:
            found = (record or self.record(ordinal)).id
            self.note_id(ordinal, found)
        return found

    def note_id(self, ordinal: int, node_id: bytes) -> None:
        """Remembers a node's id, which was made from its record."""
        if len(self._ids) >= _KEPT_IDS:
            self._ids.clear()
        self._ids[ordinal] = node_id

    def find(self, node_id: bytes) -> int | None:
        """The ordinal of the node with that id, erased or not; None if there is none.

        A node whose record is damaged is known by the 8 bytes that the catalog holds, so that it
        can be forgotten.
        """
        damaged = None
        for ordinal in self.catalog.find(id_prefix(node_id)).tolist():
            try:
                if self.node_id(ordinal) == node_id:
                    return int(ordinal)
            except VaultDamaged:
                damaged = ordinal
        return damaged

    def known_ids(self, ordinals: Iterable[int]) -> list[str]:
        """The ids, in hex, of those nodes whose records can be read."""
        found = []
        for ordinal in ordinals:
            with suppress(VaultDamaged):
                found.append(self.node_id(int(ordinal)).hex())
        return found

    def is_erased(self, ordinal: int) -> bool:
        """Whether the node was forgotten or superseded without history."""
        return not self.catalog.live[ordinal]

    def is_text(self, ordinal: int) -> bool:
        """Whether a live node holds a text, which is to have a vector. Raises VaultDamaged."""
        return isinstance(open_payload(self.record(ordinal), self.entry(ordinal)).content, str)

    def wipe(self) -> None:
        """Overwrites the node secrets in memory, as far as Python lets us."""
        self.keybook.wipe()

    def read_log(self, offset: int, size: int) -> bytes:
        """A piece of the log. Raises VaultDamaged if it is not all there."""
        indexes, start = _blocks_of(offset, size)
        blocks = self.container.read_many(Stream.LOG, indexes)
        data = b"".join(blocks)[start : start + size]
        if len(data) != size:
            raise VaultDamaged("the log is shorter than the root says")
        return data

    # Internals

    def _across_blocks(self, offset: int, size: int) -> bytes:
        indexes, start = _blocks_of(offset, size)
        blocks = [self.container.read_cached(Stream.LOG, index) for index in indexes]
        return b"".join(blocks)[start : start + size]

    def _load_keybook(self, indexes: Iterable[int]) -> None:
        for index, content in enumerate(self.container.read_many(Stream.KEYBOOK, indexes)):
            self.keybook.put(index, content)
        if len(self.keybook) != self.root.nodes:
            raise VaultDamaged("the keybook is shorter than the root says")

    def _continues(self, old: Root, changed: set[Address]) -> bool:
        """Whether the new root may follow the old one: the log up to there must be unchanged."""
        last = (old.log_size - 1) // CONTENT_SIZE
        if not self.root.continues(old) or any(
            stream == Stream.LOG and index < last for stream, index in changed
        ):
            return False
        if (Stream.LOG, last) not in changed:
            return True
        if self.log_end is None:
            return False
        return self.container.read(Stream.LOG, last).startswith(self.log_end)

    def _read_log_end(self) -> None:
        self.log_end, size = b"", self.root.log_size
        try:
            if size:
                self.log_end = self.container.read(Stream.LOG, (size - 1) // CONTENT_SIZE)
        except VaultDamaged:
            self.log_end = None

    def _follow_keybook(self, changed: set[Address]) -> None:
        indexes = sorted(index for stream, index in changed if stream == Stream.KEYBOOK)
        for index, content in zip(
            indexes, self.container.read_many(Stream.KEYBOOK, indexes), strict=True
        ):
            self.keybook.put(index, content)

    def _check_clock(self) -> None:
        if self.root.lamport < self.catalog.latest:
            raise VaultDamaged("a memory's clock is ahead of the vault's")

    def _add_spaces(self) -> None:
        for number in range(len(self.spaces), len(self.root.spaces)):
            self.spaces.append(SpaceState(number, self.root.spaces[number].dimension))

    def _follow_spaces(self, changed: Collection[Address] = ()) -> None:
        self._add_spaces()
        found, live = zip(self.spaces, self.root.spaces, strict=True), self.catalog.live
        self.spaces = [
            held.follow(self.container, space, live, changed) for held, space in found
        ]

    def _load_segments(self) -> None:
        for first in range(0, self.root.covered, SEGMENT_NODES):
            expected = min(SEGMENT_NODES, self.root.covered - first)
            try:
                catalog, terms = self._segment(first // SEGMENT_NODES)
                if len(catalog) != expected or len(terms) != expected:
                    raise VaultDamaged("a segment has the wrong length")
                self.catalog.extend(catalog)
            except (VaultDamaged, InvalidArgument):
                return
            self.lexical.add(first, terms)
            self.lexical.remove((first + np.flatnonzero(catalog.erased)).tolist())
            self.valid_segments = first + expected

    def _all_in_segments(self) -> bool:
        erased = int(np.count_nonzero(~self.catalog.live))
        return (len(self.catalog), erased) == (self.root.nodes, self.root.erased)

    def _segment(self, number: int) -> tuple[CatalogColumns, TermColumns]:
        at = number * SEGMENT_PARTS
        return decode_segment(read_blob(self.container, Stream.SEGMENTS, at))

    def _end_of_catalog(self) -> int:
        last = len(self.catalog) - 1
        return 0 if last < 0 else sum(self.catalog.span(last))

    def _replay(self, start: int) -> None:
        """Applies the log from byte `start` on; nodes the catalog already has are not repeated."""
        data = self.read_log(start, self.root.log_size - start)
        nodes: list[tuple[int, int, NodeRecord]] = []
        erased: set[int] = set()
        position = start
        try:
            for size, record in read_records(data):
                if isinstance(record, ErasureRecord):
                    erased.update(record.ordinals)
                else:
                    nodes.append((position, size, record))
                position += size
        except ValueError as error:
            raise VaultDamaged("the log cannot be read") from error
        first = len(self.catalog)
        if first + len(nodes) != self.root.nodes or max(erased, default=-1) >= self.root.nodes:
            raise VaultDamaged("the log does not hold what the root says")
        opened = [
            self._open_node(first + number, *node, erased=first + number in erased)
            for number, node in enumerate(nodes)
        ]
        self._apply(opened, erased)

    def _apply(self, nodes: list[NewNode], erased: Iterable[int]) -> None:
        if nodes:
            first = len(self.catalog)
            try:
                self.catalog.extend(columns_of(nodes, first, self._end_of_catalog(), self._parent))
            except InvalidArgument as error:
                raise VaultDamaged("the log holds memories that contradict each other") from error
            self.lexical.add(first, TermColumns.of([node.terms for node in nodes]))
        self._erase_views(erased)

    def _open_node(
        self, ordinal: int, offset: int, size: int, record: NodeRecord, *, erased: bool
    ) -> NewNode:
        entry = self.entry(ordinal)
        if erased:
            link = open_erased_link(record, entry)
            return NewNode(record.id, offset, size, link, None, [])
        link = open_link(record, entry, erased=False)
        content = open_payload(record, entry).content
        metadata = open_metadata(record, entry)
        terms = spoken_terms(content, metadata.fields) if isinstance(content, str) else []
        return NewNode(record.id, offset, size, link, metadata, terms)

    def _parent(self, node_id: bytes) -> int | None:
        """A parent's ordinal; by the start of its id, unless several nodes have that."""
        found = self.catalog.find(id_prefix(node_id))
        return int(found[0]) if len(found) == 1 else self.find(node_id)

    def _erase_views(self, erased: Iterable[int]) -> None:
        gone = sorted(erased)
        self.lexical.remove(gone)  # what came erased counts as a memory without words until now
        fresh = [ordinal for ordinal in gone if not self.is_erased(ordinal)]
        if not fresh:
            return
        ordinals: npt.NDArray[np.int64] = np.array(fresh, np.int64)
        self.catalog.erase(ordinals)
        for space in self.spaces:
            space.erase(ordinals)
