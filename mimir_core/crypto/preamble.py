"""The preamble (FORMAT.md, 3): the plaintext head of a vault, which wraps its root key.

Everything in it is an attacker's input until its MAC is checked, and the MAC can be checked only
once the root key is known: bounds come before derivation, and a slot is bound to what it stands in.
"""

from __future__ import annotations

import hmac
import os
import secrets
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mimir_core.crypto.aead import OpenFailed
from mimir_core.crypto.kdf import KdfProfile, KdfSettings
from mimir_core.crypto.keys import ROOT_KEY_SIZE, VAULT_ID_SIZE, VaultKeys
from mimir_core.crypto.slots import (
    SLOT_SIZE,
    Credential,
    PassphraseCredential,
    SlotKind,
    SlotPlace,
    open_slot,
    seal_slot,
    unused_slot,
)
from mimir_core.errors import CannotUnlock, NotAVault, UnsupportedFormat, VaultDamaged

MAGIC: Final = b"MIMIR\0\0\0"
FORMAT_VERSION: Final = 1
SLOT_COUNT: Final = 8
PREAMBLE_SIZE: Final = 11_360

_HEAD: Final = struct.Struct("<8sHHI16s32s")
_MAC_OFFSET: Final = _HEAD.size + SLOT_COUNT * SLOT_SIZE


@dataclass(frozen=True, slots=True)
class Preamble:
    """A preamble that was read, but not authenticated: `unlock` does that.

    Attributes:
        vault_id: 16 bytes.
        epoch: Number of the root key.
        settings: Argon2id cost and salt; `KdfSettings.checked` before use.
        raw: All 11,360 bytes.
    """

    vault_id: bytes
    epoch: int
    settings: KdfSettings
    raw: bytes

    @classmethod
    def parse(cls, raw: bytes) -> Preamble:
        """Read a preamble.

        Raises:
            NotAVault: Magic or length are not those of a vault.
            UnsupportedFormat: The format version is another one.
        """
        if not raw.startswith(MAGIC) or len(raw) < _HEAD.size:
            raise NotAVault("the file is not a Mimir vault")
        _, version, _, epoch, vault_id, settings = _HEAD.unpack_from(raw)
        if version != FORMAT_VERSION:
            raise UnsupportedFormat(f"the vault has format version {version}")
        if len(raw) != PREAMBLE_SIZE:
            raise NotAVault("the preamble does not have the length of a vault's")
        return cls(vault_id, epoch, KdfSettings.decode(settings), raw)

    @staticmethod
    def create(
        credential: Credential, profile: KdfProfile = KdfProfile.STANDARD
    ) -> tuple[bytes, VaultKeys, bytes]:
        """Draw a new vault's id and root key, and wrap the key for one credential.

        Returns:
            The preamble of 11,360 bytes, the keys, and the kinds of the eight slots, a byte each.

        Raises:
            InvalidArgument: The credential is a passphrase that cannot be used.
        """
        keys = VaultKeys(os.urandom(VAULT_ID_SIZE), epoch=1, root_key=os.urandom(ROOT_KEY_SIZE))
        raw, number = _compose(keys, KdfSettings.draw(profile), credential, kept={})
        return raw, keys, _kinds({number: credential.kind})

    def place(self, number: int) -> SlotPlace:
        """What the slot of that number is bound to."""
        return SlotPlace(self.vault_id, self.epoch, self.raw[32:64], number)

    def slot(self, number: int) -> bytes:
        """The 1,408 bytes of one slot."""
        start = _HEAD.size + number * SLOT_SIZE
        return self.raw[start : start + SLOT_SIZE]

    def authenticate(self, keys: VaultKeys) -> None:
        """Raise `VaultDamaged` unless the MAC over the preamble is that of these keys."""
        mac = hmac.digest(keys.preamble_key, self.raw[:_MAC_OFFSET], "sha256")
        if not hmac.compare_digest(mac, self.raw[_MAC_OFFSET:]):
            raise VaultDamaged("the preamble was changed")


def unlock(raw: bytes, credential: Credential, *, allow_insecure: bool = False) -> VaultKeys:
    """Find the slot that answers to a credential and check the whole preamble with its key.

    Args:
        raw: The preamble's bytes.
        credential: What unlocks the vault.
        allow_insecure: Accept the cost of `KdfProfile.INSECURE_FOR_TESTS`.

    Raises:
        NotAVault: The bytes are not a preamble.
        UnsupportedFormat: Written in another format version.
        KdfOutOfBounds: The Argon2id cost is outside the bounds; nothing was derived.
        CannotUnlock: No slot opened, for whatever reason.
        VaultDamaged: A slot opened, but the preamble around it was changed.
        InvalidArgument: The credential is a passphrase that cannot be used.
    """
    preamble = Preamble.parse(raw)
    ikm = credential.ikm(preamble.settings.checked(allow_insecure=allow_insecure))
    keys = VaultKeys(preamble.vault_id, preamble.epoch, _unwrap(preamble, credential.kind, ikm))
    preamble.authenticate(keys)
    return keys


def change_passphrase(
    raw: bytes,
    keys: VaultKeys,
    credential: PassphraseCredential,
    kinds: bytes,
    profile: KdfProfile = KdfProfile.STANDARD,
) -> tuple[bytes, bytes]:
    """Wrap the root key for a new passphrase and drop the old one; all other kinds stay.

    Slots are bound to the Argon2id settings. While another kind is in use they therefore stay as
    they are; else cost and salt are drawn anew. Unused slots are drawn anew in any case, so that
    two copies of a preamble do not show which slot was in use.

    Args:
        raw: The present preamble.
        keys: The vault's keys.
        credential: The new passphrase.
        kinds: The kinds of the eight slots, from the root.
        profile: Argon2id cost from now on.

    Returns:
        The new preamble, and the new kinds of its slots.

    Raises:
        InvalidArgument: The passphrase cannot be used.
        VaultDamaged: The present preamble does not belong to these keys.
    """
    preamble = Preamble.parse(raw)
    preamble.authenticate(keys)
    replaced = (SlotKind.UNUSED, SlotKind.PASSPHRASE)
    others = {number: kind for number, kind in enumerate(kinds) if kind not in replaced}
    settings = preamble.settings if others else KdfSettings.draw(profile)
    kept = {number: preamble.slot(number) for number in others}
    new_raw, number = _compose(keys, settings, credential, kept)
    return new_raw, _kinds(others | {number: credential.kind})


def _unwrap(preamble: Preamble, kind: int, ikm: bytes) -> bytes:
    for number in range(SLOT_COUNT):
        try:
            return open_slot(preamble.place(number), kind, ikm, preamble.slot(number))
        except OpenFailed:
            continue
    raise CannotUnlock("the passphrase opens no key slot")


def _compose(
    keys: VaultKeys, settings: KdfSettings, credential: Credential, kept: Mapping[int, bytes]
) -> tuple[bytes, int]:
    """A preamble with the kept slots and a new one for the credential; the new one's number."""
    chosen = secrets.choice([number for number in range(SLOT_COUNT) if number not in kept])
    place = SlotPlace(keys.vault_id, keys.epoch, settings.encode(), chosen)
    slots = [kept[n] if n in kept else unused_slot() for n in range(SLOT_COUNT)]
    slots[chosen] = seal_slot(place, credential.kind, credential.ikm(settings), keys.root_key)
    head = _HEAD.pack(MAGIC, FORMAT_VERSION, SLOT_COUNT, keys.epoch, keys.vault_id, place.settings)
    body = head + b"".join(slots)
    return body + hmac.digest(keys.preamble_key, body, "sha256"), chosen


def _kinds(used: Mapping[int, int]) -> bytes:
    return bytes(used.get(number, SlotKind.UNUSED) for number in range(SLOT_COUNT))
