"""The keys of an unlocked vault (FORMAT.md, 4)."""

from __future__ import annotations

from typing import Final, NoReturn, SupportsIndex

from mimir_core.crypto.kdf import hkdf_expand, hkdf_extract
from mimir_core.errors import NotSerializable, VaultClosed

ROOT_KEY_SIZE: Final = 32
VAULT_ID_SIZE: Final = 16


class VaultKeys:
    """Root key of one epoch and the keys derived from it. Shows none of them, is never pickled.

    Args:
        vault_id: 16 bytes.
        epoch: Number of the root key, from 1.
        root_key: 32 random bytes.
    """

    __slots__ = ("_block_key", "_preamble_key", "_root_key", "_wiped", "epoch", "vault_id")

    def __init__(self, vault_id: bytes, epoch: int, root_key: bytes) -> None:
        prk = hkdf_extract(salt=vault_id, ikm=root_key)
        epoch_bytes = epoch.to_bytes(4, "little")
        self.vault_id: Final = vault_id
        self.epoch: Final = epoch
        self._root_key = bytearray(root_key)
        self._preamble_key = bytearray(hkdf_expand(prk, b"mimir/v1/preamble", 32))
        self._block_key = bytearray(hkdf_expand(prk, b"mimir/v1/blocks" + epoch_bytes, 32))
        self._wiped = False

    @property
    def root_key(self) -> bytes:
        """32 bytes, what key slots wrap. Raises `VaultClosed` after `wipe`."""
        return self._read(self._root_key)

    @property
    def preamble_key(self) -> bytes:
        """32 bytes, the key of the preamble's MAC. Raises `VaultClosed` after `wipe`."""
        return self._read(self._preamble_key)

    @property
    def block_key(self) -> bytes:
        """32 bytes, what block keys are derived from. Raises `VaultClosed` after `wipe`."""
        return self._read(self._block_key)

    def wipe(self) -> None:
        """Overwrite the keys and refuse to give them out again.

        Best effort: the interpreter and the libraries below may have left copies in freed memory.
        """
        self._wiped = True
        for key in (self._root_key, self._preamble_key, self._block_key):
            key[:] = bytes(len(key))

    def _read(self, key: bytearray) -> bytes:
        copy = bytes(key)
        # Looked at after copying: `wipe` in another thread raises the flag before it zeroes, so
        # that a zeroed key is never handed out.
        if self._wiped:
            raise VaultClosed("the vault is locked")
        return copy

    def __repr__(self) -> str:
        return "VaultKeys(<hidden>)"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise NotSerializable("keys are neither copied nor pickled")
