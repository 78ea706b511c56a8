"""Authenticated encryption against Project Wycheproof, and how openings fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimir_core.crypto import aead
from mimir_core.crypto.aead import OpenFailed

WYCHEPROOF = Path(__file__).parent / "wycheproof"
Cipher = Callable[[bytes, bytes, bytes, bytes], bytes]
SealOnce = Callable[[bytes, bytes, bytes], bytes]

SINGLE_USE = [
    pytest.param(aead.aes_gcm_seal, aead.aes_gcm_open, id="aes-gcm"),
    pytest.param(aead.xchacha_seal, aead.xchacha_open, id="xchacha"),
]


def wycheproof_cases(name: str, nonce_bits: int) -> list[dict[str, Any]]:
    groups = json.loads((WYCHEPROOF / name).read_text())["testGroups"]
    return [
        case
        for group in groups
        if (group["keySize"], group["ivSize"], group["tagSize"]) == (256, nonce_bits, 128)
        for case in group["tests"]
    ]


def run_wycheproof(case: dict[str, Any], encrypt: Cipher, decrypt: Cipher) -> None:
    key, nonce, aad, plaintext, ciphertext, tag = (
        bytes.fromhex(case[field]) for field in ("key", "iv", "aad", "msg", "ct", "tag")
    )
    if case["result"] == "valid":
        assert encrypt(key, nonce, plaintext, aad) == ciphertext + tag
        assert decrypt(key, nonce, ciphertext + tag, aad) == plaintext
    else:
        with pytest.raises(OpenFailed):
            decrypt(key, nonce, ciphertext + tag, aad)


def under(nonce: bytes, single_use: SealOnce) -> SealOnce:
    """A single-use function of AES-GCM under a case's nonce in place of zeros."""

    def call(key: bytes, data: bytes, aad: bytes) -> bytes:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(aead, "_GCM_ZERO_NONCE", nonce)
            return single_use(key, data, aad)

    return call


def test_aes_256_gcm_agrees_with_wycheproof() -> None:
    """All 66 cases with a 256-bit key and a 96-bit nonce seal and open, or fail, as they say."""
    cases = wycheproof_cases("aes_gcm_test.json", nonce_bits=96)
    assert len(cases) == 66
    for case in cases:
        run_wycheproof(
            case,
            lambda key, nonce, text, aad: under(nonce, aead.aes_gcm_seal)(key, text, aad),
            lambda key, nonce, sealed, aad: under(nonce, aead.aes_gcm_open)(key, sealed, aad),
        )


def test_xchacha20_poly1305_agrees_with_wycheproof() -> None:
    """All 306 cases with a 192-bit nonce seal and open, or fail, as they say."""
    cases = wycheproof_cases("xchacha20_poly1305_test.json", nonce_bits=192)
    assert len(cases) == 306
    for case in cases:
        run_wycheproof(case, aead.xchacha_encrypt, aead.xchacha_decrypt)


def test_single_use_ciphers_take_the_zero_nonce() -> None:
    """The single-use functions are the ciphers of Wycheproof with a nonce of zeros."""
    key, plaintext, aad = bytes(range(32)), b"plaintext", b"aad"
    gcm = aead.aes_gcm_encrypt(key, bytes(12), plaintext, aad)
    xchacha = aead.xchacha_encrypt(key, bytes(24), plaintext, aad)
    assert aead.aes_gcm_seal(key, plaintext, aad) == gcm
    assert aead.xchacha_seal(key, plaintext, aad) == xchacha


@pytest.mark.parametrize(("seal", "open_"), SINGLE_USE)
@given(
    key=st.binary(min_size=32, max_size=32),
    plaintext=st.binary(max_size=300),
    aad=st.binary(max_size=60),
)
def test_what_was_sealed_opens(
    seal: SealOnce, open_: SealOnce, key: bytes, plaintext: bytes, aad: bytes
) -> None:
    """Opening gives back the plaintext, from 16 bytes more than it has."""
    sealed = seal(key, plaintext, aad)
    assert len(sealed) == len(plaintext) + aead.TAG_SIZE
    assert open_(key, sealed, aad) == plaintext


@pytest.mark.parametrize(("seal", "open_"), SINGLE_USE)
def test_every_changed_bit_and_every_truncation_is_refused(seal: SealOnce, open_: SealOnce) -> None:
    """No bit of sealed bytes, key or associated data can change, and no byte can be missing."""
    key, aad = bytes(range(32)), b"associated data"
    sealed = seal(key, b"some plaintext", aad)
    changed = [(key, flip(sealed, bit), aad) for bit in range(len(sealed) * 8)]
    changed += [(flip(key, bit), sealed, aad) for bit in range(256)]
    changed += [(key, sealed, flip(aad, bit)) for bit in range(len(aad) * 8)]
    changed += [(key, sealed[:length], aad) for length in range(len(sealed))]
    for arguments in changed:
        with pytest.raises(OpenFailed):
            open_(*arguments)


@pytest.mark.parametrize(("seal", "open_"), SINGLE_USE)
def test_a_failed_opening_carries_no_detail(seal: SealOnce, open_: SealOnce) -> None:
    """The sentinel has no message, no arguments and no visible cause."""
    with pytest.raises(OpenFailed) as caught:
        open_(bytes(32), seal(bytes(32), b"plaintext", b"one"), b"other")
    assert caught.value.args == ()
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(("seal", "open_"), SINGLE_USE)
def test_a_key_of_the_wrong_size_is_a_mistake_and_no_forgery(
    seal: SealOnce, open_: SealOnce
) -> None:
    """A caller who passes a short key hears so, and is not told that the bytes were forged."""
    sealed = seal(bytes(32), b"plaintext", b"")
    with pytest.raises((TypeError, ValueError)):
        open_(bytes(31), sealed, b"")


def flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
