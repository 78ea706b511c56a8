"""What capital letters tell."""

from __future__ import annotations

import pytest

from mimir_core.index.analysis import analyze
from mimir_core.index.capitals import told_by_capitals


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Will went to Paris", ["will"]),
        ("I met Will, and May too", ["will", "may"]),
        ("Will's birthday was in May 2023", ["will", "may"]),
        ("our IT department in the US", ["it", "us"]),
        ("WHO says so; US-based", ["who", "us"]),
        ("Will and Grace. May is away.", ["will", "may"]),
    ],
)
def test_names_are_told_from_function_words(text: str, names: list[str]) -> None:
    """A capital that no sentence asks for makes a term of a stop word, and it is found alone."""
    assert told_by_capitals(text) == names
    for name in names:
        assert set(analyze(name)) | set(analyze(name.upper())) <= set(analyze(text))


@pytest.mark.parametrize(
    "text",
    [
        "It will rain. What may we do? I AM.",
        "Will you come? May I ask?",
        "Who is there?\nAnd why",
        "WHO ARE YOU",
        "we CAN'T",
        "he said: It is so",
    ],
)
def test_a_sentence_begins_with_a_capital(text: str) -> None:
    """Capitals at the beginning, questions and shouting make no names of function words."""
    assert [name for name in told_by_capitals(text) if name != "am"] == []


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("LibreOffice", ["libre", "office"]),
        ("use NetworkManager, camelCase", ["network", "manager", "camel", "case"]),
        ("XMLHttpRequest MySQL", ["xml", "http", "request", "sql"]),
        ("iPhone DVDs GHz getX PCIe eBay USA NASA's Ana", []),
        ("Q" * 65 + "uietLong", []),
    ],
)
def test_words_of_identifiers(text: str, parts: list[str]) -> None:
    """Capitals inside a word part it, but for plurals, units and marks of one letter."""
    assert told_by_capitals(text) == parts


def test_an_identifier_stays_a_term() -> None:
    """Whole and in parts it is found; the whole comes first."""
    assert analyze("NetworkManager") == ["networkmanag", "network", "manag"]
