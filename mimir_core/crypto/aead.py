"""Authenticated encryption: AES-256-GCM (NIST SP 800-38D) and XChaCha20-Poly1305
(draft-irtf-cfrg-xchacha-03).

Both append a tag of 16 bytes. Neither commits to its key: whoever needs that compares a key
commitment before opening.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt,
)
from nacl.exceptions import CryptoError

KEY_SIZE: Final = 32
TAG_SIZE: Final = 16
XCHACHA_NONCE_SIZE: Final = 24

_GCM_ZERO_NONCE: Final = bytes(12)
_XCHACHA_ZERO_NONCE: Final = bytes(XCHACHA_NONCE_SIZE)


class OpenFailed(Exception):
    """Sealed bytes did not open. Carries no detail, so that callers cannot leak one."""


def aes_gcm_encrypt(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """Seal with AES-256-GCM: `key` of 32 bytes, `nonce` of 12, never twice the same pair."""
    return AESGCM(key).encrypt(nonce, plaintext, aad)


def xchacha_encrypt(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """Seal with XChaCha20-Poly1305: `key` of 32 bytes, `nonce` of 24, never twice the same pair."""
    return crypto_aead_xchacha20poly1305_ietf_encrypt(plaintext, aad, nonce, key)


def xchacha_decrypt(key: bytes, nonce: bytes, sealed: bytes, aad: bytes) -> bytes:
    """Open what `xchacha_encrypt` sealed. Raises `OpenFailed`."""
    if len(sealed) < TAG_SIZE:
        raise OpenFailed
    try:
        return crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, aad, nonce, key)
    except (TypeError, ValueError):
        # A caller's mistake, no forgery; PyNaCl derives these from CryptoError as well.
        raise
    except CryptoError:
        raise OpenFailed from None


def aes_gcm_seal(key: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """Seal with AES-256-GCM under a key of 32 bytes that seals nothing else, ever."""
    # The key seals this one message, so the pair of key and zero nonce cannot come back.
    return aes_gcm_encrypt(key, _GCM_ZERO_NONCE, plaintext, aad)


def aes_gcm_open(key: bytes, sealed: bytes, aad: bytes) -> bytes:
    """Open what `aes_gcm_seal` sealed. Raises `OpenFailed`."""
    try:
        return AESGCM(key).decrypt(_GCM_ZERO_NONCE, sealed, aad)
    except InvalidTag:
        raise OpenFailed from None


def xchacha_seal(key: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """Seal with XChaCha20-Poly1305 under a key of 32 bytes that seals nothing else, ever."""
    # The key seals this one message, so the pair of key and zero nonce cannot come back.
    return xchacha_encrypt(key, _XCHACHA_ZERO_NONCE, plaintext, aad)


def xchacha_open(key: bytes, sealed: bytes, aad: bytes) -> bytes:
    """Open what `xchacha_seal` sealed. Raises `OpenFailed`."""
    return xchacha_decrypt(key, _XCHACHA_ZERO_NONCE, sealed, aad)
