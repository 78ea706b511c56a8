"""The text form of filters for the command line: `mimir recall --where "stars >= 4"`.

    speaker=Ana    stars>=4    when<2024-05-01    draft!=true    stars != null
    tag~~food             contains (an element of a list, a part of a text)
    place?    !place?     present, missing
    speaker in (Ana, "Bob C")    speaker not in (Ana, Eve)

Names and values may be quoted with ' or ", backslash escapes the next character. An unquoted value
is a bool, null, number, ISO date or ISO datetime if it reads as one, and text otherwise; a quoted
one is text. Whole numbers that begin with 0 or leave 64 bits are codes rather: they stay text. What
reads as more of an expression ("3 and draft = true") is refused unless it is quoted. An expression
has at most 65,536 characters, and is read in time that grows as its length does.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable
from typing import Final

from mimir_core.errors import InvalidFilter
from mimir_core.types import Value

_QUOTED: Final = r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'"""
_NAME: Final = rf"""(?P<name>{_QUOTED}|[^\s$'"=!<>~?()][^\s'"=!<>~?()]*)"""
_COMPARISON: Final = re.compile(
    rf"{_NAME}\s*(?P<symbol>==?|!=|<=|>=|<|>|~~)\s*(?P<value>.+)", re.DOTALL
)
_PRESENCE: Final = re.compile(rf"(?P<missing>!?)\s*{_NAME}\s*\?", re.DOTALL)
_CHOICE: Final = re.compile(rf"{_NAME}\s+(?P<no>not\s+)?in\s*\((?P<values>.+)\)", re.DOTALL)
_ITEM: Final = re.compile(
    rf"\s*+(?P<value>(?:{_QUOTED})\s*+|[^,'\"()\s][^,'\"()]*+)(?:,|$)", re.DOTALL
)
_JOINT: Final = re.compile(r"\s(?:and|or|not)\s|&&|\|\|", re.IGNORECASE)
_SIGN: Final = re.compile(r"[=<>~?]|\sin\s*+\(", re.IGNORECASE)
_OPERATORS: Final = {
    "=": "$eq", "==": "$eq", "!=": "$ne", "<": "$lt", "<=": "$lte", ">": "$gt", ">=": "$gte",
    "~~": "$contains",
}  # fmt: skip
MAX_CHARACTERS: Final = 65_536
_WORDS: Final[dict[str, Value]] = {"true": True, "false": False, "null": None}


def _integer(text: str) -> Value:
    number = int(text)
    return number if -(1 << 63) <= number < 1 << 63 else text


_LITERALS: Final[tuple[tuple[re.Pattern[str], Callable[[str], Value]], ...]] = (
    (re.compile(r"[+-]?(0|[1-9]\d{0,18})"), _integer),
    (re.compile(r"[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?|[+-]?\d+[eE][+-]?\d+"), float),
    (re.compile(r"\d{4}-\d\d-\d\d"), dt.date.fromisoformat),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d.*"), dt.datetime.fromisoformat),
)


def parse_expressions(expressions: Iterable[str]) -> dict[str, object]:
    """Returns the filter that all expressions together stand for; `{}` for none.

    Raises:
        InvalidFilter: if an expression cannot be read or is too long; it is named by its number.
    """
    parts = [_parse(text.strip(), place) for place, text in enumerate(expressions, 1)]
    if len(parts) < 2:
        return parts[0] if parts else {}
    return {"$and": parts}


def _parse(text: str, place: int) -> dict[str, object]:
    if len(text) > MAX_CHARACTERS:
        raise InvalidFilter(
            f"filter expression {place} has more than {MAX_CHARACTERS:,} characters",
            hint="`Mimir.recall(where=...)` takes longer filters, as dicts",
        )
    try:
        if found := _PRESENCE.fullmatch(text):
            return {_name(found): {"$exists": not found["missing"]}}
        if found := _CHOICE.fullmatch(text):
            return {_name(found): {"$nin" if found["no"] else "$in": _items(found["values"])}}
        if found := _COMPARISON.fullmatch(text):
            return {_name(found): {_OPERATORS[found["symbol"]]: _literal(found["value"])}}
    except ValueError:
        pass  # a quote that does not close, or a date that does not exist
    raise InvalidFilter(
        f"filter expression {place} cannot be read",
        hint='write "stars >= 4" or "place?"; quote text that holds such signs',
    )


def _name(found: re.Match[str]) -> str:
    name = found["name"]
    return _unquoted(name) if name[0] in "\"'" else name


def _items(text: str) -> list[Value]:
    values: list[Value] = []
    end = 0
    while end < len(text):
        item = _ITEM.match(text, end)
        if item is None:
            raise ValueError("not a list of values")
        values.append(_literal(item["value"].rstrip()))
        end = item.end()
    return values


def _literal(text: str) -> Value:
    if text[0] in "\"'":
        return _unquoted(text)
    if _reads_on(text):
        raise ValueError("one expression at a time")
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for pattern, read in _LITERALS:
        if pattern.fullmatch(text):
            return read(text)
    return text


def _reads_on(text: str) -> bool:
    """Whether it is not a value but more of an expression.

    Taken as text, "not equal" to it would be everything.
    """
    joint = _JOINT.search(text)
    return text[0] in "=<>!~" or (joint and _SIGN.search(text, joint.end())) is not None


def _unquoted(text: str) -> str:
    if not re.fullmatch(_QUOTED, text, re.DOTALL):
        raise ValueError("a quote does not close")
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
