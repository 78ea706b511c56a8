"""A block store in memory: the protocol with nothing else around it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mimir_core.errors import ScrubPending, VaultBusy, VaultDamaged
from mimir_core.storage.handle import BlockStoreHandle
from mimir_core.storage.protocol import BLOCK_SIZE, TAG_SIZE, check_blocks, check_preamble


@dataclass(frozen=True)
class _Version:
    """One committed state."""

    preamble: bytes
    blocks: tuple[bytes, ...]


@dataclass
class MemoryVault:
    """What handles share: the current version, the right to commit, the snapshots in use."""

    current: _Version
    writer: threading.Lock = field(default_factory=threading.Lock)
    changed: threading.Condition = field(default_factory=threading.Condition)
    snapshots: list[_Version] = field(default_factory=list)

    def superseded(self) -> bool:
        """Whether a reader still holds a version that is not the current one."""
        return any(version is not self.current for version in self.snapshots)


class MemoryBlockStore(BlockStoreHandle):
    """A handle on a MemoryVault; handles on one vault behave as processes on one file do."""

    def __init__(self, vault: MemoryVault) -> None:
        super().__init__()
        self.vault = vault
        self._snapshot: _Version | None = None
        self._draft: _Version | None = None

    @classmethod
    def create(cls, preamble: bytes, blocks: Sequence[bytes]) -> MemoryBlockStore:
        """A handle on a new vault. Raises InvalidArgument for a wrong size."""
        check_preamble(preamble)
        check_blocks(blocks)
        return cls(MemoryVault(_Version(preamble, tuple(blocks))))

    @classmethod
    def open(cls, vault: MemoryVault) -> MemoryBlockStore:
        """Another handle on a vault, as `SqliteBlockStore.open` is on a file."""
        return cls(vault)

    def _begin_reading(self) -> None:
        with self.vault.changed:
            self._snapshot = self.vault.current
            self.vault.snapshots.append(self._snapshot)

    def _begin_writing(self, timeout: float) -> None:
        if not self.vault.writer.acquire(timeout=timeout):
            raise VaultBusy("another handle is writing")
        self._draft = self.vault.current

    def _end(self) -> None:
        if self._draft is not None:
            self._draft = None
            self.vault.writer.release()
        if self._snapshot is not None:
            with self.vault.changed:
                self._drop_snapshot(self._snapshot)
                self.vault.changed.notify_all()
            self._snapshot = None

    def _drop_snapshot(self, version: _Version) -> None:
        held = self.vault.snapshots
        del held[next(place for place, other in enumerate(held) if other is version)]

    def _commit(self) -> None:
        if self._draft is not None:
            self.vault.current = self._draft

    def _version(self) -> _Version:
        return self._draft or self._snapshot or self.vault.current

    def _root_tag(self) -> bytes:
        return self._get(0)[-TAG_SIZE:]

    def _count(self) -> int:
        return len(self._version().blocks)

    def _preamble(self) -> bytes:
        return self._version().preamble

    def _get(self, number: int) -> bytes:
        blocks = self._version().blocks
        if not 0 <= number < len(blocks) or len(blocks[number]) != BLOCK_SIZE:
            raise VaultDamaged("a block is missing")
        return blocks[number]

    def _put(self, number: int, block: bytes) -> None:
        version = self._version()
        blocks = (*version.blocks[:number], block, *version.blocks[number + 1 :])
        self._draft = replace(version, blocks=blocks)

    def _append(self, number: int, block: bytes) -> None:
        version = self._version()
        self._draft = replace(version, blocks=(*version.blocks, block))

    def _put_preamble(self, preamble: bytes) -> None:
        self._draft = replace(self._version(), preamble=preamble)

    def _scrub(self, timeout: float) -> None:
        self._begin_writing(timeout)
        try:
            with self.vault.changed:
                if not self.vault.changed.wait_for(lambda: not self.vault.superseded(), timeout):
                    raise ScrubPending("a reader still holds an older snapshot")
        finally:
            self._end()

    def _close(self) -> None:
        self._end()

    def _abandon(self, idle: bool) -> None:
        pass
