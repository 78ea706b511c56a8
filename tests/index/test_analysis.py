"""Text to terms."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mimir_core.index import analysis
from mimir_core.index.analysis import MAX_TERM_CHARS, analyze


def test_words_are_folded_and_stemmed() -> None:
    """Case, inflection and punctuation do not separate a question from its memory."""
    assert analyze("CYCLING: cycles, cycled!") == ["cycl", "cycl", "cycl"]


def test_numbers_and_identifiers_are_terms() -> None:
    """Numbers stay, and the parts of an identifier can be found one by one."""
    assert analyze("12.04 snake_case 3rd") == ["12", "04", "snake", "case", "3rd"]


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Ana's painting", ["ana", "paint"]),
        ("Ana\u2019s painting", ["ana", "paint"]),
        ("we'll sail", ["sail"]),
        ("l'homme", ["l", "homm"]),
        ("'quoted'", ["quot"]),
        ("vitamin d", ["vitamin", "d"]),
    ],
)
def test_apostrophes(text: str, terms: list[str]) -> None:
    """English clitics vanish, elided articles separate, a letter by itself stays."""
    assert analyze(text) == terms


def test_stop_words_are_left_out() -> None:
    """Function words do not become terms beside words with content."""
    assert analyze("When did Melanie paint a sunrise?") == ["melani", "paint", "sunris"]


def test_only_stop_words() -> None:
    """A text of nothing but stop words keeps them, so that it can be found."""
    assert analyze("To be, or not to be") == ["to", "be", "or", "not", "to", "be"]


@pytest.mark.parametrize("text", ["", "   ", "?!... --- ()", "\u200d\ufe0f", "\u00ad"])
def test_nothing_to_find(text: str) -> None:
    """Blanks, punctuation and invisible characters yield no term."""
    assert analyze(text) == []


def test_emoji_are_terms() -> None:
    """Each emoji counts, whatever its skin tone or presentation, and touches no word."""
    assert analyze("\U0001f600\U0001f600") == ["\U0001f600"] * 2
    assert analyze("ok\U0001f44d\U0001f3fd!") == ["ok", "\U0001f44d"]
    assert analyze("\u2764\ufe0f") == analyze("\u2764") == ["\u2764"]


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Привет, мир", ["привет", "мир"]),
        ("שלום עולם", ["שלום", "עולם"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("Straße CAFE\u0301", ["strass", "café", "cafe"]),
        ("\uff21\uff22\uff23 \ufb01ne", ["abc", "fine"]),
    ],
)
def test_other_scripts(text: str, terms: list[str]) -> None:
    """Words of any script stay whole, marks included, after NFKC and case folding."""
    assert analyze(text) == terms


def test_scripts_without_spaces_become_bigrams() -> None:
    """Runs of Han, kana, Hangul or Thai yield overlapping pairs, and ideographs alone as well."""
    assert analyze("東京都") == ["東京", "京都", "東", "京", "都"]
    assert analyze("iPhone手机") == ["iphon", "手机", "手", "机"]
    assert analyze("ねこ") == ["ねこ"]
    assert analyze("猫") == ["猫"]
    assert analyze("한국어") == ["한국", "국어"]


@pytest.mark.parametrize(
    ("query", "memory"),
    [("猫", "私の猫はかわいい"), ("กาแฟ", "ฉันชอบดื่มกาแฟตอนเช้า"), ("서울", "서울에서 만나요")],
)
def test_a_part_of_an_unspaced_text_finds_it(query: str, memory: str) -> None:
    """Every term of a word occurs in a text that contains the word."""
    assert set(analyze(query)) <= set(analyze(memory))


def test_long_words_are_cut() -> None:
    """A term never exceeds its bound, however long the word."""
    assert analyze("9" * 20_000) == ["9" * MAX_TERM_CHARS]
    assert set(analyze("9" * 50_000)) == {"9" * MAX_TERM_CHARS}
    assert analyze("é" * 500) == ["é" * MAX_TERM_CHARS, "e" * MAX_TERM_CHARS]


def test_a_long_text_yields_the_terms_of_its_parts() -> None:
    """Reading in pieces neither loses nor cuts a word."""
    text = "sailing on Ana's boat, 12 knots \U0001f600 "
    assert analyze(text * 3000) == analyze(text) * 3000


@pytest.mark.parametrize(
    "unit", ["\ufdfa", "\ufdfa ", "\ufdfb", "\u3316", "\u247d", "\ufdfa" * 60 + "9 ", "\u0390 "]
)
def test_characters_that_stand_for_many_are_bounded(
    unit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text of them has at most the terms of plain ones of its size, and holds equal ones once."""
    size = 256 << 10
    monkeypatch.setattr(analysis, "MAX_READ_CHARS", size)
    terms = analyze(unit * (size // len(unit.encode())))
    assert sum(map(len, terms)) <= 2 * size  # bigrams hold each character twice
    assert len(set(map(id, terms))) == len(set(terms)) < 100


def test_a_ligature_in_a_long_text_is_read_to_the_end() -> None:
    """What stands for many characters takes nothing from a text that has few of it."""
    text = "peace be upon him \ufdfa " * 4_000 + "ostrich"
    assert analyze(text)[-1] == "ostrich"


def test_a_run_of_marks_is_cut() -> None:
    """Beyond thirty combining marks in a row a word says no more, however many follow."""
    marks = "\u0315\u0300"
    assert analyze("b" + marks * 15 + "c") == analyze("b" + marks * 8_000 + "c") != analyze("bc")


def test_lone_surrogates_separate() -> None:
    """A string that no encoding can hold is still analyzed."""
    assert analyze("ship\ud800yard") == ["ship", "yard"]


@given(st.text())
def test_terms_are_words(text: str) -> None:
    """Terms are non-empty, bounded, encodable, free of blanks, and the same every time."""
    terms = analyze(text)
    assert analyze(text) == terms
    for term in terms:
        assert 0 < len(term.encode()) <= 4 * MAX_TERM_CHARS
        assert not any(character.isspace() for character in term)


@given(st.text(st.characters(max_codepoint=127)))
def test_plain_and_unicode_paths_agree(text: str) -> None:
    """ASCII text yields the same terms when a foreign character takes it down the other path."""
    content = "anchor " + text  # a content word, so that stop words are left out on both sides
    assert analyze(content + " \u2192") == analyze(content)


def test_threads_agree() -> None:
    """Analysis on many threads at once gives what one thread gives."""
    texts = [f"sailing boats number {n} drifted happily" for n in range(300)]
    results: list[list[list[str]]] = []
    threads = [
        threading.Thread(target=lambda: results.append([analyze(text) for text in texts]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[analyze(text) for text in texts]] * 4
