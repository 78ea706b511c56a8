"""Sealed blocks open at their own place, with their own tag, and nowhere else."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimir_core.crypto.aead import OpenFailed
from mimir_core.crypto.blocks import BLOCK_SIZE, CONTENT_SIZE, BlockCipher, block_tag
from mimir_core.crypto.keys import VaultKeys
from mimir_core.errors import LimitExceeded

VAULT_ID, ROOT_KEY = bytes(range(16)), bytes(range(32))
CIPHER = BlockCipher(VaultKeys(VAULT_ID, 1, ROOT_KEY))
U32 = st.integers(0, 2**32 - 1)


@given(
    number=st.integers(0, 2**64 - 1),
    stream=U32,
    index=U32,
    pattern=st.binary(min_size=1, max_size=40),
    length=st.integers(0, CONTENT_SIZE),
)
def test_a_block_gives_back_its_content(
    number: int, stream: int, index: int, pattern: bytes, length: int
) -> None:
    """Any content up to the size of a block comes back, from a block of one size."""
    content = (pattern * CONTENT_SIZE)[:length]
    sealed = CIPHER.seal(number, stream, index, content)
    tag = block_tag(sealed)
    assert len(sealed) == BLOCK_SIZE
    for pinned in (None, tag):
        found_stream, found_index, found = CIPHER.open(number, sealed, tag=pinned)
        assert (found_stream, found_index, bytes(found)) == (stream, index, content)
    assert bytes(CIPHER.open_content(number, stream, index, tag, sealed)) == content


def test_content_is_limited_to_a_block() -> None:
    """A full block is sealed, one byte more is refused."""
    sealed = CIPHER.seal(1, 3, 0, bytearray(CONTENT_SIZE))
    assert CIPHER.open(1, sealed, tag=None)[2].nbytes == 16_256
    with pytest.raises(LimitExceeded):
        CIPHER.seal(1, 3, 0, bytes(CONTENT_SIZE + 1))


def test_changed_bits_and_other_lengths_are_refused() -> None:
    """Salt, ciphertext and tag cannot change, with or without a pinned tag."""
    sealed = CIPHER.seal(5, 3, 9, b"content")
    rng = random.Random(2)
    bits = [*range(16 * 8), *rng.sample(range(BLOCK_SIZE * 8), 300)]
    bits += range((BLOCK_SIZE - 16) * 8, BLOCK_SIZE * 8)
    for bit in bits:
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        for tag in (None, block_tag(sealed), block_tag(bytes(changed))):
            with pytest.raises(OpenFailed):
                CIPHER.open(5, bytes(changed), tag=tag)
    for other in (b"", sealed[:16], sealed[:-1], sealed + b"\0"):
        with pytest.raises(OpenFailed):
            CIPHER.open(5, other, tag=None)


@pytest.mark.parametrize(
    ("cipher", "number"),
    [
        (CIPHER, 6),
        (CIPHER, 5 + 2**32),
        (BlockCipher(VaultKeys(bytes(16), 1, ROOT_KEY)), 5),
        (BlockCipher(VaultKeys(VAULT_ID, 2, ROOT_KEY)), 5),
        (BlockCipher(VaultKeys(VAULT_ID, 1, bytes(32))), 5),
    ],
    ids=["number", "high half of the number", "vault", "epoch", "root key"],
)
def test_a_block_does_not_open_elsewhere(cipher: BlockCipher, number: int) -> None:
    """Blocks cannot be swapped between numbers, vaults, epochs or root keys."""
    with pytest.raises(OpenFailed):
        cipher.open(number, CIPHER.seal(5, 3, 9, b"content"), tag=None)


def test_place_is_bound_even_under_one_key() -> None:
    """Vault and epoch are in the associated data too, and not only in the key."""
    sealed = CIPHER.seal(5, 3, 9, b"content")
    for vault_id, epoch in ((bytes(16), 1), (VAULT_ID, 2)):
        elsewhere = VaultKeys(vault_id, epoch, ROOT_KEY)
        elsewhere._block_key[:] = CIPHER._keys.block_key
        with pytest.raises(OpenFailed):
            BlockCipher(elsewhere).open(5, sealed, tag=None)


def test_an_older_block_put_back_is_refused() -> None:
    """A block with a valid tag of its own is refused if it is not the one the map pins."""
    old, new = (CIPHER.seal(5, 3, 9, content) for content in (b"old", b"new"))
    assert bytes(CIPHER.open(5, old, tag=None)[2]) == b"old"
    with pytest.raises(OpenFailed):
        CIPHER.open(5, old, tag=block_tag(new))
    with pytest.raises(OpenFailed):
        CIPHER.open_content(5, 3, 9, block_tag(new), old)


@pytest.mark.parametrize(("stream", "index"), [(4, 9), (3, 8), (9, 3)])
def test_a_block_of_another_stream_or_index_is_refused(stream: int, index: int) -> None:
    """What the map says a block is must be what the block says of itself."""
    sealed = CIPHER.seal(5, 3, 9, b"content")
    with pytest.raises(OpenFailed):
        CIPHER.open_content(5, stream, index, block_tag(sealed), sealed)


def test_sealing_twice_shares_neither_salt_nor_ciphertext() -> None:
    """Each seal draws a key of its own, so that equal content never shows."""
    seals = [CIPHER.seal(5, 3, 9, b"content") for _ in range(200)]
    for start, end in ((0, 16), (16, 48), (BLOCK_SIZE - 16, BLOCK_SIZE)):
        assert len({sealed[start:end] for sealed in seals}) == len(seals)
