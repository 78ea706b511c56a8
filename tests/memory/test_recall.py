"""Recall against oracles: exact dense search, BM25 by the formula, masks by hand."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimir_core import Hit, Item, Mimir
from mimir_core.index.analysis import analyze
from mimir_core.index.columns import quantize
from mimir_core.index.lexical import K1, B

from ..vault.vaults import EMBEDDER, MEMORY_FOLDER, create, reopen

WORDS = ("cat", "dog", "bird", "fish", "horse", "mouse", "snake", "spider", "wolf", "fox")
DAY = 86_400


def cosines(query: str, texts: Sequence[str]) -> list[float]:
    """Cosine of a query and each text, as vectors are stored."""
    codes, _ = quantize(EMBEDDER.embed_documents(texts))
    vectors = codes.astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    direction = EMBEDDER.embed_query(query).astype(np.float64)
    return list(vectors @ (direction / np.linalg.norm(direction)))


def bm25(query: str, texts: Sequence[str]) -> list[float]:
    """BM25 of a query and each text, straight from the formula."""
    documents = [Counter(analyze(text)) for text in texts]
    average = max(sum(map(Counter.total, documents)), 1) / len(documents)
    scores = [0.0] * len(texts)
    for term in set(analyze(query)):
        frequency = sum(term in document for document in documents)
        idf = math.log(1 + (len(texts) - frequency + 0.5) / (frequency + 0.5))
        for number, document in enumerate(documents):
            norm = K1 * (1 - B + B * document.total() / average)
            scores[number] += idf * document[term] / (document[term] + norm)
    return scores


def check_best(hits: Sequence[Hit], scores: dict[str, float], k: int, floor: float) -> None:
    """Checks that hits are the k best of `scores`, best first, ties in any order."""
    ranked = sorted((score for score in scores.values() if score > floor), reverse=True)[:k]
    found = [scores[hit.id] for hit in hits]
    assert len({hit.id for hit in hits}) == len(hits)
    assert found == pytest.approx(ranked, abs=1e-5)


texts = st.lists(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join), min_size=1, max_size=80
)


@settings(max_examples=15)
@given(texts, st.sampled_from(WORDS), st.integers(1, 90), st.data())
def test_single_channels_are_exact(
    texts: list[str],
    query: str,
    k: int,
    data: st.DataObject,
) -> None:
    """Dense and lexical recall are the k best of an exhaustive search, also after forgetting."""
    with TemporaryDirectory(dir=MEMORY_FOLDER) as name, create(Path(name, "v.mimir")) as mimir:
        ids = mimir.remember_many([Item(text) for text in texts])
        gone = data.draw(st.sets(st.sampled_from(ids), max_size=len(ids) - 1))
        if gone:
            mimir.forget(sorted(gone))
        kept = {id_: text for id_, text in zip(ids, texts, strict=True) if id_ not in gone}
        dense = dict(zip(kept, cosines(query, list(kept.values())), strict=True))
        lexical = dict(zip(kept, bm25(query, list(kept.values())), strict=True))
        check_best(mimir.recall(query, k=k, mode="dense"), dense, k, -2.0)
        check_best(mimir.recall(query, k=k, mode="lexical"), lexical, k, 0.0)
        hybrid = mimir.recall(query, k=k)
        assert {hit.id for hit in hybrid} <= set(kept)
        assert [hit.score for hit in hybrid] == sorted((h.score for h in hybrid), reverse=True)


@pytest.fixture
def zoo(mimir: Mimir) -> dict[str, str]:
    """Memories that all hold the word cat, by a name for each."""
    items = {
        "plain": Item("cat plain", time=0),
        "ana": Item("cat ana", namespace="ana", time=DAY, metadata={"n": 1}),
        "chat": Item("cat chat", namespace=("ana", "chat"), time=2 * DAY, thread="t"),
        "chat2": Item("cat chat two", namespace=("ana", "chat"), time=3 * DAY, thread="t"),
        "other": Item("cat other", namespace=("ana", "chat"), time=4 * DAY, thread="u"),
        "anabel": Item("cat anabel", namespace="anabel", time=5 * DAY, metadata={"n": 2}),
    }
    return dict(zip(items, mimir.remember_many(list(items.values())), strict=True))


SCOPES = [
    ({}, {"plain"}),
    ({"namespace": "ana"}, {"ana"}),
    ({"namespace": ("ana",), "descendants": True}, {"ana", "chat", "chat2", "other"}),
    ({"namespace": ("ana", "chat")}, {"chat", "chat2", "other"}),
    ({"namespace": ("ana", "chat"), "thread": "t"}, {"chat", "chat2"}),
    ({"namespace": "ana", "descendants": True, "thread": "t"}, {"chat", "chat2"}),
    ({"namespace": "ana", "thread": "t"}, set()),
    ({"namespace": "nobody"}, set()),
    ({"namespace": "nobody", "descendants": True}, set()),
    ({"namespace": "ana", "where": {"n": 1}}, {"ana"}),
    ({"namespace": "ana", "where": {"n": 2}}, set()),
    ({"namespace": "ana", "descendants": True, "since": 2 * DAY}, {"chat", "chat2", "other"}),
    ({"namespace": "ana", "descendants": True, "until": 2 * DAY}, {"ana", "chat"}),
    ({"namespace": ("ana", "chat"), "since": 3 * DAY, "until": 3 * DAY}, {"chat2"}),
    ({"namespace": ("ana", "chat"), "since": "1970-01-04", "until": "1970-01-04"}, {"chat2"}),
    ({"namespace": ("ana", "chat"), "since": 5 * DAY, "until": 3 * DAY}, set()),
]


@pytest.mark.parametrize(("scope", "expected"), SCOPES)
def test_a_scope_holds_in_every_mode(
    mimir: Mimir, zoo: dict[str, str], scope: dict[str, object], expected: set[str]
) -> None:
    """Namespace, thread, filter and time decide alone what can be found, whatever the channel."""
    wanted = {zoo[name] for name in expected}
    for mode in ("dense", "lexical", "hybrid"):
        assert {hit.id for hit in mimir.recall("cat", k=50, mode=mode, **scope)} == wanted
    assert {memory.id for memory in mimir.memories(**{"namespace": "default", **scope})} == wanted


def test_hits_say_how_they_were_found(mimir: Mimir) -> None:
    """A hit names the channels that found it; a neighbour nobody named was found by spread."""
    ids = [mimir.remember(text, thread="t") for text in ("cat", "unrelated words here", "dog")]
    mimir.remember_many([Item(f"filler {word}") for word in WORDS * 10])
    hits = {hit.id: hit for hit in mimir.recall("cat", k=200)}
    assert set(hits[ids[0]].found_by) == {"dense", "lexical"}
    assert {"dense", "lexical", "spread"} == set(hits[ids[0]].channels)
    assert hits[ids[1]].channels["spread"] > 0
    (dense,) = mimir.recall("cat", k=1, mode="dense")
    assert (dense.id, dense.found_by, set(dense.channels)) == (ids[0], ("dense",), {"dense"})
    (lexical,) = mimir.recall("cat", k=1, mode="lexical")
    assert (lexical.id, lexical.found_by, set(lexical.channels)) == (
        ids[0], ("lexical",), {"lexical"},
    )  # fmt: skip


def test_neighbours_come_in_order(mimir: Mimir) -> None:
    """A hit brings the live turns before and after it, in the order of the thread."""
    ids = [mimir.remember(f"turn {word}", thread="t") for word in WORDS]
    mimir.remember("elsewhere", thread="u")
    mimir.forget(ids[5])
    (hit,) = mimir.recall(WORDS[6], mode="lexical", k=1, neighbours=2)
    assert hit.id == ids[6]
    assert [memory.id for memory in hit.before] == [ids[3], ids[4]]
    assert [memory.id for memory in hit.after] == [ids[7], ids[8]]
    (first,) = mimir.recall(WORDS[0], mode="lexical", k=1, neighbours=100)
    assert first.before == ()
    assert [memory.id for memory in first.after] == [*ids[1:5], *ids[6:]]


def test_spread_and_neighbours_stay_in_the_scope(mimir: Mimir) -> None:
    """Scores spread to turns that fit the filter, and to no others."""
    first = mimir.remember("cat", thread="t", metadata={"n": 1})
    mimir.remember("whatever", thread="t", metadata={"n": 2})
    mimir.remember_many([Item(f"filler {word}", metadata={"n": 1}) for word in WORDS * 10])
    hits = mimir.recall("cat", k=500, where={"n": 1})
    assert first in {hit.id for hit in hits}
    assert {hit.memory.metadata["n"] for hit in hits} == {1}


@pytest.mark.parametrize("day", [dt.date(2024, 5, 31), "2024-05-31"])
def test_a_day_as_end_is_meant_whole(mimir: Mimir, day: dt.date | str) -> None:
    """A range up to a day holds its last moment, and nothing of the next."""
    last = mimir.remember("cat", time="2024-05-31T23:59:59.999999")
    mimir.remember("cat", time="2024-06-01")
    for since in (None, day):
        assert [hit.id for hit in mimir.recall("cat", since=since, until=day)] == [last]
    midnight = dt.datetime(2024, 5, 31, tzinfo=dt.UTC)
    assert mimir.recall("cat", until=midnight) == []
    assert mimir.forget(until=day).ids == (last,)


def test_a_turn_of_stop_words_is_found_by_its_words(mimir: Mimir) -> None:
    """Also where somebody says it, whose name is a term of its own; and by that name."""
    said = mimir.remember("To be or not to be", metadata={"speaker": "Hamlet"})
    mimir.remember("Who is there?", metadata={"speaker": "Bernardo"})
    for query in ("to be or not to be", "Hamlet"):
        assert [hit.id for hit in mimir.recall(query, mode="lexical")] == [said]


def test_terms_of_an_older_analysis_are_made_anew(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A vault written by other rules is found by the present ones, beside what comes later."""
    with monkeypatch.context() as older:
        older.setattr("mimir_core.vault.segment.ANALYSIS", "3")
        older.setattr("mimir_core.index.speech.analyze", lambda text: text.lower().split())
        with create(path) as mimir:
            old = [mimir.remember(text) for text in ("met José Núñez", "Will sailed", "met Ana")]
    with reopen(path) as mimir:
        new = mimir.remember("Jose Nunez wrote")
        for query, found in {"Jose Nunez": {old[0], new}, "Will": {old[1]}}.items():
            assert {hit.id for hit in mimir.recall(query, mode="lexical")} == found


def test_one_memory_is_found_by_every_mode(mimir: Mimir) -> None:
    """A scope of one memory has no spread of scores to compare with, and still finds it."""
    id_ = mimir.remember("a cat")
    for mode in ("dense", "lexical", "hybrid"):
        assert [hit.id for hit in mimir.recall("cat", mode=mode)] == [id_]


def test_recall_is_the_same_after_reopening(path: Path) -> None:
    """Search results do not depend on whether views came from memory, segments or the log."""
    with create(path) as mimir:
        mimir.remember_many(
            [Item(f"{a} {b}", thread=a) for a in WORDS for b in WORDS]
        )
        expected = {word: mimir.recall(word, k=20) for word in WORDS}
        with reopen(path) as second:
            assert {word: second.recall(word, k=20) for word in WORDS} == expected
    with reopen(path) as mimir:
        assert {word: mimir.recall(word, k=20) for word in WORDS} == expected
