"""Key slots: what opens one, and what does not."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimir_core.crypto.aead import OpenFailed, xchacha_encrypt
from mimir_core.crypto.kdf import hkdf_expand, hkdf_extract
from mimir_core.crypto.slots import (
    SLOT_SIZE,
    SlotKind,
    SlotPlace,
    _aad,
    open_slot,
    seal_slot,
    unused_slot,
)

PLACE = SlotPlace(vault_id=bytes(range(16)), epoch=1, settings=bytes(range(32)), number=3)
IKM, ROOT_KEY = b"i" * 32, b"r" * 32
KIND = SlotKind.PASSPHRASE


@given(
    ikm=st.binary(min_size=1, max_size=80),
    root_key=st.binary(min_size=32, max_size=32),
    kind=st.integers(1, 255),
    number=st.integers(0, 7),
)
def test_a_slot_gives_back_the_root_key(
    ikm: bytes, root_key: bytes, kind: int, number: int
) -> None:
    """Whatever kind of credential seals it, at whatever number, the slot opens with it."""
    place = PLACE._replace(number=number)
    slot = seal_slot(place, kind, ikm, root_key)
    assert len(slot) == SLOT_SIZE == len(unused_slot())
    assert open_slot(place, kind, ikm, slot) == root_key


def test_every_changed_bit_of_a_slot_is_refused() -> None:
    """Salt, commitment, nonce, wrapped key and extension are all bound."""
    slot = seal_slot(PLACE, KIND, IKM, ROOT_KEY)
    for bit in range(SLOT_SIZE * 8):
        changed = bytearray(slot)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(OpenFailed):
            open_slot(PLACE, KIND, IKM, bytes(changed))


@pytest.mark.parametrize(
    "elsewhere",
    [
        PLACE._replace(number=4),
        PLACE._replace(epoch=2),
        PLACE._replace(vault_id=bytes(16)),
        PLACE._replace(settings=bytes(32)),
    ],
)
def test_a_slot_does_not_open_elsewhere(elsewhere: SlotPlace) -> None:
    """Another number, epoch, vault or Argon2id setting makes it another slot."""
    with pytest.raises(OpenFailed):
        open_slot(elsewhere, KIND, IKM, seal_slot(PLACE, KIND, IKM, ROOT_KEY))


def test_a_slot_does_not_open_for_another_credential_or_kind() -> None:
    """The same secret under another kind fails like another secret does."""
    slot = seal_slot(PLACE, KIND, IKM, ROOT_KEY)
    for kind, ikm in ((KIND + 1, IKM), (KIND, b"j" * 32)):
        with pytest.raises(OpenFailed):
            open_slot(PLACE, kind, ikm, slot)
    with pytest.raises(OpenFailed):
        open_slot(PLACE, KIND, IKM, unused_slot())


def test_a_wrong_commitment_is_not_opened() -> None:
    """A key that would open the wrapped bytes is refused if the slot commits to another key."""
    salt, nonce, extension = os.urandom(32), os.urandom(24), os.urandom(1_272)
    aad = _aad(PLACE, KIND, extension)
    okm = hkdf_expand(hkdf_extract(PLACE.vault_id + salt, IKM), aad, 64)
    wrapped = xchacha_encrypt(okm[:32], nonce, ROOT_KEY, aad)
    assert open_slot(PLACE, KIND, IKM, salt + okm[32:] + nonce + wrapped + extension) == ROOT_KEY
    with pytest.raises(OpenFailed):
        open_slot(PLACE, KIND, IKM, salt + os.urandom(32) + nonce + wrapped + extension)


def test_a_right_commitment_does_not_stand_in_for_the_tag() -> None:
    """A slot that commits to the key but was wrapped under another one is refused."""
    slot = seal_slot(PLACE, KIND, IKM, ROOT_KEY)
    forged = xchacha_encrypt(bytes(32), slot[64:88], ROOT_KEY, _aad(PLACE, KIND, slot[136:]))
    with pytest.raises(OpenFailed):
        open_slot(PLACE, KIND, IKM, slot[:88] + forged + slot[136:])


def test_two_slots_for_one_credential_share_no_field() -> None:
    """Salt, commitment, nonce, wrapped key and extension are fresh in each seal."""
    one, other = (seal_slot(PLACE, KIND, IKM, ROOT_KEY) for _ in range(2))
    for start, end in ((0, 32), (32, 64), (64, 88), (88, 136), (136, SLOT_SIZE)):
        assert one[start:end] != other[start:end]
