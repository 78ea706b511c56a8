"""What a commit of new memories or erasures writes: staged against a state, not yet committed."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mimir_core.crypto import nodes as node_crypto
from mimir_core.crypto.blocks import CONTENT_SIZE
from mimir_core.dag import (
    Draft,
    ErasureRecord,
    Link,
    Metadata,
    Parent,
    Payload,
    SealedNode,
    seal,
)
from mimir_core.dag.node import THREAD_SIZE
from mimir_core.errors import DuplicateKey, LimitExceeded, NotFound, VaultDamaged, VectorsLost
from mimir_core.types import EdgeKind, Namespace
from mimir_core.vault.edit import ERASED_OWNER, LOST_OWNER, Edit, with_length
from mimir_core.vault.layout import (
    KEY_ENTRIES,
    MAX_SPACES,
    NO_KEY,
    Root,
    Space,
    Stream,
    vector_rows,
)
from mimir_core.vault.new_nodes import NewNode
from mimir_core.vault.segment import SEGMENT_NODES, SEGMENT_PARTS, encode_segment
from mimir_core.vault.space import SpaceState, VectorRows, check_model
from mimir_core.vault.state import State


@dataclass(frozen=True, slots=True, repr=False)
class NewMemory:
    """A checked memory, ready to be placed in the DAG. Times are microseconds UTC."""

    content: str | bytes
    namespace: Namespace
    time: int
    thread: str | None = None
    key: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    derived_from: tuple[bytes, ...] = ()
    keep_history: bool = False
    attachment: bytes | None = None
    terms: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, repr=False)
class NewVectors:
    """Quantized vectors [m, dim] of a batch in one space; `owners` [m] index into the batch."""

    digest: bytes
    codes: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float32]
    owners: npt.NDArray[np.int64]


@dataclass(slots=True, repr=False)
class Staged:
    """What a commit will add to and take from the views."""

    root: Root
    nodes: list[NewNode] = field(default_factory=list)
    sealed: list[SealedNode] = field(default_factory=list)
    erased: dict[int, bytes] = field(default_factory=dict)
    """Keybook entries from now on, by the ordinals of the nodes that are erased."""
    rows: dict[int, VectorRows] = field(default_factory=dict)
    """New vector rows, by the number of their space."""
    segments: int | None = None
    """Nodes whose segments are intact from now on, where damaged ones are replaced."""

    @property
    def keys(self) -> bytes:
        """The new nodes' keybook entries, 32 bytes each."""
        return b"".join(sealed.secret for sealed in self.sealed)


class Placer:
    """Finds each new memory's place: its thread, parents, clock and what it supersedes."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._lamport = state.root.lamport
        self._heads: dict[tuple[Namespace, str], tuple[bytes, list[bytes]]] = {}
        self._keys: set[tuple[Namespace, str]] = set()
        self.superseded: set[int] = set()

    @property
    def lamport(self) -> int:
        """The clock of the last memory placed."""
        return self._lamport

    def seal(self, memory: NewMemory) -> tuple[SealedNode, Link, Metadata]:
        """Seals one memory at its place.

        Raises:
            DuplicateKey: if the batch already has a memory of this namespace and key.
            NotFound: if a parent is unknown or forgotten.
        """
        thread, parents = self._thread(memory)
        parents += [Parent(EdgeKind.DERIVES, self._known(id_)) for id_ in memory.derived_from]
        parents += self._supersede(memory)
        self._lamport += 1
        ordered = tuple(sorted(set(parents)))  # in memory as the log will give it back
        link = Link(thread, self._state.root.device, self._lamport, ordered)
        metadata = Metadata(
            memory.time, memory.namespace, memory.thread, memory.key, memory.metadata
        )
        sealed = seal(Draft(link, metadata, Payload(memory.content, memory.attachment)))
        if memory.thread is not None and thread is not None:
            self._heads[memory.namespace, memory.thread] = thread, [sealed.id]
        return sealed, link, metadata

    def _thread(self, memory: NewMemory) -> tuple[bytes | None, list[Parent]]:
        if memory.thread is None:
            return None, []
        place = memory.namespace, memory.thread
        if place not in self._heads:
            self._heads[place] = self._stored_heads(*place)
        thread, heads = self._heads[place]
        return thread, [Parent(EdgeKind.FOLLOWS, head) for head in heads]

    def _stored_heads(self, namespace: Namespace, name: str) -> tuple[bytes, list[bytes]]:
        catalog = self._state.catalog
        threads = catalog.thread_ids(namespace, name)
        if not threads:
            return secrets.token_bytes(THREAD_SIZE), []
        heads = catalog.heads(namespace, name)
        return min(threads), [self._state.node_id(int(ordinal)) for ordinal in heads]

    def _supersede(self, memory: NewMemory) -> list[Parent]:
        if memory.key is None:
            return []
        place = memory.namespace, memory.key
        if place in self._keys:
            raise DuplicateKey("two memories of one batch have the same namespace and key")
        self._keys.add(place)
        older = self._state.catalog.current(*place)
        if not memory.keep_history:
            self.superseded.update(older)
        return [Parent(EdgeKind.SUPERSEDES, self._state.node_id(row)) for row in older]

    def _known(self, node_id: bytes) -> bytes:
        ordinal = self._state.find(node_id)
        if ordinal is None or self._state.is_erased(ordinal):
            raise NotFound("a memory named as parent does not exist")
        return node_id


def stage_append(
    state: State,
    edit: Edit,
    memories: Sequence[NewMemory],
    vectors: NewVectors | None,
    erased: Iterable[int] = (),
) -> Staged:
    """Stages new memories with their vectors, and the erasure of others.

    Args:
        erased: Ordinals to erase beside those that the new memories supersede.
    """
    placer = Placer(state)
    staged = Staged(state.root)
    offset = state.root.log_size
    for memory in memories:
        sealed, link, metadata = placer.seal(memory)
        _set_key(state, edit, state.root.nodes + len(staged.nodes), sealed.secret)
        size = len(sealed.record)
        staged.nodes.append(NewNode(sealed.id, offset, size, link, metadata, memory.terms))
        staged.sealed.append(sealed)
        offset += size
    log = b"".join(sealed.record for sealed in staged.sealed)
    staged.root = replace(
        state.root,
        lamport=placer.lamport,
        log_size=_append_log(state, edit, state.root.log_size, log),
        nodes=state.root.nodes + len(memories),
    )
    gone = placer.superseded.union(erased)
    if vectors is not None:
        _check_space(state, {memories[i].namespace for i in vectors.owners}, vectors, gone)
        stage_vectors(edit, staged, vectors, first=state.root.nodes)
    stage_erase(state, edit, staged, gone)
    return staged


def _check_space(
    state: State, namespaces: Iterable[Namespace], vectors: NewVectors, gone: Iterable[int]
) -> None:
    """Raises SpaceMismatch if a namespace would hold two models' vectors, VectorsLost if it may."""
    model = vectors.digest, vectors.codes.shape[1]
    stored = zip(state.spaces, state.root.spaces, strict=True)
    others = [held for held, space in stored if (space.digest, space.dimension) != model]
    if not others:
        return
    mask = np.zeros(len(state.catalog), np.bool_)
    for namespace in namespaces:
        mask |= state.catalog.mask(namespace)
    mask[list(gone)] = False
    check_model(state.spaces, others, mask)


def stage_erase(state: State, edit: Edit, staged: Staged, erased: Iterable[int]) -> None:
    """Stages the erasure of nodes, in the five steps of FORMAT.md, section 9.

    No damaged block is in its way: what memory holds of one is written anew, and what nobody holds
    any more is overwritten.
    """
    ordinals = sorted(erased)
    if not ordinals:
        return
    for ordinal in ordinals:
        staged.erased[ordinal] = _last_entry(state, ordinal)
        _set_key(state, edit, ordinal, staged.erased[ordinal])
    for space in state.spaces:
        _stage_blank_rows(state, edit, space, ordinals)
    _stage_blank_segments(state, edit, staged, ordinals)
    root = staged.root
    record = ErasureRecord(root.lamport + 1, root.device, tuple(ordinals))
    staged.root = replace(
        root,
        lamport=record.lamport,
        log_size=_append_log(state, edit, root.log_size, record.encode(), over=True),
        erased=root.erased + len(ordinals),
        spaces=tuple(without_graph(space) for space in root.spaces),
    )


def stage_segment(state: State, edit: Edit, number: int, stop: int, blank: set[int]) -> None:
    """Stages segment `number` up to ordinal `stop`, without the content of the nodes in `blank`."""
    first = number * SEGMENT_NODES
    catalog, terms = state.catalog.columns(first, stop), state.lexical.columns(first, stop)
    rows = np.array(sorted(ordinal - first for ordinal in blank), np.int64)
    blob = encode_segment(catalog.erase(rows), terms.erase(rows))
    at = number * SEGMENT_PARTS
    edit.put_blob(Stream.SEGMENTS, at, at + SEGMENT_PARTS, with_length(blob))


def without_graph(space: Space) -> Space:
    """The space with its stored graph made unreadable: the key is in the root alone."""
    return replace(space, graph_rows=0, graph_size=0, graph_key=NO_KEY)


def _last_entry(state: State, ordinal: int) -> bytes:
    """What the keybook keeps of an erased node: its link key, or nothing where that is lost."""
    try:
        return node_crypto.erased_secret(state.entry(ordinal), state.uid(ordinal))
    except VaultDamaged:  # without its uid the link key cannot be derived
        return secrets.token_bytes(node_crypto.NODE_SECRET_SIZE)


def _set_key(state: State, edit: Edit, ordinal: int, entry: bytes) -> None:
    """Sets a keybook entry; the rest of its block is as memory holds it."""
    index = ordinal // KEY_ENTRIES
    edit.start(Stream.KEYBOOK, index, state.keybook.block(index))
    edit.set_key(ordinal, entry)


def _append_log(state: State, edit: Edit, size: int, data: bytes, *, over: bool = False) -> int:
    """Appends to a log of `size` bytes, whose last block memory holds; returns its new size.

    Args:
        over: Whether a last block that is damaged is overwritten, as an erasure does.

    Raises:
        VaultDamaged: if it is damaged otherwise.
    """
    index, used = divmod(state.root.log_size, CONTENT_SIZE)
    if state.log_end is None and not over:
        raise VaultDamaged("the end of the log is damaged, so that nothing can be added")
    if used:
        edit.start(Stream.LOG, index, bytes(used) if state.log_end is None else state.log_end)
    return edit.append_log(size, data)


def _stage_blank_rows(state: State, edit: Edit, space: SpaceState, ordinals: list[int]) -> None:
    """Stages the vectors of these nodes as rows of nobody, and what others left in lost blocks."""
    rows = space.rows_of(np.array(ordinals, np.int64))
    if space.lost_blocks:
        staying = state.catalog.live.copy()
        staying[ordinals] = False
        rows = np.concatenate([rows, space.lost_rows(state.container, staying)])
    touched = np.unique(rows // vector_rows(space.dimension)).tolist()
    for index in space.unreadable(state.container, {*touched, *space.lost_blocks}):
        _stage_block(edit, space, index)
    for row in rows.tolist():
        edit.erase_row(space.number, space.dimension, row)


def _stage_block(edit: Edit, space: SpaceState, index: int) -> None:
    """Stages a vector block that cannot be read as memory holds it.

    Of a block that memory never held every row is marked as lost, which is said until a repair.
    """
    per_block, column = vector_rows(space.dimension), space.column
    rows = slice(index * per_block, min((index + 1) * per_block, len(column)))
    owners = column.owners[rows].copy()
    if index in space.lost_blocks:
        owners[owners == ERASED_OWNER] = LOST_OWNER
    edit.replace(Stream.VECTORS + space.number, index)
    edit.set_rows(space.number, rows.start, column.codes[rows], column.scales[rows], owners)


@contextmanager
def _repairable() -> Iterator[None]:
    """Says of a vector block that cannot be read that there is a repair, unlike for others."""
    try:
        yield
    except VaultDamaged as error:
        raise VectorsLost("a vector block to be changed is damaged") from error


def _stage_blank_segments(
    state: State, edit: Edit, staged: Staged, ordinals: list[int]
) -> None:
    """Stages the segments of these nodes anew; all of them where nobody knows what a block holds.

    One that is damaged, or not the reader's, may lie in other blocks than its own place has now.
    """
    covered = state.root.covered
    segments: dict[int, set[int]] = {}
    if state.valid_segments < covered:
        edit.drop_all(Stream.SEGMENTS)
        segments = {number: set() for number in range(-(-covered // SEGMENT_NODES))}
        staged.segments = covered
    for ordinal in ordinals:
        if ordinal < covered:
            segments.setdefault(ordinal // SEGMENT_NODES, set()).add(ordinal)
    for number, blank in segments.items():
        stage_segment(state, edit, number, min(covered, (number + 1) * SEGMENT_NODES), blank)


def stage_vectors(edit: Edit, staged: Staged, vectors: NewVectors, first: int) -> None:
    """Stages vector rows; owner i of `vectors` is the node of ordinal `first` + i.

    Raises:
        LimitExceeded: if the vault has no room for vectors of another model.
        VectorsLost: if the block they go to is damaged.
    """
    if not len(vectors.codes):
        return
    spaces = list(staged.root.spaces)
    models = [(space.digest, space.dimension) for space in spaces]
    model = vectors.digest, vectors.codes.shape[1]
    if model not in models:
        if len(spaces) == MAX_SPACES:
            raise LimitExceeded(f"a vault holds vectors of at most {MAX_SPACES} models")
        spaces.append(Space(*model))
        models.append(model)
    number = models.index(model)
    rows = spaces[number].rows
    owners = (vectors.owners + first).astype(np.uint32)
    staged.rows[number] = vectors.codes, vectors.scales, owners
    with _repairable():
        edit.set_rows(number, rows, *staged.rows[number])
    spaces[number] = replace(spaces[number], rows=rows + len(vectors.codes))
    staged.root = replace(staged.root, spaces=tuple(spaces))


def stage_blank_blocks(edit: Edit, space: SpaceState) -> None:
    """Stages damaged vector blocks as rows of nobody, which is what memory holds of them."""
    per_block, column = vector_rows(space.dimension), space.column
    for index in space.lost_blocks:
        edit.replace(Stream.VECTORS + space.number, index)
        rows = slice(index * per_block, min((index + 1) * per_block, len(column)))
        pieces = column.codes[rows], column.scales[rows], column.owners[rows]
        edit.set_rows(space.number, rows.start, *pieces)
