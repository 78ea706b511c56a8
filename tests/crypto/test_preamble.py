"""The preamble: creating, unlocking, refusing what was changed, changing the passphrase."""

from __future__ import annotations

import hmac
import random
import traceback
from collections import Counter

import pytest

from mimir_core.crypto.kdf import KdfProfile
from mimir_core.crypto.keys import VaultKeys
from mimir_core.crypto.preamble import (
    PREAMBLE_SIZE,
    SLOT_COUNT,
    Preamble,
    change_passphrase,
    unlock,
)
from mimir_core.crypto.slots import (
    SLOT_SIZE,
    PassphraseCredential,
    SlotKind,
    open_slot,
    seal_slot,
)
from mimir_core.errors import (
    CannotUnlock,
    InvalidArgument,
    KdfOutOfBounds,
    MimirError,
    NotAVault,
    UnsupportedFormat,
    VaultDamaged,
)

CHEAP = KdfProfile.INSECURE_FOR_TESTS
HORSE = PassphraseCredential("correct horse battery staple")
OTHER = PassphraseCredential("another passphrase")
RAW, KEYS, KINDS = Preamble.create(HORSE, CHEAP)
USED = KINDS.index(SlotKind.PASSPHRASE)
MAC_OFFSET = PREAMBLE_SIZE - 32


def slot_start(number: int) -> int:
    return 64 + number * SLOT_SIZE


def flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def error_of(raw: bytes, credential: PassphraseCredential = HORSE) -> MimirError:
    with pytest.raises(MimirError) as caught:
        unlock(raw, credential, allow_insecure=True)
    return caught.value


def resealed(raw: bytes, keys: VaultKeys = KEYS) -> bytes:
    """The preamble with a right MAC over whatever it holds now."""
    body = raw[:MAC_OFFSET]
    return body + hmac.digest(keys.preamble_key, body, "sha256")


def test_the_passphrase_unlocks_what_it_created() -> None:
    """Unlocking gives the vault's id, its epoch and the keys it was created with."""
    keys = unlock(RAW, HORSE, allow_insecure=True)
    assert len(RAW) == PREAMBLE_SIZE
    assert (keys.vault_id, keys.epoch) == (KEYS.vault_id, 1)
    assert (keys.root_key, keys.block_key) == (KEYS.root_key, KEYS.block_key)


def test_the_standard_profile_creates_and_unlocks() -> None:
    """The default cost passes its own bounds without any allowance."""
    raw, keys, _ = Preamble.create(HORSE)
    assert Preamble.parse(raw).settings.memory_kib == 262_144
    assert unlock(raw, HORSE).root_key == keys.root_key


def test_a_vault_of_the_test_profile_needs_the_allowance() -> None:
    """Without the allowance the cheap cost is refused before the passphrase is looked at."""
    for credential in (HORSE, OTHER):
        with pytest.raises(KdfOutOfBounds):
            unlock(RAW, credential)


def test_every_failure_to_unlock_reads_the_same() -> None:
    """A wrong passphrase and a changed slot, in any field, have one type and one text."""
    start = slot_start(USED)
    offsets = [start, start + 32, start + 64, start + 88, start + 135, start + 136, 16, 48]
    errors = [error_of(RAW, OTHER), *(error_of(flip(RAW, offset * 8)) for offset in offsets)]
    assert {type(error) for error in errors} == {CannotUnlock}
    assert len({str(error) for error in errors}) == 1
    for error in errors:
        assert error.__cause__ is None
        assert error.__context__ is None


def test_every_changed_bit_of_the_head_is_refused_by_its_own_error() -> None:
    """Magic, version, slot count, cost and all that slots are bound to have their own error."""
    regions: list[tuple[int, int, type[MimirError]]] = [
        (0, 8, NotAVault),
        (8, 10, UnsupportedFormat),
        (10, 12, VaultDamaged),
        (12, 32, CannotUnlock),
        (32, 44, KdfOutOfBounds),
        (44, 64, CannotUnlock),
    ]
    for start, end, expected in regions:
        for bit in range(start * 8, end * 8):
            assert type(error_of(flip(RAW, bit))) is expected, bit


def test_changed_bits_of_slots_and_mac_are_refused() -> None:
    """In the used slot nothing unlocks; in the others and in the MAC the vault is damaged."""
    rng = random.Random(1)
    start = slot_start(USED)
    used = [*range(start * 8, (start + 136) * 8)]
    used += rng.sample(range((start + 136) * 8, (start + SLOT_SIZE) * 8), 150)
    for bit in used:
        assert type(error_of(flip(RAW, bit))) is CannotUnlock, bit
    unused = [n for n in range(SLOT_COUNT) if n != USED]
    around = [(slot_start(n) + rng.randrange(SLOT_SIZE)) * 8 for n in unused for _ in range(30)]
    for bit in (*around, *range(MAC_OFFSET * 8, PREAMBLE_SIZE * 8)):
        assert type(error_of(flip(RAW, bit))) is VaultDamaged, bit


def test_a_cost_changed_within_the_bounds_does_not_unlock() -> None:
    """A cheaper cost that the bounds allow derives another key; nothing falls back to it."""
    cheaper = RAW[:32] + (65_536).to_bytes(4, "little") + b"\x03\0\0\0" + b"\x01\0\0\0" + RAW[44:]
    with pytest.raises(CannotUnlock):
        unlock(cheaper, HORSE)


@pytest.mark.parametrize("length", [0, 7, 8, 63, 64, PREAMBLE_SIZE - 1, PREAMBLE_SIZE + 1])
def test_a_preamble_of_another_length_is_not_a_vault(length: int) -> None:
    """Truncated and extended preambles are refused before anything is derived."""
    assert type(error_of((RAW + b"\0")[:length])) is NotAVault


def test_a_newer_format_is_named_whatever_its_length() -> None:
    """A preamble of a later version is not called damaged, nor something else than a vault."""
    newer = RAW[:8] + b"\x02\0" + RAW[10:]
    for raw in (newer, newer + bytes(100), newer[:1_000]):
        error = error_of(raw)
        assert type(error) is UnsupportedFormat
        assert "version 2" in str(error)


def test_slots_cannot_move_within_a_preamble_or_between_vaults() -> None:
    """A slot put at another number, or into another vault, opens nothing."""
    there = (USED + 1) % SLOT_COUNT
    slot = Preamble.parse(RAW).slot(USED)
    other_raw, _, _ = Preamble.create(OTHER, CHEAP)
    moved = with_slot(with_slot(RAW, USED, bytes(SLOT_SIZE)), there, slot)
    assert type(error_of(moved)) is CannotUnlock
    for number in range(SLOT_COUNT):
        assert type(error_of(with_slot(other_raw, number, slot))) is CannotUnlock


def with_slot(raw: bytes, number: int, slot: bytes) -> bytes:
    return raw[: slot_start(number)] + slot + raw[slot_start(number + 1) :]


def test_a_new_vault_draws_everything_anew() -> None:
    """Vault id, salt, root key and the used slot's number differ from vault to vault."""
    created = [Preamble.create(HORSE, CHEAP) for _ in range(40)]
    assert len({keys.vault_id for _, keys, _ in created}) == 40
    assert len({keys.root_key for _, keys, _ in created}) == 40
    assert len({Preamble.parse(raw).settings.salt for raw, _, _ in created}) == 40
    assert len({kinds.index(SlotKind.PASSPHRASE) for _, _, kinds in created}) > 2


def test_the_bytes_of_slots_do_not_tell_used_from_unused() -> None:
    """Over many vaults the used slot's bytes are spread like those of an unused one."""
    seen = {True: Counter[int](), False: Counter[int]()}
    for _ in range(100):
        raw, _, kinds = Preamble.create(HORSE, CHEAP)
        used = kinds.index(SlotKind.PASSPHRASE)
        for number in (used, (used + 1) % SLOT_COUNT):
            seen[number == used].update(Preamble.parse(raw).slot(number))
    for counter in seen.values():
        expected = 100 * SLOT_SIZE / 256
        chi_squared = sum((counter[byte] - expected) ** 2 / expected for byte in range(256))
        # 255 degrees of freedom: above 420 less than once in 10^9 runs.
        assert chi_squared < 420


@pytest.mark.parametrize("passphrase", ["", "\ud800"])
def test_an_unusable_passphrase_neither_creates_nor_unlocks(passphrase: str) -> None:
    """Empty passphrases and lone surrogates are the caller's error everywhere."""
    credential = PassphraseCredential(passphrase)
    with pytest.raises(InvalidArgument):
        Preamble.create(credential, CHEAP)
    with pytest.raises(InvalidArgument):
        unlock(RAW, credential, allow_insecure=True)
    with pytest.raises(InvalidArgument):
        change_passphrase(RAW, KEYS, credential, KINDS, CHEAP)


def test_changing_the_passphrase_replaces_it() -> None:
    """The new passphrase gives the same root key, the old one nothing, and the salt is fresh."""
    raw, kinds = change_passphrase(RAW, KEYS, OTHER, KINDS, CHEAP)
    assert unlock(raw, OTHER, allow_insecure=True).root_key == KEYS.root_key
    assert type(error_of(raw, HORSE)) is CannotUnlock
    assert sorted(kinds) == sorted(KINDS)
    before, after = Preamble.parse(RAW), Preamble.parse(raw)
    assert (after.vault_id, after.epoch) == (before.vault_id, before.epoch)
    assert after.settings.salt != before.settings.salt


def test_changing_the_passphrase_rewrites_every_slot() -> None:
    """Two copies of a preamble do not show which slot was in use."""
    raw, _ = change_passphrase(RAW, KEYS, OTHER, KINDS, CHEAP)
    before, after = Preamble.parse(RAW), Preamble.parse(raw)
    assert all(before.slot(number) != after.slot(number) for number in range(SLOT_COUNT))


def test_changing_the_passphrase_can_raise_the_cost() -> None:
    """The profile given holds from then on."""
    raw, _ = change_passphrase(RAW, KEYS, OTHER, KINDS, KdfProfile.STANDARD)
    assert unlock(raw, OTHER).root_key == KEYS.root_key


def test_changing_the_passphrase_keeps_slots_of_other_kinds() -> None:
    """A slot of a kind this version does not know stays, and still opens with its credential."""
    there, kind, ikm = (USED + 3) % SLOT_COUNT, 7, b"k" * 32
    preamble = Preamble.parse(RAW)
    slot = seal_slot(preamble.place(there), kind, ikm, KEYS.root_key)
    raw = resealed(with_slot(RAW, there, slot))
    kinds = bytes(kind if n == there else k for n, k in enumerate(KINDS))
    new_raw, new_kinds = change_passphrase(raw, KEYS, OTHER, kinds, CHEAP)
    changed = Preamble.parse(new_raw)
    assert new_kinds[there] == kind
    assert Counter(new_kinds) == Counter(kinds)
    assert open_slot(changed.place(there), kind, ikm, changed.slot(there)) == KEYS.root_key
    assert unlock(new_raw, OTHER, allow_insecure=True).root_key == KEYS.root_key
    assert type(error_of(new_raw, HORSE)) is CannotUnlock


def test_changing_the_passphrase_refuses_a_preamble_of_other_keys() -> None:
    """Keys of one vault do not rewrite the preamble of another, nor a changed one."""
    other_raw, _, other_kinds = Preamble.create(OTHER, CHEAP)
    with pytest.raises(VaultDamaged):
        change_passphrase(other_raw, KEYS, OTHER, other_kinds, CHEAP)
    with pytest.raises(VaultDamaged):
        change_passphrase(flip(RAW, 200 * 8), KEYS, OTHER, KINDS, CHEAP)


def test_no_error_shows_a_secret() -> None:
    """Tracebacks of every refusal hold neither the passphrase nor a key."""
    flips = [0, 8 * 8, 10 * 8, 16 * 8, 32 * 8, slot_start(USED) * 8, MAC_OFFSET * 8]
    secrets = ["battery", *(repr(k)[2:-1] for k in (KEYS.root_key, KEYS.preamble_key))]
    secrets += [KEYS.root_key.hex(), KEYS.preamble_key.hex()]
    for bit in flips:
        shown = "".join(traceback.format_exception(error_of(flip(RAW, bit))))
        assert not any(secret in shown for secret in secrets)
