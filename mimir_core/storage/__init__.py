"""Moves sealed, equal-sized blocks between the vault and a disk; never sees plaintext or a key."""

from mimir_core.storage.protocol import BLOCK_SIZE, TAG_SIZE, BlockStore
from mimir_core.storage.sqlite import SqliteBlockStore

__all__ = ["BLOCK_SIZE", "TAG_SIZE", "BlockStore", "SqliteBlockStore"]
