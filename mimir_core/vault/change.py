"""The blocks that one commit writes, staged beside the map and the free blocks they change."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import numpy as np

from mimir_core.crypto.aead import TAG_SIZE
from mimir_core.crypto.blocks import CONTENT_SIZE, BlockCipher
from mimir_core.errors import LimitExceeded
from mimir_core.vault.layout import (
    GROWTH,
    MAP_ENTRIES,
    MAP_ENTRY,
    MAX_MAP_PAGES,
    MapPage,
    Stream,
)

Entry = tuple[np.void, int, int]
Address = tuple[int, int]


class FreeBlocks:
    """A set of block numbers that any of its places can be asked of."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._places: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, place: int) -> int:
        return self._numbers[place]

    def add(self, number: int) -> None:
        """Adds a number, unless it is there."""
        if self._places.setdefault(number, len(self._numbers)) == len(self._numbers):
            self._numbers.append(number)

    def discard(self, number: int) -> None:
        """Takes a number out, if it is there; the last one takes its place."""
        place = self._places.pop(number, None)
        if place is None:
            return
        last = self._numbers.pop()
        if last != number:
            self._numbers[place] = last
            self._places[last] = place


class Change:
    """What a commit will change. Neither the map nor the free blocks are touched before it is made.

    Attributes:
        entries: New map entries by block number.
        writes: Sealed blocks by number.
        count: How many blocks there will be.
    """

    def __init__(
        self, held: np.ndarray, count: int, free: FreeBlocks, cipher: BlockCipher
    ) -> None:
        self.entries: dict[int, Entry] = {}
        self.writes: dict[int, bytes] = {}
        self.count = count
        self._map = held
        self._free = free
        self._left = len(free)
        self._moved: dict[int, int] = {}  # places of the free blocks that hold others by now
        self._cipher = cipher

    def reserve(self, blocks: int) -> None:
        """Grows the file, if need be, so that `blocks` and the map pages for them are free."""
        while self._left < blocks + 1 + blocks // MAP_ENTRIES:
            self._grow(max(GROWTH, self.count // 16, blocks - self._left))

    def take(self) -> int:
        """A free block drawn at random, so that block numbers do not show the order of writes.

        A step of Fisher and Yates's shuffle, of which only the places that moved are kept.
        """
        place = secrets.randbelow(self._left)
        self._left -= 1
        taken, last = self._at(place), self._at(self._left)
        self._moved[place] = last
        return taken

    def put(self, number: int, stream: int, index: int, content: bytes) -> None:
        """Seals a block. Raises LimitExceeded if it holds less than the content."""
        if len(content) > CONTENT_SIZE:
            raise LimitExceeded("content larger than a block")
        sealed = self._cipher.seal(number, stream, index, content)
        self.writes[number] = sealed
        self.entries[number] = (np.void(sealed[-TAG_SIZE:]), stream, index)

    def release(self, number: int) -> None:
        """Seals a block as a free one."""
        self.put(number, Stream.FREE, 0, b"")
        self._moved[self._left] = number
        self._left += 1

    def seal_pages(self, pages: tuple[MapPage, ...]) -> tuple[MapPage, ...]:
        """Seals each map page that describes a written block; new pages take a free block."""
        result = list(pages)
        while len(result) * MAP_ENTRIES < self.count:
            number = self.take()
            self.entries[number] = (np.void(bytes(TAG_SIZE)), Stream.MAP, len(result))
            self.writes.pop(number, None)
            result.append(MapPage(number, b""))
        dirty: dict[int, list[int]] = {n: [] for n, page in enumerate(result) if not page.tag}
        for number in self.entries:
            dirty.setdefault(number // MAP_ENTRIES, []).append(number)
        for number, changed in dirty.items():
            block = result[number].number
            content = self._page(number, changed)
            sealed = self._cipher.seal(block, Stream.MAP, number, content)
            self.writes[block] = sealed
            result[number] = MapPage(block, sealed[-TAG_SIZE:])
        return tuple(result)

    def _page(self, number: int, changed: list[int]) -> bytes:
        """One page of the map as it will be."""
        page = np.zeros(MAP_ENTRIES, MAP_ENTRY)
        held = self._map[number * MAP_ENTRIES : (number + 1) * MAP_ENTRIES]
        page[: len(held)] = held
        for block in changed:
            page[block - number * MAP_ENTRIES] = self.entries[block]
        return page.tobytes()

    def _at(self, place: int) -> int:
        found = self._moved.get(place)
        return self._free[place] if found is None else found

    def _grow(self, blocks: int) -> None:
        first, self.count = self.count, self.count + blocks
        if -(-self.count // MAP_ENTRIES) > MAX_MAP_PAGES:
            raise LimitExceeded("the vault has reached its largest size")
        for number in range(first, self.count):
            self.release(number)


def grown(held: np.ndarray, pages: int) -> np.ndarray:
    """The map with that many pages; itself if it has as many."""
    length = pages * MAP_ENTRIES
    if len(held) == length:
        return held
    entries = np.zeros(length, MAP_ENTRY)
    known = min(len(held), length)
    entries[:known] = held[:known]
    return entries


def addresses(entries: np.ndarray) -> Iterator[Address]:
    """Stream and index of map entries."""
    return zip(entries["stream"].tolist(), entries["index"].tolist(), strict=True)
