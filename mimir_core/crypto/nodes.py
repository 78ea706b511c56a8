"""The sealed parts of one memory (FORMAT.md, 7).

Every key of a node comes from a secret N drawn for it. N lives in the keybook; replaced there by
the link key, it leaves the link readable and everything else sealed for good.
"""

from __future__ import annotations

import hmac
import os
from hashlib import sha256
from typing import Final, NamedTuple

from mimir_core.crypto.aead import aes_gcm_open, aes_gcm_seal, xchacha_open, xchacha_seal
from mimir_core.crypto.kdf import hkdf_expand

NODE_SECRET_SIZE: Final = 32
UID_SIZE: Final = 16

_LINK: Final = b"mimir/v1/link"
_METADATA: Final = b"mimir/v1/metadata"
_PAYLOAD: Final = b"mimir/v1/payload"


class SealedParts(NamedTuple):
    """What the log keeps of a node: uid of 16 bytes, commitment of 32, three sealed parts."""

    uid: bytes
    commitment: bytes
    link: bytes
    metadata: bytes
    payload: bytes

    @property
    def node_id(self) -> bytes:
        """SHA-256 over the sealed node, 32 bytes; the same before and after erasure."""
        uid, commitment, link, metadata, payload = self
        digests = sha256(link).digest() + sha256(metadata).digest() + sha256(payload).digest()
        return sha256(b"mimir/v1/node-id" + uid + commitment + digests).digest()


def seal_node(link: bytes, metadata: bytes, payload: bytes) -> tuple[SealedParts, bytes]:
    """Seal a node's three parts under a fresh secret; return them and the secret of 32 bytes."""
    # uid and secret are drawn here and each key seals one part: none of them is used twice.
    uid, secret = os.urandom(UID_SIZE), os.urandom(NODE_SECRET_SIZE)
    okm = _expand(secret, uid, 128)
    parts = SealedParts(
        uid,
        commitment=okm[96:],
        link=xchacha_seal(okm[:32], link, _LINK + uid),
        metadata=xchacha_seal(okm[32:64], metadata, _METADATA + uid),
        payload=aes_gcm_seal(okm[64:96], payload, _PAYLOAD + uid),
    )
    return parts, secret


def open_link(secret: bytes, uid: bytes, sealed: bytes) -> bytes:
    """Open the link of a live node. Raises `OpenFailed`."""
    return open_erased_link(erased_secret(secret, uid), uid, sealed)


def open_metadata(secret: bytes, uid: bytes, sealed: bytes) -> bytes:
    """Open the metadata of a live node. Raises `OpenFailed`."""
    return xchacha_open(_expand(secret, uid, 64)[32:], sealed, _METADATA + uid)


def open_payload(secret: bytes, uid: bytes, sealed: bytes) -> bytes:
    """Open the payload of a live node. Raises `OpenFailed`."""
    return aes_gcm_open(_expand(secret, uid, 96)[64:], sealed, _PAYLOAD + uid)


def commitment_matches(secret: bytes, uid: bytes, commitment: bytes) -> bool:
    """Whether a node's commitment is that of its secret, in constant time."""
    return hmac.compare_digest(_expand(secret, uid, 128)[96:], commitment)


def erased_secret(secret: bytes, uid: bytes) -> bytes:
    """The link key, 32 bytes: what the keybook keeps of an erased node."""
    return _expand(secret, uid, 32)


def open_erased_link(entry: bytes, uid: bytes, sealed: bytes) -> bytes:
    """Open the link of an erased node with what the keybook kept. Raises `OpenFailed`."""
    return xchacha_open(entry, sealed, _LINK + uid)


def _expand(secret: bytes, uid: bytes, length: int) -> bytes:
    """The first `length` bytes of the node's 128: link key, metadata key, payload key, commitment.

    HKDF-Expand yields the same bytes whatever length is asked for, so opening asks for no more
    than it needs.
    """
    return hkdf_expand(secret, b"mimir/v1/node" + uid, length)
