"""The block store protocol, and the shape of what it moves.

A vault is one preamble (plaintext) and blocks of one size, numbered densely from 0. Block 0 is
the root: its last bytes, the tag of its cipher, change with every commit and so name the state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol

from mimir_core.errors import InvalidArgument

BLOCK_SIZE: Final = 16_320
"""Bytes of every sealed block; with SQLite's overhead, one row fills one page of 16 KiB."""

TAG_SIZE: Final = 16
"""Bytes of the AEAD tag that ends a sealed block."""


class BlockStore(Protocol):
    """One handle on a vault's blocks; several handles may share the vault, across processes.

    A handle may be shared by threads: one of them at a time is inside `reading()` or `writing()`,
    the others wait. Every method raises VaultClosed after `close()` and in a forked child,
    VaultReplaced once another file, or none, lies where the vault lay, and StorageFailed (DiskFull,
    VaultReadOnly) when the operating system refuses.
    """

    def reading(self) -> AbstractContextManager[None]:
        """Hold one snapshot for every read by this handle; fixed by the first read at the latest.

        Re-entrant; inside `writing()` it changes nothing.
        """
        ...

    def writing(self, timeout: float) -> AbstractContextManager[None]:
        """Hold the exclusive right to commit; leaving without `commit()` rolls back.

        Raises VaultBusy when another handle or thread still holds it after `timeout` seconds, and
        InvalidArgument inside `reading()` or `writing()`: a snapshot cannot become a writer.
        """
        ...

    def root_tag(self) -> bytes:
        """The last TAG_SIZE bytes of block 0."""
        ...

    def count(self) -> int:
        """The number of blocks; they are numbered 0 to count - 1."""
        ...

    def preamble(self) -> bytes:
        """The plaintext head of the vault."""
        ...

    def read(self, numbers: Sequence[int]) -> list[bytes]:
        """The blocks in the order asked, all of one snapshot.

        Raises VaultDamaged if one is missing or is not BLOCK_SIZE bytes.
        """
        ...

    def commit(
        self,
        writes: Mapping[int, bytes],
        *,
        expected_root_tag: bytes,
        preamble: bytes | None = None,
    ) -> None:
        """Write all or nothing, durable on return; takes the right to commit if not yet held.

        Succeeding or failing, it ends the transaction of an enclosing `writing()`.

        Raises Conflict if the stored root tag is another; InvalidArgument if a block is not
        BLOCK_SIZE bytes, the preamble not 1 to BLOCK_SIZE, or new numbers would leave a gap;
        VaultBusy as `writing()` does. Nothing is written then, as with every error but
        OutcomeUnknown, after which the commit may be found when the vault is opened again.
        """
        ...

    def scrub(self, timeout: float) -> None:
        """Return when no superseded block is left beside the current ones, and that is durable.

        Raises ScrubPending if, after `timeout` seconds, a reader still needs one.
        """
        ...

    def unpinned(self) -> list[str]:
        """What is wrong around preamble and blocks, where no tag reaches, in words."""
        ...

    def close(self) -> None:
        """Let go of the vault; a second call does nothing."""
        ...


def check_blocks(blocks: Iterable[bytes]) -> None:
    """Raise InvalidArgument unless every block has BLOCK_SIZE bytes."""
    if any(len(block) != BLOCK_SIZE for block in blocks):
        raise InvalidArgument(f"a block is {BLOCK_SIZE} bytes")


def check_preamble(preamble: bytes) -> None:
    """Raise InvalidArgument unless the preamble fits a block's place, so that it never overflows.

    A preamble on overflow pages would leave free pages behind when it shrinks.
    """
    if not 1 <= len(preamble) <= BLOCK_SIZE:
        raise InvalidArgument(f"a preamble is 1 to {BLOCK_SIZE} bytes")


def check_dense(numbers: Iterable[int], count: int) -> None:
    """Raise InvalidArgument unless `numbers` extend `count` blocks without a gap."""
    ordered = sorted(numbers)
    new = [number for number in ordered if number >= count]
    if (ordered and ordered[0] < 0) or new != list(range(count, count + len(new))):
        raise InvalidArgument("block numbers must extend the vault without a gap")
