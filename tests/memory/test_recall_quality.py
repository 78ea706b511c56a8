"""What recall finds: speakers, neighbours, tails of long texts, preferences, and bad input."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import retrieval
from mimir_core import Item, Mimir, MiniLM, VectorSpace
from mimir_core.embedding import HashEmbedder, Vectors, embed_whole
from mimir_core.errors import InvalidArgument, InvalidText, InvalidVector, SpaceMismatch
from mimir_core.index.speech import MAX_SPEAKER_CHARS, spoken

from ..vault.vaults import FAST, PASSPHRASE, create, reopen

DATA = Path(__file__).parents[2].parent / "shared" / "data"
CONVERSATIONS = ("conv-26", "conv-30")


@pytest.fixture(scope="module")
def minilm() -> MiniLM:
    return MiniLM()


@pytest.fixture
def meaning(path: Path, minilm: MiniLM) -> Iterator[Mimir]:
    """An empty vault with the built-in embedder."""
    with Mimir.create(path, PASSPHRASE, embedder=minilm, profile=FAST) as mimir:
        yield mimir


def _lines(name: str) -> list[dict[str, Any]]:
    file = DATA / name
    if not file.exists():
        pytest.skip(f"../shared/data/{name} is absent")
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        found = map(json.loads, lines)
        return [line for line in found if line["conversation"] in CONVERSATIONS]


def test_quality_has_a_floor(path: Path, minilm: MiniLM) -> None:
    """On two real conversations recall beats each single channel, and what it reached once."""
    turns = _lines("locomo_dev_turns.jsonl.gz")
    questions = [
        retrieval.Question(line["conversation"], line["question"], frozenset(line["gold"]))
        for line in _lines("locomo_dev_queries.jsonl.gz")
    ][::3]
    with Mimir.create(path, PASSPHRASE, embedder=minilm, profile=FAST) as mimir:
        mimir.remember_many(map(retrieval.as_item, turns))
        found = retrieval.measure(mimir, questions)
    for cut in retrieval.CUTS:
        key = f"recall@{cut}"
        assert found["spread"][key] >= max(found["dense"][key], found["lexical"][key])
    assert found["spread"]["recall@5"] >= 0.65
    assert found["spread"]["recall@10"] >= 0.74
    assert found["spread"]["mrr"] > found["hybrid"]["mrr"]


def test_a_speaker_is_part_of_what_is_said(meaning: Mimir) -> None:
    """A question that names someone finds what that one said, whose text has no name in it."""
    texts = ("I painted a lake last summer", "I painted a lake last spring")
    ana, bob = (
        meaning.remember(text, metadata={"speaker": name})
        for text, name in zip(texts, ("Ana", "Bob"), strict=True)
    )
    meaning.remember_many([Item(f"the weather on day {day}") for day in range(20)])
    for mode in ("dense", "lexical", "hybrid"):
        assert meaning.recall("what did Ana paint?", k=1, mode=mode)[0].id == ana
        assert meaning.recall("what did Bob paint?", k=1, mode=mode)[0].id == bob


def test_a_speaker_is_found_after_reopening_and_gone_after_forgetting(path: Path) -> None:
    """Speakers are terms whether they come from the log or from segments, until forgotten."""
    with create(path) as mimir:
        id_ = mimir.remember("hello there", metadata={"author": "Zebulon"})
        with reopen(path) as second:  # from the log's tail
            assert [hit.id for hit in second.recall("zebulon", mode="lexical")] == [id_]
    with reopen(path) as mimir:  # from a segment
        assert [hit.id for hit in mimir.recall("zebulon", mode="lexical")] == [id_]
        mimir.forget(id_)
        assert mimir.recall("zebulon", mode="lexical") == []


@pytest.mark.parametrize("speaker", ["", "  ", None, 7, ["Ana"], {"name": "Ana"}])
def test_only_text_is_a_speaker(speaker: object) -> None:
    """A speaker that is no text, or has none, leaves the text as it is."""
    assert spoken("hello", {"speaker": speaker}) == "hello"


def test_a_text_does_not_drown_in_its_speaker() -> None:
    """Of a long name a part is indexed."""
    assert spoken("hello", {"speaker": "x" * 1000}) == "x" * MAX_SPEAKER_CHARS + ": hello"


def test_the_tail_of_a_long_text_is_found(meaning: Mimir) -> None:
    """What stands beyond the tokens that the model reads at once still moves the vector."""
    filler = "The committee discussed the budget of the town hall at great length. " * 40
    plain = meaning.remember(filler)
    tail = meaning.remember(filler + "Penguins are flightless birds that live in Antarctica. " * 20)
    first, second = meaning.recall("penguins in Antarctica", mode="dense")
    assert (first.id, second.id) == (tail, plain)
    assert first.score > second.score + 0.1


def test_short_texts_keep_their_vector(minilm: MiniLM) -> None:
    """Only texts of several windows are pooled; all vectors have length 1."""
    texts = ["a short text", "word " * 2_000, "another one", "x" * 100_000]
    whole = embed_whole(minilm, texts)
    alone = minilm.embed_documents(texts)
    assert np.abs(whole[[0, 2]] - alone[[0, 2]]).max() < 1e-5
    assert np.linalg.norm(whole, axis=1) == pytest.approx(np.ones(4), abs=1e-5)
    assert np.abs(whole[1] - embed_whole(minilm, texts[1:2])[0]).max() < 1e-5


def test_an_answer_is_found_by_its_question(mimir: Mimir) -> None:
    """The turn after a match gains by it, and says from whom."""
    asked = mimir.remember("which colour has the giraffe", thread="t")
    answer = mimir.remember("yellow mostly", thread="t")
    mimir.remember_many([Item(f"number {number}") for number in range(60)])
    hits = {hit.id: hit for hit in mimir.recall("colour giraffe", k=3)}
    assert list(hits)[:2] == [asked, answer]
    assert hits[answer].spread_from == asked
    assert hits[answer].score == pytest.approx(sum(hits[answer].channels.values()))
    assert answer not in {hit.id for hit in mimir.recall("colour giraffe", k=1, spread=0)}
    assert all(hit.spread_from is None for hit in mimir.recall("colour giraffe", spread=0))


def test_an_erased_neighbour_gives_nothing(mimir: Mimir) -> None:
    """What was forgotten raises nobody, and scores pass it by."""
    asked = mimir.remember("which colour has the giraffe", thread="t")
    answer = mimir.remember("yellow mostly", thread="t")
    mimir.remember_many([Item(f"number {number}") for number in range(60)])
    mimir.forget(asked)
    for hit in mimir.recall("colour giraffe", k=100):
        assert hit.id != asked
        assert hit.spread_from != asked
        assert hit.id != answer or hit.channels["spread"] == 0


def test_a_named_date_raises_what_was_remembered_then(mimir: Mimir) -> None:
    """Of equal texts the one from the named day comes first; single channels are not moved."""
    times = [dt.datetime(2024, month, 9, tzinfo=dt.UTC) for month in range(1, 7)]
    ids = mimir.remember_many([Item("a walk by the lake", time=time) for time in times])
    mimir.remember_many([Item(f"number {number}") for number in range(40)])
    for question in ("a walk in March", "the lake on 9 March 2024", "walk 2024-03-09"):
        first, second = mimir.recall(question, k=2)
        assert first.id == ids[2]
        assert first.channels["time"] > 0 == second.channels["time"]
        assert first.score == pytest.approx(sum(first.channels.values()))
    assert "time" not in mimir.recall("a walk by the lake")[0].channels
    assert mimir.recall("a walk in March", k=1, mode="lexical")[0].id == ids[0]


def test_when_raises_what_tells_of_time(mimir: Mimir) -> None:
    """Asked when, a text gains half of its worth if it says when; asked how, nothing."""
    texts = ("cat slept well", "cat slept yesterday")
    plain, telling = mimir.remember_many([Item(text) for text in texts])[:2]
    mimir.remember_many([Item(f"number {number}") for number in range(40)])
    hits = {hit.id: hit for hit in mimir.recall("when did cat sleep")}
    assert hits[plain].channels["time"] == 0
    assert hits[telling].channels["time"] == pytest.approx(hits[telling].score / 3)
    assert all("time" not in hit.channels for hit in mimir.recall("how did cat sleep"))


def test_diversity_passes_over_what_is_alike(mimir: Mimir) -> None:
    """With diversity the second hit is another text than the first; without, its twin."""
    twins = mimir.remember_many([Item("cat cat cat dog"), Item("cat cat cat dog")])
    other = mimir.remember("cat horse mouse")
    mimir.remember_many([Item(f"number {number}") for number in range(40)])
    assert {hit.id for hit in mimir.recall("cat dog horse", k=2)} == set(twins)
    assert other in {hit.id for hit in mimir.recall("cat dog horse", k=2, diversity=0.5)}
    assert len(mimir.recall("cat dog horse", k=10, diversity=1.0)) == 10


def test_recency_and_importance_raise_scores(mimir: Mimir) -> None:
    """Among equal texts the newer, or the more important one, comes first when asked for."""
    day = dt.datetime(2024, 5, 1, tzinfo=dt.UTC)
    items = [
        Item("cat", time=day, metadata={"importance": 0.9}),
        Item("cat", time=day + dt.timedelta(days=30)),
        *(Item(f"number {number}", time=day) for number in range(40)),
    ]
    old, new = mimir.remember_many(items)[:2]
    assert [hit.id for hit in mimir.recall("cat", k=2)] == [old, new]
    recent = mimir.recall("cat", k=2, recency=1.0, half_life_days=30)
    assert [hit.id for hit in recent] == [new, old]
    assert recent[0].score == pytest.approx(recent[1].score * 2 / 1.5)
    both = mimir.recall("cat", k=2, recency=0.1, importance=5.0)
    assert [hit.id for hit in both] == [old, new]
    assert [hit.score for hit in both] == sorted((hit.score for hit in both), reverse=True)
    for hit in (*recent, *both):
        assert sum(hit.channels.values()) == pytest.approx(hit.score, rel=1e-5)


@pytest.mark.parametrize("weights", [{"recency": 1.0}, {"importance": 1.0}])
@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_preferences_decide_among_equals(
    mimir: Mimir, mode: str, weights: dict[str, float]
) -> None:
    """Equal memories, of a score above zero, below it or zero, come newest or weightiest first."""
    week = 7 * 86_400
    ids = [
        mimir.remember("take the pills", time=n * week, metadata={"importance": n / 4})
        for n in range(1, 4)
    ]
    assert [hit.id for hit in mimir.recall("take the pills", mode=mode)] == ids
    assert [hit.id for hit in mimir.recall("take the pills", mode=mode, **weights)] == ids[::-1]
    away = -mimir.embedder.embed_query("take the pills")
    hits = mimir.recall("pills", mode="dense", vector=away, **weights)
    assert [hit.id for hit in hits] == ids[::-1]
    assert all(hit.score <= 0 for hit in hits)


@pytest.mark.parametrize(
    "weights",
    [
        {"spread": -1}, {"spread": float("nan")}, {"spread": "1"}, {"diversity": 1.1},
        {"diversity": True}, {"recency": -0.1}, {"recency": float("inf")}, {"importance": None},
        {"recency": 10**400},
        {"half_life_days": 0}, {"half_life_days": float("nan")},
    ],
)  # fmt: skip
def test_weights_are_checked(mimir: Mimir, weights: dict[str, Any]) -> None:
    """A weight that is no number of its range is refused by name."""
    with pytest.raises(InvalidArgument, match=next(iter(weights))):
        mimir.recall("cat", **weights)


@pytest.mark.parametrize("query", ["", " ", "\n\t", "\ud800"])
def test_a_query_without_text_is_refused(mimir: Mimir, query: str) -> None:
    """Nothing to look for is an error and not an empty answer."""
    with pytest.raises(InvalidText):
        mimir.recall(query)


@pytest.mark.parametrize(
    "query",
    ["the of and", "what is it?", "\U0001f600\U0001f680", "?!...", "кошка", "猫はどこ", "กาแฟ",
     "cat " * 12_500, "x" * 50_000],
)  # fmt: skip
def test_odd_queries_find_something_or_nothing(meaning: Mimir, query: str) -> None:
    """Stop words, emoji, other scripts and 50,000 characters give hits in order."""
    meaning.remember_many(
        [Item(text) for text in ("a cat", "кошка спит", "猫が好き", "\U0001f600", "the of and")]
    )
    for mode in ("dense", "lexical", "hybrid"):
        hits = meaning.recall(query, mode=mode, k=50)
        assert len(hits) <= 5
        assert [hit.score for hit in hits] == sorted((h.score for h in hits), reverse=True)
    assert len(meaning.recall(query, k=50)) == 5


def test_equal_documents_come_in_the_order_they_were_stored(mimir: Mimir) -> None:
    """When nothing tells memories apart, the older come first, each once."""
    ids = mimir.remember_many([Item("the same words") for _ in range(200)])
    assert [hit.id for hit in mimir.recall("same words", k=7)] == ids[:7]
    assert {hit.id for hit in mimir.recall("same words", k=10_000)} == set(ids)


def test_an_empty_vault_finds_nothing(mimir: Mimir) -> None:
    """No memory, no hit, in any mode."""
    for mode in ("dense", "lexical", "hybrid"):
        assert mimir.recall("cat", mode=mode, k=3, diversity=0.5) == []


class Broken:
    """An embedder whose queries are not finite."""

    space = VectorSpace(HashEmbedder(32).space.digest, 32)

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        return HashEmbedder(32).embed_documents(texts)

    def embed_query(self, text: str) -> Vectors:
        return np.full(32, np.nan, np.float32)


def test_a_broken_embedder_is_named(path: Path) -> None:
    """NaN from a caller's embedder is a typed error; terms still find."""
    with Mimir.create(path, PASSPHRASE, embedder=Broken(), profile=FAST) as mimir:
        mimir.remember("a cat")
        for mode in ("dense", "hybrid"):
            with pytest.raises(InvalidVector):
                mimir.recall("cat", mode=mode)
        assert len(mimir.recall("cat", mode="lexical")) == 1


def test_another_model_is_refused_before_and_after_a_search(path: Path) -> None:
    """A scope kept from an earlier recall does not hide that the vectors are another model's."""
    with create(path) as mimir:
        mimir.remember("a cat")
        assert mimir.recall("cat")
    with Mimir.open(path, PASSPHRASE, embedder=HashEmbedder(16), profile=FAST) as mimir:
        assert mimir.recall("cat", mode="lexical")
        for _ in range(2):
            with pytest.raises(SpaceMismatch):
                mimir.recall("cat")


@settings(max_examples=10)
@given(st.lists(st.sampled_from(["add", "forget", "recall"]), max_size=12), st.randoms())
def test_a_kept_scope_follows_every_change(actions: list[str], random: Any) -> None:
    """Recall never misses what was just stored and never returns what was just forgotten."""
    with tempfile.TemporaryDirectory() as folder, create(Path(folder, "v.mimir")) as mimir:
        live = mimir.remember_many([Item(f"cat {number}", thread="t") for number in range(3)])
        for action in actions:
            if action == "add":
                live.append(mimir.remember("cat again", thread="t"))
            elif action == "forget" and live:
                gone = live.pop(random.randrange(len(live)))
                mimir.forget(gone)
            hits = mimir.recall("cat", k=100)
            assert {hit.id for hit in hits} == set(live)
            assert all(hit.spread_from in (*live, None) for hit in hits)


def test_a_question_about_no_turn_is_refused(tmp_path: Path) -> None:
    """The benchmark refuses evidence that does not exist, and a file without questions."""
    turns = [{"conversation": "c", "id": "1", "text": "hello"}]
    file = tmp_path / "queries.jsonl"
    for gold in ([], ["2"]):
        line = {"conversation": "c", "question": "who?", "gold": gold}
        file.write_text(json.dumps(line), encoding="utf-8")
        with pytest.raises(InvalidArgument):
            retrieval.read_questions(file, turns)
    file.write_text("", encoding="utf-8")
    with pytest.raises(InvalidArgument):
        retrieval.read_questions(file, turns)
