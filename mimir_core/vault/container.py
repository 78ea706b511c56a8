"""Streams of authenticated blocks over a block store, committed all at once.

The container holds the root and the map in memory, reads blocks under the tags the map pins, and
turns a set of changed blocks into one commit. It knows nothing of memories.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Iterable, Iterator
from dataclasses import replace
from hashlib import sha256

import numpy as np

from mimir_core.crypto.aead import TAG_SIZE, OpenFailed
from mimir_core.crypto.blocks import CONTENT_SIZE, BlockCipher
from mimir_core.crypto.keys import VaultKeys
from mimir_core.errors import LimitExceeded, VaultDamaged
from mimir_core.storage import BlockStore
from mimir_core.vault.layout import (
    GROWTH,
    MAP_ENTRIES,
    MAP_ENTRY,
    MAX_MAP_PAGES,
    MapPage,
    Root,
    Stream,
)

Address = tuple[int, int]
_ROOT_BLOCK = 0
_CACHED_BLOCKS = 2_048  # 33 MB, the log of some 100,000 chat turns


class Container:
    """A consistent view of one committed state, and the way to the next one.

    Not thread-safe: the vault's lock guards it. Reads happen inside `store.reading()`, so that
    every block comes from the state the root describes.
    """

    def __init__(self, store: BlockStore, keys: VaultKeys) -> None:
        self._store = store
        self._cipher = BlockCipher(keys)
        self.tag = b""
        self.root = Root(bytes(32), 0, bytes(8))
        self._map = np.zeros(0, MAP_ENTRY)
        self._numbers: dict[Address, int] = {}
        self._free: list[int] = []
        self._cache: dict[Address, bytes] = {}

    @classmethod
    def first_blocks(cls, keys: VaultKeys, preamble: bytes, root: Root) -> list[bytes]:
        """The blocks of an empty vault, for `SqliteBlockStore.create`."""
        cipher = BlockCipher(keys)
        blocks = {number: cipher.seal(number, Stream.FREE, 0, b"") for number in range(2, GROWTH)}
        entries = np.zeros(MAP_ENTRIES, MAP_ENTRY)
        entries["stream"][:2] = Stream.ROOT, Stream.MAP
        for number, block in blocks.items():
            entries["tag"][number] = np.void(block[-TAG_SIZE:])
        blocks[1] = cipher.seal(1, Stream.MAP, 0, entries.tobytes())
        root = replace(
            root,
            preamble_digest=sha256(preamble).digest(),
            blocks=GROWTH,
            pages=(MapPage(1, blocks[1][-TAG_SIZE:]),),
        )
        blocks[_ROOT_BLOCK] = cipher.seal(_ROOT_BLOCK, Stream.ROOT, 0, root.encode())
        return [blocks[number] for number in range(GROWTH)]

    # Reading

    def refresh(self) -> set[Address]:
        """Moves to the state the store holds now; returns the addresses whose blocks changed.

        Raises:
            VaultDamaged: if root, map or preamble are not what they must be; the container then
                still describes the state it described before.
        """
        tag = self._store.root_tag()
        if tag == self.tag:
            return set()
        root = self._read_root(tag)
        entries = np.zeros(len(root.pages) * MAP_ENTRIES, MAP_ENTRY)
        known = min(len(self._map), len(entries))
        entries[:known] = self._map[:known]
        for number, page in enumerate(root.pages):
            if number >= len(self.root.pages) or page != self.root.pages[number]:
                at = number * MAP_ENTRIES
                entries[at : at + MAP_ENTRIES] = self._read_page(number, page)
        changed = self._changed(entries)
        self._drop_cached(changed)
        self.tag, self.root, self._map = tag, root, entries
        self._index()
        return changed

    def read(self, stream: int, index: int) -> bytes:
        """One block's content (its used bytes), authenticated; not cached.

        Raises:
            VaultDamaged: if the block is absent, or not the one the map pins.
        """
        number = self._number(stream, index)
        (sealed,) = self._store.read([number])
        return self._open(number, stream, index, sealed)

    def read_many(self, stream: int, indexes: Iterable[int]) -> list[bytes]:
        """Several blocks of one stream in one read, in the order asked."""
        wanted = list(indexes)
        numbers = [self._number(stream, index) for index in wanted]
        sealed = self._store.read(numbers)
        found = zip(numbers, wanted, sealed, strict=True)
        return [self._open(number, stream, index, block) for number, index, block in found]

    def read_cached(self, stream: int, index: int) -> bytes:
        """Like `read`, kept in memory; for blocks that hold nothing but sealed records."""
        content = self._cache.get((stream, index))
        if content is None:
            content = self._cache[stream, index] = self.read(stream, index)
            if len(self._cache) > _CACHED_BLOCKS:
                del self._cache[next(iter(self._cache))]
        return content

    def has(self, stream: int, index: int) -> bool:
        """Whether the map names a block at that address."""
        return (stream, index) in self._numbers

    def indexes(self, stream: int) -> list[int]:
        """The indexes of a stream's blocks, ascending."""
        return sorted(index for kind, index in self._numbers if kind == stream)

    def check_block(self, number: int) -> None:
        """Authenticates one block, whatever it is for. Raises VaultDamaged."""
        stream, index = int(self._map[number]["stream"]), int(self._map[number]["index"])
        if stream == Stream.ROOT:
            self._read_root(self.tag)
        elif stream == Stream.MAP:
            self._read_page(index, self.root.pages[index])
        else:
            (sealed,) = self._store.read([number])
            self._open(number, stream, index, sealed)

    # Writing

    def commit(
        self,
        root: Root,
        puts: dict[Address, bytes],
        drops: Iterable[Address] = (),
        preamble: bytes | None = None,
    ) -> None:
        """Commits changed blocks and the root as one transaction; all or nothing.

        Called inside `store.writing()` after `refresh()`. Memory changes only after the store has
        accepted the commit.

        Args:
            root: The new root; `commits`, `blocks`, `pages` and the digest are filled in here.
            puts: New content by address.
            drops: Addresses whose blocks become free.
        """
        change = _Change(self._map, self.root.blocks, self._free, self._cipher)
        for address in drops:
            change.release(self._numbers[address])
        change.reserve(sum(address not in self._numbers for address in puts))
        for (stream, index), content in puts.items():
            number = self._numbers.get((stream, index))
            change.put(change.take() if number is None else number, stream, index, content)
        pages = change.seal_pages(self.root.pages)
        digest = self.root.preamble_digest if preamble is None else sha256(preamble).digest()
        root = replace(
            root,
            preamble_digest=digest,
            commits=self.root.commits + 1,
            blocks=change.count,
            pages=pages,
        )
        sealed = self._cipher.seal(_ROOT_BLOCK, Stream.ROOT, 0, root.encode())
        change.writes[_ROOT_BLOCK] = sealed
        self._store.commit(change.writes, expected_root_tag=self.tag, preamble=preamble)
        self.tag, self.root, self._map = sealed[-TAG_SIZE:], root, change.map
        self._adopt(change, puts, drops)

    # Internals

    def _adopt(
        self, change: _Change, puts: Iterable[Address], drops: Iterable[Address]
    ) -> None:
        for address in drops:
            self._numbers.pop(address, None)
        self._drop_cached((*puts, *drops))
        self._free = change.free
        for number, address in change.taken.items():
            self._numbers[address] = number

    def _drop_cached(self, addresses: Iterable[Address]) -> None:
        """Lets go of blocks that a commit replaced: what is cached is what the map pins."""
        for address in addresses:
            self._cache.pop(address, None)

    def _read_root(self, tag: bytes) -> Root:
        (sealed,) = self._store.read([_ROOT_BLOCK])
        try:
            content = self._cipher.open_content(_ROOT_BLOCK, Stream.ROOT, 0, tag, sealed)
            root = Root.decode(bytes(content))
        except (OpenFailed, ValueError, struct.error) as error:
            raise VaultDamaged("the root block is not authentic") from error
        if sha256(self._store.preamble()).digest() != root.preamble_digest:
            raise VaultDamaged("the preamble is not the one the root names")
        if self._store.count() != root.blocks:
            raise VaultDamaged("blocks are missing or were added")
        return root

    def _read_page(self, number: int, page: MapPage) -> np.ndarray:
        (sealed,) = self._store.read([page.number])
        try:
            content = self._cipher.open_content(page.number, Stream.MAP, number, page.tag, sealed)
        except OpenFailed as error:
            raise VaultDamaged("a map block is not authentic") from error
        return np.frombuffer(content, MAP_ENTRY)

    def _changed(self, entries: np.ndarray) -> set[Address]:
        before = np.zeros(len(entries), MAP_ENTRY)
        known = min(len(self._map), len(entries))
        before[:known] = self._map[:known]
        words = MAP_ENTRY.itemsize // 8
        differs = before.view(np.uint64) != entries.view(np.uint64)
        numbers = np.flatnonzero(differs.reshape(-1, words).any(axis=1))
        return set(_addresses(before[numbers])) | set(_addresses(entries[numbers]))

    def _index(self) -> None:
        count = self.root.blocks
        # A plain number: NumPy asks an enum for attributes, and drops what a signal raises there.
        used = self._map["stream"][:count] != int(Stream.FREE)
        addresses = _addresses(self._map[:count][used])
        self._numbers = dict(zip(addresses, np.flatnonzero(used).tolist(), strict=True))
        self._free = np.flatnonzero(~used).tolist()

    def _number(self, stream: int, index: int) -> int:
        try:
            return self._numbers[stream, index]
        except KeyError:
            raise VaultDamaged("a block is missing from the map") from None

    def _tag(self, number: int) -> bytes:
        return self._map[number]["tag"].tobytes()  # type: ignore[no-any-return]  # numpy void

    def _open(self, number: int, stream: int, index: int, sealed: bytes) -> bytes:
        try:
            return bytes(
                self._cipher.open_content(number, stream, index, self._tag(number), sealed)
            )
        except OpenFailed:
            raise VaultDamaged(f"block {number} is not authentic") from None


def _addresses(entries: np.ndarray) -> Iterator[Address]:
    return zip(entries["stream"].tolist(), entries["index"].tolist(), strict=True)


class _Change:
    """The blocks one commit writes, staged beside the map they replace."""

    def __init__(
        self, entries: np.ndarray, count: int, free: list[int], cipher: BlockCipher
    ) -> None:
        self.map = entries.copy()
        self.count = count
        self.free = list(free)
        self.writes: dict[int, bytes] = {}
        self.taken: dict[int, Address] = {}
        self._cipher = cipher

    def reserve(self, blocks: int) -> None:
        """Grows the file, if need be, so that `blocks` and the map pages for them are free."""
        while len(self.free) < blocks + 1 + blocks // MAP_ENTRIES:
            self._grow(max(GROWTH, self.count // 16, blocks - len(self.free)))

    def take(self) -> int:
        """A free block drawn at random, so that block numbers do not show the order of writes."""
        at = secrets.randbelow(len(self.free))
        self.free[at], self.free[-1] = self.free[-1], self.free[at]
        return self.free.pop()

    def put(self, number: int, stream: int, index: int, content: bytes) -> None:
        if len(content) > CONTENT_SIZE:
            raise LimitExceeded("content larger than a block")
        sealed = self._cipher.seal(number, stream, index, content)
        self.writes[number] = sealed
        self.map[number] = (np.void(sealed[-TAG_SIZE:]), stream, index)
        self.taken[number] = (stream, index)

    def release(self, number: int) -> None:
        self.put(number, Stream.FREE, 0, b"")
        del self.taken[number]
        self.free.append(number)

    def seal_pages(self, pages: tuple[MapPage, ...]) -> tuple[MapPage, ...]:
        """Seals each map page that describes a written block; new pages take a free block."""
        result = list(pages)
        while len(result) * MAP_ENTRIES < self.count:
            number = self.take()
            self.map[number] = (np.void(bytes(TAG_SIZE)), Stream.MAP, len(result))
            self.taken[number] = (Stream.MAP, len(result))
            self.writes.pop(number, None)
            result.append(MapPage(number, b""))
        dirty = {number // MAP_ENTRIES for number in self.writes}
        dirty |= {page.number // MAP_ENTRIES for page in result if not page.tag}
        dirty |= {number for number, page in enumerate(result) if not page.tag}
        for number in dirty:
            at = number * MAP_ENTRIES
            content = self.map[at : at + MAP_ENTRIES].tobytes()
            block = result[number].number
            sealed = self._cipher.seal(block, Stream.MAP, number, content)
            self.writes[block] = sealed
            result[number] = MapPage(block, sealed[-TAG_SIZE:])
        return tuple(result)

    def _grow(self, blocks: int) -> None:
        first, self.count = self.count, self.count + blocks
        pages = -(-self.count // MAP_ENTRIES)
        if pages > MAX_MAP_PAGES:
            raise LimitExceeded("the vault has reached its largest size")
        entries = np.zeros(pages * MAP_ENTRIES, MAP_ENTRY)
        entries[: len(self.map)] = self.map
        self.map = entries
        for number in range(first, self.count):
            self.release(number)
