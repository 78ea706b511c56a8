"""Frozen values of every derivation in FORMAT.md, built here a second time from its equations.

The second implementation below derives with `hashlib` and `hmac` alone; only the ciphers, which
`test_aead.py` holds against Wycheproof, are shared. A vector that changes means that vaults written
before no longer open: change the format version instead.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from pathlib import Path
from typing import Any

from mimir_core.crypto import nodes
from mimir_core.crypto.aead import aes_gcm_encrypt, xchacha_encrypt
from mimir_core.crypto.blocks import BlockCipher
from mimir_core.crypto.graph import open_graph
from mimir_core.crypto.kdf import KdfSettings
from mimir_core.crypto.keys import VaultKeys
from mimir_core.crypto.nodes import SealedParts
from mimir_core.crypto.preamble import unlock
from mimir_core.crypto.slots import PassphraseCredential, SlotPlace, open_slot

VECTORS = Path(__file__).parent / "vectors"
Fields = dict[str, Any]


def load(name: str) -> Fields:
    """A vector; fields given as {"hex": …} come as bytes."""
    raw: Fields = json.loads((VECTORS / f"{name}.json").read_text())
    return {
        key: bytes.fromhex(value["hex"]) if isinstance(value, dict) else value
        for key, value in raw.items()
    }


def extract(salt: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt, ikm, "sha256")


def expand(prk: bytes, info: bytes, length: int) -> bytes:
    okm, block = b"", b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.digest(prk, block + info + bytes([counter]), "sha256")
        okm += block
    return okm[:length]


def derived_keys(v: Fields) -> tuple[bytes, bytes]:
    prk = extract(v["vault_id"], v["root_key"])
    preamble_key = expand(prk, b"mimir/v1/preamble", 32)
    return preamble_key, expand(prk, b"mimir/v1/blocks" + struct.pack("<I", v["epoch"]), 32)


def built_slot(v: Fields) -> bytes:
    """The slot of a vector, whose settings and ikm are given."""
    aad = b"mimir/v1/slot" + bytes([v["kind"], v["number"]]) + v["vault_id"]
    aad += struct.pack("<I", v["epoch"]) + v["settings"]
    aad += hashlib.sha256(v["extension"]).digest()
    okm = expand(extract(v["vault_id"] + v["slot_salt"], v["ikm"]), aad, 64)
    wrapped = xchacha_encrypt(okm[:32], v["nonce"], v["root_key"], aad)
    return bytes(v["slot_salt"] + okm[32:] + v["nonce"] + wrapped + v["extension"])


def built_preamble(v: Fields) -> bytes:
    """The preamble of a vector; unused slots repeat their number in every byte."""
    slots = [bytes([number]) * 1_408 for number in range(8)]
    slots[v["number"]] = built_slot(v)
    head = b"MIMIR\0\0\0" + struct.pack("<HHI", 1, 8, v["epoch"]) + v["vault_id"]
    body = bytes(head + v["settings"] + b"".join(slots))
    return body + hmac.digest(derived_keys(v)[0], body, "sha256")


def built_block(v: Fields) -> bytes:
    key = expand(derived_keys(v)[1], b"mimir/v1/block" + v["salt"], 32)
    body = struct.pack("<III", v["stream"], v["index"], len(v["content"])) + bytes(20)
    body += v["content"] + bytes(16_256 - len(v["content"]))
    aad = b"mimir/v1/block" + v["vault_id"] + struct.pack("<IQ", v["epoch"], v["number"])
    return bytes(v["salt"] + aes_gcm_encrypt(key, bytes(12), body, aad))


def test_frozen_keys() -> None:
    """Preamble key and block key follow from vault id, epoch and root key."""
    v = load("keys")
    keys = VaultKeys(v["vault_id"], v["epoch"], v["root_key"])
    expected = (v["preamble_key"], v["block_key"])
    assert derived_keys(v) == expected
    assert (keys.preamble_key, keys.block_key) == expected


def test_frozen_slot() -> None:
    """A slot built from the equations is the frozen one, and opens."""
    v = load("slot")
    place = SlotPlace(v["vault_id"], v["epoch"], v["settings"], v["number"])
    assert built_slot(v) == v["slot"]
    assert open_slot(place, v["kind"], v["ikm"], v["slot"]) == v["root_key"]


def test_frozen_preamble() -> None:
    """A preamble built from the equations is the frozen one, and its passphrase unlocks it."""
    v = load("preamble")
    settings = KdfSettings(v["memory_kib"], v["passes"], v["lanes"], v["argon2_salt"])
    raw = built_preamble(v)
    assert settings.encode() == v["settings"]
    assert settings.derive(v["passphrase"]) == v["ikm"]
    assert raw[-32:] == v["mac"]
    assert hashlib.sha256(raw).digest() == v["sha256"]
    keys = unlock(raw, PassphraseCredential(v["passphrase"]), allow_insecure=True)
    assert keys.root_key == v["root_key"]


def test_frozen_block() -> None:
    """A block built from the equations has the frozen digest and tag, and opens."""
    v = load("block")
    sealed = built_block(v)
    assert sealed[-16:] == v["tag"]
    assert hashlib.sha256(sealed).digest() == v["sha256"]
    cipher = BlockCipher(VaultKeys(v["vault_id"], v["epoch"], v["root_key"]))
    content = cipher.open_content(v["number"], v["stream"], v["index"], v["tag"], sealed)
    assert bytes(content) == v["content"]


def test_frozen_node() -> None:
    """Keys, commitment, sealed parts and id of a node are the frozen ones, and the parts open."""
    v = load("node")
    uid, secret = v["uid"], v["secret"]
    okm = expand(secret, b"mimir/v1/node" + uid, 128)
    assert okm == v["link_key"] + v["metadata_key"] + v["payload_key"] + v["commitment"]
    parts = SealedParts(
        uid,
        okm[96:],
        xchacha_encrypt(okm[:32], bytes(24), v["link"], b"mimir/v1/link" + uid),
        xchacha_encrypt(okm[32:64], bytes(24), v["metadata"], b"mimir/v1/metadata" + uid),
        aes_gcm_encrypt(okm[64:96], bytes(12), v["payload"], b"mimir/v1/payload" + uid),
    )
    frozen = [v["commitment"], v["sealed_link"], v["sealed_metadata"], v["sealed_payload"]]
    assert list(parts[1:]) == frozen
    digests = b"".join(hashlib.sha256(part).digest() for part in frozen[1:])
    node_id = hashlib.sha256(b"mimir/v1/node-id" + uid + v["commitment"] + digests).digest()
    assert node_id == v["node_id"] == parts.node_id
    assert nodes.commitment_matches(secret, uid, v["commitment"])
    assert nodes.erased_secret(secret, uid) == v["link_key"]
    assert nodes.open_link(secret, uid, parts.link) == v["link"]
    assert nodes.open_erased_link(v["link_key"], uid, parts.link) == v["link"]
    assert nodes.open_metadata(secret, uid, parts.metadata) == v["metadata"]
    assert nodes.open_payload(secret, uid, parts.payload) == v["payload"]


def test_frozen_graph() -> None:
    """A graph sealed from the equation is the frozen one, and opens."""
    v = load("graph")
    aad = b"mimir/v1/graph" + struct.pack("<I", v["space"])
    assert aes_gcm_encrypt(v["key"], bytes(12), v["data"], aad) == v["sealed"]
    assert open_graph(v["key"], v["space"], v["sealed"]) == v["data"]
