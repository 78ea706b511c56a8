"""Key derivation: HKDF-SHA256 (RFC 5869) and Argon2id version 0x13 (RFC 9106)."""

from __future__ import annotations

import os
import struct
import unicodedata
from dataclasses import dataclass
from enum import Enum
from typing import Final

from argon2.exceptions import HashingError
from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from mimir_core.errors import InvalidArgument, KdfOutOfBounds

ARGON2_VERSION: Final = 0x13
SALT_SIZE: Final = 16
MEMORY_KIB_BOUNDS: Final = (65_536, 1_048_576)
PASSES_BOUNDS: Final = (3, 16)
LANES_BOUNDS: Final = (1, 16)
MAX_WORK_KIB: Final = 4_194_304
"""Memory times passes: what a preamble, which anyone can write, may ask for before it is
authenticated. About five times the default; an attempt takes 1 GiB and a few seconds at most."""

_SHA256: Final = SHA256()
_SETTINGS: Final = struct.Struct("<III4x16s")


def hkdf_extract(salt: bytes, ikm: bytes) -> bytes:
    """HKDF-Extract with SHA-256 (RFC 5869, 2.2): a pseudorandom key of 32 bytes."""
    return HKDF.extract(_SHA256, salt, ikm)


def hkdf_expand(prk: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand with SHA-256 (RFC 5869, 2.3): `length` bytes, 1 to 8,160."""
    return HKDFExpand(_SHA256, length, info).derive(prk)


class KdfProfile(Enum):
    """Named Argon2id costs: memory in KiB, passes, lanes."""

    STANDARD = (262_144, 3, 4)
    INSECURE_FOR_TESTS = (1_024, 1, 1)
    """Below the floor: such a vault opens only for a caller who allows it by name."""


@dataclass(frozen=True, slots=True)
class KdfSettings:
    """Argon2id cost and salt, as written in a preamble (FORMAT.md, 3); nothing here is secret.

    Attributes:
        memory_kib: Memory in KiB.
        passes: Number of passes over the memory.
        lanes: Degree of parallelism.
        salt: 16 random bytes.
    """

    memory_kib: int
    passes: int
    lanes: int
    salt: bytes

    @classmethod
    def draw(cls, profile: KdfProfile) -> KdfSettings:
        """Settings of the profile's cost with a fresh salt."""
        return cls(*profile.value, salt=os.urandom(SALT_SIZE))

    @classmethod
    def decode(cls, data: bytes) -> KdfSettings:
        """Read the 32 bytes that `encode` writes. Checks no bound: see `checked`."""
        return cls(*_SETTINGS.unpack(data))

    def encode(self) -> bytes:
        """The 32 bytes of the preamble from offset 32 to 64."""
        return _SETTINGS.pack(self.memory_kib, self.passes, self.lanes, self.salt)

    def checked(self, *, allow_insecure: bool = False) -> KdfSettings:
        """Return these settings if their cost lies within the bounds of the format.

        Args:
            allow_insecure: Accept exactly the cost of `KdfProfile.INSECURE_FOR_TESTS` as well.

        Raises:
            KdfOutOfBounds: The cost is below the floor or above the ceiling.
        """
        cost = (self.memory_kib, self.passes, self.lanes)
        if allow_insecure and cost == KdfProfile.INSECURE_FOR_TESTS.value:
            return self
        bounds = (MEMORY_KIB_BOUNDS, PASSES_BOUNDS, LANES_BOUNDS)
        within = all(low <= value <= high for value, (low, high) in zip(cost, bounds, strict=True))
        if within and self.memory_kib * self.passes <= MAX_WORK_KIB:
            return self
        raise KdfOutOfBounds(
            f"Argon2id with {self.memory_kib} KiB, {self.passes} passes and {self.lanes} lanes "
            "is outside the bounds of the format"
        )

    def derive(self, passphrase: str) -> bytes:
        """Derive 32 bytes from a passphrase: `Argon2id(UTF-8(NFKC(passphrase)), salt)`.

        Raises:
            InvalidArgument: The passphrase is empty or holds a lone surrogate.
            KdfOutOfBounds: This machine cannot provide the memory.
        """
        try:
            return hash_secret_raw(
                _passphrase_bytes(passphrase),
                self.salt,
                time_cost=self.passes,
                memory_cost=self.memory_kib,
                parallelism=self.lanes,
                hash_len=32,
                type=Type.ID,
                version=ARGON2_VERSION,
            )
        except HashingError:  # its frames hold the passphrase
            raise KdfOutOfBounds(
                f"Argon2id could not get {self.memory_kib} KiB of memory", hint="free some memory"
            ) from None


def _passphrase_bytes(passphrase: str) -> bytes:
    if not isinstance(passphrase, str) or not passphrase:
        raise InvalidArgument("the passphrase is a string that is not empty")
    normalized = unicodedata.normalize("NFKC", passphrase)
    # Looked for instead of left to the codec, whose error would carry the passphrase.
    if any("\ud800" <= character <= "\udfff" for character in normalized):
        raise InvalidArgument("the passphrase holds a lone surrogate")
    return normalized.encode()
