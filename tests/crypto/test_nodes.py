"""The sealed parts of a memory belong to it alone, and erasure leaves the link only."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimir_core.crypto import nodes
from mimir_core.crypto.aead import OpenFailed
from mimir_core.crypto.nodes import SealedParts, seal_node

Open = Callable[[bytes, bytes, bytes], bytes]
OPENERS: dict[str, Open] = {
    "link": nodes.open_link,
    "metadata": nodes.open_metadata,
    "payload": nodes.open_payload,
}
PARTS, SECRET = seal_node(b"a link", b"some metadata", b"the payload")


def flips(data: bytes) -> list[bytes]:
    changed = []
    for bit in range(len(data) * 8):
        copy = bytearray(data)
        copy[bit // 8] ^= 1 << bit % 8
        changed.append(bytes(copy))
    return changed


@given(link=st.binary(max_size=200), metadata=st.binary(max_size=200), payload=st.binary())
def test_a_node_gives_back_its_parts(link: bytes, metadata: bytes, payload: bytes) -> None:
    """Each part opens with the secret, and the commitment is that of the secret."""
    parts, secret = seal_node(link, metadata, payload)
    assert nodes.open_link(secret, parts.uid, parts.link) == link
    assert nodes.open_metadata(secret, parts.uid, parts.metadata) == metadata
    assert nodes.open_payload(secret, parts.uid, parts.payload) == payload
    assert nodes.commitment_matches(secret, parts.uid, parts.commitment)


@pytest.mark.parametrize("name", OPENERS)
def test_every_changed_bit_of_a_part_is_refused(name: str) -> None:
    """No bit of a sealed part, of the uid or of the secret can change, and nothing be cut off."""
    open_part, sealed = OPENERS[name], getattr(PARTS, name)
    attempts = [(SECRET, PARTS.uid, changed) for changed in flips(sealed)]
    attempts += [(SECRET, uid, sealed) for uid in flips(PARTS.uid)]
    attempts += [(secret, PARTS.uid, sealed) for secret in flips(SECRET)]
    attempts += [(SECRET, PARTS.uid, sealed[:length]) for length in range(len(sealed))]
    for attempt in attempts:
        with pytest.raises(OpenFailed):
            open_part(*attempt)


@pytest.mark.parametrize(("one", "other"), list(permutations(OPENERS, 2)))
def test_parts_cannot_be_swapped_within_a_node(one: str, other: str) -> None:
    """A part opens as what it was sealed as, and as nothing else."""
    with pytest.raises(OpenFailed):
        OPENERS[one](SECRET, PARTS.uid, getattr(PARTS, other))


@pytest.mark.parametrize("name", OPENERS)
def test_parts_cannot_be_swapped_between_nodes(name: str) -> None:
    """The same part of another node opens neither with this secret nor under the other's uid."""
    other, other_secret = seal_node(b"a link", b"some metadata", b"the payload")
    for secret, uid in ((SECRET, PARTS.uid), (SECRET, other.uid), (other_secret, PARTS.uid)):
        with pytest.raises(OpenFailed):
            OPENERS[name](secret, uid, getattr(other, name))


def test_equal_nodes_share_nothing() -> None:
    """Uid, secret, commitment and every sealed part are fresh, so that equality never shows."""
    sealed = [seal_node(b"a link", b"some metadata", b"the payload") for _ in range(50)]
    for field in range(5):
        assert len({parts[field] for parts, _ in sealed}) == 50
    assert len({secret for _, secret in sealed}) == 50
    assert len({parts.node_id for parts, _ in sealed}) == 50


def test_the_commitment_answers_to_one_secret_and_uid() -> None:
    """Any changed bit of secret, uid or commitment breaks the match."""
    attempts = [(SECRET, PARTS.uid, changed) for changed in flips(PARTS.commitment)]
    attempts += [(SECRET, uid, PARTS.commitment) for uid in flips(PARTS.uid)]
    attempts += [(secret, PARTS.uid, PARTS.commitment) for secret in flips(SECRET)]
    attempts += [(SECRET, PARTS.uid, PARTS.commitment[:-1])]
    assert not any(nodes.commitment_matches(*attempt) for attempt in attempts)


def test_an_erased_node_keeps_its_link_and_nothing_else() -> None:
    """What the keybook keeps opens the link, and neither metadata nor payload."""
    entry = nodes.erased_secret(SECRET, PARTS.uid)
    assert len(entry) == nodes.NODE_SECRET_SIZE
    assert nodes.open_erased_link(entry, PARTS.uid, PARTS.link) == b"a link"
    for open_part, sealed in (
        (nodes.open_metadata, PARTS.metadata),
        (nodes.open_payload, PARTS.payload),
        (nodes.open_erased_link, PARTS.metadata),
        (nodes.open_erased_link, PARTS.payload),
    ):
        with pytest.raises(OpenFailed):
            open_part(entry, PARTS.uid, sealed)
    assert not nodes.commitment_matches(entry, PARTS.uid, PARTS.commitment)


def test_the_node_id_names_every_byte() -> None:
    """Any changed bit of uid, commitment or part gives another id; the id needs no secret."""
    ids = {PARTS.node_id}
    for field in SealedParts._fields:
        changes = [PARTS._replace(**{field: changed}) for changed in flips(getattr(PARTS, field))]
        ids.update(changed.node_id for changed in changes)
    assert len(ids) == 1 + sum(len(part) * 8 for part in PARTS)
    assert {len(node_id) for node_id in ids} == {32}


def test_the_node_id_knows_where_a_part_ends() -> None:
    """Moving bytes from one part to the next gives another id."""
    moved = PARTS._replace(link=PARTS.link[:-1], metadata=PARTS.link[-1:] + PARTS.metadata)
    assert moved.node_id != PARTS.node_id
