"""A phrase, and whether a text or bytes contain it.

Case, width and compatibility forms (NFKC and case folding, Unicode 15, 3.13 and UAX 15), white
space and characters that do not show make no difference. Words are matched whole: "Ann" is not in
"channel", and "Pixel" is in "Pixel's" but not in "pixels"; scripts that write no spaces between
words, and Hangul, know no such bounds.

Bytes are looked through as UTF-8. Texts within them may stand as they are, with the escapes of
JSON (of JSON in JSON too), or as strings of MessagePack, whose length can look like a letter.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import partial
from itertools import chain, islice
from typing import Final

from mimir_core.errors import InvalidArgument

MAX_CHARACTERS: Final = 1_024
_WINDOW: Final = 65_536
_NESTED: Final = 5  # JSON in JSON: a tool's answer in a message in a record
_UNSEEN: Final = dict.fromkeys([0xAD, 0x180E, *range(0x200B, 0x2010), *range(0x202A, 0x202F),
                                *range(0x2060, 0x2065), 0xFEFF])  # fmt: skip
_UNSPACED: Final = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPED: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_JSON_STRING: Final = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_PACKED_STRING: Final = re.compile(
    rb"(?=([\xa0-\xbf]|\xd9.|\xda..|\xdb\x00...))", re.DOTALL
)  # fixstr, str 8, str 16, and str 32 below 16 MiB


class Phrase:
    """A phrase to look for.

    Args:
        text: At most 1,024 characters, with at least one letter or digit.

    Raises:
        InvalidArgument: for anything else.
    """

    def __init__(self, text: str) -> None:
        if not isinstance(text, str) or len(text) > MAX_CHARACTERS:
            raise InvalidArgument(f"a phrase is a text of at most {MAX_CHARACTERS:,} characters")
        needle = _folded(text)
        if not any(map(str.isalnum, needle)):
            raise InvalidArgument("a phrase has at least one letter or digit")
        self._overlap = 4 * len(text) + 64
        bounded = _bound(needle[0], "(?<![^\\W_])") + re.escape(needle)
        self._whole = re.compile(bounded + _bound(needle[-1], "(?![^\\W_])"))
        self._part = re.compile(re.escape(needle))
        words = map(re.escape, text.split())
        self._plain = re.compile(r"\s+".join(words), re.IGNORECASE)

    @property
    def reach(self) -> int:
        """In how many bytes the phrase stands, however it is escaped."""
        return 12 * self._overlap

    def in_text(self, text: str) -> bool:
        """Whether a text contains the phrase."""
        return self._found(self._whole, text)

    def in_bytes(self, data: bytes) -> bool:
        """Whether bytes do."""
        text = data.decode("utf-8", "replace")
        if self.in_text(text):
            return True
        if "\ufffd" not in text or not self._found(self._part, text):
            return False
        return any(map(self.in_text, _packed_strings(data)))

    def texts_in(self, data: bytes, most: int = 1_000) -> list[str]:
        """The whole strings within bytes, JSON's or MessagePack's, that contain the phrase."""
        text = data.decode("utf-8", "replace")
        strings = (_unescaped(found[1]) for found in _JSON_STRING.finditer(text))
        packed = _packed_strings(data) if "\ufffd" in text else ()
        return list(islice(filter(self.in_text, chain(strings, packed)), most))

    def around(self, text: str, width: int) -> str:
        """A piece of a text with the phrase in it; its beginning where it is written otherwise."""
        found = self._plain.search(text)
        start = 0 if found is None else max(found.start() - width // 2, 0)
        piece = " ".join(text[start : start + 2 * width].split())[:width]
        return f"…{piece}" if start else piece

    def _found(self, pattern: re.Pattern[str], text: str) -> bool:
        for _ in range(_NESTED):
            if any(map(partial(_within, pattern), self._windows(text))):
                return True
            if "\\" not in text:
                return False
            text = _unescaped(text)
        return False

    def _windows(self, text: str) -> Iterator[tuple[str, bool, bool]]:
        """Folded pieces that overlap, so that memory stays small; whether it is first, or last."""
        for at in range(0, max(len(text), 1), _WINDOW):
            piece = text[max(at - self._overlap, 0) : at + _WINDOW]
            yield _folded(piece), at == 0, at + _WINDOW >= len(text)


def _within(pattern: re.Pattern[str], window: tuple[str, bool, bool]) -> bool:
    """Whether a window has a match; one at a cut edge is left to the window that holds it whole."""
    text, first, last = window
    return any(
        (first or found.start() > 0) and (last or found.end() < len(text))
        for found in pattern.finditer(text)
    )


def _folded(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_UNSEEN))
        text = unicodedata.normalize("NFKC", text.casefold())
    return " ".join(text.casefold().split())


def _bound(char: str, pattern: str) -> str:
    return pattern if char.isalnum() and not _UNSPACED.match(char) else ""


def _unescaped(text: str) -> str:
    """Text with JSON's escapes undone; two that make one character are one."""
    plain = _ESCAPE.sub(_character, text)
    return plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _character(found: re.Match[str]) -> str:
    told = found[1]
    return chr(int(told[1:], 16)) if len(told) == 5 else _ESCAPED.get(told, told)


def _packed_strings(data: bytes) -> Iterator[str]:
    """Whatever can be a string of MessagePack."""
    for found in _PACKED_STRING.finditer(data):
        head = found[1]
        size = head[0] & 31 if len(head) == 1 else int.from_bytes(head[1:], "big")
        start = found.start() + len(head)
        if size and start + size <= len(data):
            try:
                yield data[start : start + size].decode()
            except UnicodeDecodeError:
                continue
