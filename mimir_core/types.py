"""Ground value types and their checks: edge kinds, namespaces, metadata values, timestamps.

Checked values are plain: exact built-in types, copied, so that what is stored cannot change behind
the vault's back. Error messages name the rule that was broken, never the value.
"""

from __future__ import annotations

import datetime as dt
import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from enum import IntEnum
from typing import TypeAlias, TypeVar

from mimir_core.errors import InputError, InvalidArgument, InvalidMetadata, InvalidNamespace

Namespace: TypeAlias = tuple[str, ...]
Value: TypeAlias = (
    "bool | int | float | str | dt.datetime | dt.date | list[Value] | dict[str, Value] | None"
)
Metadata: TypeAlias = dict[str, Value]

Given = TypeVar("Given")
Checked = TypeVar("Checked")

MAX_LABELS = 16
MAX_LABEL_BYTES = 256
MAX_METADATA_BYTES = 1 << 20
MAX_METADATA_DEPTH = 16

_SHOWN_NAME = 64
_INT64 = range(-(1 << 63), 1 << 63)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_DAY = dt.timedelta(days=1)


class EdgeKind(IntEnum):
    """Kind of an edge from a memory to its parent."""

    FOLLOWS = 1  # the previous turn of the thread
    DERIVES = 2  # made from the parent: a summary, a fact
    SUPERSEDES = 3  # a newer value of the same key


def checked_each(
    given: Iterable[Given], check: Callable[[Given], Checked], what: str
) -> tuple[Checked, ...]:
    """Each of a list as `check` returns it; its error says which, "item 17", counted from 0."""
    checked: list[Checked] = []
    for number, one in enumerate(given):
        try:
            checked.append(check(one))
        except InputError as error:
            raise error.within(f"{what} {number}") from None
    return tuple(checked)


def check_namespace(value: object) -> Namespace:
    """Returns a namespace as a tuple of labels in Unicode normalization form C.

    A str stands for one label. Canonically equivalent spellings name one namespace, as RFC 8265
    has it for user names; compatibility forms stay apart.

    Raises:
        InvalidNamespace: for anything but 1 to 16 labels, or for a label that is not a str, is
            empty, passes 256 bytes of UTF-8, or holds a dot, a control character or a surrogate.
    """
    if isinstance(value, str):
        return (_check_label(value),)
    if not isinstance(value, (tuple, list)):
        raise InvalidNamespace("a namespace is a tuple of labels")
    if not 1 <= len(value) <= MAX_LABELS:
        raise InvalidNamespace(f"a namespace has 1 to {MAX_LABELS} labels")
    return checked_each(value, _check_label, "label")


def _check_label(label: object) -> str:
    if not isinstance(label, str):
        raise InvalidNamespace("a namespace label is a string")
    plain = label.isascii() and label.isprintable()  # in form C, and without such characters
    if len(label) > 4 * MAX_LABEL_BYTES:  # form C is a third at least, and takes its time
        raise InvalidNamespace(f"a namespace label has at most {MAX_LABEL_BYTES} bytes of UTF-8")
    normal = label if plain else unicodedata.normalize("NFC", label)
    if not normal or "." in normal:
        raise InvalidNamespace("a namespace label is not empty and holds no dot")
    if not plain and any(unicodedata.category(char) in ("Cc", "Cs") for char in normal):
        raise InvalidNamespace("a namespace label holds no control character or surrogate")
    if len(normal.encode()) > MAX_LABEL_BYTES:
        raise InvalidNamespace(f"a namespace label has at most {MAX_LABEL_BYTES} bytes of UTF-8")
    return normal


def check_metadata(mapping: object) -> Metadata:
    """Returns a deep copy of metadata in plain types.

    Values are str, int (signed 64 bits), finite float, bool, None, date, datetime, and lists and
    dicts of these; subclasses (of str, int, ...) become the plain type. Datetimes become UTC; a
    naive one is taken as UTC. Field names are non-empty and do not start with "$", which is kept
    for filter operators; inside nested dicts any string is a name.

    Raises:
        InvalidMetadata: for anything else, nesting deeper than 16 (the metadata itself is level
            one; so a cycle is refused), or more than 1 MiB encoded (estimated from above).
    """
    if not isinstance(mapping, Mapping):
        raise InvalidMetadata("metadata is a dict")
    for number, name in enumerate(mapping):
        if not isinstance(name, str) or not name or name.startswith("$"):
            raise InvalidMetadata(
                f'metadata, name {number}: a field name is a non-empty string that does not start '
                'with "$"'
            )
    return _Checker().metadata(mapping)


def check_value(value: object) -> Value:
    """Returns a copy of one metadata value in plain types; the rules of `check_metadata`.

    Raises:
        InvalidMetadata: if no metadata could hold the value.
    """
    return _Checker().value(value, 1)


class _Checker:
    """Copies values while it counts an upper bound of their encoded bytes."""

    def __init__(self) -> None:
        self.room = MAX_METADATA_BYTES

    def metadata(self, fields: Mapping[str, object]) -> Metadata:
        """The fields, each of which an error names."""
        self._enter(1)
        copied: Metadata = {}
        for name, value in fields.items():
            try:
                copied[self._text(name)] = self.value(value, 1)
            except InvalidMetadata as error:
                raise error.within(_shown_field(name)) from None
        return copied

    def value(self, value: object, level: int) -> Value:
        if value is None or isinstance(value, (bool, int, float)):
            return self._number(value)
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dt.date):
            return self._time(value)
        if isinstance(value, list):
            self._enter(level + 1)
            return [self.value(item, level + 1) for item in value]
        if isinstance(value, Mapping):
            return self.mapping(value, level + 1)
        raise InvalidMetadata("metadata holds a value of a type that cannot be stored")

    def mapping(self, mapping: Mapping[object, object], level: int) -> dict[str, Value]:
        self._enter(level)
        copied: dict[str, Value] = {}
        for name, item in mapping.items():
            if not isinstance(name, str):
                raise InvalidMetadata("the names in a dict are strings")
            copied[self._text(name)] = self.value(item, level)
        return copied

    def _spend(self, size: int) -> None:
        self.room -= size
        if self.room < 0:
            raise InvalidMetadata(f"metadata takes at most {MAX_METADATA_BYTES} bytes encoded")

    def _enter(self, level: int) -> None:
        self._spend(5)
        if level > MAX_METADATA_DEPTH:
            raise InvalidMetadata(f"metadata nests at most {MAX_METADATA_DEPTH} levels")

    def _number(self, value: bool | int | float | None) -> Value:
        self._spend(9)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            if int(value) not in _INT64:
                raise InvalidMetadata("an integer in metadata fits signed 64 bits")
            return int(value)
        if not math.isfinite(value):
            raise InvalidMetadata("a float in metadata is finite")
        return float(value)

    def _text(self, value: str) -> str:
        try:
            self._spend(5 + len(value.encode()))
        except UnicodeEncodeError:
            raise InvalidMetadata("text in metadata holds no surrogates") from None
        return str.__str__(value)

    def _time(self, value: dt.date) -> dt.date:
        self._spend(11)
        if not isinstance(value, dt.datetime):
            return dt.date(value.year, value.month, value.day)
        try:
            return from_micros(to_micros(value))
        except InvalidArgument:
            raise InvalidMetadata("a datetime in metadata lies in the years 1 to 9999") from None


def _shown_field(name: str) -> str:
    """A field as errors name it; a long name is cut, and what does not print is escaped."""
    cut = name if len(name) <= _SHOWN_NAME else f"{name[:_SHOWN_NAME]}…"
    return f"metadata[{cut!r}]"


def to_micros(value: dt.date | float | str) -> int:
    """Returns microseconds since 1970-01-01 UTC.

    A number counts seconds, as `time.time()` gives them; a str is ISO 8601; a naive datetime is
    taken as UTC and a date as its midnight in UTC.

    Raises:
        InvalidArgument: for anything else, or a time outside the years 1 to 9999.
    """
    try:
        if isinstance(value, str):
            value = dt.datetime.fromisoformat(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            micros = value * 1_000_000 if isinstance(value, int) else round(value * 1e6)
            from_micros(micros)
            return micros
        if isinstance(value, dt.date):
            return (_instant(value) - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError, TypeError):
        raise InvalidArgument("a time lies in the years 1 to 9999, text in ISO 8601") from None
    raise InvalidArgument("a time is a datetime, a date, seconds since 1970, or ISO 8601 text")


def end_micros(value: dt.date | float | str) -> int:
    """Returns the first microsecond after a time, or after a day where it names one whole.

    Raises:
        InvalidArgument: as `to_micros`.
    """
    day = isinstance(value, dt.date) and not isinstance(value, dt.datetime)
    if isinstance(value, str):
        with suppress(ValueError):
            dt.date.fromisoformat(value)
            day = True
    return to_micros(value) + (_DAY // _MICROSECOND if day else 1)


def from_micros(micros: int) -> dt.datetime:
    """Returns the aware UTC datetime of a count of microseconds since 1970-01-01 UTC.

    Raises:
        InvalidArgument: if it lies outside the years 1 to 9999.
    """
    try:
        return _EPOCH + dt.timedelta(microseconds=micros)
    except OverflowError:
        raise InvalidArgument("a time lies in the years 1 to 9999") from None


def _instant(value: dt.date) -> dt.datetime:
    if not isinstance(value, dt.datetime):
        return dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC)
    if value.utcoffset() is None:
        return value.replace(tzinfo=dt.UTC)
    return value.astimezone(dt.UTC)
