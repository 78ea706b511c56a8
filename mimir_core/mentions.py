"""Every memory that mentions a phrase, wherever it lies: what `Mimir.forget(mentions=...)` erases.

Looked through are content, attachment, key, thread name and the values of metadata. A found memory
takes along what is of no use without it or tells of it:

- the other pieces of a value that an adapter cut, and a phrase may stand across a cut;
- records that name its key where that is a digest, as checkpoints name their values;
- vectors cached under a digest of the text that was found (LangChain's `CacheBackedEmbeddings`);
- what a document store keeps beside a document, its digest among it (LlamaIndex's collections);
- older values of its key, which would come back.

What is damaged cannot be looked through, and is counted. Not found are texts that a caller
encrypted or compressed, and names of namespaces. Digests that a framework keeps inside of other
records stay: whoever guesses the text can test the guess by them.

The vault is looked through in pages: nobody waits longer than for one, and memory holds one.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import uuid
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from mimir_core.errors import VaultDamaged
from mimir_core.index.phrase import Phrase
from mimir_core.reading import open_memory
from mimir_core.results import Excerpt, Memory
from mimir_core.scope import Scope
from mimir_core.types import Namespace
from mimir_core.vault.state import State
from mimir_core.vault.vault import Vault

Progress = Callable[[int, int], None]
Opened = tuple[int, Memory]
PAGE_NODES = 256
PAGE_BYTES = 1 << 20
MAX_EXCERPTS = 100
_EACH_NAMESPACE = 3
_EXCERPT = 72
_COLLECTION = re.compile("(.+/)(?:data|metadata|ref_doc_info)")
_DIGEST = re.compile("[0-9a-f]{40,}")
_DIGEST_BYTES = re.compile(rb"[0-9a-f]{40,}")
_PIECE_KEY = re.compile(
    r"part (?P<part>\d+) (?P<of>[0-9a-f]{40})|(?P<mark>#[0-9a-f]{32,64})\.(?P<n>\d+)"
)
_CACHE_SPACE = uuid.UUID(int=1985)  # LangChain's, for its keys by SHA-1
_TAG = 16
_DIGEST_SIZES = (36, 40, 64, 128)


class Mentions:
    """A search for a phrase, and the selection that it ends in.

    Args:
        vault: Where to look.
        text: The phrase.
        scope: Among which memories.

    Raises:
        InvalidArgument: the text is no phrase.
    """

    def __init__(self, vault: Vault, text: str, scope: Scope) -> None:
        self._vault = vault
        self._phrase = Phrase(text)
        self._scope = scope
        self._values = _Values(self._phrase)
        self._found: dict[int, bytes] = {}
        self._fresh: list[tuple[Namespace, str]] = []
        self._documents: list[tuple[Namespace, str]] = []
        self._digests = set(map(hash, _digests(text)))  # of a text with its digests little stays
        self._seen = 0
        self._unread: set[int] = set()
        self.excerpts: list[Excerpt] = []

    @property
    def unread(self) -> int:
        """How many memories could not be looked through, as their records are damaged."""
        return len(self._unread)

    def search(self, progress: Progress | None = None) -> None:
        """Looks through the vault. An interruption leaves it as it is.

        Args:
            progress: Called with (memories looked through, all) after each page.
        """
        self._scan(progress)
        self._follow()
        while self._scan(progress):  # what was stored meanwhile
            self._follow()

    def _scan(self, progress: Progress | None) -> int:
        """Looks through what was not yet; returns how many were found in it."""
        before = len(self._found)
        for page, total in self._pages():
            for ordinal, memory in page:
                self._values.add(ordinal, memory)
                if _mentions(self._phrase, memory):
                    self._take(ordinal, memory, found=True)
            if progress is not None:
                progress(min(self._seen, total), total)
        self._add(self._values.whole(self._found.keys()))
        return len(self._found) - before

    def pick(self, state: State) -> npt.NDArray[np.int64]:
        """What was found and still lives, with what mentions the phrase since."""
        alive = [state.find(id_) for id_ in self._found.values()]
        chosen = {ordinal for ordinal in alive if ordinal is not None}
        late = np.flatnonzero(self._scope.mask(state)[self._seen :]) + self._seen
        for ordinal in late.tolist():
            memory = self._open(state, ordinal)
            if memory is not None and _mentions(self._phrase, memory):
                chosen.add(ordinal)
        live = {ordinal for ordinal in chosen if not state.is_erased(ordinal)}
        live.update(*[_values(state, ordinal) for ordinal in live])
        return np.array(sorted(live), np.int64)

    def _pages(self) -> Iterator[tuple[list[Opened], int]]:
        """The scope's memories, opened page by page; what is stored meanwhile comes last."""
        while True:
            with self._vault.view() as state:
                total = len(state.catalog)
                ordinals = np.flatnonzero(self._scope.mask(state)[self._seen :])[:PAGE_NODES]
                page, last = self._opened(state, (ordinals + self._seen).tolist())
            self._seen = total if last is None else last + 1
            yield page, total
            if self._seen >= total:
                return

    def _take(self, ordinal: int, memory: Memory, *, found: bool = False) -> None:
        self._found[ordinal] = bytes.fromhex(memory.id)
        if memory.key is not None and _DIGEST.search(memory.key):
            self._fresh.append((memory.namespace, memory.key))
        if memory.key is not None and _COLLECTION.fullmatch(memory.namespace[-1]):
            self._documents.append((memory.namespace, memory.key))
        if found:
            for text in _texts(self._phrase, memory):
                self._digests.update(map(hash, _digests(text)))
        shown = sum(one.namespace == memory.namespace for one in self.excerpts)
        if shown < _EACH_NAMESPACE and len(self.excerpts) < MAX_EXCERPTS:
            piece = self._phrase.around(_shown(self._phrase, memory), _EXCERPT)
            self.excerpts.append(Excerpt(memory.id, memory.namespace, piece))

    def _add(self, ordinals: Iterable[int]) -> None:
        for page in self._each(sorted(set(ordinals) - self._found.keys())):
            for ordinal, memory in page:
                self._take(ordinal, memory)

    def _each(self, waiting: list[int]) -> Iterator[list[Opened]]:
        """These memories, opened page by page."""
        at = 0
        while at < len(waiting):
            with self._vault.view() as state:
                page, last = self._opened(state, waiting[at : at + PAGE_NODES])
            at = len(waiting) if last is None else bisect_right(waiting, last)
            yield page

    def _opened(self, state: State, ordinals: list[int]) -> tuple[list[Opened], int | None]:
        """As many of these memories as make a page, without those erased by now, and the last."""
        page: list[Opened] = []
        room, last = PAGE_BYTES, None
        for last in ordinals[:PAGE_NODES]:
            if not state.is_erased(last) and (memory := self._open(state, last)) is not None:
                page.append((last, memory))
                room -= state.catalog.span(last)[1]
            if room <= 0:
                break
        return page, last

    def _open(self, state: State, ordinal: int) -> Memory | None:
        """None where the record is damaged: the rest is to be forgotten all the same."""
        try:
            return open_memory(state, ordinal)
        except VaultDamaged:
            self._unread.add(ordinal)
            return None

    def _follow(self) -> None:
        """Adds what names what was found, by its key or by the digest of a text, and so on."""
        self._add(self._by_digest())
        documents, self._documents = self._documents, []
        for page in _batched(documents):
            self._add(self._beside(page))
        while self._fresh:
            named, self._fresh = _Named(self._fresh), []
            for namespace in named.namespaces:
                self._add(self._naming(named, namespace))
            self._add(self._values.whole(self._found.keys()))

    def _beside(self, documents: list[tuple[Namespace, str]]) -> list[int]:
        """What lies in the sister collections of a document store under the same keys."""
        with self._vault.view() as state:
            found = [
                state.catalog.by_key(other, key)
                for namespace, key in documents
                for other in _sisters(namespace)
                if self._scope.covers(other)
            ]
        return [ordinal for ordinal in found if ordinal is not None]

    def _by_digest(self) -> list[int]:
        """The live memories of the scope whose keys end in a digest of a text that was found."""
        with self._vault.view() as state:
            ordinals = np.flatnonzero(self._scope.mask(state)).tolist()
        return [o for page in _batched(ordinals) for o in self._digest_keys(page)]

    def _digest_keys(self, page: list[int]) -> list[int]:
        with self._vault.view() as state:
            keys = [(o, state.catalog.key(o)) for o in page]
        return [
            ordinal
            for ordinal, key in keys
            if key and any(hash(key[-size:]) in self._digests for size in _DIGEST_SIZES)
        ]

    def _naming(self, named: _Named, namespace: Namespace) -> list[int]:
        with self._vault.view() as state:
            waiting = np.flatnonzero(state.catalog.mask(namespace)).tolist()
        pages = self._each(waiting)
        return [ordinal for page in pages for ordinal, memory in page if named.in_(memory)]


class _Named:
    """Keys that are digests, and whether a memory of their namespace names one."""

    def __init__(self, keys: Iterable[tuple[Namespace, str]]) -> None:
        self._keys: dict[tuple[Namespace, bytes], set[bytes]] = {}
        for namespace, key in keys:
            for digest in _DIGEST.findall(key):
                held = self._keys.setdefault((namespace, digest.encode()), set())
                held.add(key.encode())
        self.namespaces = {namespace for namespace, _ in self._keys}

    def in_(self, memory: Memory) -> bool:
        """Whether the whole of one of the keys stands in the memory's content."""
        for data in (memory.content, memory.attachment or b""):
            if isinstance(data, bytes):
                for digest in set(_DIGEST_BYTES.findall(data)):
                    keys = self._keys.get((memory.namespace, digest), ())
                    if any(key in data for key in keys):
                        return True
        return False


@dataclass(slots=True)
class _Value:
    """A value in pieces: their ordinals by number, and what stands at their ends."""

    pieces: dict[int, tuple[int, bytes, bytes]] = field(default_factory=dict)


class _Values:
    """The values that adapters cut into pieces, as their keys tell (`blobs`, key-value, files)."""

    def __init__(self, phrase: Phrase) -> None:
        self._phrase = phrase
        self._values: dict[tuple[Namespace, str], _Value] = {}

    def add(self, ordinal: int, memory: Memory) -> None:
        """Takes note of a memory that is a piece of a value."""
        place = _place(memory)
        if place is not None and isinstance(memory.content, bytes):
            name, number = place
            reach, data = self._phrase.reach, memory.content
            value = self._values.setdefault((memory.namespace, name), _Value())
            value.pieces[number] = ordinal, data[: reach + _TAG], data[-reach:]

    def whole(self, found: Iterable[int]) -> set[int]:
        """All pieces of the values of which one was found, or which hold the phrase at a cut."""
        chosen, widened = set(found), set()
        for value in self._values.values():
            ordinals = {ordinal for ordinal, _, _ in value.pieces.values()}
            if len(ordinals) > 1 and (ordinals & chosen or self._at_a_cut(value)):
                widened |= ordinals
        return widened

    def _at_a_cut(self, value: _Value) -> bool:
        ordered = [value.pieces[number] for number in sorted(value.pieces)]
        return any(
            self._phrase.in_bytes(end + start[skipped:])
            for (_, _, end), (_, start, _) in pairwise(ordered)
            for skipped in (0, _TAG)
        )


def _place(memory: Memory) -> tuple[str, int] | None:
    """Which value a memory is a piece of, and the number of the piece; the head is 0."""
    key, fields = memory.key or "", memory.metadata
    if piece := _PIECE_KEY.fullmatch(key):
        if piece["of"] is not None:
            return piece["of"], int(piece["part"])
        return piece["mark"], int(piece["n"]) + 1
    if isinstance(mark := fields.get("mark"), str):
        return mark, 0
    if isinstance(token := fields.get("token"), str):
        return f"#{token}", 0
    if isinstance(memory.content, bytes) and memory.content[:1] == b"\1":
        return hashlib.blake2b(key.encode(), digest_size=20).hexdigest(), 0
    return None


def _values(state: State, ordinal: int) -> Sequence[int]:
    """Every live value of a memory's key: an older one must not come back."""
    namespace, key = state.catalog.namespace(ordinal), state.catalog.key(ordinal)
    return () if namespace is None or key is None else state.catalog.values(namespace, key)


def _batched(every: list[Any]) -> Iterator[list[Any]]:
    """Lists of as many as make a page."""
    for at in range(0, len(every), PAGE_NODES):
        yield every[at : at + PAGE_NODES]


def _sisters(namespace: Namespace) -> list[Namespace]:
    """The collections of LlamaIndex's document store whose one this is."""
    found = _COLLECTION.fullmatch(namespace[-1])
    names = ("data", "metadata", "ref_doc_info") if found else ()
    return [(*namespace[:-1], f"{found[1]}{name}") for name in names if found]


def _mentions(phrase: Phrase, memory: Memory) -> bool:
    content = memory.content
    return (
        (phrase.in_text(content) if isinstance(content, str) else phrase.in_bytes(content))
        or (memory.attachment is not None and phrase.in_bytes(memory.attachment))
        or any(map(phrase.in_text, _names(memory)))
    )


def _names(memory: Memory) -> Iterator[str]:
    yield from (name for name in (memory.key, memory.thread) if name is not None)
    yield from _strings(memory.metadata)


def _strings(value: Any) -> Iterator[str]:
    """The values of metadata as texts."""
    if isinstance(value, Mapping):
        for inner in value.values():
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)
    elif isinstance(value, dt.date):
        yield value.isoformat()
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _texts(phrase: Phrase, memory: Memory) -> Iterator[str]:
    """The whole texts of a memory that contain the phrase, which something may be named after."""
    for part in (memory.content, memory.attachment):
        if isinstance(part, str):
            yield part
        elif part is not None:
            yield from phrase.texts_in(part)
    yield from filter(phrase.in_text, _names(memory))


def _digests(text: str) -> Iterator[str]:
    """What caches name a text by: LangChain's four ways, and plain SHA-1."""
    data = text.encode("utf-8", "surrogatepass")
    sha1 = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    yield from (sha1, str(uuid.uuid5(_CACHE_SPACE, sha1)))
    for made in (hashlib.sha256, hashlib.sha512, hashlib.blake2b):
        yield made(data).hexdigest()


def _shown(phrase: Phrase, memory: Memory) -> str:
    """The part of a memory to show to whoever asks what would be forgotten."""
    content = memory.content
    whole = content if isinstance(content, str) else f"({len(content):,} bytes)"
    return next(filter(phrase.in_text, (*_texts(phrase, memory), memory.text)), whole)
