"""Lists that callers give: an error says which item it is about, counted from 0."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from mimir_core.errors import InputError, InvalidArgument

__all__ = ["each", "item", "listed", "renumbered"]

A = TypeVar("A")
B = TypeVar("B")
_ITEM = re.compile(r"item (\d+): ")


def listed(given: Iterable[A], what: str) -> list[A]:
    """A caller's list. Raises InvalidArgument for a text or what cannot be gone through."""
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise InvalidArgument(f"{what} come as a list")
    return list(given)


def each(make: Callable[[A], B], given: Iterable[A]) -> Iterator[B]:
    """What is made of each item. An InputError names the item's number."""
    for number, one in enumerate(given):
        with item(number):
            made = make(one)
        yield made


@contextmanager
def item(number: int) -> Iterator[None]:
    """Names an item's number in an InputError."""
    try:
        yield
    except InputError as error:
        raise _named(error, number) from None


@contextmanager
def renumbered(numbers: Sequence[int]) -> Iterator[None]:
    """Turns the number that the core names into that of the caller's list.

    Args:
        numbers: The caller's number of each item that the core was given.
    """
    try:
        yield
    except InputError as error:
        found = _ITEM.match(_message(error))
        if found is None:
            raise
        raise _named(error, numbers[int(found[1])]) from None


def _named(error: InputError, number: int) -> InputError:
    plain = _ITEM.sub("", _message(error), count=1)
    return type(error)(f"item {number}: {plain}", hint=error.hint)


def _message(error: Any) -> str:
    """The message without its hint."""
    return str(error.args[0])
