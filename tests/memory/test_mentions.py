"""`forget(mentions=...)`: every memory that contains a phrase, whatever stored it, and no other."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest

from mimir_core import Item, Mimir, mentions
from mimir_core.errors import InvalidArgument
from mimir_core.index.phrase import Phrase
from mimir_core.vault.state import State
from mimir_core.vault.vault import Vault

from ..vault.autopsy import autopsy
from ..vault.vaults import PASSPHRASE

WORD = "Quetzalcoatl"
HOLDING: dict[str, str] = {
    "plain": f"the cat is {WORD}.",
    "case": "THE CAT IS QUETZALCOATL",
    "possessive": f"{WORD}'s bowl",
    "underscore": "user_quetzalcoatl_2",
    "width": "Ｑｕｅｔｚａｌｃｏａｔｌ is wide",
    "soft hyphen": "Quetzal\u00adcoatl",
    "escapes": json.dumps("a line\nQuetzalcoatl and \u00e9"),
    "json in json": json.dumps(json.dumps("a line\nQuetzalcoatl")),
}
OTHERS = ["Quetzalcoatlus", "a Quetzal coatl", "the cat", "xQuetzalcoatl", "Quetzalcoatl9"]


@pytest.mark.parametrize("text", HOLDING.values(), ids=HOLDING)
def test_a_phrase_is_found_however_it_is_written(text: str) -> None:
    """Case, width, hidden characters and escapes make no difference, in text and in bytes."""
    assert Phrase(WORD).in_text(text)
    assert Phrase(WORD).in_bytes(text.encode())
    assert Phrase(WORD).in_bytes(json.dumps(text).encode())


@pytest.mark.parametrize("text", OTHERS)
def test_words_are_matched_whole(text: str) -> None:
    """A phrase within a longer word is none, in text, bytes and strings of MessagePack."""
    assert not Phrase(WORD).in_text(text)
    assert not Phrase(WORD).in_bytes(text.encode())
    assert not Phrase(WORD).in_bytes(msgpack.packb({"channel": [text, -1]}))


@pytest.mark.parametrize("size", [12, 31, 32, 48, 65, 97, 122, 127, 128, 200, 255, 256, 70_000])
@pytest.mark.parametrize("last", [65, None, b"\xff"])
def test_strings_of_message_pack_are_told_from_what_surrounds_them(size: int, last: Any) -> None:
    """A length that looks like a letter, or a number behind the string, hides nothing."""
    text = WORD + " x" * ((size - len(WORD)) // 2) + "!" * (size % 2)
    for whole in (text, text[len(WORD) :] + " " + WORD):
        data = msgpack.packb([b"\xff\xfe", {"k": whole}, [whole, last]])
        assert Phrase(WORD).in_bytes(data)
        assert whole in Phrase(WORD).texts_in(data)
        assert not Phrase(WORD).in_bytes(data.replace(WORD.encode(), b"Quetzalcoatx"))


def test_phrases_of_several_words_and_other_scripts() -> None:
    """White space between words is any; scripts without spaces need no bounds; marks are folded."""
    assert Phrase("Ana  Lopez").in_text("with ana\n\tLOPEZ, too")
    assert Phrase("小黑").in_text("猫叫小黑吗")
    assert Phrase("픽셀").in_text("픽셀이 잔다")
    assert Phrase("STRASSE").in_text("die Straße")
    assert Phrase("José").in_text("Jose\u0301 came")
    assert Phrase("+49 170").in_text("call +49 170")
    assert not Phrase("Ann").in_bytes(msgpack.packb({"channel_values": 1, "annex": b"\xff"}))


def test_long_texts_are_looked_through_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A phrase across the edge of a piece is found, part of a word there is not."""
    for at in range(65_480, 65_600):
        assert Phrase(WORD).in_text("x" * at + f" {WORD} " + "y" * 70_000)
    for at in range(131_000, 131_150, 3):
        assert not Phrase("ana").in_text("x" * (at - 3) + "banana" + "y" * 70_000)
    assert not Phrase("an").in_text("an".join(["x"] * 100_000))


@pytest.mark.parametrize("bad", ["", " ", "--", "x" * 1_025, 7, b"x"])
def test_what_is_no_phrase_is_refused(mimir: Mimir, bad: Any) -> None:
    """A phrase has a letter or a digit; nothing is erased by one that would fit everything."""
    mimir.remember("a -- b")
    with pytest.raises(InvalidArgument):
        mimir.forget(mentions=bad)
    assert mimir.stats().memories == 1


def test_a_phrase_takes_neither_ids_nor_keys(mimir: Mimir) -> None:
    """It selects by itself, within a namespace, thread, filter or time."""
    id_ = mimir.remember(WORD)
    for other in ({"ids": [id_]}, {"key": "k"}, {"keys": ["k"]}):
        with pytest.raises(InvalidArgument):
            mimir.forget(mentions=WORD, **other)  # type: ignore[arg-type]
    assert mimir.forget(mentions=WORD, namespace="elsewhere").count == 0
    assert mimir.forget(mentions=WORD, until="2000-01-01").count == 0
    assert mimir.forget(mentions=WORD, namespace="default", since="2000-01-01").count == 1


def everywhere() -> list[Item]:
    """The word at every place of a memory, and memories without it."""
    return [
        Item(f"text with {WORD}", namespace=("a", "b")),
        Item(b"\xff bytes " + WORD.encode(), namespace="c"),
        Item("beside", namespace="d", attachment=json.dumps({"x": WORD}).encode()),
        Item("its key", key=f"pet/{WORD}"),
        Item("its thread", thread=f"about {WORD}"),
        Item("its field", metadata={"deep": [{"er": WORD.upper()}]}),
        *(Item(f"nothing {number}", namespace=("a", "b"), thread="t") for number in range(20)),
    ]


def test_everything_that_mentions_goes_and_nothing_else(mimir: Mimir, path: Path) -> None:
    """Content, attachment, key, thread and fields of all namespaces; afterwards no trace opens."""
    ids = mimir.remember_many(everywhere())
    preview = mimir.forget(mentions=WORD, dry_run=True)
    assert set(preview.ids) == set(ids[:6])
    assert preview.namespaces == {("a", "b"): 1, ("c",): 1, ("d",): 1, ("default",): 3}
    assert mimir.stats().memories == len(ids)
    gone = mimir.forget(mentions=WORD)
    assert (gone.ids, gone.dry_run, gone.excerpts) == (preview.ids, False, ())
    assert {memory.id for memory in mimir.memories()} == set(ids[6:])
    assert mimir.verify().ok
    mimir.close()
    needles = {word: word.encode() for word in (WORD, WORD.lower(), WORD.upper())}
    found = autopsy(path, PASSPHRASE, needles, list(range(6)))
    assert found == {"opens": [], "graph": []}


def test_a_preview_shows_excerpts_only_where_asked(mimir: Mimir) -> None:
    """Its repr counts; its excerpts hold the phrase, a few of each namespace."""
    mimir.remember_many(everywhere())
    mimir.remember_many([Item(f"{'long ' * 50}{WORD} {n}", namespace="many") for n in range(300)])
    preview = mimir.forget(mentions=WORD, dry_run=True)
    assert WORD.lower() not in repr([preview, preview.excerpts]).lower()
    assert "306" in repr(preview)
    shown = [one.text for one in preview.excerpts]
    assert all("quetzal" in text.lower() and len(text) <= 73 for text in shown)
    assert sum(one.namespace == ("many",) for one in preview.excerpts) == 3
    assert mimir.forget(namespace="many", dry_run=True).excerpts == ()


def test_what_is_stored_meanwhile_goes_too(mimir: Mimir) -> None:
    """What another writer stores while the vault is looked through is found, to the last moment."""
    mimir.remember_many([Item(f"nothing {number}") for number in range(600)])
    stored: list[str] = []

    def progress(done: int, total: int) -> None:
        if len(stored) < 3:
            stored.append(mimir.remember(f"{WORD} {done}"))

    found = mimir.forget(mentions=WORD, progress=progress)
    assert set(found.ids) == set(stored)
    search = mentions.Mentions(mimir._vault, WORD, mentions.Scope.checked(None))
    search.search()
    late = mimir.remember(WORD)
    with mimir._vault.view() as state:
        assert [state.node_id(int(o)).hex() for o in search.pick(state)] == [late]


def test_what_goes_meanwhile_is_passed_over(mimir: Mimir) -> None:
    """A memory that is forgotten between the search and the erasure is no error."""
    ids = mimir.remember_many([Item(f"{WORD} {number}") for number in range(3)])

    def progress(done: int, total: int) -> None:
        if mimir.stats().memories == 3:
            mimir.forget(ids[1])

    assert set(mimir.forget(mentions=WORD, progress=progress).ids) == {ids[0], ids[2]}


def test_it_is_cancelled_by_its_progress(mimir: Mimir) -> None:
    """An error of the progress ends the search; nothing is erased."""
    mimir.remember_many([Item(f"{WORD} {number}") for number in range(600)])

    def progress(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mimir.forget(mentions=WORD, progress=progress)
    assert mimir.stats().memories == 600


def test_the_vault_is_held_for_a_page_at_a_time(
    mimir: Mimir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No view opens more than 256 records, or than a MiB and one record."""
    items = [Item(f"{WORD} {number}") for number in range(700)]
    mimir.remember_many([*items, *(Item(bytes(900_000), namespace="b") for _ in range(5))])
    opened: list[list[int]] = []
    real = Vault.view

    @contextmanager
    def view(self: Vault) -> Iterator[State]:
        opened.append([])
        with real(self) as state:
            yield state

    def record(self: State, ordinal: int, _real: Any = State.record) -> Any:
        if opened:
            opened[-1].append(self.catalog.span(ordinal)[1])
        return _real(self, ordinal)

    monkeypatch.setattr(Vault, "view", view)
    monkeypatch.setattr(State, "record", record)
    search = mentions.Mentions(mimir._vault, WORD, mentions.Scope.checked(None))
    search.search()
    assert sum(map(len, opened)) >= 705
    assert max(map(len, opened)) <= 256
    assert max(map(sum, opened)) <= (1 << 20) + 1_000_000


def test_an_older_value_of_a_key_does_not_come_back(mimir: Mimir) -> None:
    """What a found memory superseded, and kept, goes with it."""
    old = mimir.remember("nothing", key="pet")
    new = mimir.remember(WORD, key="pet", keep_history=True)
    assert set(mimir.forget(mentions=WORD).ids) == {old, new}
    assert mimir.known(["pet"]) == [None]


def test_what_was_derived_goes_on_request(mimir: Mimir) -> None:
    """`cascade` takes along what was made of a found memory."""
    source = mimir.remember(WORD)
    made = mimir.remember("a pet", derived_from=[source])
    assert mimir.forget(mentions=WORD, dry_run=True).ids == (source,)
    assert set(mimir.forget(mentions=WORD, cascade=True).ids) == {source, made}


@pytest.mark.parametrize("known", [True, False])
def test_vectors_under_a_digest_of_the_text_go(mimir: Mimir, known: bool) -> None:
    """A cached vector goes if the text lies in the vault, or is the phrase itself."""
    text = f"the cat is {WORD}"
    data = text.encode()
    sha1 = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    names = [
        f"key model{uuid.uuid5(uuid.UUID(int=1985), sha1)}",
        *(f"m {hashlib.new(kind, data).hexdigest()}" for kind in ("sha256", "sha512", "blake2b")),
    ]
    other = mimir.remember(bytes(8), key=f"key model{uuid.uuid4()}", namespace="cache")
    cached = mimir.remember_many([Item(bytes(8), key=key, namespace="cache") for key in names])
    if known:
        cached.append(mimir.remember(json.dumps({"text": text}).encode(), namespace="nodes"))
    found = mimir.forget(mentions=WORD if known else text)
    assert set(found.ids) == set(cached)
    assert mimir.get(other).content == bytes(8)


def test_records_that_name_what_went_go_with_it(mimir: Mimir) -> None:
    """A record that names the digest key of a found one goes, and what names that one's, so on."""
    keys = [f"value {hashlib.sha256(bytes([n])).hexdigest()}" for n in range(3)]
    chain = [Item(WORD.encode(), key=keys[0], namespace="s")]
    chain += [
        Item(json.dumps({"from": keys[n]}).encode(), key=keys[n + 1], namespace="s")
        for n in range(2)
    ]
    ids = mimir.remember_many(chain)
    mimir.remember(json.dumps({"from": keys[0]}).encode(), namespace="another place")
    mimir.remember(json.dumps({"from": keys[0][:-1]}).encode(), namespace="s")
    assert set(mimir.forget(mentions=WORD).ids) == set(ids)


def test_fields_of_all_kinds_are_looked_at(mimir: Mimir) -> None:
    """Numbers and dates as they are written; nothing else counts as a text."""
    when = dt.date(2024, 5, 17)
    ids = mimir.remember_many([Item("a", metadata={"call": 491701234567, "day": when, "no": True})])
    for phrase in ("True", "call", "49170"):
        assert mimir.forget(mentions=phrase, dry_run=True).count == 0
    for phrase in ("491701234567", "2024-05-17"):
        assert mimir.forget(mentions=phrase, dry_run=True).ids == tuple(ids)
