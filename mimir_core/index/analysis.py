"""Text to terms: what the lexical index counts and a query looks up.

One rule for both sides: Unicode NFKC and case folding (UAX 15, The Unicode Standard 3.13), runs of
letters, digits and marks, English stop words left out, Snowball's English stems (Porter 2).
Scripts written without spaces become overlapping character bigrams, as in Lucene's CJK analysis.
A word with accents is also a term without them, and so is what capital letters tell: whoever
writes the same as the memory has more terms in common with it, and finds it first.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Iterator
from functools import cache

import Stemmer

from mimir_core.index.capitals import told_by_capitals
from mimir_core.index.folding import folded
from mimir_core.index.stop_words import STOP_WORDS

ANALYSIS = f"4 stemmer {Stemmer.version()} unicode {unicodedata.unidata_version}"
"""Names the rules that made stored terms; terms made by others are not comparable."""

MAX_TERM_CHARS = 64
"""Longer words (keys, hashes, encoded files) count by their first 64 characters."""

MAX_READ_CHARS = 8 << 20
"""So many characters are read of a text after normalization: no text of 8 MiB has more before."""

_CLITIC = "(?:'(?:s|t|d|m|ll|re|ve)(?![{word}]))?"  # isn't, Ana's, we'll: the tail means nothing
_ASCII_WORDS = re.compile("([a-z0-9]+)" + _CLITIC.format(word="a-z0-9"))
_WORDS = re.compile("([^ ']+)" + _CLITIC.format(word="^ '"))  # for text that _CHARACTERS prepared

# Thai and Lao, Myanmar, Hangul Jamo, Khmer, kana, Han, Hangul syllables, Han outside the BMP.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\ua9e0-\ua9ff\uaa60-\uaa7f\uac00-\ud7ff\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_HAS_UNSPACED = re.compile(f"[{_UNSPACED}]")
_RUNS = re.compile(f"[{_UNSPACED}]+|[^{_UNSPACED}]+")
_IDEOGRAPHS = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")

_MARKS = 30
_PIECE_CHARS = 32_768
# A long text is read in pieces, cut at white space where there is any.
_PIECES = re.compile(rf".{{1,{_PIECE_CHARS}}}(?!\S)|.{{1,{_PIECE_CHARS}}}", re.DOTALL)


class _Characters(dict[int, str]):
    """What each character becomes before words are cut; filled as characters are met."""

    def __missing__(self, code: int) -> str:
        self[code] = replacement = _replacement(chr(code))
        return replacement


def _replacement(character: str) -> str:
    """Letters, digits and marks stay, symbols stand alone, modifiers vanish, the rest separates."""
    category = unicodedata.category(character)
    if character in "'\u2019":
        return "'"
    if category in ("Me", "Cf") or "\ufe00" <= character <= "\ufe0f":
        return " " if character == "\u200b" else ""  # joiners, variation selectors; ZWSP separates
    if category == "So":
        return f" {character} "
    return character if category[0] in "LNM" else " "


_CHARACTERS = _Characters()


class _PerThread(threading.local):
    """A Snowball stemmer keeps a buffer between calls, so each thread has its own."""

    def __init__(self) -> None:
        # No cache: it would keep forgotten words in memory, and saves nothing measurable.
        self.stem = Stemmer.Stemmer("english", 0).stemWords


_local = _PerThread()


def analyze(text: str) -> list[str]:
    """The terms of ``text``, repeated as often as they occur; possibly none.

    Words in order, each with its form without accents behind it; then what capital letters tell.
    Stop words are left out unless the text consists of nothing else, so that a question or a
    memory made of them alone can still be found. Any string is accepted; time and memory are
    bounded by its length, for of one whose characters stand for many others (U+FDFA: 18) only so
    much is read as a text of plain ones can have. Thread-safe.
    """
    words, told = _words(text) if len(text) <= _PIECE_CHARS else _words_of_long(text)
    kept = [word for word in words if word not in STOP_WORDS]
    return _stems([*kept, *told] if kept else words)


def _stems(words: list[str]) -> list[str]:
    """The stem of each word; equal ones of a long text are one string."""
    cut = [word[:MAX_TERM_CHARS] for word in words]
    if len(cut) <= _PIECE_CHARS:
        return list(_local.stem(cut))
    distinct = list(dict.fromkeys(cut))
    stem_of = dict(zip(distinct, _local.stem(distinct), strict=True))
    return [stem_of[word] for word in cut]


def _words_of_long(text: str) -> tuple[list[str], list[str]]:
    """The words piece by piece, with small working copies and one string a distinct word."""
    words: list[str] = []
    told: list[str] = []
    seen: dict[str, str] = {}
    room = MAX_READ_CHARS
    for piece in _PIECES.finditer(text):
        plain = _normalized(piece[0])[:room]
        room -= len(plain)
        for all_, found in zip((words, told), _words(plain), strict=True):
            all_.extend(map(seen.setdefault, found, found))
        if not room:
            break
    return words, told


def _words(text: str) -> tuple[list[str], list[str]]:
    """All words of a text, and what its capital letters tell."""
    if text.isascii():
        return _ASCII_WORDS.findall(text.lower()), told_by_capitals(text)
    text = _normalized(text)
    plain = unicodedata.normalize("NFKC", text.casefold())
    words = _WORDS.findall(plain.translate(_CHARACTERS))
    parts = [part for word in words for part in _parts(word)]
    return [form for part in parts for form in _forms(part)], told_by_capitals(text)


def _normalized(text: str) -> str:
    """NFKC, of runs of marks up to thirty each."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFKC", _long_runs_of_marks().sub(r"\1", text))


def _forms(word: str) -> tuple[str, ...]:
    plain = folded(word)
    return (word,) if plain == word or not plain else (word, plain)


@cache
def _long_runs_of_marks() -> re.Pattern[str]:
    """Combining marks beyond the 30 in a row that any text needs (UAX 15, stream-safe format).

    Normalization takes a time quadratic in such a run.
    """
    marks = "".join(filter(unicodedata.combining, map(chr, range(0x300, 0x20000))))
    return re.compile(f"([{marks}]{{{_MARKS}}})[{marks}]+")


def _parts(word: str) -> Iterator[str]:
    """The word itself, or the terms of its runs in scripts that set no spaces."""
    if word.isascii() or not _HAS_UNSPACED.search(word):
        yield word
        return
    for run in _RUNS.findall(word):
        if _HAS_UNSPACED.match(run):
            yield from _bigrams(run)
        else:
            yield run


def _bigrams(run: str) -> Iterator[str]:
    """Overlapping pairs, and each ideograph by itself, since one is often a word."""
    if len(run) == 1:
        yield run
        return
    yield from (run[at : at + 2] for at in range(len(run) - 1))
    yield from _IDEOGRAPHS.findall(run)
