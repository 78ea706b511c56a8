"""What capital letters tell: names among stop words, and the words of an identifier.

"Will", "IT" and "WHO" are names where a capital stands that no sentence asks for. LibreOffice is
found by "office" as well: on chat about software that finds three times as many of those that are
asked for in words, and conversations lose nothing (`bench/README.md`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mimir_core.index.stop_words import STOP_WORDS

# Expressions that begin with the capital are searched for three times sooner.
# A word of its own: neither what another one ends in, nor "CAN'T".
_CAPITALIZED = re.compile(
    r"[A-Z](?<![\w'\u2019][A-Z])(?:[a-z]+|[A-Z]+)(?!\w|['\u2019][tT]\b)"
)
_GIVEN = frozenset({"Will", "May"})  # names that may begin a sentence too
_SUBJECT = re.compile(  # "Will you", "May the"
    r" (?:i|we|you|he|she|it|they|my|our|your|his|her|its|their|me|us|him|them"
    r"|this|that|these|those|there|the|an?|any|some|all|not|be)\b",
    re.IGNORECASE,
)

# Where a word begins within another one; not in plurals (DVDs), iPhone, GHz.
_HUMP = re.compile("(?<=[A-Za-z][a-z])(?=[A-Z][A-Za-z])|(?<=[A-Z]{2})(?=[A-Z][a-z]{2})")
_HAS_HUMP = re.compile("[A-Z](?:(?<=[A-Za-z][a-z].)[A-Za-z]|(?<=[A-Z]{2}.)[a-z]{2})")
_LETTERS = re.compile("(?<![A-Za-z])[A-Za-z]{4,64}(?![A-Za-z])")  # longer ones are encoded files


def told_by_capitals(text: str) -> list[str]:
    """Names that are stop words, and parts of identifiers, in lower case; ASCII letters only."""
    return [*_names(text), *_parts(text)]


def _names(text: str) -> Iterator[str]:
    for match in _CAPITALIZED.finditer(text):
        if match[0].lower() in STOP_WORDS and _is_name(text, match):
            yield match[0].lower()


def _is_name(text: str, match: re.Match[str]) -> bool:
    if match[0].isupper():
        return not text.isupper()
    before = text[max(0, match.start() - 2) : match.start()]
    if before[1:] == " " and (before[0].isalnum() or before[0] in ",;&)"):
        return True  # amid a sentence
    return match[0] in _GIVEN and not _SUBJECT.match(text, match.end())


def _parts(text: str) -> Iterator[str]:
    if not _HAS_HUMP.search(text):
        return
    for word in _LETTERS.findall(text):
        parts = _HUMP.split(word)
        if len(parts) > 1:
            yield from (part.lower() for part in parts if part.lower() not in STOP_WORDS)
