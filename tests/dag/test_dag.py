"""Nodes and records: what is sealed opens again, what was changed does not, walks end."""

from __future__ import annotations

import datetime as dt
import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimir_core.crypto.nodes import erased_secret, seal_node
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
from mimir_core.dag.limits import MAX_CLOCK
from mimir_core.encoding import pack, unpack
from mimir_core.errors import InvalidNamespace, LimitExceeded, VaultDamaged
from mimir_core.types import EdgeKind, check_namespace, to_micros


def is_namespace(labels: list[str]) -> bool:
    """Whether the labels make a namespace."""
    try:
        return bool(check_namespace(labels))
    except InvalidNamespace:
        return False


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
    st.integers(1, MAX_CLOCK),
    parents,
)
labels = st.lists(texts, min_size=1, max_size=4).filter(is_namespace).map(check_namespace)
metadata = st.builds(
    Metadata,
    st.datetimes(timezones=st.just(dt.UTC)).map(to_micros),
    labels,
    st.none() | texts.filter(bool),
    st.none() | texts.filter(bool),
    st.dictionaries(texts.filter(lambda name: name and name[0] != "$"), values, max_size=5),
)
said = texts.filter(str.strip)
payloads = st.builds(Payload, said | st.binary(max_size=60)) | st.builds(
    Payload, said, st.binary(max_size=60)
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
    st.integers(1, MAX_CLOCK),
    st.binary(min_size=8, max_size=8),
    st.sets(st.integers(0, (1 << 32) - 1), max_size=20).map(lambda found: tuple(sorted(found))),
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


LINK = Link(None, bytes(8), 1)
ABOUT = Metadata(0, ("a",), None, None, {})
ONE, TWO = (Parent(EdgeKind.FOLLOWS, bytes([number]) * 32) for number in (1, 2))
EDGE = struct.Struct("<B32s")


def link(lamport: int = 1, parents: tuple[Parent, ...] = ()) -> bytes:
    """A link as anybody might lay it out."""
    head = struct.pack("<16s8sQH", bytes(16), bytes(8), lamport, len(parents))
    return head + b"".join(EDGE.pack(parent.kind, parent.id) for parent in parents)


def about(time: Any = 0, labels: Any = ("a",), thread: Any = None, key: Any = None,
          fields: Any = None) -> bytes:  # fmt: skip
    """Metadata as anybody might lay it out."""
    return pack([time, labels, thread, key, {} if fields is None else fields])


DEEP: Any = {}
for _ in range(17):
    DEEP = {"deeper": DEEP}
MANY = tuple(Parent(EdgeKind.DERIVES, n.to_bytes(32, "big")) for n in range(1_025))
FOREIGN = {
    "no clock": (link(0), None, None),
    "last clock": (link((1 << 64) - 1), None, None),
    "clock past the bound": (link(MAX_CLOCK + 1), None, None),
    "parents out of order": (link(1, (TWO, ONE)), None, None),
    "parent twice": (link(1, (ONE, ONE)), None, None),
    "too many parents": (link(1, MANY), None, None),
    "edge of no kind": (link()[:-2] + b"\1\0" + EDGE.pack(9, bytes(32)), None, None),
    "time before year 1": (None, about(-(1 << 60)), None),
    "time after year 9999": (None, about(1 << 62), None),
    "time that is true": (None, about(True), None),
    "no labels": (None, about(labels=[]), None),
    "labels in one text": (None, about(labels="a"), None),
    "too many labels": (None, about(labels=["a"] * 17), None),
    "label with a dot": (None, about(labels=["a.b"]), None),
    "long label": (None, about(labels=["a" * 257]), None),
    "label not in normal form": (None, about(labels=["e\u0301"]), None),
    "label that is a number": (None, about(labels=[1]), None),
    "empty thread name": (None, about(thread=""), None),
    "long key": (None, about(key="k" * 1_025), None),
    "key that is bytes": (None, about(key=b"k"), None),
    "fields that are a list": (None, about(fields=[]), None),
    "field without a name": (None, about(fields={"": 1}), None),
    "operator as a field": (None, about(fields={"$gt": 1}), None),
    "bytes in a field": (None, about(fields={"a": b"b"}), None),
    "deep fields": (None, about(fields=DEEP), None),
    "large fields": (None, about(fields={"a": "b" * (1 << 20)}), None),
    "number past 64 bits": (None, about(fields={"a": (1 << 64) - 1}), None),
    "number that is none": (None, about(fields={"a": float("nan")}), None),
    "another encoding": (None, about(fields={"a": 1})[:-1] + b"\xd0\x01", None),
    "name twice": (None, about()[:-1] + b"\x82\xa1a\x01\xa1a\x01", None),
    "something behind": (None, about() + b"\xc0", None),
    "empty text": (None, None, b"\0"),
    "blank text": (None, None, b"\0 \n"),
    "long text": (None, None, b"\0" + b"a" * ((8 << 20) + 1)),
    "long bytes": (None, None, b"\1" + bytes((8 << 20) + 1)),
    "long attachment": (None, None, b"\2\1\0\0\0a" + bytes((8 << 20) + 1)),
    "text that is none": (None, None, b"\0\xff"),
}


@pytest.mark.parametrize("name", [None, *FOREIGN])
def test_what_no_writer_writes_is_not_read(name: str | None) -> None:
    """A record past any limit of the format is damage, whoever sealed it."""
    good = LINK.encode(), ABOUT.encode(), Payload("a cat").encode()
    foreign = FOREIGN[name] if name else (None, None, None)
    parts, secret = seal_node(
        *(given or own for given, own in zip(foreign, good, strict=True))
    )
    record = NodeRecord(parts)
    if name is None:
        assert verify_node(record, secret, erased=False) == LINK
    else:
        with pytest.raises(VaultDamaged):
            verify_node(record, secret, erased=False)


@pytest.mark.parametrize(("lamport", "ordinals"), [(0, ()), (MAX_CLOCK + 1, ()), (1, (2, 1)),
                                                   (1, (1, 1))])  # fmt: skip
def test_an_erasure_out_of_bounds_is_not_read(lamport: int, ordinals: tuple[int, ...]) -> None:
    """An erasure with a clock past the bound, or ordinals out of order, is no record."""
    body = struct.pack(f"<BQ8sI{len(ordinals)}I", 2, lamport, bytes(8), len(ordinals), *ordinals)
    with pytest.raises(ValueError, match=r"clock|order"):
        read_record(struct.pack("<I", len(body)) + body)


def test_a_clock_that_has_run_out_is_said() -> None:
    """Writing past the last clock raises an error of ours, for memories and erasures."""
    for lamport in (0, MAX_CLOCK + 1, 1 << 64):
        with pytest.raises(LimitExceeded):
            Link(None, bytes(8), lamport).encode()
        with pytest.raises(LimitExceeded):
            ErasureRecord(lamport, bytes(8), (1,)).encode()


@given(drafts, st.binary(min_size=32, max_size=32))
def test_an_erased_node_may_have_lost_its_link(draft: Draft, entry: bytes) -> None:
    """With a random entry nothing opens; the node verifies as erased, without edges."""
    sealed = seal(draft)
    record = read_record(sealed.record)
    assert isinstance(record, NodeRecord)
    assert verify_node(record, entry, erased=True) is None
    with pytest.raises(VaultDamaged):
        verify_node(record, entry, erased=False)


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
