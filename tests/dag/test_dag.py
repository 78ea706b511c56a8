"""Nodes and records: what is sealed opens again, what was changed does not, walks end."""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimir_core.crypto.nodes import erased_secret
from mimir_core.dag import (
    Draft,
    ErasureRecord,
    Link,
    Metadata,
    NodeRecord,
    Parent,
    Payload,
    open_link,
    open_metadata,
    open_payload,
    read_record,
    read_records,
    seal,
    verify_node,
    walk,
)
from mimir_core.encoding import pack, unpack
from mimir_core.errors import LimitExceeded, VaultDamaged
from mimir_core.types import EdgeKind

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.dates()
    | st.datetimes(timezones=st.just(dt.UTC))
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)
)
parents = st.lists(
    st.builds(Parent, st.sampled_from(EdgeKind), st.binary(min_size=32, max_size=32)), max_size=6
)
links = st.builds(
    lambda thread, device, lamport, found: Link(
        thread, device, lamport, tuple(sorted(set(found)))
    ),
    st.none() | st.binary(min_size=16, max_size=16).filter(any),
    st.binary(min_size=8, max_size=8),
    st.integers(0, (1 << 64) - 1),
    parents,
)
metadata = st.builds(
    Metadata,
    st.integers(-(1 << 62), 1 << 62),
    st.lists(texts.filter(bool), min_size=1, max_size=4).map(tuple),
    st.none() | texts,
    st.none() | texts,
    st.dictionaries(texts.filter(bool), values, max_size=5),
)
payloads = st.builds(Payload, texts | st.binary(max_size=60)) | st.builds(
    Payload, texts, st.binary(max_size=60)
)
drafts = st.builds(Draft, links, metadata, payloads)


@given(drafts)
def test_a_node_opens_as_it_was_sealed(draft: Draft) -> None:
    """Link, metadata and content come back from the record alone, given the secret."""
    sealed = seal(draft)
    record = read_record(sealed.record)
    assert isinstance(record, NodeRecord)
    assert record.id == sealed.id
    assert record.encode() == sealed.record
    assert open_link(record, sealed.secret, erased=False) == draft.link
    assert open_metadata(record, sealed.secret) == draft.metadata
    assert open_payload(record, sealed.secret) == draft.payload
    assert verify_node(record, sealed.secret, erased=False) == draft.link


@given(drafts)
def test_an_erased_node_keeps_its_link_alone(draft: Draft) -> None:
    """With the link key the link opens, nothing else does, and the node verifies as erased."""
    sealed = seal(draft)
    record = read_record(sealed.record)
    assert isinstance(record, NodeRecord)
    entry = erased_secret(sealed.secret, record.parts.uid)
    assert verify_node(record, entry, erased=True) == draft.link
    for opening in (open_metadata, open_payload):
        with pytest.raises(VaultDamaged):
            opening(record, entry)
    with pytest.raises(VaultDamaged):
        verify_node(record, entry, erased=False)
    with pytest.raises(VaultDamaged):
        verify_node(record, sealed.secret, erased=True)


@settings(max_examples=60)
@given(drafts, st.data())
def test_a_changed_record_is_refused(draft: Draft, data: st.DataObject) -> None:
    """One flipped bit in a record changes its id, and it no longer decodes or no longer opens."""
    sealed = seal(draft)
    bit = data.draw(st.integers(0, 8 * len(sealed.record) - 1))
    changed = bytearray(sealed.record)
    changed[bit // 8] ^= 1 << bit % 8
    try:
        record = read_record(bytes(changed))
    except ValueError:
        return
    if isinstance(record, NodeRecord):
        assert record.id != sealed.id
        with pytest.raises(VaultDamaged):
            verify_node(record, sealed.secret, erased=False)


erasures = st.builds(
    ErasureRecord,
    st.integers(0, (1 << 64) - 1),
    st.binary(min_size=8, max_size=8),
    st.lists(st.integers(0, (1 << 32) - 1), max_size=20).map(tuple),
)


@given(st.lists(drafts | erasures, max_size=6), st.data())
def test_a_log_is_read_frame_by_frame(entries: list[Any], data: st.DataObject) -> None:
    """Records follow each other; a log that ends inside one is refused."""
    frames = [
        entry.encode() if isinstance(entry, ErasureRecord) else seal(entry).record
        for entry in entries
    ]
    log = b"".join(frames)
    found = list(read_records(log))
    assert [size for size, _ in found] == list(map(len, frames))
    assert [record.encode() for _, record in found] == frames
    cut = data.draw(st.integers(0, len(log)))
    ends = {sum(map(len, frames[:number])) for number in range(len(frames) + 1)}
    if cut not in ends:
        with pytest.raises(ValueError, match="record"):
            list(read_records(log[:cut]))


@given(st.binary(max_size=200))
def test_noise_is_no_record(data: bytes) -> None:
    """Any bytes at all are a record that encodes to them, or a ValueError."""
    try:
        record = read_record(data)
    except ValueError:
        return
    assert record.encode() == data


@given(st.dictionaries(texts, values, max_size=6))
def test_equal_values_have_equal_bytes(value: dict[str, Any]) -> None:
    """The encoding does not depend on the order of keys, and decodes to the same value."""
    packed = pack(value)
    assert unpack(packed) == value
    assert pack(dict(reversed(value.items()))) == packed
    assert pack(unpack(packed)) == packed


@given(st.binary(max_size=60))
def test_noise_is_a_value_or_refused(data: bytes) -> None:
    """Decoding any bytes gives a value or a ValueError, never another error."""
    with suppress(ValueError):
        unpack(data)


def test_a_link_has_a_bound() -> None:
    """More than 1,024 distinct parents are refused; repeated ones count once."""
    many = [Parent(EdgeKind.DERIVES, number.to_bytes(32, "big")) for number in range(1_025)]
    with pytest.raises(LimitExceeded):
        Link(None, bytes(8), 1, tuple(many)).encode()
    decoded = Link.decode(Link(None, bytes(8), 1, tuple(many[:1_024] * 2)).encode())
    assert decoded.parents == tuple(many[:1_024])


@given(st.dictionaries(st.integers(0, 12), st.lists(st.integers(0, 12), max_size=4), max_size=13))
def test_a_walk_visits_everything_once_at_its_distance(graph: dict[int, list[int]]) -> None:
    """Breadth first, with the least distance, also where edges form circles."""
    found = walk([0], lambda node: graph.get(node, ()))
    assert found[0] == 0
    assert list(found.values()) == sorted(found.values())
    for node, distance in found.items():
        for neighbour in graph.get(node, ()):
            assert found[neighbour] <= distance + 1
        if distance:
            assert any(
                found.get(other) == distance - 1 and node in near for other, near in graph.items()
            )
