"""Words without their accents."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimir_core.index.analysis import analyze
from mimir_core.index.folding import folded
from mimir_core.index.lexical import LexicalIndex
from mimir_core.index.terms import TermColumns

PAIRS = [
    ("José Núñez", "Jose Nunez"),
    ("Καλημέρα από την Αθήνα", "καλημερα απο την αθηνα"),
    ("προϊόν", "προιον"),
    ("Ещё ёлка и её за́мок", "еще елка ее замок"),
    ("İstanbul, Diyarbakır ve Iğdır", "istanbul diyarbakir igdir"),
    ("مُحَمَّدٌ رَسُولٌ", "محمد رسول"),
    ("أحمد آمنة مـــصر", "احمد امنة مصر"),
    ("בְּרֵאשִׁית בָּרָא", "בראשית ברא"),
    ("Nguyễn Thị Đào ở Đà Nẵng", "nguyen thi dao da nang"),
    ("Łódź, Ørsted, œuvre, Þór, naïve Ærø", "lodz orsted oeuvre thor naive aero"),
    ("crème bru\u0302le\u0301e", "creme brulee"),
]


@pytest.mark.parametrize(("memory", "query"), PAIRS)
def test_a_query_without_accents_finds_them(memory: str, query: str) -> None:
    """Every word typed without marks is a term of the text that has them."""
    assert set(analyze(query)) <= set(analyze(memory))


@pytest.mark.parametrize(("query", "memory"), PAIRS)
def test_a_query_with_accents_finds_a_memory_without(memory: str, query: str) -> None:
    """Every word of a text without marks is a term of the query that has them."""
    assert set(analyze(memory)) <= set(analyze(query))


@pytest.mark.parametrize(
    "text", ["мой йод", "її", "が ぱ", "हिन्दी की", "ไทยที่", "한국어", "\u0dc3\u0dd2\u0d82", "மொழி"]
)
def test_marks_that_make_another_letter_stay(text: str) -> None:
    """Letters of their own, voiced kana and vowel signs are what they were."""
    assert all(folded(word) == word for word in text.split())


def test_what_looks_like_a_function_word_without_accents_is_none() -> None:
    """A folded form that is a stop word is left out; the word itself stays a term."""
    assert analyze("dö là") == ["dö", "là", "la"]


@pytest.mark.parametrize("query", ["José Núñez", "Jose Nunez"])
def test_the_exact_spelling_comes_first(query: str) -> None:
    """Of two memories that differ in accents alone the one written as the query is stands first."""
    texts = [f"met {name} at the port" for name in ("Jose Nunez", "José Núñez")]
    texts += [f"sailed past lighthouse {number} alone" for number in range(20)]
    for order in (texts, texts[::-1]):
        index = LexicalIndex()
        index.add(0, TermColumns.of([analyze(text) for text in order]))
        found = index.search(analyze(query), 5).ordinals.tolist()
        assert order[found[0]] == f"met {query} at the port"
        assert len(found) == 2


@given(st.text())
def test_folding_ends(word: str) -> None:
    """A folded word has no accents left to fold."""
    assert folded(folded(word)) == folded(word)
