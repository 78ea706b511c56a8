"""The sealed graph of one vector space (FORMAT.md, 11)."""

from __future__ import annotations

import os
from typing import Final

from mimir_core.crypto.aead import KEY_SIZE, aes_gcm_open, aes_gcm_seal

_LABEL: Final = b"mimir/v1/graph"


def seal_graph(space: int, data: bytes) -> tuple[bytes, bytes]:
    """Seal a graph as one piece; return its key of 32 bytes and the sealed bytes (16 more)."""
    # The key is drawn for this one piece.
    key = os.urandom(KEY_SIZE)
    return key, aes_gcm_seal(key, data, _aad(space))


def open_graph(key: bytes, space: int, sealed: bytes) -> bytes:
    """Open the graph of a vector space. Raises `OpenFailed`."""
    return aes_gcm_open(key, sealed, _aad(space))


def _aad(space: int) -> bytes:
    return _LABEL + space.to_bytes(4, "little")
