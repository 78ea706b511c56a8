"""HKDF and Argon2id against their RFCs, the bounds of the cost, and passphrases."""

from __future__ import annotations

import hashlib
import hmac
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from hypothesis import given, settings
from hypothesis import strategies as st

from mimir_core.crypto.kdf import KdfProfile, KdfSettings, hkdf_expand, hkdf_extract
from mimir_core.errors import InvalidArgument, KdfOutOfBounds

SALT = bytes(range(16))
CHEAP = KdfSettings(*KdfProfile.INSECURE_FOR_TESTS.value, salt=SALT)

# RFC 5869, appendix A.1 to A.3: ikm, salt, info, length, prk, okm.
RFC_5869 = [
    (
        "0b" * 22,
        "000102030405060708090a0b0c",
        "f0f1f2f3f4f5f6f7f8f9",
        42,
        "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    (
        bytes(range(0x00, 0x50)).hex(),
        bytes(range(0x60, 0xB0)).hex(),
        bytes(range(0xB0, 0x100)).hex(),
        82,
        "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
        "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71"
        "cc30c58179ec3e87c14c01d5c1f3434f1d87",
    ),
    (
        "0b" * 22,
        "",
        "",
        42,
        "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
]


@pytest.mark.parametrize(("ikm", "salt", "info", "length", "prk", "okm"), RFC_5869)
def test_hkdf_agrees_with_rfc_5869(
    ikm: str, salt: str, info: str, length: int, prk: str, okm: str
) -> None:
    """Extract and expand give the values of the SHA-256 test cases in appendix A."""
    assert hkdf_extract(bytes.fromhex(salt), bytes.fromhex(ikm)).hex() == prk
    assert hkdf_expand(bytes.fromhex(prk), bytes.fromhex(info), length).hex() == okm


@given(prk=st.binary(min_size=32, max_size=32), info=st.binary(max_size=120))
def test_hkdf_expand_agrees_with_its_definition_at_any_length(prk: bytes, info: bytes) -> None:
    """T(n) = HMAC(prk, T(n-1) || info || n), and a shorter output is a prefix of a longer one."""
    expected, block = b"", b""
    for counter in range(1, 5):
        block = hmac.digest(prk, block + info + bytes([counter]), hashlib.sha256)
        expected += block
    for length in (1, 32, 64, 96, 128):
        assert hkdf_expand(prk, info, length) == expected[:length]


def test_the_second_argon2id_agrees_with_rfc_9106() -> None:
    """The implementation that the next test compares with gives the value of RFC 9106, 5.3."""
    second = Argon2id(
        salt=b"\x02" * 16,
        length=32,
        iterations=3,
        lanes=4,
        memory_cost=32,
        secret=b"\x03" * 8,
        ad=b"\x04" * 12,
    )
    expected = "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659"
    assert second.derive(b"\x01" * 32).hex() == expected


@settings(max_examples=25, deadline=None)
@given(
    passphrase=st.text(st.characters(codec="ascii"), min_size=1, max_size=40),
    lanes=st.integers(1, 4),
    passes=st.integers(1, 3),
    kib_per_lane=st.integers(8, 64),
)
def test_argon2id_agrees_with_a_second_implementation(
    passphrase: str, lanes: int, passes: int, kib_per_lane: int
) -> None:
    """OpenSSL's Argon2id gives the same 32 bytes for the same cost, salt and passphrase."""
    memory_kib = lanes * kib_per_lane
    second = Argon2id(salt=SALT, length=32, iterations=passes, lanes=lanes, memory_cost=memory_kib)
    expected = second.derive(passphrase.encode())
    assert KdfSettings(memory_kib, passes, lanes, SALT).derive(passphrase) == expected


def test_argon2id_agrees_with_the_reference_implementation() -> None:
    """The reference code's own test of version 0x13 with 64 MiB and two passes holds."""
    derived = KdfSettings(65_536, 2, 1, b"somesalt").derive("password")
    expected = "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"
    assert derived.hex() == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [("caf\u00e9", "cafe\u0301"), ("\ufb01sh", "fish"), ("\uff11\uff12", "12")],
)
def test_passphrases_that_look_alike_are_alike(one: str, other: str) -> None:
    """NFKC makes composed and decomposed, ligature and wide forms one passphrase."""
    assert CHEAP.derive(one) == CHEAP.derive(other)


def test_passphrases_that_differ_derive_different_keys() -> None:
    """Case, surrounding space and the salt all count."""
    salted = KdfSettings(*KdfProfile.INSECURE_FOR_TESTS.value, salt=bytes(16))
    derived = [CHEAP.derive(text) for text in ("horse", "Horse", "horse ", " horse")]
    assert len({*derived, salted.derive("horse")}) == 5


def test_an_empty_passphrase_is_refused() -> None:
    """Nothing is derived from an empty passphrase."""
    with pytest.raises(InvalidArgument):
        CHEAP.derive("")


def test_a_lone_surrogate_is_refused_without_showing_the_passphrase() -> None:
    """Neither the error nor one behind it holds the passphrase."""
    passphrase = "\ud800".join(["secret", "horse"])
    with pytest.raises(InvalidArgument) as caught:
        CHEAP.derive(passphrase)
    assert caught.value.__context__ is None
    assert "secret" not in repr(caught.value)


@pytest.mark.parametrize(
    "cost",
    [(65_536, 3, 1), (1_048_576, 4, 16), (262_144, 16, 16), KdfProfile.STANDARD.value],
)
def test_costs_within_the_bounds_are_accepted(cost: tuple[int, int, int]) -> None:
    """Floor, ceiling and the standard profile pass the check."""
    settings = KdfSettings(*cost, salt=SALT)
    assert settings.checked() is settings


@pytest.mark.parametrize(
    "cost",
    [
        (65_535, 3, 1),
        (1_048_577, 3, 1),
        (1_048_576, 5, 1),
        (262_145, 16, 1),
        (65_536, 2, 1),
        (65_536, 17, 1),
        (65_536, 3, 0),
        (65_536, 3, 17),
        (0, 0, 0),
        (2**32 - 1, 2**32 - 1, 2**32 - 1),
        (1_025, 1, 1),
    ],
)
@pytest.mark.parametrize("allow_insecure", [False, True])
def test_costs_outside_the_bounds_are_refused(
    cost: tuple[int, int, int], allow_insecure: bool
) -> None:
    """One step beyond any bound is refused, whether or not the test profile is allowed."""
    with pytest.raises(KdfOutOfBounds):
        KdfSettings(*cost, salt=SALT).checked(allow_insecure=allow_insecure)


def test_the_test_profile_is_refused_unless_allowed_by_name() -> None:
    """The cheap cost passes only for a caller who says so."""
    with pytest.raises(KdfOutOfBounds):
        CHEAP.checked()
    assert CHEAP.checked(allow_insecure=True) is CHEAP


def test_settings_draw_a_fresh_salt_and_survive_encoding() -> None:
    """Two draws differ in their salt, and 32 bytes hold all of a setting."""
    one, other = (KdfSettings.draw(KdfProfile.STANDARD) for _ in range(2))
    assert one.salt != other.salt
    assert len(one.encode()) == 32
    assert KdfSettings.decode(one.encode()) == one


def test_missing_memory_is_a_typed_error() -> None:
    """When the machine cannot give the memory the caller gets `KdfOutOfBounds`, not a crash."""
    pytest.importorskip("resource", reason="the memory limit of a process needs POSIX")
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux enforces RLIMIT_AS")
    program = (
        "import resource\n"
        "from mimir_core.crypto.kdf import KdfSettings\n"
        "from mimir_core.errors import KdfOutOfBounds\n"
        "pages = int(open('/proc/self/statm').read().split()[0])\n"
        "limit = pages * resource.getpagesize() + 2**29\n"
        "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
        "try:\n"
        "    KdfSettings(2_097_152, 3, 1, bytes(16)).derive('horse')\n"
        "except KdfOutOfBounds as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "2097152 KiB" in done.stdout, done.stderr
