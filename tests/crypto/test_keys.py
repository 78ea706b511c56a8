"""The keys of an unlocked vault stay in it."""

from __future__ import annotations

import copy
import functools
import pickle
from collections.abc import Callable

import pytest

from mimir_core.crypto.blocks import BlockCipher
from mimir_core.crypto.keys import VaultKeys
from mimir_core.crypto.slots import PassphraseCredential
from mimir_core.errors import NotSerializable, VaultClosed

ROOT_KEY = bytes(range(32))
VAULT_ID = bytes(range(16))
DUPLICATE: list[Callable[[object], object]] = [
    copy.deepcopy,
    *(functools.partial(pickle.dumps, protocol=number) for number in range(6)),
]
HOLDERS: list[object] = [
    VaultKeys(VAULT_ID, 1, ROOT_KEY),
    BlockCipher(VaultKeys(VAULT_ID, 1, ROOT_KEY)),
    PassphraseCredential("correct horse"),
]


def test_keys_depend_on_root_key_vault_and_epoch() -> None:
    """Another root key or vault changes both derived keys, another epoch the block key."""
    keys = VaultKeys(VAULT_ID, 1, ROOT_KEY)
    for other in (VaultKeys(VAULT_ID, 1, bytes(32)), VaultKeys(bytes(16), 1, ROOT_KEY)):
        assert other.preamble_key != keys.preamble_key
        assert other.block_key != keys.block_key
    assert VaultKeys(VAULT_ID, 2, ROOT_KEY).block_key != keys.block_key
    assert len({keys.root_key, keys.preamble_key, keys.block_key}) == 3


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda holder: type(holder).__name__)
@pytest.mark.parametrize("duplicate", DUPLICATE)
def test_holders_of_secrets_refuse_pickle_and_deepcopy(
    holder: object, duplicate: Callable[[object], object]
) -> None:
    """No protocol of pickle and no copy takes a key or a passphrase along."""
    with pytest.raises(TypeError):
        duplicate(holder)


def test_keys_and_credentials_refuse_a_shallow_copy() -> None:
    """A copy would outlive the wipe of the original, so it is refused by a typed error."""
    for holder in (VaultKeys(VAULT_ID, 1, ROOT_KEY), PassphraseCredential("correct horse")):
        with pytest.raises(NotSerializable):
            copy.copy(holder)


@pytest.mark.parametrize("holder", HOLDERS, ids=lambda holder: type(holder).__name__)
def test_holders_of_secrets_show_none(holder: object) -> None:
    """Neither repr nor str nor a dictionary of attributes shows a key or a passphrase."""
    shown = f"{holder!r} {holder}"
    keys = VaultKeys(VAULT_ID, 1, ROOT_KEY)
    for secret in (keys.root_key, keys.preamble_key, keys.block_key):
        assert secret.hex() not in shown
        assert repr(secret) not in shown
    assert "horse" not in shown
    assert not hasattr(holder, "__dict__")


def test_wiped_keys_are_zero_and_refused() -> None:
    """After a wipe the memory holds zeros, and every use is refused rather than made with zeros."""
    keys = VaultKeys(VAULT_ID, 1, ROOT_KEY)
    cipher = BlockCipher(keys)
    sealed = cipher.seal(1, 3, 0, b"content")
    keys.wipe()
    assert bytes(keys._root_key + keys._preamble_key + keys._block_key) == bytes(96)
    uses: list[Callable[[], object]] = [
        lambda: keys.root_key,
        lambda: keys.preamble_key,
        lambda: keys.block_key,
        lambda: cipher.seal(1, 3, 0, b"content"),
        lambda: cipher.open(1, sealed, tag=None),
    ]
    for use in uses:
        with pytest.raises(VaultClosed):
            use()
    keys.wipe()
