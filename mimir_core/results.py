"""What the facade returns: memories, hits, lineage and reports. Reprs show no content."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, fields
from typing import Any, NoReturn, Self, SupportsIndex, TypeVar, overload

from mimir_core.display import hits_html, lineage_html, thread_html
from mimir_core.errors import NotSerializable
from mimir_core.types import EdgeKind, Namespace


def _refuse() -> NoReturn:
    raise NotSerializable(
        "what a vault gave is not pickled: a pickle holds it in the clear",
        hint="pass ids, or take out what is to go on, such as `[hit.text for hit in hits]`",
    )


class _Opened:
    """A frozen dataclass of opened content: it is copied, but never pickled by the way."""

    __slots__ = ()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        parts = {part.name: getattr(self, part.name) for part in fields(self)}  # type: ignore[arg-type]  # those below are dataclasses
        return type(self)(**deepcopy(parts, memo))

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        _refuse()


@dataclass(frozen=True, slots=True, repr=False)
class Memory(_Opened):
    """One opened memory.

    Attributes:
        id: The node's id, 64 hex digits.
        content: The text, or bytes as they were stored.
        time: When it happened, UTC.
        namespace: Where it lives.
        thread: The name of its thread, if any.
        key: Its key within the namespace, if any.
        metadata: The caller's fields.
        attachment: What was sealed beside the text without being indexed, if anything.
    """

    id: str
    content: str | bytes
    time: dt.datetime
    namespace: Namespace
    thread: str | None
    key: str | None
    metadata: Mapping[str, Any]
    attachment: bytes | None = None

    @property
    def text(self) -> str:
        """The content as text; undecodable bytes become replacement characters."""
        if isinstance(self.content, str):
            return self.content
        return self.content.decode("utf-8", errors="replace")

    def __repr__(self) -> str:
        return f"<Memory {self.id[:12]}>"

    def _repr_html_(self) -> str:
        return thread_html([self])


@dataclass(frozen=True, slots=True, repr=False)
class Hit(_Opened):
    """A memory that recall found.

    Attributes:
        memory: The opened memory.
        score: Larger is better; comparable within one result only.
        channels: What each channel contributed. In hybrid recall `dense` and `lexical` (standard
            scores over the namespace searched), `spread` (what neighbours in the thread gave)
            and, where the question names a date or asks when, `time`; else the one channel's
            own score, a cosine or BM25. With `recency` and `importance` where asked for, they
            add up to the score.
        found_by: The channels that put it among the candidates.
        before, after: Neighbours in the thread, nearest last and first, where asked for.
    """

    memory: Memory
    score: float
    channels: Mapping[str, float]
    found_by: tuple[str, ...]
    before: tuple[Memory, ...] = ()
    after: tuple[Memory, ...] = ()
    spread_from: str | None = None

    @property
    def id(self) -> str:
        """The memory's id."""
        return self.memory.id

    @property
    def text(self) -> str:
        """The memory's text."""
        return self.memory.text

    def __repr__(self) -> str:
        return f"<Hit {self.id[:12]} score={self.score:.3f} by {'+'.join(self.found_by)}>"

    def _repr_html_(self) -> str:
        return hits_html([self])


Shown = TypeVar("Shown")


class _Found(list[Shown]):
    """A list whose slices are lists of its own kind; it is copied, but never pickled."""

    def __copy__(self) -> Self:
        return type(self)(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)(deepcopy(list(self), memo))

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        _refuse()

    @overload
    def __getitem__(self, place: SupportsIndex, /) -> Shown: ...

    @overload
    def __getitem__(self, place: slice, /) -> Self: ...

    def __getitem__(self, place: SupportsIndex | slice, /) -> Shown | Self:
        if isinstance(place, slice):
            return type(self)(super().__getitem__(place))
        return super().__getitem__(place)


class Hits(_Found[Hit]):
    """What recall found, best first. A notebook shows texts and score bars by channel."""

    def _repr_html_(self) -> str:
        return hits_html(self)


class Thread(_Found[Memory]):
    """The memories of a thread, oldest first. A notebook shows time, speaker and text."""

    def _repr_html_(self) -> str:
        return thread_html(self)


@dataclass(frozen=True, slots=True)
class Relative:
    """A node of a lineage: how far away, by which edges it hangs on, and whether it is erased."""

    id: str
    distance: int
    edges: tuple[EdgeKind, ...]
    erased: bool


@dataclass(frozen=True, slots=True)
class Lineage:
    """What a memory was made from, and what was made from it; nearest first."""

    id: str
    ancestors: tuple[Relative, ...]
    descendants: tuple[Relative, ...]

    def _repr_html_(self) -> str:
        return lineage_html(self)


@dataclass(frozen=True, slots=True, repr=False)
class Excerpt(_Opened):
    """Up to 72 characters of what would be forgotten, with its id and namespace, to judge it by."""

    id: str
    namespace: Namespace
    text: str

    def __repr__(self) -> str:
        return f"<Excerpt {self.id[:12]}>"


@dataclass(frozen=True, slots=True, repr=False)
class Forgotten(_Opened):
    """What a forget erased, or would erase in a dry run.

    Attributes:
        ids: The ids of the memories.
        dry_run: Whether nothing was erased yet.
        namespaces: How many of them lie in which namespace.
        unnamed: How many beside `ids` have damaged records, so that their ids are unknown.
        unread: How many a search by `mentions` could not look through, as they are damaged.
        excerpts: Of a dry run by `mentions`, pieces of a few of each namespace, 100 at most.
    """

    ids: tuple[str, ...]
    dry_run: bool
    namespaces: Mapping[Namespace, int] = field(default_factory=dict)
    unnamed: int = 0
    unread: int = 0
    excerpts: tuple[Excerpt, ...] = ()

    @property
    def count(self) -> int:
        """How many memories."""
        return len(self.ids) + self.unnamed

    def __repr__(self) -> str:
        how = "would forget" if self.dry_run else "forgot"
        return f"<Forgotten: {how} {self.count} memories of {len(self.namespaces)} namespaces>"


@dataclass(frozen=True, slots=True)
class Stats:
    """The vault in numbers. `tail` nodes are not yet in a segment; `commits` only grows."""

    memories: int
    erased: int
    namespaces: int
    vectors: Mapping[str, int]
    vectors_lost: int
    log_bytes: int
    file_bytes: int
    tail: int
    commits: int
    indexed: bool


@dataclass(frozen=True, slots=True)
class Report:
    """What verification looked at and what it found wrong; `ok` when nothing."""

    blocks: int
    nodes: int
    problems: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether nothing was wrong."""
        return not self.problems
