"""Streams of authenticated blocks over a block store, committed all at once.

The container holds the root and the map in memory, reads blocks under the tags the map pins, and
turns a set of changed blocks into one commit. It knows nothing of memories.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256

import numpy as np

from mimir_core.crypto.aead import TAG_SIZE, OpenFailed
from mimir_core.crypto.blocks import BlockCipher
from mimir_core.crypto.keys import VaultKeys
from mimir_core.errors import VaultDamaged
from mimir_core.storage import BlockStore
from mimir_core.vault.change import Address, Change, FreeBlocks, addresses, grown
from mimir_core.vault.layout import GROWTH, MAP_ENTRIES, MAP_ENTRY, MapPage, Root, Stream

__all__ = ["Address", "Container"]

_ROOT_BLOCK = 0
_NO_PAGE = np.zeros(MAP_ENTRIES, MAP_ENTRY)
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
        self._free = FreeBlocks()
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
        pages = dict.fromkeys(range(len(root.pages), len(self.root.pages)), _NO_PAGE)
        for number, page in enumerate(root.pages):
            if number >= len(self.root.pages) or page != self.root.pages[number]:
                pages[number] = self._read_page(number, page)
        changed = self._adopt_pages(root, pages)
        self._drop_cached(changed)
        self.tag, self.root = tag, root
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

    def unpinned(self) -> list[str]:
        """What is wrong around the blocks, where no tag reaches."""
        return self._store.unpinned()

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
        change = Change(self._map, self.root.blocks, self._free, self._cipher)
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
        self.tag, self.root = sealed[-TAG_SIZE:], root
        self._adopt(change, puts, drops)

    # Internals

    def _adopt(
        self, change: Change, puts: Iterable[Address], drops: Iterable[Address]
    ) -> None:
        """Takes over what a commit changed, and nothing else is touched."""
        for address in drops:
            self._numbers.pop(address, None)
        self._drop_cached((*puts, *drops))
        self._map = grown(self._map, len(self.root.pages))
        for number, entry in change.entries.items():
            self._map[number] = entry
            if int(entry[1]) == Stream.FREE:
                self._free.add(number)
            else:
                self._free.discard(number)
                self._numbers[int(entry[1]), int(entry[2])] = number

    def _adopt_pages(self, root: Root, pages: dict[int, np.ndarray]) -> set[Address]:
        """Takes over map pages that others wrote; returns the addresses whose blocks changed."""
        changed: set[Address] = set()
        self._map = grown(self._map, max(len(root.pages), len(self.root.pages)))
        for page, fresh in pages.items():
            held = self._map[page * MAP_ENTRIES : (page + 1) * MAP_ENTRIES]
            words = MAP_ENTRY.itemsize // 8
            differs = held.view(np.uint64) != fresh.view(np.uint64)
            places = np.flatnonzero(differs.reshape(-1, words).any(axis=1))
            changed |= self._patch(page * MAP_ENTRIES + places, held[places], fresh[places])
            held[places] = fresh[places]
        for number in range(root.blocks, self.root.blocks):  # an older, shorter vault was put back
            self._free.discard(number)
        self._map = grown(self._map, len(root.pages))
        return changed

    def _patch(
        self, numbers: np.ndarray, before: np.ndarray, after: np.ndarray
    ) -> set[Address]:
        """Moves blocks from their old addresses to new ones; returns both."""
        old, new = list(addresses(before)), list(addresses(after))
        for number, address in zip(numbers.tolist(), old, strict=True):
            if self._numbers.get(address) == number:
                del self._numbers[address]
        for number, address in zip(numbers.tolist(), new, strict=True):
            if address[0] == Stream.FREE:
                self._free.add(number)
            else:
                self._free.discard(number)
                self._numbers[address] = number
        return {*old, *new}

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
