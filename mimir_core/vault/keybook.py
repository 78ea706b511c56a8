"""The keybook in memory: an entry of 32 bytes for each node, in pieces as blocks hold them."""

from __future__ import annotations

from mimir_core.vault.layout import KEY_ENTRIES

ENTRY_SIZE = 32
_PIECE = ENTRY_SIZE * KEY_ENTRIES


class Keybook:
    """Entries by ordinal. It grows by pieces, so that none is ever copied, and all can be wiped."""

    def __init__(self) -> None:
        self._pieces: list[bytearray] = []

    def __len__(self) -> int:
        """Entries up to the first piece that is not full."""
        total = 0
        for piece in self._pieces:
            total += len(piece) // ENTRY_SIZE
            if len(piece) < _PIECE:
                break
        return total

    def entry(self, ordinal: int) -> bytes:
        """A node's entry: its secret, or what is left of it once it is erased."""
        index, row = divmod(ordinal, KEY_ENTRIES)
        return bytes(self._pieces[index][ENTRY_SIZE * row : ENTRY_SIZE * (row + 1)])

    def block(self, index: int) -> bytes:
        """The content of one block of the keybook; empty where it has none yet."""
        return bytes(self._pieces[index]) if index < len(self._pieces) else b""

    def put(self, index: int, content: bytes) -> None:
        """Takes over a block's content; the blocks before it are there."""
        if index == len(self._pieces):
            self._pieces.append(bytearray(content))
        else:
            self._pieces[index][:] = content

    def append(self, entries: bytes) -> None:
        """Adds the entries of new nodes."""
        done = 0
        while done < len(entries):
            if not self._pieces or len(self._pieces[-1]) == _PIECE:
                self._pieces.append(bytearray())
            part = entries[done : done + _PIECE - len(self._pieces[-1])]
            self._pieces[-1] += part
            done += len(part)

    def set(self, ordinal: int, entry: bytes) -> None:
        """Replaces a node's entry."""
        index, row = divmod(ordinal, KEY_ENTRIES)
        self._pieces[index][ENTRY_SIZE * row : ENTRY_SIZE * (row + 1)] = entry

    def wipe(self) -> None:
        """Overwrites every entry, as far as Python lets us."""
        for piece in self._pieces:
            piece[:] = bytes(len(piece))
