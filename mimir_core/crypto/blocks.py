"""The blocks of the container (FORMAT.md, 5): pieces of one size, sealed for one place."""

from __future__ import annotations

import hmac
import os
import struct
from typing import Final

from mimir_core.crypto.aead import TAG_SIZE, OpenFailed, aes_gcm_open, aes_gcm_seal
from mimir_core.crypto.kdf import hkdf_expand
from mimir_core.crypto.keys import VaultKeys
from mimir_core.errors import LimitExceeded

BLOCK_SIZE: Final = 16_320
SALT_SIZE: Final = 16
BODY_SIZE: Final = BLOCK_SIZE - SALT_SIZE - TAG_SIZE
HEADER_SIZE: Final = 32
CONTENT_SIZE: Final = BODY_SIZE - HEADER_SIZE

_HEADER: Final = struct.Struct("<III20x")
_BODY: Final = struct.Struct(f"<III20x{CONTENT_SIZE}s")
_NUMBER: Final = struct.Struct("<Q")
_LABEL: Final = b"mimir/v1/block"


def block_tag(sealed: bytes) -> bytes:
    """The tag of a sealed block, 16 bytes: what the map pins."""
    return sealed[-TAG_SIZE:]


class BlockCipher:
    """Seals and opens the blocks of one vault and epoch."""

    __slots__ = ("_aad", "_keys")

    def __init__(self, keys: VaultKeys) -> None:
        self._keys = keys
        self._aad = _LABEL + keys.vault_id + keys.epoch.to_bytes(4, "little")

    def seal(self, number: int, stream: int, index: int, content: bytes | bytearray) -> bytes:
        """Seal up to 16,256 bytes of content into the 16,320 bytes of block `number`.

        Raises:
            LimitExceeded: The content is longer than a block holds.
            VaultClosed: The keys were wiped.
        """
        if len(content) > CONTENT_SIZE:
            raise LimitExceeded(f"a block holds {CONTENT_SIZE} bytes, not {len(content)}")
        body = _BODY.pack(stream, index, len(content), content)
        salt = os.urandom(SALT_SIZE)
        # The fresh salt gives a key of its own to this one seal.
        return salt + aes_gcm_seal(self._key(salt), body, self._aad + _NUMBER.pack(number))

    def open(self, number: int, sealed: bytes, *, tag: bytes | None) -> tuple[int, int, memoryview]:
        """Open block `number` and return its stream, its index and its content.

        Args:
            number: Where the block was read from.
            sealed: Its bytes.
            tag: The tag that the map pins; None for the root, whose tag stands nowhere.

        Raises:
            OpenFailed: Not the pinned block, not sealed for this place, or changed.
            VaultClosed: The keys were wiped.
        """
        if tag is not None and not hmac.compare_digest(block_tag(sealed), tag):
            raise OpenFailed
        key = self._key(sealed[:SALT_SIZE])
        body = aes_gcm_open(key, sealed[SALT_SIZE:], self._aad + _NUMBER.pack(number))
        stream, index, length = _HEADER.unpack_from(body)
        if length > CONTENT_SIZE:
            raise OpenFailed
        return stream, index, memoryview(body)[HEADER_SIZE : HEADER_SIZE + length]

    def open_content(
        self, number: int, stream: int, index: int, tag: bytes, sealed: bytes
    ) -> memoryview:
        """Open block `number`, which the map says is part `index` of `stream`.

        Raises:
            OpenFailed: Not the pinned block, not sealed for this place, or changed.
            VaultClosed: The keys were wiped.
        """
        found_stream, found_index, content = self.open(number, sealed, tag=tag)
        if (found_stream, found_index) != (stream, index):
            raise OpenFailed
        return content

    def _key(self, salt: bytes) -> bytes:
        return hkdf_expand(self._keys.block_key, _LABEL + salt, 32)
