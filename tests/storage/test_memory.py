"""The in-memory engine against the contract."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .conformance import BlockStoreConformance, Engine
from .memory import MemoryBlockStore


class MemoryEngine:
    """Vaults in memory."""

    def __init__(self) -> None:
        self.handles: list[MemoryBlockStore] = []

    def create(self, preamble: bytes, blocks: list[bytes]) -> MemoryBlockStore:
        """A handle on a new vault."""
        self.handles.append(MemoryBlockStore.create(preamble, blocks))
        return self.handles[-1]

    def open(self) -> MemoryBlockStore:
        """Another handle on the vault made last."""
        self.handles.append(MemoryBlockStore.open(self.handles[-1].vault))
        return self.handles[-1]

    def close(self) -> None:
        """Close every handle given out."""
        for handle in self.handles:
            handle.close()


class TestMemoryBlockStore(BlockStoreConformance):
    """Every behaviour of the contract."""

    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        """Vaults in memory."""
        engine = MemoryEngine()
        yield engine
        engine.close()
