"""Words without their accents: "José" is found by "Jose", and both forms of it are terms.

Marks go where people leave them out as they type: accents of Latin and Greek letters, stress marks
and the dots of Russian ё, points of Hebrew, vowel signs, hamza and tatweel of Arabic. Letters with
a stroke become plain ones (đ, ł, ø), and so does dotless i. What makes another letter stays:
Cyrillic й, voiced kana, vowel signs of Indic scripts.
"""

from __future__ import annotations

import unicodedata

_MARKED = ("LATIN", "GREEK", "ARABIC")  # scripts whose letters with marks are fully decomposed
_LETTERS = {
    "ё": "е", "ѐ": "е", "ѝ": "и", "\u0640": "",  # of Cyrillic; tatweel
    "đ": "d", "ð": "d", "ħ": "h", "ı": "i", "ł": "l", "ø": "o", "ǿ": "o", "ŧ": "t", "þ": "th",
    "æ": "ae", "ǽ": "ae", "ǣ": "ae", "œ": "oe",
}  # fmt: skip
_MARKS = (
    range(0x300, 0x370),  # of Latin, Greek and Cyrillic
    range(0x591, 0x5C8),  # Hebrew
    range(0x610, 0x61B), range(0x64B, 0x660), (0x670,), range(0x6D6, 0x6EE),  # Arabic
    range(0x8CA, 0x900), range(0x1AB0, 0x1B00), range(0x1DC0, 0x1E00),
)  # fmt: skip


class _Plain(dict[int, str]):
    """What each character of a normalized word becomes; filled as characters are met."""

    def __missing__(self, code: int) -> str:
        self[code] = plain = _plain(chr(code))
        return plain


def _plain(character: str) -> str:
    if character in _LETTERS:
        return _LETTERS[character]
    if unicodedata.category(character) == "Mn":
        return "" if any(ord(character) in marks for marks in _MARKS) else character
    decomposed = unicodedata.normalize("NFD", character)
    if len(decomposed) > 1 and unicodedata.name(character, "").startswith(_MARKED):
        return decomposed[0]
    return character


_PLAIN = _Plain()


def folded(word: str) -> str:
    """A word in NFKC and lower case without accents; the same one where it has none."""
    return word if word.isascii() else word.translate(_PLAIN)
