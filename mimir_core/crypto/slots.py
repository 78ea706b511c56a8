"""Key slots (FORMAT.md, 3.1): each wraps the root key for one credential.

A new kind of credential is a member of `SlotKind` and a class with `kind` and `ikm`; the format and
the functions below stay as they are.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
from enum import IntEnum
from typing import Final, NamedTuple, NoReturn, Protocol, SupportsIndex

from mimir_core.crypto.aead import (
    TAG_SIZE,
    XCHACHA_NONCE_SIZE,
    OpenFailed,
    xchacha_decrypt,
    xchacha_encrypt,
)
from mimir_core.crypto.kdf import KdfSettings, hkdf_expand, hkdf_extract
from mimir_core.crypto.keys import ROOT_KEY_SIZE
from mimir_core.errors import NotSerializable

SLOT_SIZE: Final = 1_408
SLOT_SALT_SIZE: Final = 32

_SLOT: Final = struct.Struct(
    f"{SLOT_SALT_SIZE}s32s{XCHACHA_NONCE_SIZE}s{ROOT_KEY_SIZE + TAG_SIZE}s1272s"
)
_AAD: Final = struct.Struct("<13sBB16sI32s32s")


class SlotKind(IntEnum):
    """What a slot answers to. Kept in the sealed root, never in the slot itself."""

    UNUSED = 0
    PASSPHRASE = 1


class Credential(Protocol):
    """Something that unlocks a vault."""

    @property
    def kind(self) -> SlotKind:
        """The kind of slot this credential opens."""

    def ikm(self, settings: KdfSettings) -> bytes:
        """The secret that a slot's keys are derived from, under the settings of the preamble."""


class PassphraseCredential:
    """A passphrase, stretched with Argon2id. Shows nothing, is never pickled."""

    __slots__ = ("_passphrase",)

    kind: Final = SlotKind.PASSPHRASE

    def __init__(self, passphrase: str) -> None:
        self._passphrase = passphrase

    def ikm(self, settings: KdfSettings) -> bytes:
        """32 bytes from Argon2id. Raises `InvalidArgument`, `KdfOutOfBounds`."""
        return settings.derive(self._passphrase)

    def __repr__(self) -> str:
        return "PassphraseCredential(<hidden>)"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise NotSerializable("credentials are neither copied nor pickled")


class SlotPlace(NamedTuple):
    """Where a slot stands, which its seal is bound to.

    Attributes:
        vault_id: 16 bytes.
        epoch: Number of the root key.
        settings: Bytes 32 to 64 of the preamble.
        number: Number of the slot, 0 to 7.
    """

    vault_id: bytes
    epoch: int
    settings: bytes
    number: int


def unused_slot() -> bytes:
    """1,408 random bytes, which nobody can tell from a used slot."""
    return os.urandom(SLOT_SIZE)


def seal_slot(place: SlotPlace, kind: int, ikm: bytes, root_key: bytes) -> bytes:
    """Wrap a root key of 32 bytes into the 1,408 bytes of a slot."""
    salt, nonce = os.urandom(SLOT_SALT_SIZE), os.urandom(XCHACHA_NONCE_SIZE)
    extension = os.urandom(SLOT_SIZE - 136)
    aad = _aad(place, kind, extension)
    wrap_key, commitment = _derive(place, salt, ikm, aad)
    # The fresh slot salt gives a wrap key of its own; the random nonce guards it once more.
    wrapped = xchacha_encrypt(wrap_key, nonce, root_key, aad)
    return _SLOT.pack(salt, commitment, nonce, wrapped, extension)


def open_slot(place: SlotPlace, kind: int, ikm: bytes, slot: bytes) -> bytes:
    """Unwrap the root key of 32 bytes, if the slot commits to the key derived from `ikm`.

    The commitment keeps one slot from answering to several passphrases (Len, Grubbs, Ristenpart,
    "Partitioning Oracle Attacks", USENIX Security 2021).

    Raises:
        OpenFailed: The slot is of another kind or credential, or was changed.
    """
    salt, commitment, nonce, wrapped, extension = _SLOT.unpack(slot)
    aad = _aad(place, kind, extension)
    wrap_key, expected = _derive(place, salt, ikm, aad)
    if not hmac.compare_digest(commitment, expected):
        raise OpenFailed
    return xchacha_decrypt(wrap_key, nonce, wrapped, aad)


def _aad(place: SlotPlace, kind: int, extension: bytes) -> bytes:
    digest = hashlib.sha256(extension).digest()
    return _AAD.pack(
        b"mimir/v1/slot", kind, place.number, place.vault_id, place.epoch, place.settings, digest
    )


def _derive(place: SlotPlace, salt: bytes, ikm: bytes, aad: bytes) -> tuple[bytes, bytes]:
    """Wrap key and commitment of a slot."""
    okm = hkdf_expand(hkdf_extract(place.vault_id + salt, ikm), aad, 64)
    return okm[:32], okm[32:]
